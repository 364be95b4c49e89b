"""A small labelled file, and a model that clusters it without training."""

from __future__ import annotations

import types
from pathlib import Path

import numpy as np
import pytest

import tfdpm
from tfdpm.data import gaussian_mixture


@pytest.fixture
def labelled_file(tmp_path) -> Path:
    """Three far clusters of 120 points in the plane, called like a known data set."""
    x, y = gaussian_mixture(3, 2, 120, separation=8.0, seed=0)
    path = tmp_path / "mnist_like.npz"
    np.savez(path, x=x, y=y)
    return path


class SignModel:
    """Two clusters: by the sign of the first column. Has the names that records read."""

    n_clusters = 2
    num_traces = 3

    def __init__(self, x):
        self.labels_ = self.predict_labels(x)
        self.history = types.SimpleNamespace(history={"n_clusters": [1, 2]}, epoch=[0, 1])

    def predict_labels(self, x):
        return (np.asarray(x)[:, 0] > 0).astype(np.int64)


@pytest.fixture
def fits(monkeypatch) -> list[dict]:
    """Puts `SignModel` in place of `tfdpm.fit`, and returns what that is called with."""
    made: list[dict] = []

    def fit(x, **options):
        made.append({"x": x, **options})
        return SignModel(x)

    monkeypatch.setattr(tfdpm, "fit", fit)
    return made
