"""The pages' Python runs, links lead somewhere, and the built reference has every public name."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tfdpm

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
WITHOUT_CODE = {"method", "references", "results"}
LINKED = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
MODELS = (tfdpm.DeepDPM, tfdpm.SwAV, tfdpm.JointClustering)
MODULES = ("callbacks", "data", "distributions", "features", "metrics", "sklearn", "viz")

needs_mkdocs = pytest.mark.skipif(
    shutil.which("mkdocs", path=str(Path(sys.executable).parent)) is None,
    reason="the extra `docs` is not installed",
)


def page_name(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix()


def missing_targets(page: Path, text: str) -> list[str]:
    """The local files and headings that links of a page name and that do not exist."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    missing = []
    for target in re.findall(r"\]\(([^()\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        name, _, heading = target.partition("#")
        path = page.parent / name if name else page
        if not path.exists() or (heading and heading not in headings(path.read_text("utf-8"))):
            missing.append(target)
    return missing


def headings(text: str) -> set[str]:
    """The anchors of a page's headings."""
    lines = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).strip().replace(" ", "-") for line in lines}


def own_names(cls: type) -> Iterator[str]:
    """The public names of a class that a module of tfdpm, and not Keras, defines."""
    for name in dir(cls):
        owner = next((base for base in cls.__mro__ if name in vars(base)), None)
        if not name.startswith("_") and owner and owner.__module__.startswith("tfdpm"):
            yield name


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_python_block_runs(page, tmp_path, monkeypatch) -> None:
    import matplotlib

    matplotlib.use("Agg")
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    assert bool(blocks) != (page.stem in WITHOUT_CODE)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)


@pytest.mark.parametrize("page", LINKED, ids=page_name)
def test_every_local_link_leads_somewhere(page: Path) -> None:
    assert missing_targets(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("link", "is_missing"),
    [
        ("[a](docs/index.md)", False),
        ("[a](docs/results.md#small-tables)", False),
        ("![a](docs/images/digits.png)", False),
        ("[a](https://example.org/nothing)", False),
        ("[a](docs/nothing.md)", True),
        ("[a](docs/results.md#nothing)", True),
        ("![a](docs/images/nothing.png)", True),
    ],
)
def test_a_broken_link_is_caught(link: str, is_missing: bool) -> None:
    assert bool(missing_targets(ROOT / "README.md", link)) == is_missing


def test_every_page_is_in_the_navigation_and_the_other_way_round() -> None:
    listed = set(re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), flags=re.MULTILINE))
    assert listed == {path.relative_to(DOCS).as_posix() for path in PAGES}


@pytest.fixture(scope="module")
def site_names(tmp_path_factory) -> set[str]:
    """The anchors of all reference pages of the site, which has to build without a warning."""
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    pages = [page.read_text(encoding="utf-8") for page in site.glob("reference/*/index.html")]
    return {name for page in pages for name in re.findall(r'id="(tfdpm[\w.]*)"', page)}


@needs_mkdocs
@pytest.mark.parametrize("cls", MODELS, ids=lambda cls: cls.__name__)
def test_reference_has_every_name_of_a_model_and_none_of_keras(cls: type, site_names) -> None:
    prefix = f"tfdpm.{cls.__name__}."
    shown = {name.removeprefix(prefix) for name in site_names if name.startswith(prefix)}
    own = set(own_names(cls))
    assert {"fit", "get_config"} <= own
    assert own - shown == set()
    assert {name for name in shown - own if hasattr(cls, name)} == set()


def test_public_names_and_their_methods_say_what_they_do() -> None:
    homes = [tfdpm, *(importlib.import_module(f"tfdpm.{module}") for module in MODULES)]
    public = {name: getattr(home, name) for home in homes for name in home.__all__}
    silent = [name for name, value in public.items() if not value.__doc__]
    for name, cls in public.items():
        for each in own_names(cls) if isinstance(cls, type) else ():
            value = getattr(cls, each)
            if (callable(value) or isinstance(value, property)) and not value.__doc__:
                silent.append(f"{name}.{each}")
    assert len(public) > 90 and silent == []


@needs_mkdocs
@pytest.mark.parametrize("module", MODULES)
def test_reference_has_every_name_of_a_module(module: str, site_names) -> None:
    public = importlib.import_module(f"tfdpm.{module}").__all__
    assert public
    missing = {name for name in public if f"tfdpm.{module}.{name}" not in site_names}
    assert {name for name in missing if f"tfdpm.{name}" not in site_names} == set()


@needs_mkdocs
def test_reference_has_every_name_of_the_package(site_names) -> None:
    modules = {"config", "export", *MODULES}
    assert {f"tfdpm.{name}" for name in set(tfdpm.__all__) - modules} <= site_names


def test_script_of_pictures_says_when_there_is_no_browser(tmp_path) -> None:
    script = str(DOCS / "images" / "screenshots.py")
    run = {"capture_output": True, "text": True, "timeout": 60, "env": {"PATH": str(tmp_path)}}
    done = subprocess.run([sys.executable, script, "--only", "digits"], **run)
    assert done.returncode == 1
    assert done.stderr.startswith("no browser on the path; wanted one of chromium")


def test_papers_that_the_code_cites_by_year_are_among_the_references():
    sources = [*(ROOT / "tfdpm").rglob("*.py"), *PAGES]
    texts = [re.sub(r"\s+(# )?", " ", path.read_text("utf-8")) for path in sources]
    cited = {
        each for text in texts for each in re.findall(r"\[[A-Z][^\[\]]* (?:19|20)\d\d\]", text)
    }
    listed = set(re.findall(r"^- (\[.*?\])", (DOCS / "references.md").read_text("utf-8"), re.M))
    assert len(cited) > 10 and cited <= listed
