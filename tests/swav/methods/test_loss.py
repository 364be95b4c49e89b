"""The swapped loss against a loop over images and pairs of views."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfdpm.swav.methods.swav import swapped_prediction_loss


def reference_loss(scores, codes, temperature):
    """Mean over images, assigning views and the views other than the assigning one."""
    total, terms = 0.0, 0
    for image in range(scores.shape[0]):
        for assigning in range(codes.shape[1]):
            for view in range(scores.shape[1]):
                if view == assigning:
                    continue
                logits = scores[image, view] / temperature
                log_p = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
                total -= (codes[image, assigning] * log_p).sum()
                terms += 1
    return total / terms


def random_case(views, assigning, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.uniform(-1, 1, size=(4, views, 7))
    codes = rng.dirichlet(np.ones(7), size=(4, assigning))
    return scores, codes


@pytest.mark.parametrize(("views", "assigning"), [(2, 2), (8, 2), (5, 1)])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_loss_equals_the_loop(views, assigning, temperature):
    scores, codes = random_case(views, assigning)
    loss = swapped_prediction_loss(
        tf.constant(scores, tf.float32), tf.constant(codes, tf.float32), temperature=temperature
    )
    np.testing.assert_allclose(loss, reference_loss(scores, codes, temperature), rtol=1e-5)


def test_gradient_equals_a_finite_difference():
    scores, codes = random_case(3, 2)
    variable = tf.Variable(scores, dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = swapped_prediction_loss(variable, tf.constant(codes, tf.float32))
    gradient = tape.gradient(loss, variable).numpy()
    for place in [(0, 0, 0), (1, 2, 3), (3, 1, 6)]:
        step = np.zeros_like(scores)
        step[place] = 1e-5
        slope = reference_loss(scores + step, codes, 0.1) - reference_loss(
            scores - step, codes, 0.1
        )
        np.testing.assert_allclose(gradient[place], slope / 2e-5, rtol=1e-4, atol=1e-6)


def test_uniform_predictions_cost_the_log_of_the_prototypes():
    _, codes = random_case(3, 2)
    loss = swapped_prediction_loss(tf.zeros([4, 3, 7]), tf.constant(codes, tf.float32))
    np.testing.assert_allclose(loss, np.log(7), rtol=1e-6)


def test_a_view_does_not_predict_its_own_code():
    scores, codes = (tf.constant(a, tf.float32) for a in random_case(3, 1))
    changed = tf.concat([scores[:, :1] + 5.0 * codes, scores[:, 1:]], axis=1)
    np.testing.assert_allclose(
        swapped_prediction_loss(scores, codes), swapped_prediction_loss(changed, codes)
    )


@pytest.mark.parametrize("shapes", [((4, 1, 7), (4, 1, 7)), ((4, 3, 7), (4, 2, 6))])
def test_bad_shapes_are_named(shapes):
    with pytest.raises(ValueError, match="wanted"):
        swapped_prediction_loss(tf.zeros(shapes[0]), tf.zeros(shapes[1]))
