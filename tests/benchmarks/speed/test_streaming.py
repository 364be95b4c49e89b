"""What is measured is what is named."""

from __future__ import annotations

import numpy as np
import pytest

from tfdpm.benchmarks.speed import growth, streaming


def test_a_stream_is_read_from_shards_at_the_k_that_is_asked_for(monkeypatch) -> None:
    monkeypatch.setattr(streaming, "_SHARD_ROWS", 250)
    row = streaming.measure_stream(600, 34, 3, seed=0)
    assert (row["num_points"], row["dim"], row["clusters"]) == (600, 34, 3)
    operations = growth.count_epoch_operations(600, 34, 3, 50)
    assert row["operations_per_second"] == pytest.approx(operations / row["cpu_seconds"])
    assert row["data_mib"] == pytest.approx(600 * 34 * 4 / 2**20)
    assert 0 <= row["peak_mib"] < 4096


def test_shards_hold_all_points(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(streaming, "_SHARD_ROWS", 250)
    streaming.write_shards(tmp_path, 600, 3, 2, seed=0)
    assert [len(np.load(path)) for path in sorted(tmp_path.iterdir())] == [250, 250, 100]
