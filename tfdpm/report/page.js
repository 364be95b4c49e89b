"use strict";
const charts = JSON.parse(document.getElementById("charts").textContent);
const sheets = JSON.parse(document.getElementById("sheets").textContent);
const drawn = new Set();

async function unpack(name) {
  const packed = atob(document.getElementById(name).textContent);
  const bytes = Uint8Array.from(packed, letter => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

const plotly = unpack("plotly").then(text => {
  const script = document.createElement("script");
  script.textContent = text;
  document.head.append(script);
});
const labels = () => unpack("point-labels").then(JSON.parse);
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
  const name = box.dataset.chart, isMap = name === "map" || name === "map-pca";
  if (isMap && isNarrow()) layout.showlegend = false;
  drawn.add(box);
  plotly.then(() => Plotly.newPlot(box, figure.data, layout,
    {responsive: true, displaylogo: false, scrollZoom: isMap,
      displayModeBar: isMap && !isNarrow()}))
    .then(() => Plotly.relayout(box, themed(figure)))
    .then(() => {
      if (isMap) {
        spread(box);
        box.on("plotly_relayout", () => spread(box));
      }
      if ((figure.layout.meta || {}).thumbnails) {
        box.on("plotly_hover", event => thumbnail(event));
        box.on("plotly_click", event => thumbnail(event));
        box.on("plotly_unhover", () => { document.getElementById("thumb").style.display = "none"; });
      }
      box.dataset.ready = "1";
    });
}

// Writes those labels of clusters that cover no other, the largest clusters first.
function spread(box) {
  const index = box.data.length - 1, trace = charts[box.dataset.chart].data[index];
  const {xaxis, yaxis} = box._fullLayout, taken = [], texts = [];
  const values = array => box._fullData[index][array];
  for (const [i, text] of trace.text.entries()) {
    const x = xaxis.d2p(values("x")[i]), y = yaxis.d2p(values("y")[i]);
    const half = 4 * text.replace(/<[^>]*>|&\w+;/g, "").length + 3;
    const isFree = x > 0 && y > 0 && x < xaxis._length && y < yaxis._length
      && taken.every(other => Math.abs(x - other.x) > half + other.half || Math.abs(y - other.y) > 15);
    if (isFree) taken.push({x, y, half});
    texts.push(isFree ? text : "");
  }
  Plotly.restyle(box, {text: [texts]}, [index]);
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

function current() { return document.querySelector("section:not([hidden])").id; }

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
    if (!drawn.has(box)) draw(box);
    else if (box.dataset.ready) Plotly.Plots.resize(box);
  }
  for (const box of root.querySelectorAll(".t:not([style])")) {
    const sheet = sheets[box.dataset.sheet];
    const scale = Math.max(1, Math.round(44 / Math.max(sheet.width, sheet.height)));
    paint(box, sheet, Number(box.dataset.index), scale);
  }
}

// Clusters of a number, of words of their cards, or of a row of the data.
async function matches(text) {
  const cards = [...document.querySelectorAll("article")];
  const row = text.match(/^row\s+(\d+)$/);
  let number = text.match(/^(?:cluster\s*)?(\d+)$/);
  if (row) {
    const found = await labels();
    const place = found.rows ? found.rows.indexOf(Number(row[1])) : Number(row[1]);
    number = [null, found.labels[place]];
  }
  if (number) return cards.filter(card => card.id === "cluster-" + number[1]);
  return cards.filter(card => card.textContent.toLowerCase().includes(text));
}

async function find(text) {
  text = text.trim().toLowerCase();
  const cards = await matches(text);
  document.getElementById("found").textContent = text && cards.length + " found";
  if (current() !== "map") {
    if (text && current() !== "clusters") show("clusters");
    for (const card of document.querySelectorAll("article")) card.hidden = !cards.includes(card);
    fill(document.getElementById("clusters"));
    return;
  }
  for (const box of document.querySelectorAll("#map [data-ready]")) {
    const boxes = charts[box.dataset.chart].layout.meta.boxes;
    const chosen = cards.map(card => boxes[Number(card.id.slice(8))]);
    const range = (low, high) => {
      const least = Math.min(...chosen.map(each => each[low]));
      const most = Math.max(...chosen.map(each => each[high])), edge = (most - least || 1) / 2;
      return [least - edge, most + edge];
    };
    Plotly.relayout(box, text && cards.length
      ? {"xaxis.range": range(0, 1), "yaxis.range": range(2, 3)}
      : {"xaxis.autorange": true, "yaxis.autorange": true});
  }
}

async function download() {
  const {rows, labels: found, names} = await labels();
  const quoted = name => '"' + name.replaceAll('"', '""') + '"';
  const isNamed = names.some(name => name);
  const lines = found.map((k, i) => [rows ? rows[i] : i, k].concat(isNamed ? quoted(names[k]) : []));
  const text = [["row", "cluster"].concat(isNamed ? "name" : []), ...lines].join("\n") + "\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "text/csv"}));
  link.download = "labels.csv";
  link.click();
  URL.revokeObjectURL(link.href);
}

// Shows what an address such as #cluster-3 or #map leads to.
function follow() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const section = target && target.closest("section");
  if (!section) { show("overview"); return; }
  show(section.id);
  if (section !== target) {
    target.hidden = false;
    target.scrollIntoView({block: "center"});
    target.focus({preventScroll: true});
  } else scrollTo(0, 0);
}

function restyle() {
  for (const box of drawn) if (box.dataset.ready) Plotly.relayout(box, themed(charts[box.dataset.chart]));
}

for (const [name, sheet] of Object.entries(sheets)) {
  sheet.name = name;
  document.documentElement.style.setProperty("--sheet-" + name, "url(" + sheet.uri + ")");
}
function choose(name) { history.replaceState(null, "", "#" + name); show(name); }
const tabs = [...document.querySelectorAll("nav button")];
for (const [index, button] of tabs.entries()) {
  button.addEventListener("click", () => choose(button.dataset.tab));
  button.addEventListener("keydown", event => {
    const places = {ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: -1};
    if (!(event.key in places)) return;
    const next = tabs[(places[event.key] + tabs.length) % tabs.length];
    next.focus(); choose(next.dataset.tab);
    event.preventDefault();
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
const field = document.getElementById("find");
field.addEventListener("input", () => find(field.value));
document.addEventListener("keydown", event => {
  if (event.key === "/" && document.activeElement !== field) { field.focus(); event.preventDefault(); }
});
document.getElementById("download").addEventListener("click", download);
addEventListener("hashchange", follow);
follow();
