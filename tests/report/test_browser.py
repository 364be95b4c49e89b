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
  told.switched = ["by-lda", "by-pca"].map(name => document.getElementById(name).hidden);
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
    assert told["charts"] == {"map": 1, "members": 0, "doubt": 5, "labels": 1, "made": 1}
    assert all(overflow <= 0 for overflow in told["widths"].values())
    assert "row " in told["hover"]
    assert told["thumb"] == ["block", "7", True]
    assert told["switched"] == [True, False]
    light, dark = told["paper"]
    assert light == "rgb(255, 255, 255)"
    assert dark == "rgb(20, 24, 29)"
    assert told["ink"] == "#e6eaee"


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
