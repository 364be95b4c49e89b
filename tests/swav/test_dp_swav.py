"""Inferred shares of the prototypes: the posterior mean by hand, its memory, and keeping."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tfdpm.swav.dp_swav import DPSwAV

SMALL = {"num_prototypes": 4, "embedding_dim": 3, "hidden_units": 5, "queue_length": 0}


def new(**options):
    backbone = keras.Sequential(
        [keras.Input((None, None, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(6)]
    )
    return DPSwAV(backbone, seed=0, **{**SMALL, "sinkhorn_epsilon": 0.5, **options})


@pytest.fixture
def scores():
    """One prototype is what most samples want."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(32, 2, 4)) * 0.3 + [1.0, 0.0, 0.0, -1.0]).astype(np.float32)


def test_shares_are_the_posterior_mean_of_faded_counts(scores) -> None:
    model = new(concentration=0.5, memory_steps=10, uniform_steps=0)
    usage = np.full(4, 0.25)
    for _ in range(3):
        weights = (usage + 0.5 / 4) / 1.5
        np.testing.assert_allclose(model.prototype_weights(), weights, rtol=1e-5)
        model.assign_codes(tf.constant(scores))
        wanted = scipy.special.softmax(scores / 0.5 + np.log(weights), axis=-1).mean(axis=(0, 1))
        usage += (1 - np.exp(-1 / 10)) * (wanted - usage)
    assert model.prototype_weights()[0] > model.prototype_weights()[3]


def test_codes_carry_the_shares(scores) -> None:
    model = new(uniform_steps=0, sinkhorn_iterations=500, memory_steps=1)
    for _ in range(5):
        model.assign_codes(tf.constant(scores))
    shares = model.prototype_weights().numpy()
    assert shares[0] > 2 * shares[3]
    codes = model.assign_codes(tf.constant(scores), use_queue=False).numpy()
    np.testing.assert_allclose(codes.mean(axis=0), [shares, shares], atol=1e-4)


def test_unwanted_prototype_keeps_the_prior_s_share(scores) -> None:
    model = new(concentration=1.0, memory_steps=1, uniform_steps=0)
    for _ in range(60):
        model.assign_codes(tf.constant(scores + np.float32([0, 0, 0, -30])))
    shares = model.prototype_weights().numpy()
    np.testing.assert_allclose(shares[3], 1.0 / (4 * 2), rtol=1e-3)
    np.testing.assert_allclose(shares.sum(), 1.0, rtol=1e-5)


def test_shares_are_uniform_at_first_and_tests_count_nothing(scores) -> None:
    model = new(freeze_prototypes_steps=3)
    assert model.uniform_steps == 6
    model.assign_codes(tf.constant(scores))
    np.testing.assert_array_equal(model.prototype_weights(), np.full(4, 0.25, np.float32))
    before = np.array(model._usage)
    model.assign_codes(tf.constant(scores), use_queue=False)
    np.testing.assert_array_equal(model._usage, before)


def test_great_concentration_gives_swav(scores) -> None:
    model = new(concentration=1e9, uniform_steps=0)
    model.assign_codes(tf.constant(scores))
    np.testing.assert_allclose(model.prototype_weights(), np.full(4, 0.25), rtol=1e-5)


def test_kept_model_has_its_shares(scores, tmp_path) -> None:
    model = new(concentration=0.3, memory_steps=2, uniform_steps=0)
    model.assign_codes(tf.constant(scores))
    model.save(tmp_path / "swav.keras")
    loaded = keras.saving.load_model(tmp_path / "swav.keras")
    assert (loaded.concentration, loaded.memory_steps, loaded.uniform_steps) == (0.3, 2, 0)
    np.testing.assert_array_equal(loaded.prototype_weights(), model.prototype_weights())


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match=r"^`concentration`: got 0"):
        new(concentration=0.0)
    with pytest.raises(ValueError, match=r"^`memory_steps`: got 0"):
        new(memory_steps=0)
