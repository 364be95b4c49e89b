"""The page stands alone, says what it was given, and escapes it."""

from __future__ import annotations

import base64
import gzip
import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import tensorflow as tf

import tfdpm
from tests.reference.joined import join
from tfdpm.report import charts, facts, traits, write
from tfdpm.report.page import make_sprite
from tfdpm.viz.maps import cluster_map


@pytest.fixture(scope="module")
def text(page) -> str:
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def own(text) -> str:
    """The page without the source of plotly.js."""
    return re.sub(r'<script type="text/plain" id="plotly">[^<]*</script>', "", text)


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


def unpacked(text: str, name: str) -> str:
    (found,) = re.findall(rf'id="{name}">([^<]*)</script>', text)
    return gzip.decompress(base64.b64decode(found)).decode()


def test_plotly_is_packed_and_whole(text) -> None:
    from plotly.offline import get_plotlyjs

    assert len(text) < 2_500_000 < len(get_plotlyjs())
    assert unpacked(text, "plotly") == get_plotlyjs()


def test_labels_of_all_points_can_be_downloaded(text, model, images) -> None:
    found = json.loads(unpacked(text, "point-labels"))
    assert found["rows"] is None
    np.testing.assert_array_equal(found["labels"], model.predict_labels(images[0]))


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
    assert [trace["mode"] for trace in traces].count("lines") == 4
    assert sorted(traces[-1]["text"]) == [f"<b>{k}</b>" for k in range(4)]
    assert sum(len(trace["text"]) for trace in points) == 300
    assert points[0]["text"][0].startswith("row ")


def test_prior_time_scores_and_versions_are_told(own) -> None:
    for wanted in ("The prior in plain words", "1.2 s", "tensorflow", "NMI", "stability"):
        assert wanted in own


def test_typical_and_doubtful_members_are_shown(own) -> None:
    shown = re.findall(r'class="t" role="img" data-sheet="members" data-index="(\d+)"', own)
    assert len(shown) == 4 * 2 * 10 + 4 * 5  # on the cards, and in the overview
    assert own.count('data-sheet="outliers"') == 20


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
    gathered = facts.gather_facts(model, images[0], None, None, 0, names={1: "a <b>"})
    sample = gathered.sample
    plane = cluster_map(model, sample, "lda")
    drawn = np.array(charts.draw_map(plane, sample, gathered).data)
    points, outlines = np.split(drawn[:-1], 2)
    assert [trace.name for trace in points] == ["cluster 0", "a &lt;b&gt;"]
    assert [len(trace.x) for trace in outlines] == [3 * 61, 61]  # a gap ends each ellipse
    for trace, outline in zip(points, outlines, strict=True):
        assert trace.marker.color == outline.line.color
        assert trace.legendgroup == outline.legendgroup
    assert sorted(drawn[-1].text) == ["<b>0</b>", "<b>a &lt;b&gt; (1)</b>"]
    boxes = charts.draw_map(plane, sample, gathered).layout.meta["boxes"]
    for (left, right, bottom, top), k in zip(boxes, range(2), strict=True):
        own = plane.points[plane.labels == k]
        np.testing.assert_allclose([left, bottom], own.min(axis=0), rtol=1e-3)
        np.testing.assert_allclose([right, top], own.max(axis=0), rtol=1e-3)


def test_every_chart_of_a_fit_of_one_epoch_shows_marks(images, tmp_path):
    model = tfdpm.fit(images[0], epochs=1, verbose=0)
    path = model.report(tmp_path / "r.html", images[0], images[1], verbose=0)
    found = charts_of(path.read_text(encoding="utf-8"))
    assert {"small", "search", "k", "losses", "columns", "map"} <= set(found)
    for name, chart in found.items():
        marked = [
            trace
            for trace in chart["data"]
            if trace["type"] in ("bar", "heatmap") or "markers" in trace.get("mode", "")
        ]
        assert marked, name
    counts, gains = found["search"]["data"]
    assert counts["y"][0] == 1 and counts["y"][-1] == model.n_components
    assert gains["name"] == "evidence gained"


def test_texts_are_members_and_their_words_tell_clusters_apart(images, tmp_path):
    x, y = images[:2]
    model = tfdpm.fit(x, epochs=1, verbose=0)
    words = ["apple", "bridge", "candle", "<dog>"]
    texts = [f"the {words[k]} number {i} of the list" for i, k in enumerate(y)]
    names = {int(model.predict_labels(x[y == 2])[0]): 'wax & "light"'}
    path = model.report(tmp_path / "r.html", x, texts=texts, names=names, verbose=0)
    text = path.read_text(encoding="utf-8")
    assert 'data-tab="columns"' not in text
    cards = re.findall(r'<article class="card" id="cluster-(\d+)".*?</article>', text)
    assert sorted(map(int, cards)) == list(range(4))
    for k, card in re.findall(r'<article class="card" id="cluster-(\d+)"(.*?)</article>', text):
        word = words[y[model.predict_labels(x) == int(k)][0]].strip("<>")
        assert f'class="traits"><span>{word}</span>' in card
        assert card.count("<li>") == 8
    assert "wax &amp; &quot;light&quot;" in text
    assert "&lt;dog&gt; number" in text and "<dog>" not in text
    assert json.loads(unpacked(text, "point-labels"))["names"][next(iter(names))] == 'wax & "light"'
    for wrong, got in (({"texts": texts[:3]}, "3 texts"), ({"texts": [1] * 300}, "1 among")):
        with pytest.raises(ValueError, match=f"`texts`: got {got}"):
            model.report(tmp_path / "r.html", x, **wrong)
    for wrong in ({9: "a"}, {0: 3}, ["a"] * 5):
        with pytest.raises(ValueError, match="`names`: got"):
            model.report(tmp_path / "r.html", x, names=wrong)


def test_points_that_are_texts_are_shown_as_texts(tmp_path):
    import keras

    words = ["apple", "bridge", "candle"]
    texts = [f"{words[i % 3]} {'red green blue'.split()[i // 3 % 3]} {i % 7}" for i in range(120)]
    vectorize = keras.layers.TextVectorization(output_mode="multi_hot", vocabulary=words)
    encoder = keras.Sequential([keras.Input((), dtype="string"), vectorize])
    encoder.add(keras.layers.GaussianNoise(0.1))
    model = tfdpm.DeepDPM(encoder=encoder)
    model.fit(texts, epochs=1, verbose=0)
    text = model.report(tmp_path / "r.html", texts, verbose=0).read_text(encoding="utf-8")
    assert "Each point came as a text" in text
    assert "<li>apple " in text


def test_columns_that_tell_clusters_apart_come_first(tmp_path):
    import pandas as pd

    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 80)
    frame = pd.DataFrame(
        {
            "noise": rng.normal(size=240),
            "mass <g>": 4000 + 900 * y + rng.normal(size=240) * 50,
            "length": 30 + 12.0 * (y == 1) + rng.normal(size=240),
        }
    )
    model = tfdpm.fit(frame, epochs=1, verbose=0)
    assert model.n_clusters == 3
    path = model.report(tmp_path / "r.html", frame, verbose=0)
    text = path.read_text(encoding="utf-8")
    chart = charts_of(text)["columns"]["data"][0]
    assert chart["y"] == ["mass &lt;g&gt;", "length", "noise"]
    means = frame.groupby(model.predict_labels(frame)).mean()
    for k, shown in zip(chart["x"], np.array(chart["text"], float).T, strict=True):
        wanted = means.loc[int(k), ["mass <g>", "length", "noise"]]
        np.testing.assert_allclose(shown, wanted, rtol=1e-3)
    (card,) = re.findall(r'id="cluster-0"(.*?)</article>', text)
    overall = traits.number(frame["mass <g>"].mean())
    mean = traits.number(means.loc[0, "mass <g>"])
    assert f"<span>mass &lt;g&gt; {mean}, all {overall}</span>" in card


def test_a_page_of_one_cluster_tells_nothing_apart(tmp_path):
    x = np.random.default_rng(0).normal(size=(80, 2))
    model = tfdpm.fit(x, epochs=1, verbose=0)
    text = model.report(tmp_path / "r.html", x, verbose=0).read_text(encoding="utf-8")
    assert model.n_clusters == 1
    assert "There is one cluster, and so no column tells clusters apart." in text
    assert "tell clusters apart come first" not in text and "doubtful" not in text
    assert "<b>1</b><span>cluster</span>" in text


def test_chains_that_would_take_too_long_are_left_out_and_said(images, monkeypatch, tmp_path):
    model = tfdpm.fit(images[0], epochs=1, verbose=0)
    monkeypatch.setattr(facts, "_CHAIN_WORK", 1000)
    text = model.report(tmp_path / "r.html", images[0], verbose=0).read_text(encoding="utf-8")
    assert "were left out" in text
    assert {"posterior", "stability"}.isdisjoint(charts_of(text))


def test_five_hundred_clusters_fit_into_five_megabytes(monkeypatch, tmp_path):
    # As many points as a map draws, in more columns than a card shows. A plane is faster to find
    # than a layout, and has as many marks.
    monkeypatch.setattr(write, "cluster_map", lambda *given: cluster_map(*given[:2], "pca"))
    x, _ = tfdpm.data.gaussian_mixture(500, 8, 8_000, separation=6.0, seed=0)
    config = tfdpm.DeepDPMConfig(fixed_k=500, hidden_units=32)
    model = tfdpm.fit(x, config=config, epochs=1, verbose=0)
    largest = int(np.bincount(model.labels_).argmax())
    page = model.report(tmp_path / "r.html", x, names={largest: "the largest"}, verbose=0)
    text = page.read_text(encoding="utf-8")
    assert page.stat().st_size < 5_000_000
    cards = re.findall(r'<article class="card" id="cluster-([0-9]+)"', text)
    assert sorted(map(int, cards)) == list(range(500))
    assert text.count('href="#cluster-') < 100  # only links of the overview and of outliers
    assert text.count("<b>typical</b>") > 300  # the others have no point
    (card,) = re.findall(rf'id="cluster-{largest}"(.*?)</article>', text)
    assert "the largest" in card and "<b>typical</b>" in card
    assert len(charts_of(text)["map"]["layout"]["meta"]["boxes"]) == 500  # to which it zooms
