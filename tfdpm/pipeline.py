"""`fit`: from whatever the user has to a fitted model, in one call. It knows every room."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import keras

from tfdpm import checks
from tfdpm.config import DeepDPMConfig
from tfdpm.data.inputs import as_features
from tfdpm.export import ServedModel
from tfdpm.model import DeepDPM

FEATURES = ("auto", "none")


def fit(
    data: Any,
    *,
    features: str = "auto",
    config: DeepDPMConfig | str | None = None,
    seed: int = 0,
    epochs: int | None = None,
    initial_clusters: int = 1,
    reference: DeepDPM | ServedModel | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: str | int = "auto",
) -> DeepDPM:
    """Clusters data whose number of clusters nobody knows.

    Args:
        data: `[N, D]` array-like, tensor or DataFrame of numbers; images `[N, H, W, C]`; a pair
            `(x, y)`, whose labels are used for scores only; a `tf.data.Dataset` of x or `(x, y)`;
            a path to a .npy, .npz, .csv or .parquet file or a folder of images; or the name of a
            data set ("digits" and "blobs" are embedded, others come through TFDS).
        features: `"none"`: the columns (pixels) as they are, up to the model's own scaling and
            principal axes; `"auto"` chooses, at present always `"none"`.
        config: a `DeepDPMConfig`, or "default", "paper" or "official".
        seed: of everything random: the same seed on the same machine gives the same model.
        epochs: most epochs; `None` for the configuration's.
        initial_clusters: K at the start; it hardly matters for K at the end.
        reference: an older model of data like these; clusters that are the same keep their names,
            see `DeepDPM.fit`.
        callbacks: Keras callbacks.
        verbose: "auto" or 1: a progress bar; 2: a line per epoch; 0: silent.

    Returns:
        The fitted model.

    Raises:
        ValueError, TypeError, FileNotFoundError: naming the argument, what came and what was
            wanted.

    Example:
        >>> import tfdpm
        >>> model = tfdpm.fit("blobs", verbose=0)
        >>> model.n_clusters
        5
    """
    checks.one_of(features, "features", FEATURES)
    if config is None or isinstance(config, str):
        config = DeepDPMConfig.named(config or "default")
    if not isinstance(config, DeepDPMConfig):
        wanted = "a DeepDPMConfig, a preset's name or None"
        checks.fail("config", type(config).__name__, wanted, TypeError)
    if checks.integer(initial_clusters, "initial_clusters", minimum=1) != 1:
        config = config.replace(initial_clusters=initial_clusters)
    name = os.fspath(data) if isinstance(data, (str, os.PathLike)) else "data"
    inputs = as_features(data, name=name)
    points = inputs.array if inputs.array is not None else inputs.labelled_dataset
    points = inputs.dataset if points is None else points
    model = DeepDPM(config, seed=seed)
    model.fit(
        points,
        inputs.labels,
        epochs=epochs,
        callbacks=callbacks,
        verbose=verbose,
        reference=reference,
    )
    return model
