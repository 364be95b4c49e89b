"use strict";
const charts = JSON.parse(document.getElementById("charts").textContent);
const sheets = JSON.parse(document.getElementById("sheets").textContent);
const drawn = new Set();
const isNarrow = () => window.innerWidth <= 720;
const ink = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function themed(figure) {
  const change = {"font.color": ink("--ink"), "legend.font.color": ink("--ink"),
    "hoverlabel.bgcolor": ink("--card"), "hoverlabel.font.color": ink("--ink"),
    "hoverlabel.bordercolor": ink("--line"), "modebar.bgcolor": "rgba(0,0,0,0)",
    "modebar.color": ink("--line"), "modebar.activecolor": ink("--accent")};
  for (const key of Object.keys(figure.layout)) {
    if (!/^[xy]axis\d*$/.test(key)) continue;
    change[key + ".gridcolor"] = ink("--grid");
    change[key + ".linecolor"] = ink("--line");
    change[key + ".tickcolor"] = ink("--line");
  }
  return change;
}

function draw(box) {
  const figure = charts[box.dataset.chart];
  const wanted = (figure.layout.meta || {}).height || 320;
  const layout = Object.assign({}, figure.layout, {autosize: true,
    height: isNarrow() ? Math.min(wanted, 440) : wanted});
  const isMap = box.dataset.chart.startsWith("map");
  if (isMap && isNarrow()) layout.showlegend = false;
  Plotly.newPlot(box, figure.data, layout,
    {responsive: true, displaylogo: false, displayModeBar: isMap && !isNarrow()})
    .then(() => { Plotly.relayout(box, themed(figure)); box.dataset.ready = "1"; });
  drawn.add(box);
  if ((figure.layout.meta || {}).thumbnails) {
    box.on("plotly_hover", event => thumbnail(event));
    box.on("plotly_click", event => thumbnail(event));
    box.on("plotly_unhover", () => { document.getElementById("thumb").style.display = "none"; });
  }
}

function paint(element, sheet, index, scale) {
  const x = (index % sheet.columns) * sheet.width * scale;
  const y = Math.floor(index / sheet.columns) * sheet.height * scale;
  element.style.width = sheet.width * scale + "px";
  element.style.height = sheet.height * scale + "px";
  element.style.backgroundImage = "var(--sheet-" + sheet.name + ")";
  element.style.backgroundSize = sheet.columns * sheet.width * scale + "px auto";
  element.style.backgroundPosition = -x + "px " + -y + "px";
}

function thumbnail(event) {
  const point = event.points[0], sheet = sheets.map;
  if (!sheet || point.customdata === undefined) return;
  const box = document.getElementById("thumb");
  paint(box.firstElementChild, sheet, point.customdata,
    Math.max(1, Math.round(84 / Math.max(sheet.width, sheet.height))));
  box.dataset.row = point.customdata;
  box.style.display = "block";
  const mouse = event.event || {clientX: 0, clientY: 0};
  box.style.left = Math.min(mouse.clientX + 16, window.innerWidth - box.offsetWidth - 6) + "px";
  box.style.top = Math.max(mouse.clientY - box.offsetHeight - 12, 6) + "px";
}

function show(name) {
  for (const button of document.querySelectorAll("nav button")) {
    const isIt = button.dataset.tab === name;
    button.setAttribute("aria-selected", isIt);
    button.tabIndex = isIt ? 0 : -1;
  }
  for (const section of document.querySelectorAll("section"))
    section.hidden = section.id !== name;
  fill(document.getElementById(name));
}

function fill(root) {
  for (const box of root.querySelectorAll("[data-chart]")) {
    if (box.closest("[hidden]")) continue;
    if (drawn.has(box)) Plotly.Plots.resize(box); else draw(box);
  }
  for (const box of root.querySelectorAll(".t:not([style])")) {
    const sheet = sheets[box.dataset.sheet];
    const scale = Math.max(1, Math.round(44 / Math.max(sheet.width, sheet.height)));
    paint(box, sheet, Number(box.dataset.index), scale);
  }
}

function restyle() {
  for (const box of drawn) Plotly.relayout(box, themed(charts[box.dataset.chart]));
}

for (const [name, sheet] of Object.entries(sheets)) {
  sheet.name = name;
  document.documentElement.style.setProperty("--sheet-" + name, "url(" + sheet.uri + ")");
}
const tabs = [...document.querySelectorAll("nav button")];
for (const [index, button] of tabs.entries()) {
  button.addEventListener("click", () => show(button.dataset.tab));
  button.addEventListener("keydown", event => {
    const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (!step) return;
    const next = tabs[(index + step + tabs.length) % tabs.length];
    next.focus(); show(next.dataset.tab);
  });
}
for (const choice of document.querySelectorAll("[data-choice]"))
  choice.addEventListener("click", () => {
    for (const other of choice.parentElement.querySelectorAll("[data-choice]")) {
      other.setAttribute("aria-pressed", other === choice);
      document.getElementById(other.dataset.choice).hidden = other !== choice;
    }
    fill(document.getElementById(choice.dataset.choice).parentElement);
  });
document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  restyle();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", restyle);
show("overview");
