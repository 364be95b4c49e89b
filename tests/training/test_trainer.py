from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from tfdpm.config import DeepDPMConfig
from tfdpm.data import gaussian_mixture
from tfdpm.deepdpm import DeepDPM
from tfdpm.moves.ledger import MoveCounts
from tfdpm.training import trainer as module
from tfdpm.training.sources import ArraySource
from tfdpm.training.trainer import Trainer, is_new_start, kinds_due


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {4: (True, True), 6: (True, True)}),
        ({"alternate_moves": True}, {4: (True, False), 6: (False, True), 8: (True, False)}),
        ({"splits": False}, {4: (False, True), 6: (False, True)}),
        ({"merges": False}, {4: (True, False), 6: (True, False)}),
        ({"fixed_k": 3}, {4: (False, False), 6: (False, False)}),
    ],
)
def test_proposals_are_due_when_the_schedule_says(changes, expected):
    config = DeepDPMConfig(first_move_epoch=4, move_interval_epochs=2, **changes)
    for epoch in (0, 3, 5, 7):
        assert kinds_due(config, epoch) == (False, False)
    for epoch, kinds in expected.items():
        assert kinds_due(config, epoch) == kinds


def test_last_pass_serves_the_end_unless_weights_have_changed(monkeypatch):
    x, _ = gaussian_mixture(3, 2, 300, seed=0)
    model = DeepDPM(DeepDPMConfig(start="kmeans", fixed_k=3, min_steps_per_epoch=5), seed=0)
    model.compile()
    trainer = Trainer(ArraySource(x.astype(np.float32)), model.config, 0)
    fitted, _ = trainer.step(trainer.begin(model.create_networks))
    passes, reduce = [], trainer.source.reduce
    monkeypatch.setattr(
        trainer.source, "reduce", lambda *given: passes.append(given) or reduce(*given)
    )
    trainer.finish(fitted)
    assert not passes
    bias = fitted.networks.clustering.head.bias
    before = np.array(bias)
    bias.assign(before + 1e-6)
    trainer.finish(fitted)
    assert len(passes) == 1
    bias.assign(before)
    trainer.finish(fitted)
    assert len(passes) == 1


def begin_from_kmeans(x, **changes):
    """A trainer that makes no moves, and its first value."""
    settings = {"min_steps_per_epoch": 20, "preprocessing": "center", "frozen_epochs": 0}
    config = DeepDPMConfig(start="kmeans", first_move_epoch=99, **settings | changes)
    model = DeepDPM(config, seed=0)
    model.compile()
    trainer = Trainer(ArraySource(x.astype(np.float32)), config, 0)
    return trainer, trainer.begin(model.create_networks)


def test_a_network_that_leaves_a_half_empty_gets_fresh_weights():
    x, _ = gaussian_mixture(2, 2, 400, separation=8.0, seed=0)
    trainer, fitted = begin_from_kmeans(x)
    networks = fitted.networks.subclustering
    networks.bias.assign(np.tile([1e4, 0.0], (networks.capacity, 1)))
    fitted, _ = trainer.step(fitted)
    assert np.min(fitted.state.halves.counts) == 0
    assert not np.array(networks.bias)[0].any()
    for _ in range(3):
        fitted, _ = trainer.step(fitted)
    np.testing.assert_array_equal(fitted.state.halves.counts.numpy(), [[200.0, 200.0]])


def test_the_mixture_and_its_halves_wait_while_networks_learn_a_move():
    x, _ = gaussian_mixture(2, 2, 400, separation=8.0, seed=0)
    trainer, fitted = begin_from_kmeans(x, frozen_epochs_after_move=2, initial_clusters=2)
    state = dataclasses.replace(fitted.state, epoch=5, last_change_epoch=5)
    frozen, states = fitted.replace(state=state), []
    for _ in range(3):
        frozen, _ = trainer.step(frozen)
        states.append(frozen.state)
    for name in ("sub_weights", "sub_means", "sub_covariances"):
        before, first, second, third = (
            getattr(each, name).numpy() for each in (fitted.state, *states)
        )
        np.testing.assert_array_equal(first, before)
        np.testing.assert_array_equal(second, before)
        assert (third != before).any()
    assert states[1].parameters is fitted.state.parameters is not states[2].parameters


def test_halves_may_start_from_the_points(monkeypatch):
    # Four clumps on a line, so that its halves are not those of a Gaussian.
    centres = np.repeat([[-9.0, 0.0], [-7.0, 0.0], [8.0, 0.0], [8.5, 0.0]], 50, axis=0)
    x = centres + 0.1 * np.random.default_rng(0).standard_normal(centres.shape)
    trainer, fitted = begin_from_kmeans(x, subcluster_start="two_means")
    seen, train = [], trainer.source.train
    monkeypatch.setattr(
        trainer.source,
        "train",
        lambda passes, state, *rest: seen.append(state) or train(passes, state, *rest),
    )
    trainer.step(fitted)
    means = x.reshape(2, 100, 2).mean(axis=1)
    expected = fitted.state.preprocessing.transform(means)
    found = seen[0].sub_means.numpy()[0]
    np.testing.assert_allclose(found[np.argsort(found[:, 0])], expected, atol=0.02)
    gaussian = fitted.state.sub_means.numpy()[0]
    assert np.abs(gaussian[np.argsort(gaussian[:, 0])] - expected).max() > 0.1


class EagerJudge:
    """Splits every cluster and merges the first pair, whatever the points say."""

    def __init__(self, num_components):
        self.sizes = np.full((num_components, 2), 50.0)

    def split_ratios(self):
        return np.ones(len(self.sizes))

    def merge_ratios(self):
        return np.array([[0, 1]]), np.ones(1)


def test_moves_that_undo_each_other_end(monkeypatch):
    for name in ("split_judge", "merge_judge"):
        monkeypatch.setattr(
            module, name, lambda fitted, *given: EagerJudge(fitted.state.num_components)
        )
    x, _ = gaussian_mixture(4, 2, 400, seed=0)
    config = DeepDPMConfig(first_move_epoch=0, move_interval_epochs=1, min_steps_per_epoch=1)
    model = DeepDPM(config, seed=0)
    model.compile()
    trainer = Trainer(ArraySource(x), config, 0)
    fitted, made = trainer.begin(model.create_networks), []
    for _ in range(3):
        fitted, info = trainer.step(fitted)
        made.append((info.counts.accepted_splits, info.counts.accepted_merges))
    assert made == [(4, 1), (0, 1), (0, 1)]


@pytest.mark.parametrize(
    ("moves", "num_components", "expected"), [(1, 10, True), (1, 99, True), (1, 200, False)]
)
def test_a_few_moves_among_many_clusters_are_no_new_start(moves, num_components, expected):
    assert is_new_start(MoveCounts(accepted_splits=moves), num_components) == expected
    assert is_new_start(MoveCounts(accepted_merges=moves), num_components) == expected
    assert is_new_start(MoveCounts(removed=moves), num_components) == expected
    assert not is_new_start(MoveCounts(proposed_splits=9), num_components)


@pytest.mark.parametrize(("units", "share"), [(50, 1.0), (400, 1.0), (800, 0.5)])
def test_wide_networks_learn_by_less(units, share):
    model = DeepDPM(DeepDPMConfig(hidden_units=units, learning_rate=0.01), seed=0)
    model.compile()
    pair = model.create_networks(2, units, 16)
    pair.set_learning_rates(0.5)
    assert float(pair.optimizers[0].learning_rate) == pytest.approx(0.005 * share)
    rate = model.config.subcluster_learning_rate
    assert float(pair.optimizers[1].learning_rate) == pytest.approx(0.5 * rate)


def test_a_fit_of_a_hundred_clusters_ends_with_each_of_them():
    x, y = gaussian_mixture(100, 8, 6_000, seed=1)
    model = DeepDPM(seed=0)
    model.fit(x, verbose=0)
    assert model.n_clusters == 100 and model.fitted.state.epoch <= 4
    assert adjusted_rand_score(y, model.labels_) > 0.999
