"""Models for serving: `export` writes a SavedModel, `load` opens one, or a saved `.keras` file.

No Python code comes from what is loaded, and nothing is unpickled.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.data.columns import Columns
from tfdpm.data.inputs import as_features
from tfdpm.deepdpm import DeepDPM
from tfdpm.progress.files import local_path
from tfdpm.serving.saved_model import CARD_NAME, FORMAT, checksums

__all__ = ["ServedModel", "export", "load"]

_MOST_ROWS, _MOST_ELEMENTS = 16_384, 2**24  # of one call
_WANTED = "a folder that `model.export` wrote"


def export(model: DeepDPM, directory: str | os.PathLike[str]) -> None:
    """Writes `model` for serving; see `DeepDPM.export`."""
    if not isinstance(model, DeepDPM):
        checks.fail("model", f"a {type(model).__name__}", "a fitted DeepDPM", TypeError)
    model.export(directory)


class ServedModel:
    """A loaded SavedModel that answers as the model it was made of. `load` makes it.

    Labels are the model's, but for points whose two best clusters float32 cannot tell apart.
    Responsibilities agree to 1e-5, log densities to a relative 1e-5 and p-values to 2e-5.

    Attributes:
        card: the model card, as a dictionary.
        n_clusters: int, number of clusters.
        n_components: int, K, number of components of the mixture, which clusters consist of.
        cluster_of_component_: `[K]` int64, the cluster that each component is part of.
        input_dim: int, values of one point.
        input_shape: shape of one point.
        columns: names and categories of the columns of frames, as `DeepDPM.columns`.
    """

    def __init__(self, signatures: dict[str, Any], card: dict[str, Any]):
        self._serve, self._label, self._embed = (
            signatures[name] for name in ("serving_default", "labels", "embed")
        )
        self.card = card
        self.input_shape = tuple(card["input_shape"])
        found = card.get("columns")  # cards of before have none
        self.columns = Columns() if found is None else Columns.from_json(json.dumps(found))
        self.n_clusters = int(card["n_clusters"])
        # Cards of before have none: each component was a cluster.
        joined = card.get("cluster_of_component", range(self.n_clusters))
        self.cluster_of_component_ = np.array(joined, np.int64)
        self.n_components = len(self.cluster_of_component_)
        self.input_dim = int(np.prod(self.input_shape))
        # Whitened features of all components are held at once.
        width = max(self.n_components * int(card["feature_dim"]), self.input_dim)
        self._rows = max(1, min(_MOST_ROWS, _MOST_ELEMENTS // width))

    def predict(self, x) -> np.ndarray:
        """Probabilities of clusters `[N, n_clusters]` float32 of raw points; rows sum to one."""
        return self._collect(self._label, ("responsibilities",), x)[0]

    def predict_labels(self, x, *, reject_below: float | None = None) -> np.ndarray:
        """Most probable cluster of each raw point, `[N]` int64.

        Args:
            x: points, as for `DeepDPM.predict`.
            reject_below: points whose `outlier_p` is less get -1.
        """
        if reject_below is None:
            return self._collect(self._label, ("labels",), x)[0]
        level = checks.number(reject_below, "reject_below", minimum=0.0, maximum=1.0)
        labels, p_values = self._collect(self._serve, ("labels", "outlier_p"), x)
        return np.where(p_values < level, -1, labels)

    def score_samples(self, x) -> np.ndarray:
        """Log posterior predictive density `[N]` float32 of raw points, nats."""
        return self._collect(self._serve, ("log_density",), x)[0]

    def outlier_p(self, x) -> np.ndarray:
        """P-values `[N]` float32 of raw points: uniform for points of the mixture."""
        return self._collect(self._serve, ("outlier_p",), x)[0]

    def embed(self, x) -> np.ndarray:
        """Features `[N, D]` float32 that the mixture sees."""
        return self._collect(self._embed, ("features",), x)[0]

    def _collect(self, signature, names: tuple[str, ...], x) -> list[np.ndarray]:
        """The outputs of those names for all points, in one pass."""
        inputs = as_features(x, minimum_points=1, columns=self.columns)
        if int(np.prod(inputs.feature_shape)) != self.input_dim:
            got = f"points of shape {inputs.feature_shape}"
            checks.fail("x", got, self.columns.describe(self.input_dim))
        batches = inputs.dataset
        if batches is None:
            starts = range(0, len(inputs.array), self._rows)
            batches = (inputs.array[start : start + self._rows] for start in starts)
        pieces = []
        for batch in batches:
            rows = tf.reshape(tf.cast(batch, tf.float32), [-1, *self.input_shape])
            outputs = signature(inputs=rows)
            pieces.append([outputs[name].numpy() for name in names])
        return [np.concatenate(part) for part in zip(*pieces, strict=True)]


def load(directory: str | os.PathLike[str]) -> ServedModel | DeepDPM:
    """Opens what `model.export` or `model.save` wrote.

    Args:
        directory: the folder; or its parent, of which the version with the highest number counts;
            or a `.keras` file.

    Returns:
        A `ServedModel`, which answers; of a file the `DeepDPM`, which can also go on training.

    Raises:
        FileNotFoundError: if there is no such folder or file.
        ValueError: if it is something else, or files are missing, cut or changed.
    """
    folder = local_path(directory, "directory")
    if folder.is_file():
        return load_file(folder)
    if not folder.is_dir():
        checks.fail("directory", repr(str(folder)), _WANTED, FileNotFoundError)
    versions = [path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()]
    if versions and not (folder / CARD_NAME).exists():
        folder = max(versions, key=lambda path: int(path.name))
    card = _read_card(folder)
    if checksums(folder) != card["files"]:
        got = f"{str(folder)!r}, in which files are missing, cut or changed"
        checks.fail("directory", got, _WANTED)
    signatures = tf.saved_model.load(str(folder)).signatures
    return ServedModel(dict(signatures), card)


def load_file(path: str | os.PathLike[str], kind: type[keras.Model] = DeepDPM) -> keras.Model:
    """Opens a `.keras` file of a model of that kind as `keras.models.load_model` does.

    There is one error for what is something else, cut or changed, or holds code to be run.
    """
    wanted = "a .keras file that `model.save` wrote"
    try:
        # Keras reads no checksums but those of the parts that it happens to need.
        with zipfile.ZipFile(path) as archive:
            if changed := archive.testzip():
                raise zipfile.BadZipFile(f"in {changed}")
        model = keras.models.load_model(path, safe_mode=True)
    except (zipfile.BadZipFile, ValueError, TypeError, KeyError, OSError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        got = f"{os.fspath(path)!r}, which is something else or damaged ({reason})"
        checks.fail("path", got, wanted)
    if not isinstance(model, kind):
        checks.fail("path", f"a {type(model).__name__} in {os.fspath(path)!r}", wanted)
    return model


def _read_card(folder: Path) -> dict[str, Any]:
    """The model card, complete and of this format."""
    try:
        card = json.loads((folder / CARD_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        checks.fail("directory", f"{str(folder)!r} without {CARD_NAME}", _WANTED)
    except ValueError:  # neither text nor JSON
        checks.fail("directory", f"{str(folder)!r} with a damaged {CARD_NAME}", _WANTED)
    needed = ("format", "input_shape", "feature_dim", "n_clusters", "files")
    if not isinstance(card, dict) or not all(name in card for name in needed):
        checks.fail("directory", f"{str(folder)!r} with a foreign {CARD_NAME}", _WANTED)
    if card["format"] != FORMAT:
        got = f"{str(folder)!r} of format {card['format']!r}"
        checks.fail("directory", got, f"format {FORMAT!r}")
    return card
