"""What a mixture says of a batch, against SciPy and the losses of the networks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from scipy.spatial.distance import mahalanobis

import tfdpm
from tfdpm.mixture import evidence
from tfdpm.mixture.density import LogJoint
from tfdpm.networks.losses import kl_cluster_loss
from tfdpm.training import batch
from tfdpm.training.memory import Memory

X = tfdpm.data.gaussian_mixture(3, 4, 600, seed=1)[0].astype(np.float32)


@pytest.fixture(scope="module")
def state():
    model = tfdpm.DeepDPM(tfdpm.DeepDPMConfig(min_steps_per_epoch=2), seed=0)
    model.fit(X, epochs=1, verbose=0)
    return model.fitted.state


@pytest.mark.parametrize("share", [0.5, 0.01])
def test_points_are_unexplained_that_lie_far_out_of_every_component(state, share, monkeypatch):
    monkeypatch.setattr(batch, "_SLICE_ELEMENTS", 100)  # several pieces
    features = state.preprocessing.transform(X[:90])
    df, loc, factors = evidence.predictive(state.posterior())
    wanted = []
    for point in features.astype(np.float64):
        shares = [
            scipy.stats.f.sf(mahalanobis(point, mean, np.linalg.inv(tril @ tril.T)) ** 2 / 4, 4, nu)
            for nu, mean, tril in zip(df, loc, factors, strict=True)
        ]
        wanted.append(max(shares) < share)
    found = batch.is_unexplained(state, features, share)
    np.testing.assert_array_equal(found, wanted)
    assert 0 < found.sum() < 90 or share < 0.1
    assert batch.is_unexplained(state, features + 100.0, share).all()
    assert batch.is_unexplained(state, features[:0], share).shape == (0,)


@pytest.mark.parametrize("direction", ["network_to_target", "target_to_network"])
@pytest.mark.parametrize("distance", [0.0, 30.0])
def test_the_divergence_is_the_loss_of_the_networks(state, direction, distance):
    # Points far out leave clusters shares that are too small for their logarithms.
    features = state.preprocessing.transform(X[:50]) + np.float32(distance)
    logits = np.random.default_rng(0).normal(size=(50, state.num_components)).astype(np.float32)
    targets = tf.nn.log_softmax(LogJoint(state.parameters)(features))
    wanted = kl_cluster_loss(
        tf.constant(logits), tf.cast(targets, tf.float32), tf.ones(50), direction=direction
    )
    config = dataclasses.replace(tfdpm.DeepDPMConfig(), kl_direction=direction)
    found = batch.divergence(state.parameters, features, scipy.special.softmax(logits, 1), config)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    exact = batch.divergence(state.parameters, features, np.exp(targets), config)
    assert abs(exact) < 1e-12


@pytest.mark.parametrize("name", ["rows", "num_points", "units", "spread"])
@pytest.mark.parametrize("damage", [np.nan, np.inf, "text", [[[1.0]]]])
def test_a_damaged_memory_is_no_memory(name, damage):
    arrays = Memory(X, units=np.ones(4)).to_arrays()
    assert np.array_equal(Memory.from_arrays(arrays).rows, X)
    damaged = np.full(arrays[name].shape, damage) if np.ndim(damage) == 0 else np.array(damage)
    with pytest.raises(ValueError, match=f"a memory whose {name}"):
        Memory.from_arrays({**arrays, name: damaged})


@pytest.mark.parametrize(("known", "is_due"), [(1000.0000000000002, True), (1000.01, False)])
def test_a_search_is_due_after_as_many_points_whose_shares_are_rounded(known, is_due):
    assert Memory(X, num_new=999.9999999999998, num_searched=known).is_due == is_due


def test_every_row_is_remembered_as_often_as_every_other():
    """Of 6 old rows and 4 new ones: as many as fit, whichever they are, in their order."""
    kept = np.zeros((2, 10))
    for seed in range(3000):
        for place, (past, most) in enumerate([(6, 4), (54, 6)]):
            before = Memory(np.arange(6.0)[:, np.newaxis], past, share=6 / past)
            after = before.after(np.arange(6.0, 10.0)[:, np.newaxis], 0.0, most, seed)
            rows = after.rows[:, 0].astype(int)
            assert len(rows) <= most and (np.diff(rows) > 0).all()
            kept[place, rows] += 1 / 3000
    # All ten stand for one point each; or the old for nine each, of which six in 58 are kept.
    np.testing.assert_allclose(kept[0], 0.4, atol=0.05)
    np.testing.assert_allclose(kept[1], [9 * 6 / 58] * 6 + [6 / 58] * 4, atol=0.05)
