"""A fitted model as a TensorFlow graph that needs neither Python nor this package, and its folder.

The folder is a SavedModel with a model card, which also holds a checksum of every other file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.networks.layers import ClusteringNetwork
from tfdpm.progress.files import create_folder
from tfdpm.search.state import MixtureState
from tfdpm.serving.density import ServedPredictive
from tfdpm.serving.weights import ServedEncoder, affine, held, held_affine

CARD_NAME = "model_card.json"
FORMAT = "tfdpm 1"  # of the folder; another number when signatures change
# Where TensorFlow Serving looks for requests to run before it answers any, and their batch sizes.
_WARMUP_NAME = "assets.extra/tf_serving_warmup_requests"
_WARMUP_ROWS = (1, 64)


class ServingModule(tf.Module):
    """Raw inputs in, clusters out: preprocessing, network and mixture as one graph.

    Affine maps that follow each other are multiplied beforehand where that saves work. Arithmetic
    is in float32 after inputs have been centred; see `ServedPredictive` for the exception.

    Args:
        state: of a fitted model.
        clustering: its clustering network.
        feature_shape: `(D,)`, `(H, W)` or `(H, W, C)`, the shape of one point.
        encoder: from points of that shape to the rows that preprocessing takes; `None` where
            these are the points themselves.
    """

    def __init__(
        self,
        state: MixtureState,
        clustering: ClusteringNetwork,
        feature_shape: tuple[int, ...],
        encoder: keras.Model | None = None,
    ):
        super().__init__(name="tfdpm")
        preprocessing = state.preprocessing
        self._encoder = None if encoder is None else ServedEncoder(encoder)
        self._input_dim = preprocessing.input_dim
        self._normalizes_rows = preprocessing.normalizes_rows
        # Spare units stay behind: users see K clusters.
        count = state.num_components
        hidden, head = clustering.hidden, clustering.head
        hidden_map = (np.asarray(hidden.kernel, np.float64), np.asarray(hidden.bias, np.float64))
        self._head = held_affine(np.asarray(head.kernel)[:, :count], np.asarray(head.bias)[:count])
        # Rows are centred by the rounded mean, exactly; the rest of the mean is in the bias.
        center = preprocessing.mean.astype(np.float32)
        self._center = held(center)
        rest = preprocessing.mean - center
        projection = (preprocessing.projection, -rest @ preprocessing.projection)
        self._projection = held_affine(*projection)
        dim = preprocessing.feature_dim
        self._is_folded = _saves_work(preprocessing.input_dim, dim, count * dim)
        if self._is_folded:
            hidden_map = _composed(projection, hidden_map)
        self._hidden = held_affine(*hidden_map)
        self._predictive = ServedPredictive(
            state.parameters.mixture_weights,
            state.posterior(),
            preprocessing.log_volume_change,
            projection if self._is_folded else None,
        )
        inputs = tf.TensorSpec([None, *feature_shape], tf.float32, name="inputs")
        self.serve, self.label, self.embed = (
            tf.function(method, input_signature=[inputs], autograph=False)
            for method in (self._serve, self._label, self._embed)
        )

    @property
    def signatures(self) -> dict[str, Any]:
        """Functions of the SavedModel by the names that clients use."""
        return {"serving_default": self.serve, "labels": self.label, "embed": self.embed}

    def _centred(self, inputs) -> tf.Tensor:
        if self._encoder is not None:
            inputs = self._encoder(inputs)
        rows = inputs
        if inputs.shape.rank != 2:
            rows = tf.reshape(inputs, [-1, self._input_dim])
        if self._normalizes_rows:
            rows = _normalized(rows)
        return rows - self._center

    def _embed(self, inputs) -> dict[str, tf.Tensor]:
        return {"features": affine(self._centred(inputs), self._projection)}

    def _first(self, inputs) -> tf.Tensor:
        """What the first kernels are multiplied with."""
        rows = self._centred(inputs)
        return rows if self._is_folded else affine(rows, self._projection)

    def _network(self, first) -> dict[str, tf.Tensor]:
        logits = affine(tf.nn.relu(affine(first, self._hidden)), self._head)
        return {
            "labels": tf.argmax(logits, axis=-1, output_type=tf.int64),
            "responsibilities": tf.nn.softmax(logits),
        }

    def _label(self, inputs) -> dict[str, tf.Tensor]:
        return self._network(self._first(inputs))

    def _serve(self, inputs) -> dict[str, tf.Tensor]:
        first = self._first(inputs)
        log_density, p_values = self._predictive(tf.cast(first, self._predictive.dtype))
        return {
            **self._network(first),
            "log_density": tf.cast(log_density, tf.float32),
            "outlier_p": tf.cast(p_values, tf.float32),
        }


def serving_module(model: Any) -> ServingModule:
    """The graph of a fitted `DeepDPM`."""
    fitted = model.fitted
    return ServingModule(fitted.state, fitted.networks.clustering, model.point_shape, model.encoder)


def export(model: Any, directory: str | os.PathLike[str]) -> None:
    """Writes the SavedModel of a fitted `DeepDPM` and its model card.

    Args:
        model: the `DeepDPM`.
        directory: as for `write`.
    """
    state = model.fitted.state
    card = {
        "n_clusters": state.num_components,
        "input_shape": list(model.point_shape),
        "feature_dim": state.preprocessing.feature_dim,
        "features": model.features_,
        "preprocessing": state.preprocessing.description,
        "num_points": float(np.sum(state.soft.counts)),
        "epochs": state.epoch,
        "seed": model.seed,
        "config": dataclasses.asdict(model.config),
    }
    write(serving_module(model), directory, card)


def _normalized(rows) -> tf.Tensor:
    """Rows of unit length; a row of zeros stays. Neither huge nor tiny rows leave float32."""
    rows = tf.math.divide_no_nan(rows, tf.reduce_max(tf.abs(rows), axis=-1, keepdims=True))
    return tf.math.divide_no_nan(rows, tf.norm(rows, axis=-1, keepdims=True))


def _composed(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of one affine map after another."""
    return first[0] @ second[0], first[1] @ second[0] + second[1]


def _saves_work(input_dim: int, feature_dim: int, width: int) -> bool:
    """Whether `width` outputs of raw inputs cost no more than by way of the features."""
    return input_dim * width <= feature_dim * (input_dim + width)


def write(module: ServingModule, directory: str | os.PathLike[str], card: dict[str, Any]) -> None:
    """Writes a SavedModel with its card to a folder that does not exist yet, all or nothing.

    Everything is written to a hidden folder beside it, which is then renamed; a server that
    watches the parent never sees half a model.

    Args:
        module: what is served.
        directory: such as `saved_models/name/1`, as TensorFlow Serving wants it; made if needed.
        card: what users should know about the model; values that JSON knows.

    Raises:
        FileExistsError: if the folder exists.
        NotADirectoryError: if part of its path is a file.
    """
    target = Path(directory)
    try:
        with create_folder(target) as folder:
            tf.saved_model.save(module, str(folder), signatures=module.signatures)
            _write_warmup_requests(folder / _WARMUP_NAME, module, target.absolute().parent.name)
            contents = {"versions": _versions(), "files": checksums(folder)}
            text = json.dumps({"format": FORMAT, **card, **contents}, indent=2)
            (folder / CARD_NAME).write_text(text + "\n", encoding="utf-8")
    except FileExistsError:
        wanted = "a version that does not exist yet"
        checks.fail("directory", f"{str(target)!r}, which exists", wanted, FileExistsError)
    except NotADirectoryError:
        wanted = "a path through folders only"
        checks.fail("directory", f"{str(target)!r}, below a file", wanted, NotADirectoryError)


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder but the card, by its path in it."""
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


def _field(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer that holds text or another message."""
    length, size = b"", len(content)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }
