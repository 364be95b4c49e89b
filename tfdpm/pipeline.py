"""`fit`, which takes data of any kind to a fitted model in one call."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.callbacks import Checkpoint
from tfdpm.config import DeepDPMConfig, as_config
from tfdpm.data.catalogue.named import load
from tfdpm.data.columns import Columns
from tfdpm.data.inputs import Inputs, as_features
from tfdpm.deepdpm import DeepDPM
from tfdpm.deepdpm.fitting import first_points
from tfdpm.deepdpm.layout_prior import fit_layout_scale
from tfdpm.deepdpm.strategy_scope import out_of_scope
from tfdpm.export import ServedModel
from tfdpm.features import SelfSupervisedModel, learn_encoder, pretrained_models
from tfdpm.features.choice import FeatureChoice, choose, image_shape_of
from tfdpm.features.encoders import as_encoder
from tfdpm.progress.display import ProgressDisplay, as_verbose
from tfdpm.progress.stages import Stages, fingerprint

_LAYOUTS = ("umap", "swav", "backbone")  # features whose neighbours tell how wide the prior is
_MAX_CHOICE_POINTS = 4096  # of a stream, by which features="auto" chooses


def _in_its_strategy(function: Callable[..., DeepDPM]) -> Callable[..., DeepDPM]:
    """The function out of the scope that it is called in, whose strategy becomes its argument."""

    @functools.wraps(function)
    def call(*args: Any, strategy: tf.distribute.Strategy | None = None, **kwargs: Any) -> DeepDPM:
        if strategy is None and tf.distribute.has_strategy():
            strategy = tf.distribute.get_strategy()
        with out_of_scope():
            return function(*args, strategy=strategy, **kwargs)

    return call


@_in_its_strategy
def fit(
    data: Any,
    *,
    features: str | keras.Model = "auto",
    config: DeepDPMConfig | str | None = None,
    seed: int = 0,
    epochs: int | None = None,
    initial_clusters: int = 1,
    shape: str | None = None,
    sample_weight: Any = None,
    must_link: Any = None,
    cannot_link: Any = None,
    reference: DeepDPM | ServedModel | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: str | int = "auto",
    directory: str | os.PathLike[str] | None = None,
    download: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> DeepDPM:
    """Clusters data whose number of clusters nobody knows.

    Args:
        data: `[N, D]` array-like or tensor of numbers; a DataFrame of numbers, text and categories,
            whose names and categories the model keeps; images `[N, H, W]` or `[N, H, W, C]`; a
            pair `(x, y)`, whose labels are used for scores only, or `(x, y, weights)`; a
            `tf.data.Dataset`, `PyDataset` or generator of these, or of dictionaries, as `tfds.load`
            gives them, or several such splits; a path to an array, a table (see `tfdpm.data.read`,
            which also says how its columns are used) or a folder of images; a pattern or list of
            such files of one kind; or the name of a data set ("digits" and "blobs" are embedded,
            others come through TFDS).
        features: how raw points become what is clustered. The model keeps the way, and takes raw
            points from then on.
            - `"auto"`: one of the others, chosen by shape, size and distances; see
              `model.features_`.
            - `"none"`: the columns (pixels) as they are, up to the model's own scaling and
              principal axes. For tables, and for features that are embedded already.
            - `"pca"`: the ten leading principal axes.
            - `"umap"`: a network that places points by their neighbours (images are described by
              scattering first). For images, and for embeddings of texts. Neighbours
              then tell how wide the prior is, unless `config` has a `prior_scale`.
            - `"autoencoder"`: the ten latents of an autoencoder.
            - `"swav"`: SwAV on many views of each image, then `"umap"`. For photographs; it takes
              hours without an accelerator.
            - `"efficientnet"`, `"dinov2"`, `"clip"` or another name of
              `tfdpm.features.pretrained`, then as `"umap"`. For photographs; weights must be on
              this machine.
            - `"minilm"`, `"e5"` or another text preset of KerasHub, then as `"umap"`. For texts.
            - a `SwAV` or alike that was trained on images like these, then as `"umap"`.
            - any other `keras.Model`, from raw points to rows of features; `data` may then be `[N]`
              texts.
        config: a `DeepDPMConfig`, or "default", "paper" or "official"; `None` for the default.
        seed: random seed; the same seed on the same machine gives the same model.
        epochs: number of epochs of the clustering at most; `None` for the configuration's.
        initial_clusters: K at the start, >= 1; it hardly matters for K at the end.
        shape: what a cluster is: "any" joins components of the mixture between which the points
            have no valley, "gaussian" makes each a cluster. `None` for the configuration's, which
            is "any" by default.
        sample_weight: `[N]` non-negative weights of the points, see `DeepDPM.fit`; features are
            learned without them. `None` for one each.
        must_link: `[M, 2]` pairs of rows that end in one cluster, see `DeepDPM.fit`.
        cannot_link: `[M, 2]` pairs of rows that end in two clusters, see `DeepDPM.fit`.
        reference: older model of data like these, whose clusters' names are kept, see
            `DeepDPM.fit`; `None` gives new names.
        callbacks: Keras callbacks of the clustering.
        verbose: "auto" or 1 for stages and a progress bar, 2 for stages and a line per epoch, 0
            for silence.
        directory: folder for results of stages, from which the same call goes on after an
            interruption; `None` keeps none.
        download: whether missing files of a data set's name may be downloaded.
        data_dir: folder of those files; `None` for `~/tensorflow_datasets`.
        strategy: `tf.distribute.Strategy` that shares the clustering out among devices; `None` for
            that in whose scope `fit` is called, if any.

    Returns:
        The fitted model.

    Raises:
        ValueError, TypeError, FileNotFoundError: naming the argument, what came and what was
            wanted.

    Examples:
        >>> import tfdpm
        >>> model = tfdpm.fit("blobs", verbose=0)
        >>> model.n_clusters
        5
    """
    features, given = _given_model(features)
    config = as_config(config)
    if checks.integer(initial_clusters, "initial_clusters", minimum=1) != 1:
        config = config.replace(initial_clusters=initial_clusters)
    if shape is not None:
        config = config.replace(shape=shape)
    if strategy is not None and not isinstance(strategy, tf.distribute.Strategy):
        got = f"a {type(strategy).__name__}"
        checks.fail("strategy", got, "a tf.distribute.Strategy or None", TypeError)
    name = os.fspath(data) if isinstance(data, (str, os.PathLike)) else "data"
    if download or data_dir is not None:
        if not isinstance(data, str):
            wanted = "a data set's name where `download` or `data_dir` is given"
            checks.fail("data", f"a {type(data).__name__}", wanted)
        data = load(data, data_dir=data_dir, download=download)
    known = getattr(reference, "columns", None)
    columns = known if known and known.names else None
    inputs = _read_inputs(data, name, columns, given)
    verbose = as_verbose(verbose)
    if inputs.columns.origin:
        ProgressDisplay(verbose=2 if verbose else 0).write(str(inputs.columns))
    choice = _choose_features(features, given, inputs)
    names = learn_encoder.STAGES[choice.name]
    sample = None
    if len(names) > 1 or directory is not None:
        sample = learn_encoder.points_to_learn_from(inputs, choice.name, seed)
    key = ""
    if directory is not None:
        weights = inputs.weights if sample_weight is None else sample_weight
        key = _key_of(sample, config, choice, given, weights, seed)
    shown = verbose if len(names) > 1 else 0
    stages = Stages(names, verbose=shown, directory=directory, key=key)
    stages.say(f"features: {choice}")
    if choice.name == "model":
        learned = learn_encoder.Learned(as_encoder(given, inputs.feature_shape))
    else:
        learned = learn_encoder.learn_encoder(choice, sample, stages, seed, given)
        # Of an array that is its own sample; a stream's may come in another order.
        if inputs.array is not None and sample is not None and len(sample) == len(inputs.array):
            inputs = dataclasses.replace(inputs, encoded=learned.places)
    callbacks = list(callbacks)
    checkpoint = stages.path("clusters", ".npz")
    if checkpoint is not None and not any(isinstance(each, Checkpoint) for each in callbacks):
        callbacks.append(Checkpoint(checkpoint))
    with stages.stage(learn_encoder.CLUSTERS):
        if choice.name in _LAYOUTS:
            count, are_images = inputs.num_points or len(sample), choice.image_shape is not None
            scale, start = fit_layout_scale(
                learned.places, learned.neighbours, config, count, seed, are_images=are_images
            )
            config = config.replace(prior_scale=scale)
            if inputs.encoded is not None and inputs.weights is None and sample_weight is None:
                inputs = dataclasses.replace(inputs, start=start)
        with contextlib.nullcontext() if strategy is None else strategy.scope():
            model = DeepDPM(config, seed=seed, encoder=learned.encoder, features=str(choice))
        model.fit(
            inputs,
            epochs=epochs,
            callbacks=callbacks,
            verbose=verbose,
            sample_weight=sample_weight,
            must_link=must_link,
            cannot_link=cannot_link,
            reference=reference,
        )
    return model


def _read_inputs(
    data: Any, name: str, columns: Columns | None, given: keras.Model | None
) -> Inputs:
    """Checked data; of texts that no model takes, the error names one that would."""
    takes_text = _takes_text(given, data)
    try:
        return as_features(data, name=name, columns=columns, takes_text=takes_text).in_memory()
    except TypeError as error:
        for got in ("text", "dtype string"):
            is_text = str(error).startswith(f"`{name}`: got {got},")
            if given is None and is_text and "whose columns of text" not in str(error):
                _propose_text_model(name, got)
        raise


def _takes_text(model: keras.Model | None, data: Any) -> bool:
    """Returns whether a model is of texts: by its input or, where it has none yet, by the data."""
    if model is None or isinstance(model, SelfSupervisedModel):
        return False
    inputs = getattr(model, "inputs", None)
    if inputs:
        return inputs[0].dtype == "string"
    points = data[0] if isinstance(data, tuple) and len(data) in (2, 3) else data
    if isinstance(points, tf.data.Dataset):
        return tf.nest.flatten(points.element_spec)[0].dtype == tf.string
    if not isinstance(points, (list, tuple)) and not hasattr(points, "dtype"):
        return False
    first = np.asarray(points[:1]).ravel()
    return len(first) > 0 and isinstance(first[0], (str, bytes))


def _propose_text_model(data: str, got: str) -> NoReturn:
    """Raises TypeError that names a model of texts, with weights that are here if there are any."""
    model = pretrained_models.local_text_model()
    wanted = f"{model!r}, whose weights are here"
    if model is None:
        fetched = "tfdpm.features.pretrained('minilm', download=True)"
        wanted = f" a Keras model that makes rows of texts, such as {fetched}"
    checks.fail(data, got, f"numbers, or features={wanted}", TypeError)


def _given_model(features: Any) -> tuple[str, keras.Model | None]:
    """The kind of features that was asked for, and the model of that name or that was given."""
    if isinstance(features, SelfSupervisedModel):
        return "backbone", features
    if isinstance(features, keras.Model):
        return "model", features
    is_name = isinstance(features, str) and features not in learn_encoder.FEATURES
    if is_name and pretrained_models.is_pretrained(features):
        return "backbone", pretrained_models.pretrained(features)
    return checks.one_of(
        features, "features", (*learn_encoder.FEATURES, *pretrained_models.ALIASES)
    ), None


def _choose_features(features: str, given: keras.Model | None, inputs: Inputs) -> FeatureChoice:
    """How raw points become what is clustered, and why."""
    if features == "model":
        return FeatureChoice("model", f"{given.name}, asked for")
    if features in ("none", "pca"):
        return FeatureChoice(features, "asked for")
    if features == "auto" and inputs.columns.variables:
        return FeatureChoice("none", "columns of categories, a table")
    points = inputs.array
    if points is None:
        points = first_points(inputs.dataset, _MAX_CHOICE_POINTS)
    if features == "backbone":
        shape = image_shape_of(points) if points.ndim > 1 else None  # texts have one
        return FeatureChoice("backbone", f"{given.name}, asked for", shape)
    choice = choose(features, points, inputs.num_points)
    is_photograph = choice.image_shape is not None and choice.image_shape[2] == 3
    if features == "auto" and is_photograph and (name := pretrained_models.local_model()):
        choice = dataclasses.replace(
            choice, reason=f"{choice.reason}; weights are here for features={name!r}"
        )
    return choice


def _key_of(
    sample: np.ndarray,
    config: DeepDPMConfig,
    choice: FeatureChoice,
    given: keras.Model | None,
    weights: Any,
    seed: int,
) -> str:
    """What tells the stages of a fit from those of others, which may lie in the same folder."""
    settings = {"config": dataclasses.asdict(config), "choice": dataclasses.asdict(choice)}
    if weights is not None:
        settings["sample_weight"] = np.asarray(weights).tolist()
    if given is not None:
        settings["model"] = [float(np.sum(weight)) for weight in given.get_weights()]
    return fingerprint(sample, seed=seed, **settings)
