"""The peers that train networks: their losses by hand, and far clusters recovered."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from sklearn.cluster import KMeans

from tfdpm.benchmarks.peers import LEARN, PEERS, embedded
from tfdpm.benchmarks.peers.embedded import DCN, StudentAssignment, sharpen
from tfdpm.benchmarks.peers.heads import scan_loss, turtle_loss
from tfdpm.data import gaussian_mixture, load
from tfdpm.features.autoencoder import dense
from tfdpm.metrics import ari, nmi

EPOCHS = {"dcn": 50, "dec": 20, "scan": 5, "turtle": 200}


@pytest.mark.parametrize("name", LEARN)
def test_far_clusters_are_found(name: str, monkeypatch) -> None:
    monkeypatch.setattr(embedded, "_HIDDEN_UNITS", (32, 32))
    monkeypatch.setattr(embedded, "_BATCH_SIZE", 80)
    x, y = gaussian_mixture(3, 2, 240, separation=10.0, anisotropy=1.0, seed=1)
    labels = PEERS[name](x, 3, 0, epochs=EPOCHS[name])
    assert labels.shape == (240,)
    assert ari(y, labels) > 0.95
    if name in ("scan", "turtle"):  # the seed settles everything
        np.testing.assert_array_equal(labels, PEERS[name](x, 3, 0, epochs=EPOCHS[name]))


def test_shares_of_dec_are_a_loop_over_t_kernels() -> None:
    rng = np.random.default_rng(0)
    latents, centres = rng.normal(size=[6, 2]), rng.normal(size=[3, 2])
    kernels = np.array([[1.0 / (1.0 + sum((z - m) ** 2)) for m in centres] for z in latents])
    shares = kernels / kernels.sum(axis=1, keepdims=True)
    ours = StudentAssignment(centres)(latents.astype(np.float32))
    np.testing.assert_allclose(ours, shares, rtol=1e-5)
    targets = [[q**2 / shares[:, k].sum() for k, q in enumerate(row)] for row in shares]
    truth = [np.array(row) / sum(row) for row in targets]
    np.testing.assert_allclose(sharpen(shares), truth)


def test_a_centre_of_dcn_is_the_mean_of_all_latents_it_has_seen() -> None:
    x = np.random.default_rng(1).normal(size=[8, 3]).astype(np.float32)
    autoencoder = dense(3, latent_dim=2, hidden_units=(4,))
    before = autoencoder.encoder(x).numpy()
    errors = ((autoencoder(x).numpy() - x) ** 2).sum(axis=1).mean()
    pull = ((before - before.mean(axis=0)) ** 2).sum(axis=1).mean()
    model = DCN(autoencoder, before.mean(axis=0, keepdims=True), [8.0], 0.1)
    model.compile("sgd")
    loss = model.train_step(tf.constant(x))["loss"]
    np.testing.assert_allclose(loss, errors + 0.5 * 0.1 * pull, rtol=1e-5)
    after = autoencoder.encoder(x).numpy()
    assert np.abs(after - before).max() > 1e-6
    truth = np.concatenate([before, after]).mean(axis=0)
    np.testing.assert_allclose(model.centres[0], truth, rtol=1e-4)
    np.testing.assert_array_equal(model.sizes, [16.0])


def test_dcn_keeps_its_clusters_when_steps_are_few(monkeypatch) -> None:
    # With large first steps latents leave the centres: 6 clusters and an NMI of .65 are left.
    monkeypatch.setattr(embedded, "_HIDDEN_UNITS", (200, 200, 800))
    monkeypatch.setattr(embedded, "_BATCH_SIZE", 100)
    x, y = load("digits")
    labels = PEERS["dcn"](x[:300], 10, 0, epochs=10)
    assert len(np.unique(labels)) == 10
    assert nmi(y[:300], labels) > 0.72


def test_dec_goes_beyond_its_start_when_points_are_few(monkeypatch) -> None:
    # Between two looks at the labels there are steps enough to change some of them.
    monkeypatch.setattr(embedded, "_HIDDEN_UNITS", (200, 200, 800))
    monkeypatch.setattr(embedded, "_BATCH_SIZE", 100)
    x, y = load("digits")
    x, y = x[:300], y[:300]
    latents = embedded._pretrain(x, 0, None)[2]
    start = KMeans(10, n_init=20, random_state=0).fit_predict(latents)
    assert nmi(y, PEERS["dec"](x, 10, 0, epochs=94)) > nmi(y, start) + 0.005


def test_losses_of_heads_are_worked_out_by_hand() -> None:
    shares = tf.constant([[[0.75, 0.25]], [[0.25, 0.75]]])
    partners = tf.constant([[[1.0, 0.0]], [[0.5, 0.5]]])
    loss = scan_loss(shares, partners, entropy_weight=5.0)
    truth = -0.5 * (np.log(0.75) + np.log(0.5)) - 5.0 * np.log(2.0)
    np.testing.assert_allclose(loss, [truth], rtol=1e-6)
    labels, answers = shares[:, 0], tf.math.log(partners[:, 0] + 0.5)
    odds = np.exp(answers) / np.exp(answers).sum(axis=1, keepdims=True)
    truth = -np.mean(np.sum(labels * np.log(odds), axis=1)) - 10.0 * np.log(2.0)
    assert float(turtle_loss(labels, answers, entropy_weight=10.0)) == pytest.approx(truth)
