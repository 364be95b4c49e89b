"""Autoencoders: what they compute, that they learn, that they follow the seed, that they last."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfdpm.features import autoencoder

X = np.random.default_rng(0).normal(size=(96, 3)) @ np.random.default_rng(1).normal(size=(3, 30))
X = X.astype(np.float32)


def small(seed=0):
    return autoencoder.dense(30, latent_dim=3, hidden_units=(32, 16), seed=seed)


def trained(epochs=30, seed=0, initial_epoch=0, model=None):
    if model is None:
        model = small(seed)
        model.compile(keras.optimizers.Adam(3e-3))
    model.fit_reconstruction(
        X, epochs=epochs, batch_size=32, seed=seed, initial_epoch=initial_epoch
    )
    return model


def test_default_widths_are_those_of_the_paper():
    model = autoencoder.dense(784)
    shapes = [layer.kernel.shape for layer in model.encoder.layers]
    assert shapes == [(784, 500), (500, 500), (500, 2000), (2000, 10)]
    shapes = [layer.kernel.shape for layer in model.decoder.layers]
    assert shapes == [(10, 2000), (2000, 500), (500, 500), (500, 784)]


def test_latents_and_reconstructions_are_linear_at_the_ends():
    model = small()
    assert np.min(model.encoder.predict(X, verbose=0)) < 0
    assert np.min(model.predict(X, verbose=0)) < 0


def test_loss_is_the_mean_squared_distance_summed_over_values():
    model = small()
    model.compile()
    loss = model.evaluate(X, X, batch_size=len(X), verbose=0)
    error = X.astype(np.float64) - model.predict(X, verbose=0)
    np.testing.assert_allclose(loss, np.mean(np.sum(error**2, axis=1)), rtol=1e-5)


def test_points_on_a_plane_are_reconstructed():
    error = X - trained(epochs=60).predict(X, verbose=0)
    assert np.mean(np.sum(error**2, axis=1)) < 0.1 * np.mean(np.sum(X**2, axis=1))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    keras.utils.set_random_seed(1)
    first = trained(epochs=2).get_weights()
    keras.utils.set_random_seed(2)
    again, other = trained(epochs=2).get_weights(), trained(epochs=2, seed=1).get_weights()
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert np.abs(first[0] - other[0]).max() > 0.01


def test_training_in_two_parts_is_training_in_one():
    whole = trained(epochs=4)
    parts = trained(epochs=2)
    parts = trained(epochs=4, initial_epoch=2, model=parts)
    for one, two in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("shape", [(9, 6, 3), (8, 8, 1), (7, 5), (16, 30, 2)])
def test_images_of_any_size_come_back_in_their_shape(shape):
    model = autoencoder.convolutional(shape, latent_dim=4, filters=(4, 8))
    images = np.zeros((2, *shape), np.float32)
    assert model.encoder(images).shape == (2, 4)
    assert model(images).shape == images.shape


def test_saved_autoencoders_give_the_same(tmp_path):
    model = autoencoder.convolutional((6, 5), latent_dim=2, filters=(4,))
    images = X.reshape(96, 6, 5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0), model.predict(images, verbose=0)
    )
    assert loaded.latent_dim == 2


def test_scaling_brings_all_values_to_mean_zero_and_variance_one():
    scaled = np.asarray(autoencoder.Scaling.of(5 * X + 3)(5 * X + 3))
    assert abs(scaled.mean()) < 1e-5 and abs(scaled.std() - 1) < 1e-5
    assert np.ptp(scaled.std(axis=0)) > 0.1  # columns keep their relative spread
    np.testing.assert_array_equal(autoencoder.Scaling.of(np.ones((2, 2)))(np.ones((2, 2))), 0)


def test_every_point_is_in_every_epoch_and_epochs_differ():
    order = [*autoencoder.seeded_batches((np.arange(10),), 2, 4, seed=3).as_numpy_iterator()]
    assert [len(batch) for batch in order] == [4, 4, 2, 4, 4, 2]
    first, second = np.concatenate(order[:3]), np.concatenate(order[3:])
    np.testing.assert_array_equal(np.sort(first), np.arange(10))
    np.testing.assert_array_equal(np.sort(second), np.arange(10))
    assert np.any(first != second)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: autoencoder.dense(0), "input_dim"),
        (lambda: autoencoder.dense(3, hidden_units=()), "hidden_units"),
        (lambda: autoencoder.convolutional((3,)), "image_shape"),
        (lambda: autoencoder.Autoencoder(small().decoder, small().decoder), "decoder"),
        (lambda: autoencoder.Scaling(0.0, 0.0), "scale"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=f"`{message}`"):
        make()
