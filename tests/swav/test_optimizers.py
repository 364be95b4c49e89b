"""LARS against the published update written out, the schedule against its list of rates."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdpm.swav.optimizers import LARS, WarmupCosine, lars_directions


def reference_lars(weights, gradients, rate, momentum, trust, decay):
    """SGD with momentum around layer-wise scaling, in float64, step by step."""
    weights = weights.astype(np.float64)
    buffer = np.zeros_like(weights)
    for gradient in gradients.astype(np.float64):
        weight_norm, gradient_norm = np.linalg.norm(weights), np.linalg.norm(gradient)
        direction = gradient
        if weight_norm > 0 and gradient_norm > 0:
            local = trust * weight_norm / (gradient_norm + weight_norm * decay + 1e-8)
            direction = local * (gradient + decay * weights)
        buffer = momentum * buffer + direction
        weights = weights - rate * buffer
    return weights


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("start", ["random", "zero"])
def test_lars_equals_the_published_update(start, dtype):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(4, 3)).astype(dtype) * (start == "random")
    gradients = rng.normal(size=(6, 4, 3)).astype(dtype)
    variable = keras.Variable(weights, dtype=dtype)
    optimizer = LARS(0.8, momentum=0.9, trust_coefficient=0.01, weight_decay=0.1)
    for gradient in gradients:
        optimizer.apply_gradients([(tf.constant(gradient), variable)])
    expected = reference_lars(weights, gradients, 0.8, 0.9, 0.01, 0.1)
    precision = {"float32": 1e-5, "float64": 1e-7}[dtype]  # 1e-8 beside the norms is LARS's own
    np.testing.assert_allclose(variable.numpy(), expected, rtol=precision, atol=0.1 * precision)


def test_variables_of_the_same_shape_keep_their_own_norms():
    """They are stacked: one of norm zero, or of another size, leaves the others as they are."""
    rng = np.random.default_rng(1)
    shapes = [(4, 3), (3,), (4, 3), (3,), (2, 2, 4, 3), (4, 3)]
    weights = [rng.normal(size=shape) * 10.0**place for place, shape in enumerate(shapes)]
    weights[0] *= 0.0
    gradients = [rng.normal(size=(3, *shape)) for shape in shapes]
    variables = [keras.Variable(value) for value in weights]
    optimizer = LARS(0.8, momentum=0.9, trust_coefficient=0.01, weight_decay=0.1)
    for step in range(3):
        now = [tf.constant(each[step], tf.float32) for each in gradients]
        optimizer.apply_gradients(zip(now, variables, strict=True))
    for value, each, variable in zip(weights, gradients, variables, strict=True):
        expected = reference_lars(value, each, 0.8, 0.9, 0.01, 0.1)
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5)


def test_two_replicas_step_as_one_does_with_the_sum_of_gradients(two_replicas):
    weights = np.random.default_rng(3).normal(size=(2, 4, 3)).astype(np.float32)

    def train(replicas):
        variables = [keras.Variable(value) for value in weights]
        optimizer = LARS(0.8, trust_coefficient=0.1, weight_decay=0.1)
        optimizer.build(variables)
        return variables, lambda: optimizer.apply(
            [tf.constant(value / replicas) for value in weights[::-1]]
        )

    variables, step = train(1)
    with two_replicas.scope():
        mirrored, step_of_replica = train(2)
    for _ in range(2):
        step()
        tf.function(lambda: two_replicas.run(step_of_replica), autograph=False)()
    for one, both in zip(variables, mirrored, strict=True):
        assert np.abs(one.numpy() - weights[0]).max() > 0.01
        np.testing.assert_allclose(both.numpy(), one.numpy(), rtol=1e-5)


def test_each_further_variable_of_a_shape_costs_two_operations():
    """It is read and written. What lies between is done for all variables of a shape at once."""

    def count(number):
        variables = [keras.Variable(np.ones((4, 3), np.float32)) for _ in range(number)]
        optimizer = LARS(0.8)
        optimizer.build(variables)
        step = tf.function(lambda *gradients: optimizer.apply(gradients), autograph=False)
        graph = step.get_concrete_function(*[tf.ones((4, 3))] * number).graph
        kinds = [each.type for each in graph.get_operations()]
        assert kinds.count("ResourceApplyMomentum") == number
        return sum(kind not in {"Const", "Identity", "NoOp", "Placeholder"} for kind in kinds)

    assert count(1) <= 32 and count(21) - count(1) == 2 * 20


def test_a_saved_model_continues_as_if_it_had_not_been_saved(tmp_path):
    x, y = np.random.default_rng(2).normal(size=(2, 8, 3)).astype(np.float32)
    model = keras.Sequential([keras.Input((3,)), *(keras.layers.Dense(3) for _ in range(3))])
    model.compile(LARS(0.5, trust_coefficient=0.1), loss="mse")
    model.fit(x, y, epochs=2, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    names = [variable.path.split("/")[-1] for variable in again.optimizer.variables[2:]]
    assert all(name.endswith("momentum") for name in names) and len(names) == 6
    for each in (model, again):
        each.fit(x, y, verbose=0)
    for mine, theirs in zip(model.weights, again.weights, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)


def test_step_size_ignores_the_scale_of_the_gradient():
    weights, gradient = tf.constant([[3.0, 4.0]]), tf.constant([[1.0, -2.0]])
    options = {"trust_coefficient": 0.001, "weight_decay": 0.0}
    small = lars_directions(weights, gradient, **options)
    large = lars_directions(weights, 1e4 * gradient, **options)
    np.testing.assert_allclose(small, large, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(small), 0.001 * 5.0, rtol=1e-5)


def test_zero_gradient_moves_nothing_despite_decay():
    variable = keras.Variable([[1.0, 2.0]])
    optimizer = LARS(1.0, weight_decay=0.5)
    optimizer.apply_gradients([(tf.zeros([1, 2]), variable)])
    np.testing.assert_array_equal(variable.numpy(), [[1.0, 2.0]])


def test_rules_spare_vectors():
    gradient = tf.constant([0.5, 0.5])
    variable = keras.Variable([1.0, 1.0])
    LARS(1.0, weight_decay=0.1, decay_rule="matrices", adapt_rule="matrices").apply_gradients(
        [(gradient, variable)]
    )
    np.testing.assert_allclose(variable.numpy(), [0.5, 0.5])


def test_accumulated_gradients_step_once_with_their_mean():
    weights = np.array([[1.0, 2.0]], np.float32)
    gradients = np.array([[[1.0, 0.0]], [[0.0, 3.0]]], np.float32)
    accumulating, plain = keras.Variable(weights), keras.Variable(weights)
    optimizer = LARS(0.5, gradient_accumulation_steps=2)
    optimizer.apply_gradients([(tf.constant(gradients[0]), accumulating)])
    np.testing.assert_array_equal(accumulating.numpy(), weights)
    optimizer.apply_gradients([(tf.constant(gradients[1]), accumulating)])
    LARS(0.5).apply_gradients([(tf.constant(gradients.mean(0)), plain)])
    np.testing.assert_allclose(accumulating.numpy(), plain.numpy(), rtol=1e-6)


def test_schedule_equals_the_published_list_of_rates():
    warmup = np.linspace(0.3, 4.8, 10)
    steps = np.arange(30)
    cosine = 0.0048 + 0.5 * (4.8 - 0.0048) * (1 + np.cos(np.pi * steps / 30))
    schedule = WarmupCosine(4.8, 40, final=0.0048, warmup_steps=10, start=0.3)
    rates = [float(schedule(step)) for step in range(40)]
    np.testing.assert_allclose(rates, np.r_[warmup, cosine], rtol=1e-5)
    assert float(schedule(1000)) == pytest.approx(0.0048)


def test_configurations_survive_a_round_trip():
    optimizer = LARS(WarmupCosine(1.0, 10, warmup_steps=2), 0.8, 0.01, 0.1, "matrices", "matrices")
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()
    assert float(again.learning_rate) == float(optimizer.learning_rate)


@pytest.mark.parametrize("options", [{"momentum": -1.0}, {"decay_rule": "some"}])
def test_bad_settings_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        LARS(0.1, **options)
