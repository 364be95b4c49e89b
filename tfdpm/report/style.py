"""How a report looks and behaves in a browser: its style sheet and its script."""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --card: #f6f7f9; --ink: #1d2329;
  --soft: #5d6873; --line: #d9dee4; --accent: #2f6db5; --grid: #e3e7ec; }
@media (prefers-color-scheme: dark) { :root:not([data-theme=light]) { --paper: #14181d;
  --card: #1c2229; --ink: #e6eaee; --soft: #9aa6b2; --line: #333c46; --accent: #7db4f0;
  --grid: #2b333c; } }
:root[data-theme=dark] { --paper: #14181d; --card: #1c2229; --ink: #e6eaee; --soft: #9aa6b2;
  --line: #333c46; --accent: #7db4f0; --grid: #2b333c; }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
main, header { max-width: 1200px; margin: 0 auto; padding: 0 20px; }
header { display: flex; align-items: baseline; gap: 12px; padding-top: 18px; }
h1 { font-size: 1.5rem; margin: 0; flex: 1; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 0 0 6px; }
p { margin: 4px 0 8px; } .soft { color: var(--soft); }
button { font: inherit; color: var(--ink); background: none; border: 1px solid var(--line);
  border-radius: 8px; padding: 4px 12px; cursor: pointer; }
nav { display: flex; gap: 4px; overflow-x: auto; border-bottom: 1px solid var(--line);
  margin: 14px 0 16px; scrollbar-width: none; }
nav button { border: 0; border-bottom: 3px solid transparent; border-radius: 0;
  padding: 8px 12px; color: var(--soft); white-space: nowrap; }
nav button[aria-selected=true] { color: var(--ink); border-color: var(--accent); }
button[aria-pressed=true] { border-color: var(--accent); color: var(--accent); }
button:focus-visible, summary:focus-visible { outline: 2px solid var(--accent); }
.grid { display: grid; gap: 14px; grid-template-columns: repeat(2, minmax(0, 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 14px 16px; min-width: 0; margin-bottom: 14px; }
.grid .card { margin-bottom: 0; } .wide { grid-column: 1 / -1; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin-bottom: 14px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 10px 18px; flex: 1 1 120px; }
.tile b { display: block; font-size: 1.6rem; line-height: 1.25; } .tile span { color: var(--soft) }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
td, th { padding: 3px 10px 3px 0; text-align: right; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
td:first-child, th:first-child { text-align: left; }
.scroll { overflow-x: auto; } code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 6px 0; }
.members { display: grid; grid-template-columns: 84px minmax(0,1fr) minmax(0,1fr); gap: 8px 14px;
  align-items: start; }
.members > b { font-size: .85rem; color: var(--soft); } .dot { display: inline-block; width: 10px;
  height: 10px; border-radius: 50%; margin-right: 6px; }
.row { display: flex; flex-wrap: wrap; gap: 3px; }
.members .row { max-width: 335px; }
.t { background-repeat: no-repeat; image-rendering: pixelated; border-radius: 3px; }
#thumb { position: fixed; z-index: 9; pointer-events: none; display: none; padding: 4px;
  background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
summary { cursor: pointer; }
[hidden] { display: none !important; }
@media (max-width: 720px) { .grid { grid-template-columns: minmax(0, 1fr); }
  main, header { padding-left: 12px; padding-right: 12px; } .card { padding: 12px 10px; }
  .members { grid-template-columns: minmax(0, 1fr); } .members > b { display: none }
  .members > div:nth-child(3n+1) { margin-top: 8px }
  .members > div:nth-child(3n+2)::before { content: "typical" }
  .members > div:nth-child(3n)::before { content: "doubtful" }
  .members > div::before { width: 100%; font-size: .8rem; color: var(--soft) }
  .tile { flex-basis: 40%; padding: 8px 12px } .tile b { font-size: 1.3rem } }
"""

SCRIPT = r"""
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
"""
