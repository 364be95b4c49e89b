"""A fitted model as a TensorFlow graph that needs neither Python nor this package, and its folder.

The folder is a SavedModel with a model card, which also holds a checksum of every other file.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.mixture import niw
from tfdpm.mixture.outliers import PredictiveTails
from tfdpm.model.networks import ClusteringNetwork
from tfdpm.model.state import ModelState

CARD_NAME = "model_card.json"
FORMAT = "tfdpm 1"  # of the folder; another number when signatures change
# Where TensorFlow Serving looks for requests to run before it answers any, and their batch sizes.
_WARMUP_NAME = "assets.extra/tf_serving_warmup_requests"
_WARMUP_ROWS = (1, 64)


class ServingModule(tf.Module):
    """Raw inputs in, clusters out: preprocessing, network and mixture as one graph.

    Args:
        state: of a fitted model.
        clustering: its clustering network.
        feature_shape: `(D,)`, `(H, W)` or `(H, W, C)`, the shape of one point.
    """

    def __init__(
        self, state: ModelState, clustering: ClusteringNetwork, feature_shape: tuple[int, ...]
    ):
        super().__init__(name="tfdpm")
        self._preprocessing = state.preprocessing
        self._volume = state.preprocessing.log_volume_change
        self._tails = PredictiveTails(
            state.parameters.mixture_weights, niw.posterior(state.prior, state.soft)
        )
        # Spare units stay behind: users see K clusters.
        count = state.num_components
        hidden, head = clustering.hidden, clustering.head
        weights = {
            "hidden_kernel": hidden.kernel,
            "hidden_bias": hidden.bias,
            "kernel": head.kernel[:, :count],
            "bias": head.bias[:count],
        }
        self._weights = {
            name: tf.Variable(value, trainable=False, name=name) for name, value in weights.items()
        }
        inputs = tf.TensorSpec([None, *feature_shape], tf.float32, name="inputs")
        self.serve = tf.function(self._serve, input_signature=[inputs], autograph=False)
        self.embed = tf.function(self._embed, input_signature=[inputs], autograph=False)

    def _features(self, inputs) -> tf.Tensor:
        return self._preprocessing(tf.reshape(inputs, [-1, self._preprocessing.input_dim]))

    def _embed(self, inputs) -> dict[str, tf.Tensor]:
        return {"features": self._features(inputs)}

    def _serve(self, inputs) -> dict[str, tf.Tensor]:
        features = self._features(inputs)
        weights = self._weights
        hidden = tf.nn.relu(
            tf.linalg.matmul(features, weights["hidden_kernel"]) + weights["hidden_bias"]
        )
        logits = tf.linalg.matmul(hidden, weights["kernel"]) + weights["bias"]
        log_density, p_values = self._tails.tails(features)
        return {
            "labels": tf.argmax(logits, axis=-1, output_type=tf.int64),
            "responsibilities": tf.nn.softmax(logits),
            "log_density": tf.cast(log_density + self._volume, tf.float32),
            "outlier_p": tf.cast(p_values, tf.float32),
        }


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
    if os.path.lexists(target):
        _fail_because_it_exists(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        wanted = "a path through folders only"
        checks.fail("directory", f"{str(target)!r}, below a file", wanted, NotADirectoryError)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        signatures = {"serving_default": module.serve, "embed": module.embed}
        tf.saved_model.save(module, str(folder), signatures=signatures)
        _write_warmup_requests(folder / _WARMUP_NAME, module, target.absolute().parent.name)
        files = {"files": checksums(folder)}
        text = json.dumps({"format": FORMAT, **card, "versions": _versions(), **files}, indent=2)
        (folder / CARD_NAME).write_text(text + "\n", encoding="utf-8")
        folder.chmod(0o755)  # a temporary folder is private, a model is not
        try:
            folder.rename(target)
        except OSError:
            if not os.path.lexists(target):
                raise
            _fail_because_it_exists(target)  # by another process, in the meantime
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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


def _fail_because_it_exists(target: Path) -> None:
    wanted = "a version that does not exist yet"
    checks.fail("directory", f"{str(target)!r}, which exists", wanted, FileExistsError)


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }
