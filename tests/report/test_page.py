"""The page stands alone, says what it was given, and escapes it."""

from __future__ import annotations

import base64
import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import tensorflow as tf

import tfdpm
from tests.reference.joined import join
from tfdpm.report import charts
from tfdpm.report.page import make_sprite
from tfdpm.viz.maps import cluster_map
from tfdpm.viz.samples import sample_points


@pytest.fixture(scope="module")
def text(page) -> str:
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def own(text) -> str:
    """The page without the source of plotly.js."""
    return re.sub(r"<script>/\*\*.*?</script>", "", text, count=1, flags=re.DOTALL)


def charts_of(text: str) -> dict:
    (found,) = re.findall(r'id="charts">(.*?)</script>', text, flags=re.DOTALL)
    return json.loads(found)


def test_nothing_is_fetched(own) -> None:
    assert len(own) < 2_000_000
    assert not re.search(r'(src|href)="?(https?:)?//', own)
    assert "@import" not in own
    HTMLParser().feed(own)


def test_what_users_give_is_escaped(own) -> None:
    assert "a &lt;b&gt; c" in own
    assert "tfdpm fit &lt;x&gt;" in own
    assert "<b> c" not in own
    assert "<dog>" not in own


class Tags(HTMLParser):
    """Scripts, attributes that run something, and tags that nobody meant."""

    def __init__(self, text):
        super().__init__()
        self.scripts, self.running, self.seen = 0, [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.scripts += tag == "script"
        self.seen.add(tag)
        self.running += [
            (name, value)
            for name, value in attrs
            if name.startswith("on") or str(value).strip().lower().startswith("javascript:")
        ]


def test_nothing_that_users_give_becomes_code(hostile_page, text) -> None:
    hostile, usual = Tags(hostile_page.read_text(encoding="utf-8")), Tags(text)
    assert (hostile.scripts, hostile.running) == (usual.scripts, [])
    assert usual.running == [] and not {"img", "svg"} & (hostile.seen - usual.seen)


def test_every_chart_has_its_place_and_the_other_way_round(own) -> None:
    charts = charts_of(own)
    assert set(re.findall(r'data-chart="([^"]+)"', own)) == set(charts)
    wanted = {"k", "sizes", "map", "posterior", "confidence", "outliers", "confusion", "tree"}
    assert wanted <= set(charts)


def test_map_holds_every_point_once_and_an_ellipse_for_each_cluster(own) -> None:
    traces = charts_of(own)["map"]["data"]
    points = [trace for trace in traces if trace["mode"] == "markers"]
    assert len(points) == 4
    assert len(traces) == 8
    assert sum(len(trace["text"]) for trace in points) == 300
    assert points[0]["text"][0].startswith("row ")


def test_prior_time_scores_and_versions_are_told(own) -> None:
    for wanted in ("The prior in plain words", "1.2 s", "tensorflow", "NMI", "stability"):
        assert wanted in own


def test_typical_and_doubtful_members_are_shown(own) -> None:
    shown = re.findall(r'class="t" role="img" data-sheet="members" data-index="(\d+)"', own)
    assert len(shown) == 4 * 2 * 10


def test_a_model_that_was_loaded_has_a_report_too(model, images, tmp_path) -> None:
    import keras

    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    text = loaded.report(tmp_path / "r.html", images[0]).read_text(encoding="utf-8")
    assert "how it was trained is not kept" in text
    assert 'data-tab="labels"' not in text


def test_without_plotly_the_error_names_the_extra(model, monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ImportError, match=r"`report`: got no plotly.*tfdpm\[viz\]"):
        model.report(tmp_path / "r.html")


def test_thumbnails_lie_row_by_row_on_their_sheet() -> None:
    images = (
        np.zeros((5, 4, 2, 1), np.uint8) + 50 * np.arange(5, dtype=np.uint8)[:, None, None, None]
    )
    sheet = make_sprite(images, 10)
    assert (sheet.columns, sheet.height, sheet.width, sheet.count) == (3, 4, 2, 5)
    pixels = tf.io.decode_png(base64.b64decode(sheet.uri.partition(",")[2])).numpy()
    assert pixels.shape == (8, 6, 1)
    np.testing.assert_array_equal(pixels[::4, ::2, 0], [[0, 50, 100], [150, 200, 0]])
    small = make_sprite(np.full((2, 40, 20, 3), 200, np.uint8), 10)
    assert (small.height, small.width) == (10, 5)
    assert small.uri.startswith("data:image/jpeg")


def test_components_are_drawn_inside_their_cluster(images):
    model = tfdpm.fit(images[0], epochs=1, verbose=0)
    join(model, (0, 2, -1.0), (1, 2, -0.5))
    sample = sample_points(model, images[0])
    plane = cluster_map(model, sample)
    points, outlines = np.split(np.array(charts.draw_map(plane, sample, False).data), 2)
    assert [trace.name for trace in points] == ["cluster 0", "cluster 1"]
    assert [len(trace.x) for trace in outlines] == [3 * 101, 101]  # a gap ends each ellipse
    for trace, outline in zip(points, outlines, strict=True):
        assert trace.marker.color == outline.line.color
        assert trace.legendgroup == outline.legendgroup
