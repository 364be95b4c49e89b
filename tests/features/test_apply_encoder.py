"""Raw points through an encoder: the slices in which they go."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfdpm.features import apply_encoder as raw_points


@pytest.mark.parametrize(
    ("shape", "rows"), [((2,), 16_384), ((28, 28), 668), ((224, 224, 3), 8), ((4096, 4096), 8)]
)
def test_as_many_points_go_at_once_as_their_layers_leave_memory_for(shape, rows) -> None:
    assert raw_points.encoding_rows(shape) == rows


def test_slices_change_no_row(monkeypatch) -> None:
    layer = keras.layers.Dense(3)
    encoder = keras.Sequential([keras.Input((4, 5)), keras.layers.Flatten(), layer])
    seen, x = [], np.random.default_rng(0).normal(size=(30, 4, 5)).astype(np.float32)
    whole = raw_points.encode(encoder, x)
    np.testing.assert_allclose(whole, x.reshape(30, 20) @ layer.kernel + layer.bias, atol=1e-5)
    encode_batch = raw_points.encode_batch
    monkeypatch.setattr(raw_points, "_VALUES_AT_ONCE", 20 * 8)
    monkeypatch.setattr(
        raw_points,
        "encode_batch",
        lambda model, batch: seen.append(len(batch)) or encode_batch(model, batch),
    )
    np.testing.assert_allclose(raw_points.encode(encoder, x), whole, atol=1e-6)
    assert seen == [8, 8, 8, 6]
