"""A table of inputs that are wrong: each gets one line that names the argument, and gets it soon.

Rows are calls that must fail before any work is done, so that hundreds of them take a minute.
Inputs that merely look odd stand in a second table, beside the answer that they must get.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import time
import traceback
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import tensorflow as tf

import tfdpm
from tfdpm import DeepDPMConfig, metrics
from tfdpm.data.images.view_config import ViewConfig
from tfdpm.joint.config import JointConfig
from tfdpm.sklearn import DeepDPMClusterer
from tfdpm.swav.config import SwAVConfig, TrainingConfig

X, Y = tfdpm.data.gaussian_mixture(2, 3, 60, seed=0)
X = X.astype(np.float64)
SECONDS = 5.0  # that a refusal may take, on a machine with other things to do
NAN = np.where(np.arange(180).reshape(60, 3) == 4, np.nan, X)
ERRORS = (ValueError, TypeError, OSError, ImportError, RuntimeError, AttributeError)

# What no function takes for points, with a word of the complaint.
BAD_POINTS = {
    "none": (None, "NoneType"),
    "number": (3.5, "shape"),
    "one axis": (X[:, 0], "reshape"),
    "five axes": (np.zeros((2, 2, 2, 2, 2)), "shape"),
    "no rows": (X[:0], "0 points"),
    "no columns": (X[:, :0], "axis of length 0"),
    "nan": (NAN, "1 NaN"),
    "infinity": (np.where(np.isnan(NAN), np.inf, X), "1 infinite"),
    "minus infinity": (np.where(np.isnan(NAN), -np.inf, X), "1 infinite"),
    "float32 nan": (NAN.astype(np.float32), "1 NaN"),
    "half infinity": (np.full((4, 3), np.inf, np.float16), "infinite"),
    "beyond squares": (X * 1e200, "as large as"),
    "far beyond": (X * 1e300, "as large as"),
    "text": (X.astype(str), "text"),
    "text among numbers": ([["1.0", 2.0, 3.0], ["4.0", 5.0, 6.0]], "text"),
    "bytes": (X.astype("S8"), "text"),
    "complex": (X + 1j, "complex"),
    "complex objects": ((X + 1j).astype(object), "object"),
    "dates": (np.full((4, 3), np.datetime64("2020-01-01")), "datetime"),
    "durations": (np.full((4, 3), np.timedelta64(1, "s")), "timedelta"),
    "date objects": ([[datetime.date(2020, 1, 1)] * 3] * 4, "object"),
    "ragged list": ([[1.0, 2.0, 3.0], [4.0]], "different lengths"),
    "ragged tensor": (tf.ragged.constant([[1.0, 2.0], [3.0]]), "RaggedTensor"),
    "sparse tensor": (tf.sparse.from_dense(X), "SparseTensor"),
    "huge sparse": (scipy.sparse.eye(200_000, format="csr"), "sparse matrix"),
    "set": ({1.0, 2.0}, "set"),
    "generator of nothing": ((row for row in ()), "got nothing"),
    "masked": (np.ma.masked_greater(X, 0.0), "masked"),
    "structured": (np.zeros(4, dtype=[("a", float), ("b", float)]), "dtype"),
    "object of none": (np.full((4, 3), None), "12 NaN"),
    "function": (len, "dtype object|object"),
    "frame with nan": (pd.DataFrame(NAN, columns=list("abc")), "NaN|missing"),
    "frame of dates": (pd.DataFrame({"when": pd.date_range("2020", periods=4)}), "date|when"),
    "empty frame": (pd.DataFrame({"a": []}), "0 points|point"),
    "empty stream": (tf.data.Dataset.from_tensor_slices(X[:0]).batch(4), "point|empty"),
    "stream of text": (tf.data.Dataset.from_tensor_slices([["a"], ["b"]]), "string|dtype"),
    "stream without end": (tf.data.Dataset.from_tensor_slices(X).batch(8).repeat(), "endless"),
    "no such set": ("no_such_data_set", "no_such_data_set"),
    "no such file": ("no/such/file.csv", "no/such/file.csv"),
    "no such folder": ("no/such/folder/", "no/such/folder"),
}
# What predictions refuse beside it.
BAD_WIDTHS = {
    "narrow": (X[:, :2], "points of shape"),
    "wide": (np.hstack([X, X]), "points of shape"),
    "images": (X[:, :, None].repeat(2, axis=2), "points of shape"),
    "narrow stream": (tf.data.Dataset.from_tensor_slices(X[:, :2]).batch(8), "points of shape"),
}
BAD_LABELS = {
    "short": (Y[:-1], "59 labels"),
    "long": (np.append(Y, 0), "61 labels"),
    "two columns": (np.stack([Y, Y], axis=1), "shape"),
    "fractions": (Y + 0.5, "fractions"),
    "complex": (Y + 1j, "dtype"),
    "number": (3, "shape"),
}
BAD_WEIGHTS = {
    "short": (np.ones(59), "shape"),
    "negative": (-np.ones(60), "negative"),
    "none at all": (np.zeros(60), "all zero"),
    "nan": (np.full(60, np.nan), "infinite|NaN"),
    "infinite": (np.full(60, np.inf), "infinite"),
}


@pytest.fixture(scope="module")
def model():
    model = tfdpm.DeepDPM(DeepDPMConfig(min_steps_per_epoch=5), seed=0)
    model.fit(X, epochs=1, verbose=0)
    return model


@pytest.fixture(scope="module")
def served(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "1"
    model.export(folder)
    return tfdpm.load(folder)


def check_refusal(call, name, word):
    """Asserts that a call fails soon, with one line about the argument and a short traceback."""
    started = time.perf_counter()
    with pytest.raises(ERRORS) as raised:
        call()
    assert time.perf_counter() - started < SECONDS
    text = str(raised.value)
    assert text.startswith(tuple(f"`{each}`: got " for each in name.split())), text
    assert ", wanted " in text and "\n" not in text and len(text) < 800, text
    assert pd.Series([text]).str.contains(word).item(), text
    frames = traceback.extract_tb(raised.tb)
    assert len(frames) < 16 and "tfdpm" in frames[-1].filename, frames
    assert "keras/src" not in frames[-1].filename


# -- points -------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", BAD_POINTS)
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("data", lambda data: tfdpm.fit(data, verbose=0)),
        ("x", lambda data: tfdpm.DeepDPM().fit(data, verbose=0)),
        ("x", lambda data: tfdpm.data.as_features(data)),
    ],
    ids=["fit", "DeepDPM.fit", "as_features"],
)
def test_points_that_cannot_be_clustered_are_refused(name, call, row):
    data, word = BAD_POINTS[row]
    name = f"{name} data {data}" if isinstance(data, str) else name  # or what was to be read
    check_refusal(lambda: call(data), name, word)


@pytest.mark.parametrize("row", BAD_POINTS | BAD_WIDTHS)
@pytest.mark.parametrize(
    "method", ["predict", "predict_labels", "outlier_p", "score_samples", "embed", "served"]
)
def test_points_that_a_model_cannot_answer_for_are_refused(model, served, method, row):
    data, word = (BAD_POINTS | BAD_WIDTHS)[row]
    answer = served.predict if method == "served" else getattr(model, method)
    check_refusal(lambda: answer(data), "x data" if isinstance(data, str) else "x", word)


@pytest.mark.parametrize(
    "row", sorted(BAD_POINTS.keys() - {"none", "function", "text among numbers"})
)
def test_estimator_refuses_points_in_the_words_of_scikit_learn(row):
    data, _ = BAD_POINTS[row]
    started = time.perf_counter()
    with pytest.raises((ValueError, TypeError)) as raised:
        DeepDPMClusterer().fit(data)
    assert time.perf_counter() - started < SECONDS and str(raised.value)


@pytest.mark.parametrize("row", BAD_LABELS)
@pytest.mark.parametrize("is_pair", [False, True], ids=["y", "pair"])
def test_labels_that_do_not_fit_are_refused(row, is_pair):
    y, word = BAD_LABELS[row]
    arguments = ((X, y),) if is_pair else (X, y)
    check_refusal(lambda: tfdpm.DeepDPM().fit(*arguments, verbose=0), "y", word)


@pytest.mark.parametrize("row", BAD_WEIGHTS)
@pytest.mark.parametrize("fit", [tfdpm.fit, tfdpm.DeepDPM().fit], ids=["fit", "DeepDPM.fit"])
def test_weights_that_do_not_fit_are_refused(row, fit):
    weights, word = BAD_WEIGHTS[row]
    check_refusal(lambda: fit(X, sample_weight=weights, verbose=0), "sample_weight", word)


# -- settings -----------------------------------------------------------------------------------


SETTINGS = [
    (kind, field.name)
    for kind in (DeepDPMConfig, JointConfig, SwAVConfig, TrainingConfig)
    for field in dataclasses.fields(kind)
    # Annotated by nothing that could be wrong, or settings of settings.
    if field.name not in ("views", "training", "head_batch_norm", "synchronized", "clustering")
]


@pytest.mark.parametrize(
    ("kind", "field"), SETTINGS, ids=[f"{kind.__name__}.{name}" for kind, name in SETTINGS]
)
@pytest.mark.parametrize("value", ["wrong", -1.5, [1]], ids=["text", "negative", "list"])
def test_settings_of_another_kind_are_refused(kind, field, value):
    with pytest.raises((ValueError, TypeError)) as raised:
        kind(**{field: value})
    text = str(raised.value)
    assert text.startswith("`") and ": got " in text and "\n" not in text and len(text) < 400, text


@pytest.mark.parametrize(
    "settings",
    [
        {"crop_sizes": (0, 8)},
        {"crop_sizes": ("a", "b")},
        {"crop_counts": (2,)},
        {"crop_scales": ((0.5, 0.1), (0.1, 0.2))},
        {"crop_scales": ((0.5, 2.0), (0.1, 0.2))},
        {"flip_prob": 1.5},
        {"jitter_prob": -0.1},
        {"gray_prob": "no"},
        {"blur_prob": None},
        {"jitter": (1.0, 1.0)},
        {"blur_sigma": (0.0, 1.0)},
        {"std": (1.0, 0.0, 1.0)},
        {"mean": (0.5,)},
    ],
    ids=str,
)
def test_views_that_cannot_be_made_are_refused(settings):
    with pytest.raises((ValueError, TypeError), match=r"^`\w+.*`: got .*, wanted "):
        ViewConfig(**settings)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"epochs": -1}, "epochs"),
        ({"epochs": 1.5}, "epochs"),
        ({"epochs": "3"}, "epochs"),
        ({"epochs": True}, "epochs"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"seed": "0"}, "seed"),
        ({"seed": None}, "seed"),
        ({"initial_clusters": 0}, "initial_clusters"),
        ({"initial_clusters": 61}, "initial_clusters"),
        ({"initial_clusters": 2.0}, "initial_clusters"),
        ({"shape": "round"}, "shape"),
        ({"shape": 3}, "shape"),
        ({"verbose": 3}, "verbose"),
        ({"verbose": "loud"}, "verbose"),
        ({"features": "magic"}, "features"),
        ({"features": 3}, "features"),
        ({"features": None}, "features"),
        ({"features": len}, "features"),
        ({"features": "mobilenet"}, "features"),
        ({"config": "best"}, "config"),
        ({"config": {"epochs": 3}}, "config"),
        ({"config": DeepDPMConfig(fixed_k=61)}, "fixed_k"),
        ({"callbacks": ["early"]}, "callbacks"),
        ({"reference": 3}, "reference"),
        ({"reference": "model.keras"}, "reference"),
    ],
    ids=str,
)
def test_arguments_of_fit_are_refused(arguments, name, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    check_refusal(lambda: tfdpm.fit(X, **{"verbose": 0, "features": "none"} | arguments), name, "")


@pytest.mark.parametrize(
    ("method", "arguments", "name"),
    [
        ("predict", {"x": X, "batch_size": 0}, "batch_size"),
        ("predict", {"x": X, "batch_size": 1.5}, "batch_size"),
        ("predict", {"x": X, "batch_size": "3"}, "batch_size"),
        ("predict_labels", {"x": X, "reject_below": -0.1}, "reject_below"),
        ("predict_labels", {"x": X, "reject_below": 1.1}, "reject_below"),
        ("predict_labels", {"x": X, "reject_below": "0.1"}, "reject_below"),
        ("predict_labels", {"x": X, "reject_below": np.nan}, "reject_below"),
        ("partial_fit", {"x": X, "forgetting": 1.0}, "forgetting"),
        ("partial_fit", {"x": X, "forgetting": -0.1}, "forgetting"),
        ("partial_fit", {"x": NAN}, "x"),
        ("partial_fit", {"x": X[:, :2]}, "x"),
        ("fit", {"x": X, "epochs": -1}, "epochs"),
        ("fit", {"x": X, "batch_size": 0}, "batch_size"),
        ("fit", {"x": X, "initial_epoch": -1}, "initial_epoch"),
        ("fit", {"x": X, "steps_per_epoch": 2}, "x"),
        ("fit", {"x": X[:, :2]}, "x"),
        ("fit", {"x": X, "reference": 3}, "reference"),
        ("cut", {}, "n_clusters"),
        ("cut", {"n_clusters": 0}, "n_clusters"),
        ("cut", {"n_clusters": 100}, "n_clusters"),
        ("cut", {"n_clusters": 2.5}, "n_clusters"),
        ("cut", {"n_clusters": 1, "depth": 1.0}, "n_clusters"),
        ("cut", {"depth": "deep"}, "depth"),
        ("cut", {"depth": np.nan}, "depth"),
        ("why", {"k": 99}, "k"),
        ("why", {"k": -1}, "k"),
        ("why", {"k": 0, "other": 0}, "other"),
        ("why", {"k": 0, "other": 99}, "other"),
        ("stability", {"x": X, "num_chains": 0}, "num_chains"),
        ("stability", {"x": X, "seed": -1}, "seed"),
        ("stability", {"x": X[:, :2]}, "x"),
        ("export", {"directory": "/"}, "directory"),
        ("export_tflite", {"path": "/"}, "path"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_arguments_of_a_models_methods_are_refused(model, method, arguments, name):
    check_refusal(lambda: getattr(model, method)(**arguments), name, "")


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: tfdpm.load("no/such/folder"), "directory"),
        (lambda: tfdpm.load("no/such/model.keras"), "directory"),
        (lambda: tfdpm.load("/"), "directory"),
        (lambda: tfdpm.data.load("no_such_data_set"), "data"),
        (lambda: tfdpm.data.load("digits", "train"), "split"),
        (lambda: tfdpm.data.load("mnist", download="yes"), "download"),
        (lambda: tfdpm.data.read("no/such/file.npy"), "path"),
        (lambda: tfdpm.data.read(__file__), "path"),
        (lambda: tfdpm.data.read_images("no/such/folder"), "folder"),
        (lambda: tfdpm.data.gaussian_mixture(0), "num_components"),
        (lambda: tfdpm.data.gaussian_mixture(3, dim=0), "dim"),
        (lambda: tfdpm.data.gaussian_mixture(3, num_points=1.5), "num_points"),
        (lambda: tfdpm.data.gaussian_mixture(3, seed="a"), "seed"),
        (lambda: metrics.nmi(Y, Y[:-1]), "labels_pred"),
        (lambda: metrics.ari(Y, Y[:, None].repeat(2, 1)), "labels_pred"),
        (lambda: tfdpm.DeepDPM("best"), "config"),
        (lambda: tfdpm.DeepDPM(seed=-1), "seed"),
        (lambda: DeepDPMConfig.named("best"), "config"),
        (lambda: DeepDPMConfig().replace(epoch=3), "epoch"),
        (lambda: tfdpm.features.pretrained("magic"), "name"),
        (lambda: tfdpm.features.preset("magic"), "name"),
        (lambda: tfdpm.SwAV.small(image_size=4, num_images=9), "image_size"),
        (lambda: tfdpm.SwAV.small(image_size=8, channels=2, num_images=9), "channels"),
        (lambda: tfdpm.SwAV.small(image_size=8, num_images=9, batch_size=10), "num_images"),
        (lambda: tfdpm.data.multicrop(np.zeros((4, 8, 8), np.uint8), batch_size=9), "batch_size"),
        (lambda: tfdpm.data.multicrop(np.zeros((4, 8, 8)) - 1, batch_size=2), "data"),
    ],
)
def test_other_functions_refuse_what_they_cannot_do(call, name):
    check_refusal(call, name, "")


# -- odd, but right -------------------------------------------------------------------------------


ODD_POINTS = {
    "float16 of halves": lambda x: x.astype(np.float16),
    "float32": lambda x: x.astype(np.float32),
    "long double": lambda x: x.astype(np.longdouble),
    "big endian": lambda x: x.astype(">f8"),
    "Fortran": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "reversed": lambda x: x[::-1][::-1],
    "matrix": np.matrix,
    "unmasked": np.ma.array,
    "objects": lambda x: x.astype(object),
    "decimals": lambda x: [[decimal.Decimal(float(v)) for v in row] for row in x],
    "fractions": lambda x: [[Fraction(float(v)) for v in row] for row in x],
    "tuples": lambda x: [tuple(row) for row in x],
    "tensor": tf.constant,
    "tensors": lambda x: [tf.constant(row) for row in x],
    "variable": tf.Variable,
    "csr": scipy.sparse.csr_matrix,
    "frame": pd.DataFrame,
    "frame of objects": lambda x: pd.DataFrame(x.astype(object)).infer_objects(),
    "nullable frame": lambda x: pd.DataFrame(x).convert_dtypes(),
    "pair": lambda x: (x, np.zeros(len(x))),
    "batches": lambda x: tf.data.Dataset.from_tensor_slices(x).batch(7),
    "single points": tf.data.Dataset.from_tensor_slices,
}


@pytest.mark.parametrize("row", ODD_POINTS)
def test_odd_forms_of_the_same_points_get_the_same_answer(model, row):
    x = np.round(2.0 * X) / 2.0  # which all of the types hold
    data = ODD_POINTS[row](x)
    np.testing.assert_allclose(model.score_samples(data), model.score_samples(x), rtol=1e-5)
    np.testing.assert_array_equal(model.predict_labels(data), model.predict_labels(x))


def test_the_table_has_three_hundred_rows():
    assert 3 * len(BAD_POINTS) + 6 * len(BAD_POINTS | BAD_WIDTHS) + 3 * len(SETTINGS) > 300
