"""A fitted model as a TensorFlow graph that needs neither Python nor this package, and its folder.

The folder is a SavedModel with a model card, which also holds a checksum of every other file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.progress.files import create_folder, local_path
from tfdpm.serving.density import ServedPredictive
from tfdpm.serving.inspection import sign
from tfdpm.serving.weights import ServedEncoder, affine, held, held_affine

CARD_NAME = "model_card.json"
FORMAT = "tfdpm 1"  # of the folder; another number when signatures change
# Where TensorFlow Serving looks for requests to run before it answers any, and their batch sizes.
_WARMUP_NAME = "assets.extra/tf_serving_warmup_requests"
_WARMUP_ROWS = (1, 64)
# Deviation of rounded inputs in that of a cluster. At a quarter, 3 % of its variance are rounding;
# at twice of it labels near borders change, at half of it none do.
_MOST_ROUNDING = 0.25


class ServingModule(tf.Module):
    """Raw inputs in, clusters out: preprocessing, network and mixture as one graph.

    Affine maps that follow each other are multiplied beforehand where that saves work. Arithmetic
    is in float32 after inputs have been centred; see `ServedPredictive` for the exception.
    """

    def __init__(self, model: Any):
        super().__init__(name="tfdpm")
        if model.encoder is not None and model.encoder.inputs[0].dtype == "string":
            got = "a model whose encoder takes texts"
            checks.fail("model", got, "an encoder of numbers; `model.save` keeps this one")
        state, clustering = model.fitted.state, model.fitted.networks.clustering
        preprocessing = state.preprocessing
        self._encoder = None if model.encoder is None else ServedEncoder(model.encoder)
        self._input_dim = preprocessing.input_dim
        self._normalizes_rows = preprocessing.normalizes_rows
        # Spare units stay behind: there are K components.
        count = state.num_components
        # Of components that are joined, a cluster's probability is the sum.
        is_joined = model.fitted.num_clusters < count
        self._membership = held(model.fitted.membership) if is_joined else None
        hidden, head = clustering.hidden, clustering.head
        hidden_map = (np.asarray(hidden.kernel, np.float64), np.asarray(hidden.bias, np.float64))
        self._head = held_affine(np.asarray(head.kernel)[:, :count], np.asarray(head.bias)[:count])
        self._log_scales, self._log_origins = preprocessing.log_scales, preprocessing.log_origins
        _warn_of_rounding(model)
        self._counts_slopes = self._log_scales is not None and preprocessing.is_invertible
        # Rows are centred by the rounded mean, exactly; the rest of the mean is in the bias.
        center = preprocessing.mean.astype(np.float32)
        self._center = held(center)
        rest = preprocessing.mean - center
        projection = (preprocessing.projection, -rest @ preprocessing.projection)
        self._projection = held_affine(*projection)
        self._farthest = np.float32(preprocessing.farthest_input)
        dim = preprocessing.feature_dim
        # Where the outputs cost no more from rows than by way of features, one map does both.
        width, rows_width = count * dim, preprocessing.input_dim
        self._is_folded = rows_width * width <= dim * (rows_width + width)
        if self._is_folded:
            kernel, bias = hidden_map
            hidden_map = (projection[0] @ kernel, projection[1] @ kernel + bias)
        self._hidden = held_affine(*hidden_map)
        self._predictive = ServedPredictive(
            state.parameters.mixture_weights,
            state.posterior(),
            preprocessing.log_determinant,
            projection if self._is_folded else None,
            state.categories,
        )
        inputs = tf.TensorSpec([None, *model.point_shape], tf.float32, name="inputs")
        self.serve, self.label, self.embed = (
            tf.function(method, input_signature=[inputs], autograph=False)
            for method in (self._serve, self._label, self._embed)
        )

    def _centred(self, inputs) -> tf.Tensor:
        rows = inputs if self._encoder is None else self._encoder(inputs)
        if rows.shape.rank != 2:
            rows = tf.reshape(rows, [-1, self._input_dim])
        if self._normalizes_rows:
            # A row of zeros stays. Neither huge nor tiny rows leave float32.
            largest = tf.reduce_max(tf.abs(rows), axis=-1, keepdims=True)
            rows = tf.math.divide_no_nan(rows, largest)
            rows = tf.math.divide_no_nan(rows, tf.norm(rows, axis=-1, keepdims=True))
        if self._log_origins is not None:
            rows -= self._log_origins.astype(np.float32)
        if self._log_scales is not None:
            has_log = np.isfinite(self._log_scales)
            scales = np.where(has_log, self._log_scales, 1.0).astype(np.float32)
            # Not every runtime has log1p.
            logs = tf.sign(rows) * scales * tf.math.log(1.0 + tf.abs(rows) / scales)
            rows = tf.where(has_log, logs, rows)
        rows = rows - self._center
        # What is no number lies beyond all numbers.
        rows = tf.where(tf.math.is_nan(rows), self._farthest, rows)
        return tf.clip_by_value(rows, -self._farthest, self._farthest)

    def _embed(self, inputs) -> dict[str, tf.Tensor]:
        return {"features": affine(self._centred(inputs), self._projection)}

    def _first(self, rows) -> tf.Tensor:
        """What the first kernels are multiplied with, of centred rows."""
        return rows if self._is_folded else affine(rows, self._projection)

    def _label(self, inputs) -> dict[str, tf.Tensor]:
        return self._network(self._first(self._centred(inputs)))

    def _network(self, first) -> dict[str, tf.Tensor]:
        scores = affine(tf.nn.relu(affine(first, self._hidden)), self._head)
        shares = tf.nn.softmax(scores)
        if self._membership is not None:
            scores = shares = tf.linalg.matmul(shares, self._membership)
        labels = tf.argmax(scores, axis=-1, output_type=tf.int64)
        return {"labels": labels, "responsibilities": shares}

    def _serve(self, inputs) -> dict[str, tf.Tensor]:
        rows = self._centred(inputs)
        first = self._first(rows)
        log_density, p_values = self._predictive(tf.cast(first, self._predictive.dtype))
        log_density = tf.cast(log_density, tf.float32)
        if self._counts_slopes:
            # See `skewness.log_slopes`.
            logs = tf.abs(rows + self._center) / self._log_scales.astype(np.float32)
            log_density -= tf.reduce_sum(logs, axis=-1)
        return {
            **self._network(first),
            "log_density": log_density,
            "outlier_p": tf.cast(p_values, tf.float32),
        }


def export(
    model: Any, directory: str | os.PathLike[str], key: bytes | None = None, names: Any = None
) -> None:
    """Writes a model and its card to a new folder, all or nothing; see `DeepDPM.export`."""
    state, module = model.fitted.state, ServingModule(model)
    target = local_path(directory, "directory")
    versions = {each.__name__: each.__version__ for each in (tf, keras, np)}
    card = {
        "format": FORMAT,
        "n_clusters": model.fitted.num_clusters,
        "names": checks.cluster_names(names, model.fitted.num_clusters),
        "n_components": state.num_components,
        "cluster_of_component": model.fitted.clusters.tolist(),
        "input_shape": list(model.point_shape),
        "columns": dataclasses.asdict(model.columns),
        "feature_dim": state.preprocessing.feature_dim,
        "features": model.features_,
        "preprocessing": state.preprocessing.description,
        "num_points": float(np.sum(state.soft.counts)),
        "epochs": state.epoch,
        "seed": model.seed,
        "config": dataclasses.asdict(model.config),
        "versions": {"python": platform.python_version(), **versions},
    }
    functions = {"serving_default": module.serve, "labels": module.label, "embed": module.embed}
    signatures = {name: _checked(function) for name, function in functions.items()}
    ids, statistics, unlike = model.fitted.baseline
    parts = (ids, np.array(unlike or (0, 0)), *statistics)
    module.baseline = [tf.Variable(part, trainable=False) for part in parts]
    try:
        with create_folder(target) as folder:
            tf.saved_model.save(module, str(folder), signatures=signatures)
            _write_warmup_requests(folder / _WARMUP_NAME, module, target.absolute().parent.name)
            card["files"] = checksums(folder)
            if key is not None:
                card["signature"] = sign(card, checks.secret(key, "key"))
            text = json.dumps(card, indent=2)
            (folder / CARD_NAME).write_text(text + "\n", encoding="utf-8")
    except tf.errors.OpError as error:
        if str(target.parent) not in error.message:
            raise
        got = f"{str(target.parent)!r}, where nothing can be written ({error.message[-80:]})"
        checks.fail("directory", got, "a folder with room that may be written", OSError)
    except FileExistsError:
        wanted = "a version that does not exist yet"
        checks.fail("directory", f"{str(target)!r}, which exists", wanted, FileExistsError)
    except NotADirectoryError:
        wanted = "a path through folders only"
        checks.fail("directory", f"{str(target)!r}, below a file", wanted, NotADirectoryError)


def _checked(function: Any) -> Any:
    """The function with errors that name its argument, for servers without this package."""
    (points,) = function.input_signature
    sizes = ", ".join(map(str, points.shape[1:]))
    message = f"`inputs`: wanted points [B, {sizes}] of finite numbers, got"

    def answer(inputs):
        inputs = tf.ensure_shape(inputs, points.shape, name="inputs")
        return function(tf.debugging.check_numerics(inputs, message))

    return tf.function(answer, input_signature=[points], autograph=False)


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder but the card, by its path in it.

    They tell of accidents. Who changes files on purpose changes them too; see `sign`.
    """
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / CARD_NAME
    }


def _write_warmup_requests(path: Path, module: ServingModule, name: str) -> None:
    """Requests of several sizes, so that the first client does not wait for kernels to load.

    TFRecords of TensorFlow Serving's `PredictionLog`. Its messages come with a package of their
    own, so the four that surround the tensor are written by hand: field numbers and lengths.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = module.serve.input_signature[0].shape[1:]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for rows in _WARMUP_ROWS:
            tensor = tf.make_tensor_proto(np.zeros([rows, *shape], np.float32))
            entry = _field(1, b"inputs") + _field(2, tensor.SerializeToString())
            specification = _field(1, name.encode()) + _field(3, b"serving_default")
            request = _field(1, specification) + _field(2, entry)
            writer.write(_field(6, _field(1, request)))


def _warn_of_rounding(model: Any) -> None:
    """Warns where float32 inputs are too coarse to tell the points of a cluster apart."""
    state, preprocessing = model.fitted.state, model.fitted.state.preprocessing
    if model.encoder is not None or preprocessing.normalizes_rows:
        return
    means = np.abs(preprocessing.inverse(np.asarray(state.parameters.means)))
    steps = np.spacing(means.max(axis=0).astype(np.float32)).astype(np.float64)
    if preprocessing.log_scales is not None:
        steps[np.isfinite(preprocessing.log_scales)] = 0.0
    rounding = np.sqrt((steps**2 / 12.0) @ preprocessing.projection**2)
    variances = np.diagonal(np.asarray(state.parameters.covariances), axis1=1, axis2=2)
    if np.any(rounding > _MOST_ROUNDING * np.sqrt(variances.min(axis=0))):
        warnings.warn(
            f"Exported models take float32, whose steps at these points are {steps.max():.3g}: "
            "clusters so narrow are not told apart. Subtract an offset from the columns before "
            "`fit`, and from what is served.",
            stacklevel=4,
        )


def _field(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer that holds text or another message."""
    length, size = b"", len(content)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content
