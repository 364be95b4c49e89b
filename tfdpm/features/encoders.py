"""Untrained encoders from raw points to rows `[B, F]`: scattering, wrappers, principal axes."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from sklearn.decomposition import PCA

from tfdpm import checks
from tfdpm.features.autoencoder import Scaling
from tfdpm.features.scattering import Scattering

_LARGEST_SIDE = 32  # pixels; larger images are resized to it
_SMALLEST_SIDE = 16  # pixels; smaller images are coarse averages already


@keras.saving.register_keras_serializable(package="tfdpm")
class RowNorm(layers.Layer):
    """Layer that divides rows by their Euclidean norm; rows of zeros stay."""

    def call(self, inputs):
        return inputs / tf.maximum(tf.norm(inputs, axis=-1, keepdims=True), 1e-12)


def front(
    feature_shape: Sequence[int],
    *,
    image_shape: Sequence[int] | None = None,
    uses_angles: bool = False,
) -> keras.Model:
    """Builds the model `[B, *feature_shape] -> [B, F]` that precedes learning.

    Images `(H, W, C)` of at least 16 pixels a side are resized to at most 32 and described by
    scattering. Other points are vectors, which `uses_angles` divides by their length.
    """
    model = keras.Sequential([keras.Input(tuple(feature_shape))], name="front")
    if image_shape is None or min(image_shape[:2]) < _SMALLEST_SIDE:
        model.add(layers.Flatten())
        if uses_angles:
            model.add(RowNorm())
        return model
    height, width, channels = image_shape
    model.add(layers.Reshape((height, width, channels)))
    factor = _LARGEST_SIDE / max(height, width)
    if factor < 1:
        height, width = (max(1, round(factor * side)) for side in (height, width))
        model.add(layers.Resizing(height, width, interpolation="area"))
    model.add(Scattering((height, width, channels)))
    model.add(RowNorm())
    return model


def chained(*models: keras.Model) -> keras.Model:
    """Builds one model that applies models of other names in turn."""
    inputs = keras.Input(models[0].input_shape[1:], dtype=models[0].inputs[0].dtype)
    outputs = inputs
    for model in models:
        outputs = model(outputs)
    return keras.Model(inputs, outputs, name="encoder")


def as_encoder(model: keras.Model, feature_shape: Sequence[int]) -> keras.Model:
    """Makes an encoder of a user's Keras model, which has one input and one output.

    The model gets raw points in their units. Grey images get three channels if it takes three,
    and maps `[B, h, w, F]` are averaged. Points of shape `()` are texts.

    Raises:
        TypeError: if `model` is no Keras model.
        ValueError: if it does not take points of that shape, or does not return rows of features.
    """
    if not isinstance(model, keras.Model):
        checks.fail("features", f"a {type(model).__name__}", "a Keras model", TypeError)
    wanted = getattr(model, "input_shape", None)
    if len(feature_shape) == 0:
        inputs = keras.Input(wanted[1:] if isinstance(wanted, tuple) else (), dtype="string")
    else:
        inputs = keras.Input(tuple(feature_shape))
    outputs = inputs
    if isinstance(wanted, tuple) and len(wanted) == 4:
        if len(feature_shape) == 2:
            outputs = layers.Reshape((*feature_shape, 1))(outputs)
        if len(outputs.shape) == 4 and outputs.shape[-1] == 1 and wanted[-1] == 3:
            outputs = layers.Concatenate()([outputs] * 3)
    try:
        outputs = model(outputs)
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        got = f"a model that does not take points of shape {tuple(feature_shape)}"
        checks.fail("features", got, f"one that does ({checks.one_line(error)})")
    if len(getattr(outputs, "shape", ())) == 4:
        outputs = layers.GlobalAveragePooling2D()(outputs)
    shape = getattr(outputs, "shape", None)
    if shape is None or len(shape) != 2 or shape[-1] is None:
        checks.fail("features", f"a model with outputs {shape}", "one that gives rows [B, F]")
    return keras.Model(inputs, outputs, name="encoder")


def pixel_scaling(x: np.ndarray, largest: float = 1.0) -> Scaling:
    """Makes the layer that brings raw images `x [N, ...]` of any unit to [0, `largest`].

    Images that are not negative keep their zero; whole bytes are divided by 255.
    """
    low, high = float(x.min()), float(x.max())
    scale = max(high - low, 1e-12)
    if low >= 0.0:
        low, scale = 0.0, (255.0 if 1.0 < high <= 255.0 else max(high, 1e-12))
    return Scaling(low, scale / largest)


def image_encoder(
    model: keras.Model,
    feature_shape: Sequence[int],
    image_shape: Sequence[int],
    channels: int,
    scaling: Scaling,
) -> keras.Model:
    """Builds the encoder of raw points from a model of images with 1 or 3 channels.

    Args:
        model: from images `[B, H, W, channels]` to rows `[B, F]`.
        feature_shape: of raw points.
        image_shape: `(H, W, C)` of the images that the points are.
        channels: those of the model; grey images are repeated, of others the mean is grey.
        scaling: layer of raw points that brings them to the unit of the model.
    """
    inputs = keras.Input(tuple(feature_shape))
    images = layers.Reshape(tuple(image_shape))(scaling(inputs))
    if image_shape[-1] != channels:
        if image_shape[-1] not in (1, 3, 4) or channels not in (1, 3):
            got = f"images of {image_shape[-1]} channels"
            checks.fail("features", got, f"1, 3 or 4, to make {channels} of")
        if image_shape[-1] == 4:
            images = images[..., :3]
        if channels == 1:
            images = keras.ops.mean(images, axis=-1, keepdims=True)
        elif image_shape[-1] == 1:
            images = layers.Concatenate()([images] * 3)
    return keras.Model(inputs, RowNorm()(model(images)), name="backbone")


def principal_axes(x: np.ndarray, count: int) -> keras.Model:
    """Makes the projection `[B, ...] -> [B, count]` to the leading principal axes of `x [N, ...]`.

    Points count as vectors, and `count` is cut to the number of their values and to N.
    """
    rows = x.reshape(len(x), -1).astype(np.float64)
    found = PCA(min(count, *rows.shape), random_state=0).fit(rows)
    projection = layers.Dense(found.n_components_)
    model = keras.Sequential([keras.Input(x.shape[1:]), layers.Flatten(), projection])
    projection.set_weights([found.components_.T, -found.components_ @ found.mean_])
    return model
