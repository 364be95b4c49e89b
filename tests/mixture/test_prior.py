from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.reference import niw as reference
from tfdpm.mixture.partition import PartitionPrior
from tfdpm.mixture.statistics import accumulate_hard


def fitted_scale(scale, statistics, dim=2):
    """The scale that repeated fits from `scale` end at."""
    for _ in range(100):
        prior = PartitionPrior(scale * np.eye(dim), dim + 2.0, 1e-4, 1.0, 1.0)
        scale = prior.fit_scale(statistics, scale)
    return scale


def blobs(spreads, dim=2, num_points=60, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=dim) * 5 + s * rng.normal(size=(num_points, dim)) for s in spreads]


def statistics_of(parts):
    labels = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return accumulate_hard(tf.constant(np.concatenate(parts)), tf.constant(labels), len(parts))


@pytest.mark.parametrize("start", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("spreads", [(0.1, 0.12, 0.09), (0.05, 0.3, 1.0, 0.2)])
def test_the_fitted_scale_maximises_the_evidence(spreads, start):
    parts = blobs(spreads)
    actual = fitted_scale(start, statistics_of(parts))
    grid = actual * np.exp(np.linspace(-0.5, 0.5, 21))
    evidence = [
        sum(
            reference.log_evidence_closed_form((np.zeros(2), 1e-4, 4.0, scale * np.eye(2)), part)
            for part in parts
        )
        for scale in grid
    ]
    assert abs(np.argmax(evidence) - 10) <= 1, (actual, grid[np.argmax(evidence)])


def test_the_fitted_scale_follows_the_units():
    parts = blobs((0.1, 0.2))
    once = fitted_scale(1.0, statistics_of(parts))
    scaled = [10.0 * part for part in parts]
    again = fitted_scale(100.0, statistics_of(scaled))
    np.testing.assert_allclose(again, 100.0 * once, rtol=1e-6)
