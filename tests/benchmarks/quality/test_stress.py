"""A short version of the stress, and that it would notice."""

from __future__ import annotations

import json
import types

import numpy as np
import pytest

import tfdpm
from tfdpm.benchmarks.quality import stress
from tfdpm.benchmarks.sweep import Sweep


def test_cases_follow_their_seed_and_cover_every_transform() -> None:
    cases = [stress.draw_case(seed) for seed in range(len(stress.TRANSFORMS))]
    assert [name for name, _, _ in cases] == list(stress.TRANSFORMS)
    for seed, (_, x, y) in enumerate(cases):
        assert x.ndim == 2
        assert len(x) == len(y) >= 2
        assert np.isfinite(x).all()
        np.testing.assert_array_equal(x, stress.draw_case(seed)[1])
    shapes = {stress.draw_case(seed)[1].shape for seed in range(60)}
    assert len(shapes) > 50
    assert any(dim > points for points, dim in shapes)


@pytest.mark.parametrize("seed", [2, 7, 15])
def test_fits_of_mistreated_mixtures_keep_their_promises(seed: int, tmp_path) -> None:
    results = stress.run(Sweep(out=tmp_path / "s.json", seed=seed), cases=1, epochs=1)
    assert results["failed"] == []
    (record,) = results["records"]
    assert record["broken"] == []
    assert 1 <= record["clusters"] <= record["shape"][0]


def test_exceptions_and_broken_promises_are_told(monkeypatch, tmp_path, capsys) -> None:
    def fit(x, *, seed, epochs, verbose):
        if seed == 0:
            raise FloatingPointError("covariance not positive definite")
        return types.SimpleNamespace(
            n_clusters=2,
            labels_=np.zeros(len(x), int),
            predict_labels=lambda x: np.ones(len(x), int),
            predict=lambda x: np.full((len(x), 2), 0.5),
            score_samples=lambda x: np.full(len(x), np.nan),
            means_=np.zeros((2, 2)),
            covariances_=np.zeros((2, 2, 2)),
            weights_=np.array([0.5, 0.5]),
            history=types.SimpleNamespace(history={"loss": [1.0]}),
        )

    monkeypatch.setattr(tfdpm, "fit", fit)
    out = tmp_path / "s.json"
    results = stress.run(Sweep(out=out), cases=2, epochs=None)
    assert results["failed"] == [0, 1]
    first, second = json.loads(out.read_text())["records"]
    assert first["broken"] == ["FloatingPointError: covariance not positive definite"]
    assert second["broken"] == ["labels_ == predict_labels", "finite densities"]
    assert "FloatingPointError" in capsys.readouterr().out


def test_data_is_refused() -> None:
    with pytest.raises(ValueError, match="--data"):
        stress.run(Sweep(data=["a.npz"]), cases=1, epochs=1)
