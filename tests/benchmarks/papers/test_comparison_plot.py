"""Pictures: which panels there are, and whether each line can be told from the others."""

from __future__ import annotations

import pytest

from tfdpm.benchmarks.papers.comparison_plot import plot_comparison

figure = pytest.importorskip("matplotlib.figure")


def make_rows(data, values):
    parts = {"ours": {"mean": 0.5, "std": 0.0}, "printed": None, "remark": ""}
    return [
        {"data": data, "method": method, "metric": metric, **parts}
        for metric in ("NMI", "ACC")
        for method in values
    ]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved."""
    saved = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, *_, **__: saved.append(self))
    return saved


def test_each_data_set_has_its_panels_where_methods_are_compared(drawn, tmp_path) -> None:
    methods = ("DeepDPM", "DeepDPM*", "GMM with K 20", "GMM with K 5", "SCAN with K 5")
    rows = make_rows("one", methods) + make_rows("other", methods[:3])
    plot_comparison(rows, "title", tmp_path / "f.png", by_k=True)
    panels = drawn[0].axes
    assert [axes.get_title() for axes in panels] == [
        *("one: NMI", "one: ACC", "other: NMI", "other: ACC")
    ]
    lines = {line.get_label(): line for line in panels[0].get_lines()}
    assert list(lines["GMM"].get_xdata()) == [5, 20]
    # All are at one height.
    styles = [lines[name].get_linestyle() for name in ("DeepDPM, ours", "DeepDPM*, ours")]
    assert styles == ["-", "--"]
    same = next(line for line in panels[2].get_lines() if line.get_label() == "GMM")
    assert same.get_color() == lines["GMM"].get_color() != lines["SCAN"].get_color()
    (legend,) = drawn[0].legends
    assert len(legend.get_texts()) == 4


def test_data_sets_share_a_panel_where_only_the_start_differs(drawn, tmp_path) -> None:
    rows = [row for name in ("one", "other") for row in make_rows(name, ("from K 1", "from K 3"))]
    plot_comparison(rows, "title", tmp_path / "f.png", by_k=True)
    panels = drawn[0].axes
    assert [axes.get_title() for axes in panels] == ["NMI", "ACC"]
    assert panels[0].get_xlabel() == "initial K"
    assert {line.get_label() for line in panels[0].get_lines()} == {"one", "other"}


def test_dots_stand_on_their_lines_where_nothing_is_printed(drawn, tmp_path) -> None:
    rows = make_rows("one", ("DeepDPM", "moVB"))
    plot_comparison(rows, "title", tmp_path / "f.png")
    (dots, *_) = drawn[0].axes[0].get_lines()
    assert list(dots.get_ydata()) == list(drawn[0].axes[0].get_yticks()) == [0, 1]
    assert drawn[0].legends == []  # of one kind of dots
    plot_comparison([{**row, "printed": row["ours"]} for row in rows], "t", tmp_path / "f.png")
    assert len(drawn[1].legends[0].get_texts()) == 2
