"""The exported graph where there is no Python at all; the rest is in tests/test_export.py."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import tfdpm
from tfdpm.serving import saved_model as serving

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
LIBRARIES = Path(tf.sysconfig.get_lib())
X = tfdpm.data.gaussian_mixture(3, 4, 200, seed=0)[0]


def names_in_graph(folder: Path) -> tuple[str, str, str]:
    """Operation of the input; operation and index of the labels."""
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    signature = saved.meta_graphs[0].signature_def["serving_default"]
    source = signature.inputs["inputs"].name.partition(":")[0]
    return source, *signature.outputs["labels"].name.split(":")


@pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")
def test_c_library_runs_the_exported_model(tmp_path):
    libraries = sorted(LIBRARIES.glob("libtensorflow_*.so*"))
    if len(libraries) < 2:
        pytest.skip("TensorFlow's shared libraries are not where they can be linked")
    model = tfdpm.DeepDPM(tfdpm.DeepDPMConfig(min_steps_per_epoch=5), seed=0)
    model.fit(X, epochs=1, verbose=0)
    model.export(tmp_path / "name" / "1")
    program = tmp_path / "client"
    source = Path(__file__).with_name("serving_client.c")
    flags = [f"-I{tf.sysconfig.get_include()}", f"-Wl,-rpath,{LIBRARIES}"]
    command = [COMPILER, str(source), *flags, *map(str, libraries), "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stderr
    X.astype(np.float32).tofile(tmp_path / "points")
    arguments = [*names_in_graph(tmp_path / "name" / "1"), str(tmp_path / "points"), "200", "4"]
    result = subprocess.run(
        [str(program), str(tmp_path / "name" / "1"), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    labels = np.array(result.stdout.split(), int)
    np.testing.assert_array_equal(labels, model.predict_labels(X))


def test_checksums_notice_every_change_but_that_of_the_card(tmp_path):
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "data").write_bytes(b"12")
    (tmp_path / serving.CARD_NAME).write_text("{}")
    before = serving.checksums(tmp_path)
    assert list(before) == ["variables/data"]
    (tmp_path / serving.CARD_NAME).write_text("[]")
    assert serving.checksums(tmp_path) == before
    (tmp_path / "variables" / "data").write_bytes(b"13")
    assert serving.checksums(tmp_path) != before
    (tmp_path / "more").write_bytes(b"")
    assert len(serving.checksums(tmp_path)) == 2


@pytest.mark.parametrize(("offset", "is_told"), [(0.0, False), (1e4, False), (1e8, True)])
def test_inputs_that_float32_cannot_tell_apart_are_told_at_export(offset, is_told, tmp_path):
    model = tfdpm.DeepDPM(tfdpm.DeepDPMConfig(min_steps_per_epoch=5), seed=0)
    model.fit(X.astype(np.float64) + offset, epochs=1, verbose=0)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model.export(tmp_path / "1")
    assert any("float32, whose steps" in str(each.message) for each in said) == is_told
