"""Raw points through an encoder, any Keras model, to the rows that preprocessing takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.data.columns import Columns
from tfdpm.data.inputs import Inputs, as_features

# Keras keeps the outputs of all layers, some hundred values for each input value; slices that fit
# the caches are also faster.
_VALUES_AT_ONCE = 2**19
_FEWEST_ROWS, _MOST_ROWS = 8, 16_384
_TEXTS = 256  # as many as a batch of a language model has


def encode_inputs(inputs: Inputs, encoder: keras.Model | None) -> Inputs:
    """Inputs with points encoded; shape and labelled stream remain those of raw points.

    The encoder is `None` where points are rows already.
    """
    if encoder is None:
        return inputs
    check_point_shape(inputs.feature_shape, int(np.prod(encoder.input_shape[1:])))
    if inputs.array is not None:
        rows = encode(encoder, inputs.array) if inputs.encoded is None else inputs.encoded
        return dataclasses.replace(inputs, array=rows, encoded=None)
    dataset = inputs.dataset.map(lambda batch: encode_batch(encoder, batch))
    weighted = inputs.weighted_dataset
    if weighted is not None:
        weighted = weighted.map(lambda x, w, *_: (encode_batch(encoder, x), w))
    return dataclasses.replace(inputs, dataset=dataset, weighted_dataset=weighted)


def encode_rows(batch, encoder: keras.Model | None):
    """Rows `[B, F]` of a batch of raw points, encoded where there is an encoder."""
    return as_rows(batch) if encoder is None else encode_batch(encoder, batch)


def check_point_shape(
    shape: Sequence[int], num_values: int, columns: Columns | None = None, name: str = "x"
) -> None:
    """Raises ValueError unless points of this shape have the number of values that fit saw."""
    if int(np.prod(shape)) != num_values:
        wanted = (columns or Columns()).describe(num_values)
        checks.fail(name, f"points of shape {tuple(shape)}", wanted)


def encode(encoder: keras.Model, x: np.ndarray, at_once: int | None = None) -> np.ndarray:
    """Encodes raw points `[N, ...]` as rows `[N, F]` float32, in slices that fit memory.

    The slices depend on the array alone, so that its rows always have the same bits, unless they
    have so many points as another array's, `at_once`.
    """
    rows = at_once or encoding_rows(x.shape[1:])
    starts = range(0, len(x), rows)
    return np.concatenate([encode_batch(encoder, x[i : i + rows]).numpy() for i in starts])


def encode_batch(encoder: keras.Model, batch) -> tf.Tensor:
    """Encodes a batch of raw points `[B, ...]` as rows `[B, F]` float32."""
    batch = batch if takes_text(encoder) else tf.cast(batch, tf.float32)
    batch = tf.reshape(batch, [-1, *encoder.input_shape[1:]])
    return tf.cast(encoder(batch, training=False), tf.float32)


def inputs_for(model: Any, x: Any, y: Any = None, *, name: str = "x") -> Inputs:
    """Points as a fitted model takes them: by the columns of its fit, texts for an encoder of them.

    Models without columns or an encoder may be of any kind.
    """
    columns, is_text = getattr(model, "columns", None), takes_text(getattr(model, "encoder", None))
    options = {"columns": columns, "takes_text": is_text}
    return as_features(x, y, name=name, minimum_points=1, **options)


def takes_text(encoder: keras.Model | None) -> bool:
    """Returns whether an encoder makes rows of texts."""
    return encoder is not None and encoder.inputs[0].dtype == "string"


def encoding_rows(feature_shape: Sequence[int]) -> int:
    """Returns the number of points that are encoded at once."""
    if len(feature_shape) == 0:
        return _TEXTS
    rows = _VALUES_AT_ONCE // max(int(np.prod(feature_shape)), 1)
    return int(np.clip(rows, _FEWEST_ROWS, _MOST_ROWS))


def as_rows(points):
    """Flattens points of any shape to rows `[N, D]`."""
    if len(points.shape) == 2:
        return points
    reshape = np.reshape if isinstance(points, np.ndarray) else tf.reshape
    return reshape(points, [-1, int(np.prod(points.shape[1:]))])
