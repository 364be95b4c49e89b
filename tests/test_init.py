"""`import tfdpm`: quiet, without optional packages, with the names that it promises."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tfdpm

OPTIONAL = ("matplotlib", "pandas", "plotly", "pyarrow", "tensorflow_datasets", "umap")


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)


def test_import_prints_nothing() -> None:
    result = run_python("import tfdpm")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_import_loads_no_optional_package() -> None:
    # Keras loads pandas and others where they are installed; tfdpm must not add to that, and must
    # load where there is none: None in `sys.modules` makes an import fail.
    result = run_python(
        f"import sys\nsys.modules.update(dict.fromkeys({OPTIONAL!r}))\nimport tfdpm, keras\n"
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
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('startup', {tfdpm.startup.__file__!r})\n"
        "startup = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(startup)\n"
        "startup.import_tensorflow()\n"
        "print('afterwards', file=sys.stderr)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert result.stderr.splitlines() == ["W0000 00:00:1.2 1 port.cc:153] a warning", "afterwards"]
