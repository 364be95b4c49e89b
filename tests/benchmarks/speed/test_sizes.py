"""Every size is a row with its K, its time and its memory."""

from __future__ import annotations

import json

import pytest

from tfdpm.benchmarks.speed import sizes
from tfdpm.benchmarks.sweep import Sweep


def test_points_in_memory_and_on_disk_are_a_row_each(tmp_path, capsys) -> None:
    out = tmp_path / "size.json"
    results = sizes.run(Sweep(out=out, quick=True), only="")
    rows = results["records"]
    assert [row["size"] for row in rows] == ["600 x 3", "600 x 3 from disk"]
    assert [row["clusters"] for row in rows] == [2, 2]
    for row in rows:
        assert row["cpu_seconds"] > 0 and row["peer_cpu_seconds"] > 0
        assert 0 <= row["peak_mib"] < 4096
        assert row["data_mib"] == pytest.approx(600 * 3 * 4 / 2**20)
    assert json.loads(out.read_text())["records"] == rows
    assert "K-means told K" in capsys.readouterr().out


def test_a_size_that_nobody_knows_is_refused_with_those_there_are(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"--only.*'huge'.*1,000,000 x 10"):
        sizes.run(Sweep(out=tmp_path / "size.json"), only="huge")
