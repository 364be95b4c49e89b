"""The stages before clustering: from a sample of raw points to the encoder that a model keeps."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from tfdpm import checks
from tfdpm.data.columns import warn_of_steps
from tfdpm.data.images.multicrop import multicrop
from tfdpm.data.inputs import Inputs
from tfdpm.data.streams import draw_rows
from tfdpm.features import autoencoder, encoders, parametric_umap, umap
from tfdpm.features.apply_encoder import encode, encoding_rows, takes_text
from tfdpm.features.choice import FeatureChoice
from tfdpm.progress.stages import BatchProgress, Stages
from tfdpm.swav.methods.swav import SwAV
from tfdpm.swav.monitoring import CollapseWatchdog
from tfdpm.swav.self_supervised import SelfSupervisedModel

CLUSTERS = "clusters"
# Stages for each kind of features, in order.
STAGES: dict[str, tuple[str, ...]] = {
    "none": (CLUSTERS,),
    "model": (CLUSTERS,),
    "pca": ("principal axes", CLUSTERS),
    "autoencoder": ("autoencoder", CLUSTERS),
    "umap": ("neighbours", "encoder", CLUSTERS),
    "backbone": ("neighbours", "encoder", CLUSTERS),
    "swav": ("views", "neighbours", "encoder", CLUSTERS),
}
FEATURES = ("auto", *(name for name in STAGES if name not in ("model", "backbone")))

_PRINCIPAL_AXES = 10
_LEARNING_RATE = 1e-3
_BATCH_SIZE = 256


class Learned(NamedTuple):
    """What is learned from a sample of raw points."""

    encoder: keras.Model | None  # `[B, ...] -> [B, F]`; `None` for points as they are
    places: np.ndarray | None = None  # `[n, F]` of the sample, as the encoder gives them
    neighbours: np.ndarray | None = None  # `[n, k]` of each point before a layout


class Effort(NamedTuple):
    """Amount of training of an encoder."""

    max_points: int
    points_seen: int  # in all epochs
    min_epochs: int
    max_epochs: int

    def num_epochs(self, num_points: int) -> int:
        """Returns the number of epochs for a number of points."""
        return int(np.clip(self.points_seen // num_points, self.min_epochs, self.max_epochs))


_EFFORT = Effort(20_000, 400_000, 20, 200)
# At 5 ms of processor time for an image of 32 x 32, about half an hour.
_SWAV_EFFORT = Effort(50_000, 300_000, 10, 100)


def points_to_learn_from(inputs: Inputs, kind: str, seed: int) -> np.ndarray:
    """Draws the raw points `[n, ...]` float32 that an encoder of a kind of `STAGES` learns from.

    All points are equally likely; a stream is read in one pass.
    """
    most = (_SWAV_EFFORT if kind == "swav" else _EFFORT).max_points
    generator = np.random.default_rng([seed, 14])
    if inputs.array is None:
        array = draw_rows(inputs.dataset, most, generator, name="data")
    elif len(inputs.array) > most:
        array = inputs.array[np.sort(generator.choice(len(inputs.array), most, replace=False))]
    else:
        array = inputs.array
    if array.dtype == np.float64 and array.ndim == 2 and kind not in ("none", "model"):
        warn_of_steps(array, inputs.columns.features, f"features={kind!r}")
    is_drawn = inputs.array is None
    return array if is_drawn or array.dtype == object else array.astype(np.float32, copy=False)


def learn_encoder(
    choice: FeatureChoice,
    x: np.ndarray,
    stages: Stages,
    seed: int,
    given: keras.Model | None = None,
) -> Learned:
    """Learns the chosen encoder from raw points `x`; after a layout, with places and neighbours.

    The stages are `STAGES[choice.name]`; the same seed gives the same encoder. A model of images
    or texts that is `given` precedes what is learned, where the choice is "backbone".
    """
    if choice.name == "none":
        return Learned(None)
    # Points need all digits, whatever the program's policy; SwAV alone is made for it.
    policy = keras.config.dtype_policy()
    with _dtype_policy("float32"):
        return _learn_encoder(choice, x, stages, seed, given, policy)


@contextlib.contextmanager
def _dtype_policy(policy: Any) -> Iterator[None]:
    """Makes layers of a dtype policy, and then again of the one before."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _learn_encoder(
    choice: FeatureChoice,
    x: np.ndarray,
    stages: Stages,
    seed: int,
    given: keras.Model | None,
    policy: Any,
) -> Learned:
    if choice.name == "pca":
        with stages.stage("principal axes"):
            return Learned(encoders.principal_axes(x, _PRINCIPAL_AXES))
    if choice.name == "autoencoder":
        with stages.stage("autoencoder"):
            make = functools.partial(_autoencoder, choice, x, stages, seed)
            return Learned(stages.kept_model("autoencoder", make))
    if choice.name == "swav":
        with stages.stage("views"), _dtype_policy(policy):
            first = stages.kept_model("swav", lambda: _swav(choice, x, stages, seed))
    elif choice.name == "backbone":
        first = given_front(choice, x, given)
    else:
        first = encoders.front(
            x.shape[1:], image_shape=choice.image_shape, uses_angles=choice.uses_angles
        )
    # A parametric UMAP of the first model's outputs follows it.
    with stages.stage("neighbours"):
        rows = encode(first, x)
        found = umap.neighbours(rows, min(umap.NUM_NEIGHBOURS, len(rows) - 1))
        places = stages.kept_array(
            "layout",
            lambda: parametric_umap.neighbour_layout(
                rows, found, seed=seed, on_epoch=stages.progress
            ),
        )
    with stages.stage("encoder"):
        last = stages.kept_model(
            "encoder",
            lambda: parametric_umap.fit_encoder(rows, places, seed=seed, stages=stages),
        )
    # Slices of raw points, so that whoever encodes these again gets the same bits.
    places = encode(last, rows, at_once=encoding_rows(x.shape[1:]))
    return Learned(encoders.chained(first, last), places, found[0])


def _autoencoder(choice: FeatureChoice, x, stages: Stages, seed: int) -> keras.Model:
    """Trains an autoencoder and returns its encoder of raw points."""
    scaling = keras.Sequential(
        [keras.Input(x.shape[1:]), autoencoder.Scaling.of(x)], name="scaling"
    )
    if choice.image_shape is None:
        model = autoencoder.dense(int(np.prod(x.shape[1:])), seed=seed)
        scaling.add(keras.layers.Flatten())
    else:
        model = autoencoder.convolutional(choice.image_shape, seed=seed)
        scaling.add(keras.layers.Reshape(choice.image_shape))
    epochs = _EFFORT.num_epochs(len(x))
    model.compile(keras.optimizers.Adam(_LEARNING_RATE))
    first, callbacks = stages.epoch_backup("autoencoder").resume(model)
    model.fit_reconstruction(
        encode(scaling, x),
        epochs=epochs,
        batch_size=_BATCH_SIZE,
        seed=seed,
        initial_epoch=first,
        callbacks=[BatchProgress(stages), *callbacks],
    )
    return encoders.chained(scaling, model.encoder)


def _swav(choice: FeatureChoice, x, stages: Stages, seed: int) -> keras.Model:
    """Trains SwAV and returns its encoder of raw images, with features of length one."""
    if choice.image_shape is None or choice.image_shape[2] not in (1, 3):
        got = f"{x.shape[1:]} points"
        checks.fail("features", f"'swav' for {got}", "grey or colour images [N, H, W, C]")
    height, width, channels = choice.image_shape
    # Raw images may have any unit; views are made of values from zero to one.
    scaling = encoders.pixel_scaling(x)
    images = np.asarray(scaling(x.reshape(-1, height, width, channels)))
    batch_size = int(min(_BATCH_SIZE, len(x)))
    epochs = _SWAV_EFFORT.num_epochs(len(x))
    model = SwAV.small(
        image_size=min(height, width),
        channels=channels,
        num_images=len(x),
        batch_size=batch_size,
        epochs=epochs,
        seed=seed,
        print_fn=stages.say,
    )
    first, callbacks = stages.epoch_backup("swav").resume(model)
    views = multicrop(images, **model.view_options(), seed=seed, initial_epoch=first)
    model.fit(
        views,
        epochs=epochs,
        initial_epoch=first,
        callbacks=[BatchProgress(stages), CollapseWatchdog(), *callbacks],
        verbose=0,
    )
    return given_front(choice, x, model)


def given_front(choice: FeatureChoice, x: np.ndarray, model: keras.Model) -> keras.Model:
    """The encoder of raw images or texts, of rows of length one, by a model trained already.

    Args:
        choice: what the images are.
        x: raw images `[n, ...]`, whose values tell their unit, or texts `[n]`.
        model: a `SelfSupervisedModel`, or a model as `pretrained` makes.
    """
    if x.ndim == 1 and takes_text(model):
        return model
    if choice.image_shape is None:
        got = f"points of shape {x.shape[1:]}"
        checks.fail("features", f"a model of images for {got}", "images [N, H, W, C]")
    shape, channels, unit = choice.image_shape, 3, 255.0
    if isinstance(model, SelfSupervisedModel):
        channels, unit, model = len(model.config.views.mean), 1.0, model.encoder
    scaling = encoders.pixel_scaling(x, unit)
    return encoders.image_encoder(model, x.shape[1:], shape, channels, scaling)
