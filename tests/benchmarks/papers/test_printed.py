"""The table of printed numbers against cells read in the paper."""

from __future__ import annotations

from collections import Counter

import pytest

from tfdpm.benchmarks.papers.printed import PRINTED, printed_for


@pytest.mark.parametrize(
    ("cell", "mean", "std"),
    [
        (("table1", "mnist", "DeepDPM", "ACC"), 0.98, 0.0),
        (("table1", "fashion imbalanced", "DPM sampler", "NMI"), 0.66, 0.01),
        (("table1", "usps", "DBSCAN", "ARI"), 0.46, 0.0),
        (("table2", "fashion", "moVB", "K"), 16.9, 2.3),
        (("table3", "stl10", "DeepDPM", "NMI"), 0.78, 0.004),
        (("table4", "imagenet50 imbalanced", "DeepDPM*", "ARI"), 0.51, 0.01),
        (("table5", "imagenet50", "SCAN", "K"), 70.0, None),
        (("table6", "fashion", "no merges, from K 3", "ACC"), 0.46, 0.0),
        (("supplement1", "usps imbalanced", "DPM sampler", "K"), 7.3, 0.48),
        (("supplement2", "fashion", "2-means for subclusters, from K 30", "K"), 14.67, 0.58),
        (("swav-table1", "imagenet", "SwAV", "1 % top-1"), 53.9, None),
        (("swav-table1", "imagenet", "PCL", "10 % top-5"), 86.2, None),
        (("swav-table2", "voc07", "SwAV", "mAP"), 88.9, None),
        (("swav-table2", "inat18", "NPID++", "top-1"), 32.4, None),
        (("swav-figure3", "imagenet", "selav2_400ep_2x224", "top-1"), 67.2, None),
        (("figure1", "imagenet50", "DeepDPM*", "ACC"), 0.66, 0.01),
    ],
)
def test_cells_are_as_printed(cell, mean, std) -> None:
    printed = printed_for(*cell)
    assert (printed.mean, printed.std) == (mean, std)
    assert printed.source


def test_every_cell_is_there_once() -> None:
    counts = Counter(each[:4] for each in PRINTED)
    assert set(counts.values()) == {1}
    sizes = Counter(each.experiment for each in PRINTED)
    assert sizes["table1"] == 6 * 6 * 3
    assert sizes["table2"] == sizes["supplement1"] == 3 * 4
    assert sizes["table3"] == 3 * (2 + 3 + 3)
    assert sizes["table4"] == 2 * 5 * 3
    assert sizes["table5"] == 2 * 8
    assert sizes["table6"] == 7 * 3
    assert sizes["swav-table1"] == 5 * 4 + 2 * 2 - 2 and sizes["swav-table2"] == 10 * 3 - 3
    assert sizes["supplement2"] == 7 * 3 * 3


def test_printing_errors_are_flagged() -> None:
    assert ".02" in printed_for("table1", "usps", "DeepDPM", "ACC").remark
    assert printed_for("table1", "usps", "DeepDPM", "ACC").std == 0.2
    assert "-.32" in printed_for("table1", "fashion", "DBSCAN", "ARI").remark
    assert "per cent" in printed_for("table3", "mnist images", "AdapVAE", "NMI").remark
    assert printed_for("table1", "mnist", "DeepDPM", "ACC").remark == ""
