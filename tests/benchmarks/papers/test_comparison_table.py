"""Tables and pictures of ours beside printed numbers."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest
from rich.console import Console

from tfdpm.benchmarks.papers import comparison_table
from tfdpm.benchmarks.papers.comparison_plot import plot_comparison
from tfdpm.benchmarks.papers.comparison_table import print_comparison


def row(method, metric, ours=None, printed=None, *, data="usps", remark="", runs=1):
    return {
        "data": data,
        "method": method,
        "metric": metric,
        "ours": None if ours is None else {"mean": ours, "std": 0.1},
        "runs": runs,
        "printed": None if printed is None else {"mean": printed[0], "std": printed[1]},
        "remark": remark,
    }


def lines(capsys, rows, metrics, missing=()):
    print_comparison("a title", metrics, {"rows": rows, "missing": list(missing)})
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_a_method_has_one_line_with_ours_beside_what_is_printed(capsys) -> None:
    rows = [
        row("DeepDPM", "NMI", 0.8994, (0.88, 0.0)),
        row("DeepDPM", "K", 10.0, (9.2, 0.42)),
        row("moVB", "NMI", None, (0.9, 0.004), runs=0),
        row("DeepDPM", "NMI", 0.5, None, data="mnist", runs=3),
    ]
    shown = lines(capsys, rows, ("NMI", "K"), ["stl10: no stl10.npz"])
    assert "usps DeepDPM 0.899 0.88 ± 0.00 10.0 9.2 ± 0.42 1" in shown
    assert "moVB - 0.90 ± 0.004" in shown
    assert "mnist DeepDPM 0.500 ± 0.100 3" in shown
    assert shown[-1] == "missing: stl10: no stl10.npz"


def test_remarks_are_numbered_once(capsys) -> None:
    rows = [row(name, "ACC", 0.5, (0.89, 0.2), remark="surely .02") for name in ("a", "b")]
    shown = lines(capsys, rows, ("ACC",))
    assert "b 0.500 0.89 ± 0.20 [1] 1" in shown
    assert shown[-1] == "[1] surely .02"


def test_metrics_that_do_not_fit_stand_below_one_another(capsys, monkeypatch) -> None:
    metrics = ("1 % top-1", "1 % top-5", "10 % top-1", "10 % top-5")
    rows = [row("untrained network", each, 11.0, (50.0, None), data="cifar10") for each in metrics]
    rows.append(row("UDA", "10 % top-5", None, (88.5, None), data="imagenet"))
    for width, count in ((90, 2), (80, 4), (140, 1)):
        monkeypatch.setattr(
            comparison_table, "make_console", lambda width=width: Console(width=width)
        )
        print_comparison("a title", metrics, {"rows": rows, "missing": []})
        printed = capsys.readouterr().out
        assert printed.count("a title") == count and "…" not in printed
        assert printed.count("untrained network") == count and printed.count("UDA") == 1
        assert all(len(line) <= width for line in printed.splitlines())


@pytest.mark.parametrize("by_k", [False, True])
def test_picture_shows_both_kinds_of_number(tmp_path, by_k) -> None:
    rows = [row(f"from K {k}", "ACC", 0.1 * k) for k in (3, 1)]
    rows += [row("DeepDPM*", "ACC", None, (0.6, 0.01)), row("a", "ACC", None, (0.5, None))]
    path = plot_comparison(rows, "a title", tmp_path / "p.png", by_k=by_k)
    without = plot_comparison(rows[:1], "a title", tmp_path / "q.png", by_k=by_k)
    image, other = matplotlib.image.imread(path), matplotlib.image.imread(without)
    assert np.any(image[..., :3] != 1.0) and image.shape[1] == other.shape[1]
    assert image.shape != other.shape or np.any(image != other)
