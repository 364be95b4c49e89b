"""Every size is a row with its K, its time and its memory."""

from __future__ import annotations

import contextlib
import importlib.util
import json

import numpy as np
import pytest

from tfdpm.benchmarks.speed import sizes
from tfdpm.benchmarks.sweep import Sweep


def test_points_of_every_kind_are_a_row_each(tmp_path, capsys, monkeypatch) -> None:
    limits: list[int] = []

    @contextlib.contextmanager
    def limit(count):
        limits.append(count)
        yield count

    monkeypatch.setattr(sizes, "limit_threads", limit)
    out = tmp_path / "size.json"
    results = sizes.run(Sweep(out=out, quick=True), only="")
    rows = results["records"]
    assert [row["size"] for row in rows] == list(sizes._QUICK)
    assert [row["clusters"] for row in rows if "x 3" in row["size"]] == [2, 2]
    for row, size in zip(rows, sizes._QUICK.values(), strict=True):
        assert row["cpu_seconds"] > 0 and row["peer_cpu_seconds"] > 0
        assert 0 <= row["peak_mib"] < 4096
        assert row["data_mib"] == pytest.approx(size.num_points * size.dim * 4 / 2**20)
        assert ("speedup" in row) == size.has_two_cores
        has_evoc = size.kind == "unit" and importlib.util.find_spec("evoc") is not None
        assert ("evoc_first_cpu_seconds" in row) == has_evoc
    assert 0.01 < rows[0]["speedup"] < 100 and set(limits) == {1, 2}
    assert json.loads(out.read_text())["records"] == rows
    assert "K-means told K" in capsys.readouterr().out


def test_drawn_images_are_shapes_that_are_moved_about() -> None:
    images = sizes._draw_images(60, 12, 1, 0)
    assert images.shape == (60, 12, 12) and 0 <= images.min() < images.max() <= 1
    moved = [np.roll(images[0], (i, j), (0, 1)) for i in range(-6, 7) for j in range(-6, 7)]
    nearest = np.array([[np.mean((each - image) ** 2) for each in moved] for image in images[1:]])
    # Noise of deviation 0.1 on both, less where pixels are cut to [0, 1].
    assert nearest.min(axis=1).max() < 0.03 < np.median(nearest)


def test_a_size_that_nobody_knows_is_refused_with_those_there_are(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"--only.*'huge'.*1,000,000 x 10"):
        sizes.run(Sweep(out=tmp_path / "size.json"), only="huge")
