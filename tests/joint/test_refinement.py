"""Gradient steps of the autoencoder against NumPy: both losses, their weights, and the order."""

from __future__ import annotations

import numpy as np
import pytest

from tfdpm.features import autoencoder as autoencoders
from tfdpm.joint.refinement import Losses, Pull, Refinement


def small(points, *, weight=1.0, batch_size=10, seed=0, **options):
    autoencoder = autoencoders.dense(5, latent_dim=2, hidden_units=(8,), seed=1)
    settings = dict(image_shape=None, reconstruction_weight=weight, batch_size=batch_size)
    settings |= dict(autoencoder=autoencoder, points=points, seed=seed)
    return autoencoder, Refinement(**{**settings, **options})


@pytest.fixture
def points():
    return np.random.default_rng(0).normal(size=(25, 5)).astype(np.float32)


@pytest.fixture
def pull():
    centres = np.array([[1.0, -1.0], [0.5, 2.0]], np.float32)
    return Pull(centres, (np.arange(25) % 2).astype(np.int32), 0.25)


def test_losses_are_mean_squared_distances(points, pull) -> None:
    autoencoder, refinement = small(points)
    latents = autoencoder.encoder(points).numpy()
    reconstruction = np.mean(np.sum((autoencoder(points).numpy() - points) ** 2, axis=1))
    distance = np.mean(np.sum((latents - pull.centres[pull.assignments]) ** 2, axis=1))
    # A vanishing rate: the last, smaller batch must count by its points.
    losses = refinement.run(1, 1e-12, stage=1, pull=pull)
    np.testing.assert_allclose(losses, (reconstruction, distance), rtol=1e-4)


def test_first_step_follows_the_gradient_of_the_weighted_sum(points, pull) -> None:
    """Adam's first step is the rate times the sign of the gradient, here by finite differences."""
    autoencoder, refinement = small(points, weight=0.7, batch_size=25)
    kernel = autoencoder.encoder.trainable_variables[-1]
    before = np.array(kernel)

    def loss(value):
        kernel.assign(value)
        latents = autoencoder.encoder(points).numpy()
        reconstruction = np.mean(np.sum((autoencoder(points).numpy() - points) ** 2, axis=1))
        wanted = pull.centres[pull.assignments]
        return 0.7 * reconstruction + 0.25 * np.mean(np.sum((latents - wanted) ** 2, axis=1))

    steps = 1e-2 * np.eye(len(before), dtype=np.float32)
    gradient = np.array([loss(before + step) - loss(before - step) for step in steps])
    kernel.assign(before)
    refinement.run(1, 1e-3, stage=1, pull=pull)
    np.testing.assert_array_equal(np.sign(before - np.array(kernel)), np.sign(gradient))


def test_pull_draws_latents_to_their_centres(points, pull) -> None:
    _, refinement = small(points)
    pull = pull._replace(assignments=(points[:, 0] > 0).astype(np.int32), weight=5.0)
    first = refinement.run(1, 1e-2, stage=1, pull=pull)
    last = refinement.run(40, 1e-2, stage=2, pull=pull)
    assert last.clustering < 0.5 * first.clustering


def test_order_follows_seed_and_stage(points) -> None:
    def trained(seed, stage):
        autoencoder, refinement = small(points, seed=seed)
        refinement.run(2, 1e-2, stage=stage)
        return autoencoder(points).numpy()

    np.testing.assert_array_equal(trained(0, 0), trained(0, 0))
    assert np.abs(trained(0, 0) - trained(1, 0)).max() > 1e-5
    assert np.abs(trained(0, 0) - trained(0, 1)).max() > 1e-5


def test_encoder_sees_moved_images_and_targets_stay() -> None:
    points = np.zeros((40, 36), np.float32).reshape(40, 6, 6)
    points[:, 2:4, 1:5] = 1.0
    autoencoder = autoencoders.dense(36, latent_dim=2, hidden_units=(8,))
    flat = points.reshape(40, 36)
    settings = dict(autoencoder=autoencoder, points=flat, batch_size=40, seed=0)
    settings |= dict(reconstruction_weight=1.0)
    still = Refinement(image_shape=None, **settings).run(1, 1e-12, stage=0)
    moved = Refinement(image_shape=(6, 6, 1), **settings)
    losses = [moved.run(1, 1e-12, stage=stage).reconstruction for stage in (0, 1)]
    assert abs(losses[0] - losses[1]) > 1e-6
    assert abs(losses[0] - still.reconstruction) > 1e-6


def test_no_epochs_change_nothing(points) -> None:
    autoencoder, refinement = small(points)
    before = autoencoder(points).numpy()
    assert refinement.run(0, 1e-2, stage=0) == Losses(0.0, 0.0)
    np.testing.assert_array_equal(autoencoder(points), before)
