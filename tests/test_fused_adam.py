"""One operation per variable does what Keras's Adam does."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdpm.fused_adam import FusedAdam


def trajectory(kind, **options):
    """Values of two variables after each of thirty steps down a bent valley, `[30, 5]`."""
    weights = keras.Variable([[1.0, -2.0], [0.5, 3.0]]), keras.Variable([4.0])
    optimizer = kind(0.1, **options)
    optimizer.build(list(weights))
    seen = []
    for _ in range(30):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(weights[0].value ** 4) + (weights[1].value[0] - 1.0) ** 2
        optimizer.apply(tape.gradient(loss, [weight.value for weight in weights]), weights)
        seen.append(np.concatenate([np.ravel(weight) for weight in weights]))
    return np.stack(seen)


@pytest.mark.parametrize(
    "options", [{}, {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 0.1}, {"amsgrad": True}]
)
def test_steps_are_those_of_keras(options):
    """Every step, also early ones, of which the moments are far from unbiased."""
    expected = trajectory(keras.optimizers.Adam, **options)
    assert np.ptp(expected, axis=0).min() > 0.1
    # 1 - beta_2 loses digits in float32; a step is 0.1 long.
    np.testing.assert_allclose(trajectory(FusedAdam, **options), expected, rtol=0, atol=2e-5)


def test_it_is_saved_and_made_again():
    """As the optimiser of a model that is loaded."""
    optimizer = FusedAdam(0.02, beta_1=0.8)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, FusedAdam)
    assert (float(again.learning_rate), again.beta_1) == (pytest.approx(0.02), 0.8)
