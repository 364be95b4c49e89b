"""Every notebook runs from start to end in smoke mode, and none drops out of the row."""

from __future__ import annotations

import configparser
import importlib.util
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = (
    "1_one_line",
    "2_the_mixture_by_hand",
    "3_watching_k_move",
    "4_swav_features",
    "5_joint_training",
    "6_serving",
    "7_any_shape",
    "8_keras_pipeline",
    "9_texts",
)
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
ADDRESS = SETUP["metadata"]["url"]  # of the repository, where it is set


def test_no_notebook_drops_out() -> None:
    assert [path.stem for path in NOTEBOOKS] == list(NAMES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_opens_in_colab_installs_once_and_keeps_its_pictures(path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    place = f"{ADDRESS.removeprefix('https://')}/blob/main/notebooks/{path.name}"
    badge = place.replace("github.com", "https://colab.research.google.com/github")
    assert f"({badge})" in notebook.cells[0].source
    assert [cell for cell in code if "%pip install" in cell.source] == [code[0]]
    assert code[1].metadata.tags == ["parameters"]
    assert all(cell.execution_count for cell in code)
    outputs = [output for cell in code for output in cell.outputs]
    assert len(outputs) >= 3
    assert not [output for output in outputs if output.output_type == "error"]
    assert path.stat().st_size < 1_000_000


@pytest.mark.parametrize(
    ("beside", "wanted"),
    [
        (["tfdpm-0.1.0-py3-none-any.whl", "tfdpm/x"], "tfdpm-0.1.0-py3-none-any.whl[viz]"),
        (["tfdpm/x"], ".[viz]"),
        ([], f"tfdpm[viz] @ git+{ADDRESS}"),
    ],
)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_installed_is_what_there_is(path, beside, wanted, tmp_path, monkeypatch) -> None:
    for name in beside:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    names: dict = {}
    exec(code[0].source.replace('%pip install -q "{source}"', "pass"), names)
    assert names["source"] == wanted


def test_each_notebook_ends_with_the_readers_own_data() -> None:
    for path in NOTEBOOKS:
        *_, before, last = nbformat.read(path, as_version=4).cells
        assert "## On your own data" in before.source + last.source, path.name


def test_the_address_of_the_repository_is_the_one_that_is_set() -> None:
    pages = [*NOTEBOOKS, *ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "mkdocs.yml"]
    ours = re.compile(rf"github(?:\.com)?/([\w.-]+/{Path(ADDRESS).name})\b")
    found = {owned for page in pages for owned in ours.findall(page.read_text("utf-8"))}
    assert [f"https://github.com/{owned}" for owned in found] == [ADDRESS]


def test_links_between_notebooks_lead_somewhere() -> None:
    for path in NOTEBOOKS:
        for link in re.findall(r"\]\(([0-9]_\w+\.ipynb)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / link).exists(), f"{path.name} -> {link}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_in_smoke_mode(path, tmp_path, monkeypatch) -> None:
    notebook = nbformat.read(path, as_version=4)
    (parameters,) = [cell for cell in notebook.cells if cell.metadata.get("tags") == ["parameters"]]
    assert "SMOKE = False" in parameters.source
    parameters.source = parameters.source.replace("SMOKE = False", "SMOKE = True")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    # Held to older instructions, TensorFlow crashes on products of bfloat16 numbers.
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    here = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=180, kernel_name="python3", resources=here).execute()
