"""The report holds the numbers it was given, in a page that stands alone."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from tfdpm.report import html_report


def page(**changes) -> str:
    arguments = {
        "title": "digits",
        "labels": np.repeat([0, 1, 2], [1, 3, 4]),
        "scores": {"NMI": 0.87654},
        "history": {"n_clusters": [1, 2, 3], "loss": [None, 4.0, float("nan"), 2.0]},
    }
    return html_report(**{**arguments, **changes})


def test_sizes_scores_and_charts_are_there() -> None:
    text = page()
    assert "K = 3 clusters of 8 points" in text
    rows = re.findall(r"<tr><td>(\d+)</td><td>(\d+)</td><td>([\d.]+)%</td>", text)
    assert rows == [("2", "4", "50.0"), ("1", "3", "37.5"), ("0", "1", "12.5")]
    assert "<td>NMI</td><td>0.877</td>" in text
    assert "from 1 to 3, at the end 3" in text
    assert "from 2 to 4, at the end 2" in text


def test_a_rising_series_rises_on_the_page() -> None:
    (points,) = re.findall(r'points="([^"]+)"', page(history={"n_clusters": [1, 2, 3]}))
    x, y = np.array([point.split(",") for point in points.split()], float).T
    assert np.all(np.diff(x) == pytest.approx(x[1] - x[0]))
    assert np.all(np.diff(y) < 0)  # SVG counts downwards


def test_a_series_without_values_is_left_out_and_a_constant_one_drawn() -> None:
    assert "<polyline" not in page(history={"nmi": [None, float("inf")], "empty": []})
    assert "nan" not in page(history={"loss": [2.0]})


def test_text_is_escaped_and_nothing_is_fetched() -> None:
    text = page(title="<script>", scores={"a & b": 1.0})
    assert "<script>" not in text
    assert "a &amp; b" in text
    assert not re.search(r"https?://|src=|href=", text)
    HTMLParser().feed(text)
