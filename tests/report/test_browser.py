"""The page in a headless Chromium: no errors, charts drawn, tabs, hover and themes work."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import pytest

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)

# Runs inside the page, as a user would: every tab, the switch, a point, the theme.
PROBE = r"""
<script>
const told = {errors: [], charts: {}, widths: {}};
window.addEventListener("error", event => told.errors.push(event.message));
console.error = (...texts) => told.errors.push(texts.join(" "));
const wait = time => new Promise(done => setTimeout(done, time));
async function until(condition) { for (let i = 0; i < 200 && !condition(); i++) await wait(50); }
(async () => {
  for (const button of document.querySelectorAll("nav button")) {
    button.click();
    const name = button.dataset.tab, section = document.getElementById(name);
    const boxes = [...section.querySelectorAll("[data-chart]")].filter(b => !b.closest("[hidden]"));
    await until(() => boxes.every(box => box.dataset.ready));
    told.charts[name] = boxes.filter(box => box.querySelector(".main-svg")).length;
    told.widths[name] = document.documentElement.scrollWidth - window.innerWidth;
    told.visible = [...document.querySelectorAll("section")].filter(s => !s.hidden).length;
  }
  show("map");
  const map = document.querySelector("[data-chart=map]");
  Plotly.Fx.hover(map, [{curveNumber: 0, pointNumber: 0}]);
  await until(() => map.querySelector(".hovertext"));
  told.hover = (map.querySelector(".hovertext") || {}).textContent;
  const event = {points: [{customdata: 7}], event: {clientX: 50, clientY: 50}};
  map.emit("plotly_hover", event);
  const thumb = document.getElementById("thumb");
  told.thumb = [thumb.style.display, thumb.dataset.row, thumb.offsetWidth > 20];
  document.querySelector("[data-choice=by-pca]").click();
  await until(() => document.querySelector("[data-chart=map-pca]").dataset.ready);
  told.switched = ["by-auto", "by-pca"].map(name => document.getElementById(name).hidden);
  document.querySelector("[data-choice=by-auto]").click();
  const color = () => getComputedStyle(document.body).backgroundColor;
  told.paper = [color()];
  document.getElementById("theme").click();
  told.paper.push(color());
  await wait(300);
  told.ink = map._fullLayout.font.color;
  const result = document.createElement("pre");
  result.id = "told";
  result.textContent = JSON.stringify(told);
  document.body.append(result);
})();
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on the path")
def test_page_works_in_a_browser(page, tmp_path) -> None:
    probed = with_script(page, PROBE, tmp_path)
    told = look_at(probed, tmp_path, 1280)
    assert told["errors"] == []
    assert told["visible"] == 1
    assert told["charts"].pop("overview") >= 4
    assert told["charts"] == {"map": 1, "clusters": 0, "doubt": 5, "labels": 1, "made": 1}
    assert all(overflow <= 0 for overflow in told["widths"].values())
    assert "row " in told["hover"]
    assert told["thumb"] == ["block", "7", True]
    assert told["switched"] == [True, False]
    light, dark = told["paper"]
    assert light == "rgb(255, 255, 255)"
    assert dark == "rgb(20, 24, 29)"
    assert told["ink"] == "#e6eaee"


# Finds clusters, follows links, presses keys and takes the labels, as a user would.
WORK = r"""
<script>
const told = {errors: []};
window.addEventListener("error", event => told.errors.push(event.message));
const wait = time => new Promise(done => setTimeout(done, time));
async function until(condition) { for (let i = 0; i < 200 && !condition(); i++) await wait(50); }
const tab = () => document.querySelector("section:not([hidden])").id;
const cards = () => [...document.querySelectorAll("article:not([hidden])")].map(each => each.id);
async function type(text) {
  const field = document.getElementById("find");
  field.value = text;
  field.dispatchEvent(new Event("input"));
  await wait(300);
}
async function press(element, key) {
  element.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
  await wait(50);
}
(async () => {
  await type("cluster 2");
  told.found = [tab(), cards(), document.getElementById("found").textContent];
  await type("Row 7");
  told.row = cards();
  await type("nothing like this");
  told.none = cards();
  await type("");
  told.all = cards().length;
  location.hash = "#cluster-3";
  await wait(300);
  const place = document.getElementById("cluster-3").getBoundingClientRect();
  told.linked = [tab(), document.activeElement.id, place.top >= 0 && place.top < innerHeight];
  const buttons = [...document.querySelectorAll("nav button")];
  await press(buttons[0], "End");
  told.keys = [tab(), document.activeElement.dataset.tab];
  await press(buttons.at(-1), "ArrowRight");
  told.keys.push(tab(), location.hash);
  await press(document.body, "/");
  told.keys.push(document.activeElement.id);
  location.hash = "#map";
  const map = document.querySelector("[data-chart=map]");
  await until(() => map.dataset.ready);
  await wait(300);
  const boxes = [...map.querySelectorAll(".textpoint text")].filter(each => each.textContent)
    .map(each => each.getBoundingClientRect());
  told.labels = boxes.length;
  told.covered = boxes.filter((a, i) => boxes.some((b, j) => i !== j && a.left < b.right
    && b.left < a.right && a.top < b.bottom && b.top < a.bottom)).length;
  await type("2");
  told.zoomed = map._fullLayout.xaxis.range.concat(map._fullLayout.yaxis.range);
  told.box = charts.map.layout.meta.boxes[2];
  await type("");
  told.unzoomed = map._fullLayout.xaxis.range;
  URL.createObjectURL = blob => { told.blob = blob; return "#taken"; };
  document.getElementById("download").click();
  await until(() => told.blob);
  told.csv = await told.blob.text();
  const result = document.createElement("pre");
  result.id = "told";
  result.textContent = JSON.stringify(told);
  document.body.append(result);
})();
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on the path")
def test_clusters_are_found_linked_and_taken(page, model, images, tmp_path) -> None:
    told = look_at(with_script(page, WORK, tmp_path), tmp_path, 1280)
    labels = model.predict_labels(images[0])
    assert told["errors"] == []
    assert told["found"] == ["clusters", ["cluster-2"], "1 found"]
    assert told["row"] == [f"cluster-{labels[7]}"]
    assert (told["none"], told["all"]) == ([], 4)
    assert told["linked"] == ["clusters", "cluster-3", True]
    assert told["keys"] == ["made", "made", "overview", "#overview", "find"]
    assert told["labels"] == 4 and told["covered"] == 0
    left, right, bottom, top = told["box"]
    x0, x1, y0, y1 = told["zoomed"]
    assert x0 < left < right < x1 and y0 < bottom < top < y1
    assert x1 - x0 < 0.7 * (told["unzoomed"][1] - told["unzoomed"][0])
    lines = told["csv"].splitlines()
    assert lines[0] == "row,cluster"
    assert lines[1:] == [f"{row},{k}" for row, k in enumerate(labels)]


# How far each tab and its charts reach beyond the window, and how high the title is.
MEASURE = r"""
<script>
(async () => {
  const told = {width: innerWidth};
  for (const button of document.querySelectorAll("nav button")) {
    button.click();
    const section = document.getElementById(button.dataset.tab);
    const boxes = [...section.querySelectorAll("[data-chart]")].filter(b => !b.closest("[hidden]"));
    for (let i = 0; i < 200 && boxes.some(box => !box.dataset.ready); i++)
      await new Promise(done => setTimeout(done, 50));
    const right = boxes.map(box => box.querySelector(".main-svg").getBoundingClientRect().right);
    const most = Math.max(document.documentElement.scrollWidth, ...right);
    told[button.dataset.tab] = most - innerWidth;
  }
  told.title = document.querySelector("h1").getBoundingClientRect().height;
  parent.postMessage(told, "*");
})();
</script>
"""

# Windows are never narrower than 500 pixels, frames may be.
FRAME = r"""<!doctype html><body><iframe src="copy.html" width="%d" height="1000"></iframe><script>
addEventListener("message", event => {
  const result = document.createElement("pre");
  result.id = "told";
  result.textContent = JSON.stringify(event.data);
  document.body.append(result);
});
</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on the path")
@pytest.mark.parametrize("width", [400, 1600])
def test_no_tab_is_wider_than_the_window_and_the_title_is_readable(width, page, tmp_path) -> None:
    with_script(page, MEASURE, tmp_path)
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME % width, encoding="utf-8")
    told = look_at(frame, tmp_path, 1700)
    assert told.pop("width") == width
    assert told.pop("title") < 90
    assert max(told.values()) <= 0


# Shows every tab and points at everything; what ran is in `ours`.
WATCH = r"""
<script>
window.alert = () => { window.ours = "alert"; };
(async () => {
  for (const button of document.querySelectorAll("nav button")) {
    button.click();
    await new Promise(done => setTimeout(done, 500));
    for (const box of document.querySelectorAll("[data-chart]")) {
      try { Plotly.Fx.hover(box, [{curveNumber: 0, pointNumber: 0}]); } catch (error) {}
    }
    for (const link of document.querySelectorAll("a")) link.dispatchEvent(new Event("click"));
  }
  await new Promise(done => setTimeout(done, 500));
  const result = document.createElement("pre");
  result.id = "told";
  const images = [...document.images].filter(each => each.getAttribute("src") === "x").length;
  result.textContent = JSON.stringify({ours: window.ours || null, images});
  document.body.append(result);
})();
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on the path")
def test_nothing_of_hostile_names_runs(hostile_page, tmp_path) -> None:
    watched = with_script(hostile_page, WATCH, tmp_path)
    assert look_at(watched, tmp_path, 1280) == {"ours": None, "images": 0}


def with_script(page, script: str, folder):
    """A copy of the page that runs a script at its end."""
    copy = folder / "copy.html"
    text = page.read_text(encoding="utf-8")
    copy.write_text(text.replace("</body>", script + "</body>"), encoding="utf-8")
    return copy


def look_at(page, folder, width: int) -> dict:
    """What the probe tells after the page has run in a window of that width."""
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder / 'profile'}",
        f"--window-size={width},1000",
        "--virtual-time-budget=60000",
        "--dump-dom",
        page.as_uri(),
    ]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    (found,) = re.findall(r'<pre id="told">(.*?)</pre>', printed, flags=re.DOTALL)
    return json.loads(html.unescape(found))
