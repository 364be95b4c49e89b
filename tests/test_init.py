"""`import tfdpm`: quiet, without optional packages, with the names that it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import pytest

import tfdpm
from tfdpm.features.autoencoder import Scaling

OPTIONAL = ("matplotlib", "pandas", "plotly", "pyarrow", "tensorflow_datasets", "umap")


def run_python(code: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


def environment(*paths: Path) -> dict[str, str]:
    """The environment of this process, with folders before all others in which modules are."""
    path = os.pathsep.join(map(str, [*paths, Path(tfdpm.__file__).parents[1]]))
    # What silence is tested for: TensorFlow's own setting is not of help.
    kept = {name: each for name, each in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return {**kept, "PYTHONPATH": path}


@pytest.mark.parametrize(
    "line",
    [
        "from tfdpm import *",
        "from tfdpm.sklearn import DeepDPMClusterer",
        "import tfdpm, keras, tensorflow",
    ],
)
def test_import_prints_nothing(line: str) -> None:
    result = run_python(line, env=environment())
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_what_needs_no_tensorflow_does_not_wait_for_it() -> None:
    result = run_python(
        "import sys, time, tfdpm\n"
        "assert set(tfdpm.__all__) < set(dir(tfdpm))\n"
        "assert tfdpm.DeepDPMConfig().epochs == 50 and tfdpm.config.DeepDPMConfig\n"
        "assert not hasattr(tfdpm, 'nothing_of_this_name') and not hasattr(tfdpm, '__main__')\n"
        "assert 'scipy' not in sys.modules and time.process_time() < 0.5\n"
        "assert tfdpm.metrics.nmi([0, 0, 1], [1, 1, 0]) == 1.0\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
        "tfdpm.fit\n"
        "assert {'tensorflow', 'keras'} < set(sys.modules)\n"
        "assert not {'tensorflow_probability', 'tf_keras'} & set(sys.modules)\n"
    )
    assert (result.returncode, result.stderr) == (0, "")


# To look whether Keras is there, as some libraries do, is no import of it.
_LOOK = "tfdpm, importlib.util as u; u.find_spec('keras'); import keras"


@pytest.mark.parametrize("imports", [_LOOK, "keras, tfdpm"])
def test_keras_reads_our_files_after_the_import_alone(imports: str, tmp_path) -> None:
    file = tmp_path / "model.keras"
    model = keras.Sequential([keras.Input([2]), Scaling(shift=1.0, scale=2.0)])
    model.save(file)
    result = run_python(
        f"import {imports}\nmodel = keras.saving.load_model({str(file)!r})\n"
        "assert model(keras.ops.array([[3.0, 5.0]])).numpy().tolist() == [[1.0, 2.0]]\n"
        "assert keras.saving.get_registered_object('tfdpm>Scaling') is type(model.layers[0])\n"
    )
    assert result.returncode == 0, result.stderr


def test_keras_is_told_of_each_class_that_we_register() -> None:
    result = run_python(
        "import tfdpm, keras\n"
        "told = {name: each for name, each in keras.saving.get_custom_objects().items()}\n"
        "import tfdpm.joint.model, tfdpm.pipeline, tfdpm.sklearn, tfdpm.callbacks\n"
        "found = keras.saving.get_custom_objects()\n"
        "assert set(told) == set(found), set(told) ^ set(found)\n"
        "assert all(isinstance(each, type) and told[name] is not each"
        " for name, each in found.items())\n"
    )
    assert result.returncode == 0, result.stderr


def test_import_loads_no_optional_package() -> None:
    # Keras loads pandas and others where they are installed; tfdpm must not add to that, and must
    # load where there is none: None in `sys.modules` makes an import fail.
    result = run_python(
        f"import sys\nsys.modules.update(dict.fromkeys({OPTIONAL!r}))\nimport tfdpm\ntfdpm.fit\n"
        f"assert all(sys.modules[name] is None for name in {OPTIONAL!r})"
    )
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("told", ["environment", "file", "keras"])
def test_another_backend_of_keras_is_one_error_at_import(told, tmp_path) -> None:
    settings = {"KERAS_BACKEND": "jax"} if told != "file" else {"KERAS_HOME": str(tmp_path)}
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    code = f"import os\nos.environ.update({settings!r})\n"
    if told == "keras":  # as if it had been imported before
        fake = "types.SimpleNamespace(config=types.SimpleNamespace(backend=lambda: 'jax'))"
        code += f"import sys, types\nsys.modules['keras'] = {fake}\n"
    result = run_python(code + "import tfdpm")
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: `KERAS_BACKEND`: got 'jax', wanted 'tensorflow'")


def test_every_public_name_exists() -> None:
    assert len(set(tfdpm.__all__)) == len(tfdpm.__all__)
    assert all(hasattr(tfdpm, name) for name in tfdpm.__all__)


def test_startup_keeps_warnings_and_drops_information(tmp_path) -> None:
    (tmp_path / "tensorflow.py").write_text(
        "import os\n"
        "os.write(2, b'I0000 00:00:1.2 1 port.cc:153] information\\n')\n"
        "os.write(2, b'W0000 00:00:1.2 1 port.cc:153] a warning\\n')\n"
    )
    code = "import sys, tfdpm, tensorflow\nprint('afterwards', file=sys.stderr)\n"
    result = run_python(code, cwd=tmp_path, env=environment(tmp_path))
    assert result.stderr.splitlines() == ["W0000 00:00:1.2 1 port.cc:153] a warning", "afterwards"]
