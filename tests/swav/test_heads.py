"""Head and prototypes against NumPy, and what their norms promise."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfdpm.swav.heads import ProjectionHead, Prototypes


def test_head_equals_its_formula():
    x = np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32)
    head = ProjectionHead(4, 8, seed=1)
    embeddings = head(x, training=True).numpy()
    kernel, bias = (value.numpy() for value in head.hidden.weights)
    hidden = x @ kernel + bias
    hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5)
    kernel, bias = (value.numpy() for value in head.output_layer.weights)
    output = np.maximum(hidden, 0) @ kernel + bias
    expected = output / np.linalg.norm(output, axis=1, keepdims=True)
    np.testing.assert_allclose(embeddings, expected, atol=1e-5)


def test_a_zero_row_gives_zero_not_nan():
    head = ProjectionHead(4, 0)
    head.build((None, 3))
    head.output_layer.bias.assign(np.zeros(4))
    embeddings = head(np.zeros((2, 3), np.float32)).numpy()
    np.testing.assert_array_equal(embeddings, 0.0)


@pytest.mark.parametrize(
    "policy",
    ["float32", "mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.bfloat16)],
)
def test_embeddings_are_unit_float32_under_any_policy(policy):
    head = ProjectionHead(4, 8, dtype=policy)
    embeddings = head(np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32))
    assert embeddings.dtype.name == "float32"
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-6)


def test_prototypes_start_and_return_to_unit_norm():
    prototypes = Prototypes(7, seed=2)
    prototypes.build((None, 5))
    np.testing.assert_allclose(np.linalg.norm(prototypes.kernel.numpy(), axis=0), 1.0, atol=1e-6)
    direction = prototypes.kernel.numpy()
    prototypes.kernel.assign(3.0 * direction)
    prototypes.renormalize()
    np.testing.assert_allclose(prototypes.kernel.numpy(), direction, atol=1e-6)
    x = np.eye(5, dtype=np.float32)
    np.testing.assert_allclose(prototypes(x), direction, atol=1e-6)


@pytest.mark.parametrize("layer", [ProjectionHead(4, 8, False), Prototypes(7, seed=3)])
def test_layers_survive_a_round_trip(layer):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()


def test_same_seed_same_weights():
    first, second = Prototypes(7, seed=2), Prototypes(7, seed=2)
    first.build((None, 5)), second.build((None, 5))
    np.testing.assert_array_equal(first.kernel.numpy(), second.kernel.numpy())
