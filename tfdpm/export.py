"""Models for serving: `export` writes a SavedModel, `load` opens one, or a saved `.keras` file.

No Python code comes from what is loaded, nothing is unpickled, and graphs are inspected.
"""

from __future__ import annotations

import hmac
import itertools
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.data.columns import Columns
from tfdpm.data.inputs import as_features
from tfdpm.deepdpm import DeepDPM
from tfdpm.interpret.drift import Baseline, Drift, measure_drift
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.progress.files import UNREADABLE, local_path
from tfdpm.serving import inspection
from tfdpm.serving.saved_model import CARD_NAME, FORMAT, checksums

__all__ = ["ServedModel", "export", "load"]

_MOST_ROWS, _MOST_ELEMENTS = 16_384, 2**24  # of one call
_WANTED = "a folder that `model.export` wrote"
_MOST_INFLATION = 100  # times the size of a .keras file, of what it unpacks to; ours hardly pack
_MOST_FAULTS = 3  # that an error names


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

    def __init__(self, loaded: Any, card: dict[str, Any]):
        self._loaded = loaded  # its variables last as long as it
        self._serve, self._label, self._embed = (
            loaded.signatures[name] for name in ("serving_default", "labels", "embed")
        )
        # Folders of before have none.
        self._baseline = [each.numpy() for each in getattr(loaded, "baseline", ())]
        self._functions: dict[tuple[str, ...], Callable[[tf.Tensor], list[tf.Tensor]]] = {}
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
        self._check_outputs()

    def predict(self, x) -> np.ndarray:
        """Probabilities of clusters `[N, n_clusters]` float32; `x` as for `DeepDPM.predict`."""
        return self._collect(("responsibilities",), x)[0]

    def predict_labels(self, x, *, reject_below: float | None = None) -> np.ndarray:
        """Most probable cluster of each raw point, `[N]` int64.

        Args:
            x: points, as for `DeepDPM.predict`.
            reject_below: points whose `outlier_p` is less get -1.
        """
        if reject_below is None:
            return self._collect(("labels",), x)[0]
        level = checks.number(reject_below, "reject_below", minimum=0.0, maximum=1.0)
        labels, p_values = self._collect(("labels", "outlier_p"), x)
        return np.where(p_values < level, -1, labels)

    def score_samples(self, x) -> np.ndarray:
        """Log posterior predictive density `[N]` float32, nats; `x` as for `DeepDPM.predict`."""
        return self._collect(("log_density",), x)[0]

    def outlier_p(self, x) -> np.ndarray:
        """P-values `[N]` float32, as of `DeepDPM.outlier_p`; `x` as for `DeepDPM.predict`."""
        return self._collect(("outlier_p",), x)[0]

    def embed(self, x) -> np.ndarray:
        """Features `[N, D]` float32 that the mixture sees; `x` as for `DeepDPM.predict`."""
        return self._collect(("features",), x)[0]

    def drift(self, x, *, level: float = 0.01) -> Drift:
        """Which clusters grew, shrank or moved in new points; see `DeepDPM.drift`.

        Args:
            x: new points, as for `DeepDPM.predict`, a hundred or more.
            level: p-value, corrected for the number of tests, below which a change counts.

        Raises:
            ValueError: for a folder of before, which does not tell of the points of the fit.
        """
        level = checks.number(level, "level", minimum=0.0, maximum=1.0)
        if not self._baseline:
            got = "an exported model of before, without the statistics of its fit"
            checks.fail("model", got, "one that is exported anew")
        ids, unlike, *statistics = self._baseline
        known = (int(unlike[0]), int(unlike[1])) if unlike[1] else None
        baseline = Baseline(ids, SufficientStatistics(*statistics), known)
        pieces = self._pieces(("features", "responsibilities", "outlier_p"), x)
        return measure_drift(baseline, pieces, level)

    def _check_outputs(self) -> None:
        """Raises unless one point is answered as the card says."""
        (_, inputs) = self._serve.structured_input_signature
        shape = tuple(inputs["inputs"].shape)
        if shape != (None, *self.input_shape):
            raise ValueError(f"points are {shape[1:]}, not {self.input_shape} as in the card")
        point = tf.zeros([1, *self.input_shape])
        width = {"responsibilities": self.n_clusters, "features": int(self.card["feature_dim"])}
        for signature in (self._serve, self._label, self._embed):
            for name, value in signature(inputs=point).items():
                wanted = (1, width[name]) if name in width else (1,)
                if tuple(value.shape) != wanted:
                    raise ValueError(f"{name} are {value.shape}, not {wanted} as in the card")
                if np.isnan(value).any():
                    raise ValueError(f"{name} are not numbers")
        count, dim = width["responsibilities"], width["features"]
        shapes = [(count,), (2,), (count,), (count, dim), (count, dim, dim)]
        if self._baseline and [each.shape for each in self._baseline] != shapes:
            raise ValueError("statistics of the fit are of another shape")

    def _collect(self, names: tuple[str, ...], x) -> list[np.ndarray]:
        """The outputs of those names for all points, in one pass."""
        return [np.concatenate(part) for part in zip(*self._pieces(names, x), strict=True)]

    def _pieces(self, names: tuple[str, ...], x) -> Iterator[list[np.ndarray]]:
        """The outputs of those names, piece by piece."""
        inputs = as_features(x, minimum_points=1, columns=self.columns)
        if int(np.prod(inputs.feature_shape)) != self.input_dim:
            got = f"points of shape {inputs.feature_shape}"
            checks.fail("x", got, self.columns.describe(self.input_dim))
        batches = inputs.dataset
        if batches is None:
            starts = range(0, len(inputs.array), self._rows)
            batches = (inputs.array[start : start + self._rows] for start in starts)
        if names not in self._functions:
            self._functions[names] = self._trace(names)
        for batch in batches:
            rows = _as_float32(batch).reshape(-1, *self.input_shape)
            yield [output.numpy() for output in self._functions[names](tf.constant(rows))]

    def _trace(self, names: tuple[str, ...]) -> Callable[[tf.Tensor], list[tf.Tensor]]:
        """A function that computes those outputs alone; a call of it takes half the time."""
        has_tails = not {"log_density", "outlier_p"}.isdisjoint(names)
        signatures = [self._serve if has_tails else self._label]
        if "features" in names:
            signatures = [self._embed, *(signatures if len(names) > 1 else ())]

        def choose(points: tf.Tensor) -> list[tf.Tensor]:
            outputs: dict[str, tf.Tensor] = {}
            for signature in signatures:
                outputs |= signature(inputs=points)
            return [outputs[name] for name in names]

        points = tf.TensorSpec([None, *self.input_shape], tf.float32)
        return tf.function(choose, autograph=False).get_concrete_function(points)


def _as_float32(batch: Any) -> np.ndarray:
    """The same as float32, whose largest number stands for larger ones."""
    most = np.finfo(np.float32).max
    return np.clip(np.asarray(batch), -most, most).astype(np.float32)


def load(
    directory: str | os.PathLike[str], *, trusted: bool = False, key: bytes | None = None
) -> ServedModel | DeepDPM:
    """Opens what `model.export` or `model.save` wrote.

    What comes from a stranger is looked through before any of it is loaded: of a SavedModel's
    operations only arithmetic is let through, nothing that reads files, writes or connects. Its
    checksums tell of accidents alone, unless a key shows who made them.

    Args:
        directory: the folder; or its parent, of which the version with the highest number counts;
            or a `.keras` file.
        trusted: whether operations of any kind may run, as encoders of your own may need.
        key: what `model.export` was given to sign the folder; `None` asks for no signature.

    Returns:
        A `ServedModel`, which answers; of a file the `DeepDPM`, which can also go on training.

    Raises:
        FileNotFoundError: if there is no such folder or file.
        ValueError: if it is something else, files are missing, cut or changed, the signature is
            not of this key, or the graph does more than ours do.
    """
    folder = local_path(directory, "directory")
    if folder.is_file():
        if key is not None:
            checks.fail("key", "one for a file", "one for a folder: files are not signed")
        return load_file(folder)
    if not folder.is_dir():
        checks.fail("directory", repr(str(folder)), _WANTED, FileNotFoundError)
    versions = [path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()]
    if versions and not (folder / CARD_NAME).exists():
        folder = max(versions, key=lambda path: int(path.name))
    card = _read_card(folder)
    if not trusted:
        _refuse(folder, inspection.graph_faults(folder))
    if checksums(folder) != card["files"]:
        _refuse(folder, ["files that are missing, cut or changed"])
    if key is not None:
        signature = str(card.get("signature", ""))
        if not hmac.compare_digest(inspection.sign(card, checks.secret(key, "key")), signature):
            _refuse(folder, ["no signature by this key"])
    try:
        model = ServedModel(tf.saved_model.load(str(folder)), card)
    except (tf.errors.OpError, *UNREADABLE, TypeError, IndexError) as error:
        _refuse(folder, [f"a graph that is damaged ({checks.one_line(error)})"])
    return model


def _refuse(folder: Path, faults: Iterable[str]) -> None:
    """Raises if there are faults, and names the first ones."""
    found = list(itertools.islice(dict.fromkeys(faults), _MOST_FAULTS))
    if found:
        wanted = f"{_WANTED} (`trusted=True` loads any operation of a folder of your own)"
        is_of_graph = any(each.startswith(("the operation", "an object")) for each in found)
        got = f"{str(folder)!r} with {', '.join(found)}"
        checks.fail("directory", got, wanted if is_of_graph else _WANTED)


def load_file(path: str | os.PathLike[str], kind: type[keras.Model] = DeepDPM) -> keras.Model:
    """Opens a `.keras` file of a model of that kind as `keras.models.load_model` does.

    There is one error for what is something else, cut or changed, or holds code to be run, more
    numbers than bytes, or a mixture that is none.
    """
    wanted = "a .keras file that `model.save` wrote"
    try:
        _check_archive(Path(path))
        model = keras.models.load_model(path, safe_mode=True)
        for weight in model.weights:
            if not np.isfinite(weight).all():
                raise ValueError(f"{weight.path} is not finite")
    except (*UNREADABLE, TypeError, IndexError, RecursionError, NotImplementedError) as error:
        reason = checks.one_line(error)
        got = f"{os.fspath(path)!r}, which is something else or damaged ({reason})"
        checks.fail("path", got, wanted)
    if not isinstance(model, kind):
        checks.fail("path", f"a {type(model).__name__} in {os.fspath(path)!r}", wanted)
    return model


def _check_archive(path: Path) -> None:
    """Raises if the parts of a file are changed, or ask for far more memory than the file takes."""
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        most = _MOST_INFLATION * path.stat().st_size
        if sum(part.file_size for part in parts) > most:
            raise ValueError("it unpacks to far more than it is")
        # Keras reads no checksums but those of the parts that it happens to need.
        if changed := archive.testzip():
            raise zipfile.BadZipFile(f"in {changed}")
        for part in parts:
            if part.filename.endswith(".h5"):
                with archive.open(part) as stored, h5py.File(stored) as weights:
                    _check_weights(weights, most)


def _check_weights(weights: h5py.File, most: int) -> None:
    """Raises unless the arrays are in the file itself, and of at most so many bytes."""
    total, groups = 0, [weights]
    while groups:
        group = groups.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"{name!r} is a link")
            found = group[name]
            if isinstance(found, h5py.Group):
                groups.append(found)
                continue
            if found.external or found.is_virtual:
                raise ValueError(f"{name!r} is in another file")
            total += found.nbytes
            if total > most:
                raise ValueError("its arrays are far larger than it is")


def _read_card(folder: Path) -> dict[str, Any]:
    """The model card, complete and of this format."""
    path = folder / CARD_NAME
    if not path.is_file():  # nor a device or a pipe, whose text never ends
        checks.fail("directory", f"{str(folder)!r} without {CARD_NAME}", _WANTED)
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # neither text nor JSON
        checks.fail("directory", f"{str(folder)!r} with a damaged {CARD_NAME}", _WANTED)
    for fault in inspection.card_faults(card, FORMAT):
        checks.fail("directory", f"{str(folder)!r} with a foreign {CARD_NAME} {fault}", _WANTED)
    return card
