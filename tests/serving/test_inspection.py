"""Folders and files of a stranger: refused with one error before anything of theirs runs."""

from __future__ import annotations

import json
import os
import shutil
import warnings
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

import tfdpm
from tests.serving.conftest import X
from tfdpm.serving import inspection
from tfdpm.serving import saved_model as serving


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    model.save(folder / "m.keras")
    return folder


@pytest.fixture
def folder(exported, tmp_path):
    return Path(shutil.copytree(exported, tmp_path / "1"))


def change_card(folder: Path, **changes) -> None:
    card = {**json.loads((folder / "model_card.json").read_text()), **changes}
    (folder / "model_card.json").write_text(json.dumps(card))


def certify(folder: Path) -> None:
    """Checksums that fit, as a stranger would write them."""
    change_card(folder, files=serving.checksums(folder))


# -- graphs ---------------------------------------------------------------------------------------


class Stranger(tf.Module):
    """Answers as a model of three clusters, and does `extra` on the way."""

    def __init__(self, extra):
        super().__init__()
        self.extra = extra

    def answers(self, inputs):
        count = tf.shape(inputs)[0]
        extra = tf.cast(self.extra(inputs), tf.float32) * 0.0
        return {
            "labels": tf.zeros([count], tf.int64),
            "responsibilities": tf.ones([count, 3]) / 3.0 + extra,
            "log_density": tf.zeros([count]) + extra,
            "outlier_p": tf.zeros([count]) + extra,
        }


def replace_graph(folder: Path, extra, keep=()) -> None:
    """Puts a stranger's graph where ours was, with checksums that fit."""
    module = Stranger(extra)
    module.keep = list(keep)
    spec = tf.TensorSpec([None, 4], tf.float32, name="inputs")
    serve = tf.function(module.answers, input_signature=[spec])
    embed = tf.function(lambda inputs: {"features": inputs}, input_signature=[spec])
    signatures = {"serving_default": serve, "labels": serve, "embed": embed}
    for path in folder.iterdir():
        if path.name != "model_card.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    tf.saved_model.save(module, str(folder), signatures=signatures)
    shutil.rmtree(folder / "assets", ignore_errors=not keep)
    certify(folder)


class WritesWhenLoaded(tf.lookup.StaticHashTable):
    """A resource whose initialiser writes a file, which TensorFlow runs while it loads."""

    def __init__(self, path):
        self.target = str(path)
        pairs = tf.lookup.KeyValueTensorInitializer([1], [1])
        super().__init__(pairs, 0)

    def _initialize(self):
        tf.io.write_file(self.target, "written")
        return super()._initialize()


def test_initialiser_of_a_resource_is_not_run(folder, tmp_path):
    table = WritesWhenLoaded(tmp_path / "written")
    replace_graph(folder, lambda x: table.lookup(tf.constant(1)), [table])
    (tmp_path / "written").unlink(missing_ok=True)
    with pytest.raises(ValueError, match="`directory`: got .* with an object of kind") as caught:
        tfdpm.load(folder)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "written").exists()
    # The same folder shows that TensorFlow alone would have run it.
    tf.saved_model.load(str(folder))
    assert (tmp_path / "written").exists()


EXTRAS = {
    "ReadFile": lambda x: tf.strings.length(tf.io.read_file("/etc/hostname")),
    "WriteFile": lambda x: writes_file(),
    "MatchingFiles": lambda x: tf.shape(tf.io.matching_files("/etc/*"))[0],
    "PyFunc": lambda x: tf.numpy_function(lambda: np.float32(1.0), [], tf.float32),
    "EagerPyFunc": lambda x: tf.py_function(lambda: 1.0, [], tf.float32),
    "PrintV2": lambda x: prints(),
    "SaveV2": lambda x: saves(),
    "RestoreV2": lambda x: tf.raw_ops.RestoreV2(
        prefix="elsewhere", tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.float32]
    )[0],
    "DecodeJpeg": lambda x: tf.shape(tf.io.decode_jpeg(b""))[0],
    "StatelessWhile": lambda x: tf.while_loop(lambda i: i < 9.0, lambda i: [i + 1.0], [0.0])[0],
    "StatefulUniform": lambda x: tf.random.uniform([]),
}


def writes_file():
    with tf.control_dependencies([tf.io.write_file("never", "written")]):
        return tf.constant(1.0)


def prints():
    with tf.control_dependencies([tf.print("ours now")]):
        return tf.constant(1.0)


def saves():
    write = tf.raw_ops.SaveV2(
        prefix="never", tensor_names=["a"], shape_and_slices=[""], tensors=[tf.zeros([1])]
    )
    with tf.control_dependencies([write]):
        return tf.constant(1.0)


@pytest.mark.parametrize("name", EXTRAS)
def test_operation_that_is_no_arithmetic_is_refused(folder, name):
    replace_graph(folder, EXTRAS[name])
    with pytest.raises(ValueError, match="`directory`: got .* with the operation .*wanted"):
        tfdpm.load(folder)


def test_operation_deep_in_a_function_is_refused(folder):
    inner = tf.function(lambda: tf.strings.length(tf.io.read_file("/etc/hostname")))
    replace_graph(folder, lambda x: tf.function(lambda: inner())())
    with pytest.raises(ValueError, match="the operation ReadFile"):
        tfdpm.load(folder)


@pytest.mark.parametrize("route", ["name", "attribute", "gradient", "object", "twice"])
def test_writing_function_is_refused_however_it_is_called(folder, tmp_path, route):
    replace_graph(folder, lambda x: tf.reduce_sum(tf.abs(x)))
    path = folder / "saved_model.pb"
    saved = serving_proto(path)
    library, objects = saved.meta_graphs[0].graph_def.library, saved.meta_graphs[0].object_graph_def
    answers = next(each for each in library.function if any(n.op == "Abs" for n in each.node_def))
    node = next(each for each in answers.node_def if each.op == "Abs")
    writes = writing_function(tmp_path / "written")
    writes.signature.name = "Abs" if route == "name" else "writes"
    if route == "attribute":  # a function that calls the one that its caller names
        between = library.function.add(signature=writes.signature)
        between.signature.name = "between"
        between.signature.attr.add(name="F", type="func")
        call = between.node_def.add(name="call", op="PartitionedCall", input=["x"])
        call.attr["f"].placeholder = "F"
        between.ret["y"] = "call:output:0"
        node.attr["f"].func.name = "between"
        node.attr["f"].func.attr["F"].func.name = "writes"
    elif route == "gradient":
        library.registered_gradients.add(gradient_func="writes", registered_op_type="Abs")
    elif route == "object":
        functions = [each for each in objects.nodes if each.HasField("bare_concrete_function")]
        functions[0].bare_concrete_function.concrete_function_name = "writes"
    elif route == "twice":  # the name of a function that is whole otherwise
        writes.signature.name = answers.signature.name
    library.function.insert(0, writes)
    path.write_bytes(saved.SerializeToString())
    certify(folder)
    with pytest.raises(ValueError, match="the operation SaveV2"):
        tfdpm.load(folder)


def writing_function(path: Path):
    """Takes and returns `[N, 4]` numbers as Abs does, and writes variables on the way."""
    from tensorflow.core.framework import function_pb2

    @tf.function(input_signature=[tf.TensorSpec([None, 4], name="x")], autograph=False)
    def write(x):
        saved = tf.raw_ops.SaveV2(
            prefix=str(path), tensor_names=["a"], shape_and_slices=[""], tensors=[tf.zeros([1])]
        )
        with tf.control_dependencies([saved]):
            return {"y": tf.identity(x)}

    function = write.get_concrete_function().function_def
    found = function_pb2.FunctionDef.FromString(function.SerializeToString())
    found.signature.output_arg[0].name = "y"
    (value,) = found.ret.values()
    found.ret.clear()
    found.ret["y"] = value
    return found


def test_operations_of_ones_own_folder_may_be_trusted(folder):
    replace_graph(folder, EXTRAS["StatelessWhile"])
    np.testing.assert_array_equal(tfdpm.load(folder, trusted=True).predict_labels(X), 0)


def test_constant_of_more_memory_than_there_is_is_refused(folder):
    replace_graph(folder, lambda x: x[0, 0])
    path = folder / "saved_model.pb"
    saved = serving_proto(path)
    node = saved.meta_graphs[0].graph_def.node.add(name="bomb", op="Const")
    node.attr["dtype"].type = node.attr["value"].tensor.dtype = 1
    node.attr["value"].tensor.float_val.append(1.0)
    for _ in range(2):
        node.attr["value"].tensor.tensor_shape.dim.add(size=10**6)
    path.write_bytes(saved.SerializeToString())
    certify(folder)
    with pytest.raises(ValueError, match="a constant of 1000000000000 numbers"):
        tfdpm.load(folder)


def serving_proto(path: Path):
    from tensorflow.core.protobuf import saved_model_pb2

    return saved_model_pb2.SavedModel.FromString(path.read_bytes())


@pytest.mark.parametrize("name", ["saved_model.cpb", "saved_model.pbtxt", "assets/table.txt"])
def test_files_that_no_export_writes_are_refused(folder, name):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("x")
    certify(folder)
    with pytest.raises(ValueError, match=f"`directory`: got .* with a file {name}"):
        tfdpm.load(folder)


@pytest.mark.parametrize("target", ["/dev/zero", "fingerprint.pb", "saved_model.pb"])
def test_link_is_refused(folder, target):
    (folder / "fingerprint.pb").unlink()
    (folder / "fingerprint.pb").symlink_to(target)
    with pytest.raises(ValueError, match="`directory`: got .* with a link fingerprint.pb"):
        tfdpm.load(folder)


@pytest.mark.parametrize("name", ["model_card.json", "saved_model.pb"])
def test_pipe_or_device_is_not_read(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ValueError, match=f"`directory`: got .* with.* {name}"):
        tfdpm.load(folder)
    (folder / name).unlink()
    (folder / name).symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=f"`directory`: got .* with.* {name}"):
        tfdpm.load(folder)


def test_encoders_of_common_layers_are_let_through(tmp_path):
    layers = keras.layers
    encoder = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Rescaling(1 / 255),
            layers.Resizing(16, 16),
            layers.Conv2D(4, 3, padding="same"),
            layers.BatchNormalization(),
            layers.SeparableConv2D(4, 3, activation="relu6"),
            layers.GroupNormalization(2),
            layers.Activation("gelu"),
            layers.MaxPooling2D(2),
            layers.ZeroPadding2D(1),
            layers.Conv2DTranspose(4, 3, activation="swish"),
            layers.UpSampling2D(2, interpolation="bilinear"),
            layers.AveragePooling2D(2),
            layers.LayerNormalization(),
            layers.Dropout(0.5),
            layers.GlobalAveragePooling2D(),
            layers.UnitNormalization(),
            layers.PReLU(),
            layers.Dense(3, activation="tanh"),
        ]
    )
    images = np.random.default_rng(0).integers(255, size=(40, 8, 8, 3)).astype(np.float32)
    model = tfdpm.DeepDPM(tfdpm.DeepDPMConfig(min_steps_per_epoch=2), encoder=encoder)
    model.fit(images, epochs=1, verbose=0)
    model.export(tmp_path / "1")
    np.testing.assert_allclose(
        tfdpm.load(tmp_path / "1").predict(images), model.predict(images), atol=1e-4
    )


def test_every_operation_that_is_let_through_exists_and_none_has_effects():
    variables = {"AssignVariableOp", "DisableCopyOnRead", "VarHandleOp", "VarIsInitializedOp"}
    calls = {"PartitionedCall", "StatefulPartitionedCall"}
    reads = {"ReadVariableOp", "ResourceGather", "ResourceGatherNd", "CheckNumerics"}
    for name in inspection._ARITHMETIC:
        operation = op_def_registry.get(name)
        assert operation is not None, name
        assert not operation.is_stateful or name in variables | calls | reads, name
        texts = [each.name for each in operation.input_arg if "file" in each.name]
        assert not texts, name


# -- cards ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"n_clusters": 99, "cluster_of_component": list(range(99)), "n_components": 99}, "as in"),
        ({"n_clusters": 99}, "does not name 99 clusters"),
        ({"n_clusters": -1}, "n_clusters -1"),
        ({"n_clusters": 10**9}, "n_clusters"),
        ({"n_clusters": True}, "n_clusters True"),
        ({"n_clusters": "3"}, "n_clusters '3'"),
        ({"n_components": 7}, "n_components 7"),
        ({"cluster_of_component": [0, 1, 5]}, "does not name"),
        ({"cluster_of_component": "012"}, "does not name"),
        ({"input_shape": [5]}, "as in the card"),
        ({"input_shape": []}, "input_shape"),
        ({"input_shape": [4.0]}, "input_shape"),
        ({"input_shape": 4}, "input_shape"),
        ({"feature_dim": 3}, "as in the card"),
        ({"feature_dim": None}, "feature_dim"),
        ({"files": {}}, "checksum"),
        ({"files": []}, "checksum"),
        ({"columns": {"names": 3}}, "damaged"),
        ({"columns": {"names": ["a"], "categories": []}}, "0 lists of categories for 1 columns"),
        ({"columns": {"names": [None], "categories": [[]]}}, "no text"),
        ({"columns": {"categories": [], "origin": 3}}, "no text"),
        ({"format": None}, "format"),
    ],
    ids=str,
)
def test_card_that_is_of_no_model_is_one_error(folder, changes, fault):
    change_card(folder, **changes)
    with pytest.raises(ValueError, match="`directory`: got .*, wanted") as caught:
        tfdpm.load(folder)
    assert fault in str(caught.value) and "\n" not in str(caught.value)


def test_model_that_answers_nan_is_one_error(folder):
    replace_graph(folder, lambda x: x[0, 0] / 0.0)
    with pytest.raises(ValueError, match="`directory`: got .* are not numbers"):
        tfdpm.load(folder)


def test_card_is_signed_by_a_key(model, tmp_path):
    key = b"of sixteen bytes or more"
    model.export(tmp_path / "1", key=key)
    assert tfdpm.load(tmp_path / "1", key=key).n_clusters == model.n_clusters
    assert tfdpm.load(tmp_path / "1").n_clusters == model.n_clusters
    with pytest.raises(ValueError, match="no signature by this key"):
        tfdpm.load(tmp_path / "1", key=b"another of sixteen bytes")
    replace_graph(tmp_path / "1", lambda x: x[0, 0])
    with pytest.raises(ValueError, match="no signature by this key"):
        tfdpm.load(tmp_path / "1", key=key)
    for wrong, error in (("text", TypeError), (b"short", ValueError)):
        with pytest.raises(error, match="`key`"):
            model.export(tmp_path / "2", key=wrong)
    assert not (tmp_path / "2").exists()


# -- .keras files ---------------------------------------------------------------------------------


def rewritten(made: Path, path: Path, change=None, **config) -> Path:
    """The saved file with `change(weights)` made in its arrays, and other sizes of networks."""
    with zipfile.ZipFile(made / "m.keras") as old:
        parts = {name: old.read(name) for name in old.namelist()}
    described = json.loads(parts["config.json"])
    described["build_config"].update(config)
    parts["config.json"] = json.dumps(described).encode()
    weights = path.with_suffix(".h5")
    weights.write_bytes(parts["model.weights.h5"])
    if change:
        with h5py.File(weights, "r+") as file:
            change(file)
    parts["model.weights.h5"] = weights.read_bytes()
    with zipfile.ZipFile(path, "w") as new:
        for name, content in parts.items():
            new.writestr(name, content)
    return path


def setting(name, change):
    def alter(file):
        value = change(np.array(file[name]))
        del file[name]
        file[name] = value

    return alter


def with_nan(value):
    value.flat[0] = np.nan
    return value


def huge(file):
    del file["vars/parameters.means"]
    file.create_dataset("vars/parameters.means", (10**6, 10**6), np.float64, chunks=(1000, 1000))


def elsewhere(file):
    del file["vars/parameters.means"]
    file.create_dataset(
        "vars/parameters.means", (3, 4), np.float64, external=[("/etc/hostname", 0, 96)]
    )


def linked(file):
    del file["vars/parameters.means"]
    file["vars/parameters.means"] = h5py.ExternalLink("other.h5", "x")


ALTERED = {
    "means are NaN": setting("vars/parameters.means", with_nan),
    "one mean of three": setting("vars/parameters.means", lambda value: value[:1]),
    "covariances negative": setting("vars/parameters.covariances", np.negative),
    "covariances zero": setting("vars/parameters.covariances", np.zeros_like),
    "covariances infinite": setting("vars/parameters.covariances", lambda value: value * np.inf),
    "weights": setting("vars/parameters.mixture_weights", lambda value: value + 1.0),
    "prior": setting("vars/prior.scale", np.negative),
    "degrees of freedom": setting("vars/prior.df", np.negative),
    "precision of zero": setting("vars/prior.mean_precision", np.zeros_like),
    "counts negative": setting("vars/soft.counts", np.negative),
    "counts of halves": setting("vars/halves.counts", np.negative),
    "structure": setting("vars/covariance", lambda value: value[:2]),
    "tails are NaN": setting("vars/t_mixture.df", lambda value: np.full(3, np.nan)),
    "statistics": setting("vars/soft.sums", lambda value: value[:, :2]),
    "map": setting("vars/preprocessing.projection", with_nan),
    "labels": setting("vars/labels", lambda value: value + 99),
    "valleys": setting("vars/valleys", lambda value: value[:2]),
    "capacity of 1e8": setting("vars/capacity", lambda value: np.array(10**8)),
    "capacity of none": setting("vars/capacity", lambda value: np.array(0)),
    "no genealogy": setting("vars/genealogy", lambda value: value[:5]),
    "networks are NaN": setting("clustering/hidden/vars/0", with_nan),
    "larger than the file": huge,
    "in another file": elsewhere,
    "a link": linked,
}


@pytest.mark.parametrize("name", ALTERED)
def test_file_of_no_mixture_is_one_error(made, tmp_path, name):
    path = rewritten(made, tmp_path / "m.keras", ALTERED[name])
    with warnings.catch_warnings(), pytest.raises(ValueError, match="`path`: got .*") as caught:
        warnings.simplefilter("ignore")
        tfdpm.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "sizes", [{"capacity": 10**8}, {"hidden_units": 10**9}, {"feature_dim": -1}, {"capacity": "x"}]
)
def test_networks_larger_than_memory_are_not_made(made, tmp_path, sizes):
    with pytest.raises(ValueError, match="`path`: got .*, wanted a .keras file"):
        tfdpm.load(rewritten(made, tmp_path / "m.keras", **sizes))


def test_untouched_file_is_opened(made, tmp_path):
    model = tfdpm.load(rewritten(made, tmp_path / "m.keras"))
    assert model.n_clusters == 3


def test_bomb_is_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(10**8))
    with pytest.raises(ValueError, match="unpacks to far more than it is"):
        tfdpm.load(tmp_path / "m.keras")
