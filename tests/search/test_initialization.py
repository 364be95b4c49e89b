"""What the initial mixture tells of the searches that it was chosen from."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.search.test_whitened_search import overlapping
from tfdpm import DeepDPMConfig
from tfdpm.data import gaussian_mixture
from tfdpm.features.preprocessing import feature_moments, fit_preprocessing
from tfdpm.search import initialization, whitened_search
from tfdpm.search.mixture_search import MixtureSearch


def initialize(x, **changes):
    config, moments = DeepDPMConfig(**changes), feature_moments(x)
    whole = fit_preprocessing(moments, config.preprocessing)
    return initialization.initialize_mixture(x, moments, whole, config, 0)


def watch(monkeypatch, owner, name, note) -> None:
    """Lets `note` call a function of a module or class in its place."""
    real = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args: note(real, *args))


@pytest.fixture
def counted(monkeypatch) -> list[np.ndarray]:
    """Moves that each run of a search, and its end, adds to the search's own."""
    made: list[np.ndarray] = []

    def count(real, search, *args):
        before = np.array(dataclasses.astuple(search.moves))
        result = real(search, *args)
        made.append(dataclasses.astuple(search.moves) - before)
        return result

    watch(monkeypatch, MixtureSearch, "run_from", count)
    watch(monkeypatch, MixtureSearch, "settle", count)
    return made


def test_moves_of_both_samples_are_counted(counted) -> None:
    x, _ = gaussian_mixture(4, 2, 1200, seed=1)
    mixture = initialize(x, max_start_points=600)
    first, second, _ = counted  # two searches and the end of one
    assert (first[:2] > 0).all() and (second[:2] > 0).all()
    assert dataclasses.astuple(mixture.search.moves) == tuple(sum(counted))


def test_moves_of_all_prior_weights_structures_and_turns_are_counted(counted, monkeypatch) -> None:
    runs = []

    def note(real, *args):
        before = len(counted)
        result = real(*args)
        runs.append(len(counted) - before)
        return result

    watch(monkeypatch, initialization, "select_search", note)
    watch(monkeypatch, whitened_search, "_alternate", note)
    mixture = initialize(overlapping(600)[0])
    assert len(runs) > 1 and min(runs) > 1 and len(counted) == sum(runs) + 1
    assert dataclasses.astuple(mixture.search.moves) == tuple(sum(counted))
