"""Who may import whom: the rules of the rooms as a table, checked on every module's imports.

Imports are read from the source with `ast`, so nothing has to be importable. Imports inside
functions count; imports under `if TYPE_CHECKING:` do not, as they make no dependency at run time.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tfdpm"

BASE = ("checks", "config")
ROOMS = (*BASE, "data", "features", "mixture", "proposals", "model", "metrics", "distributions")
OUTER = (*ROOMS, "callbacks", "export", "viz", "report")

# What each room or module may import from the package, besides itself. The longest name counts.
# An empty name is `tfdpm` itself, whose __init__ gathers the public names.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "startup": (),
    "checks": (),
    "config": ("checks",),
    "metrics": ("checks",),
    "data": BASE,
    "features": BASE,
    "mixture": ("checks",),
    "proposals": ("checks", "mixture"),
    "model": (*BASE, "data", "metrics", "mixture", "proposals"),
    "model.joint": (*BASE, "data", "metrics", "mixture", "proposals", "features"),
    "model.callbacks": (*BASE, "data", "metrics", "mixture", "proposals", "features", "viz"),
    "model.pictures": (*BASE, "viz", "report"),
    "distributions": ("mixture",),
    "callbacks": (*ROOMS, "viz"),
    "viz": ROOMS,
    "report": (*ROOMS, "viz"),
    "export": ROOMS,
    "stages": ("checks",),
    "encoding": (*ROOMS, "stages"),
    "pipeline": (*OUTER, "encoding", "stages"),
    "sklearn": (*OUTER, "pipeline"),
    "benchmarks": (*OUTER, "pipeline", "sklearn", ""),
    "reproduce": (*OUTER, "pipeline", "benchmarks", ""),
    "cli": (*OUTER, "pipeline", "benchmarks", "reproduce", "startup", ""),
    "__main__": ("cli",),
    "": (*OUTER, "pipeline", "sklearn", "startup"),
}

# Packages from outside that only some rooms may import.
ONLY_IN: dict[str, tuple[str, ...]] = {
    "tensorflow_probability": ("mixture",),
    "typer": ("cli",),
    "rich": ("cli", "benchmarks", "reproduce", "model", "callbacks"),
}
NOT_IN: dict[str, tuple[str, ...]] = {
    "keras": ("checks", "config", "data", "metrics", "mixture", "proposals"),
    "tensorflow": ("checks", "config", "metrics"),
}

# Loaded by the functions that need them, so that `import tfdpm` neither needs nor waits for them.
OPTIONAL = {"matplotlib", "pandas", "plotly", "pyarrow", "tensorflow_datasets", "umap"}
MAY_LOAD_OPTIONAL = ("viz", "report", "benchmarks")

BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}


@dataclass(frozen=True)
class Import:
    target: str  # dotted name, of a module or of something in it
    at_top: bool  # runs when the module is imported


def imports_of(source: str, module: str, is_package: bool) -> Iterator[Import]:
    """All imports of a module that happen at run time, `tf.keras` counted as one of Keras."""

    def visit(node: ast.AST, at_top: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            children: list[ast.AST] = list(node.orelse)
        else:
            children = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                parents = parents[: len(parents) - node.level + is_package]
                base = ".".join([*parents, base] if base else parents)
            yield from (Import(f"{base}.{alias.name}", at_top) for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "tf.keras":
            yield Import("keras", at_top)
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in children:
            yield from visit(child, at_top and not inside)

    yield from visit(ast.parse(source), True)


def is_within(module: str, room: str) -> bool:
    return module == room or (room != "" and module.startswith(room + "."))


def room_of(module: str) -> str | None:
    """The table's entry for a module (without "tfdpm."), or None if it has none."""
    rooms = [room for room in MAY_IMPORT if is_within(module, room)]
    return max(rooms, key=len, default=None)


def violations(module: str, source: str, is_package: bool = False) -> list[str]:
    """What the rules have against a module called `module` (without "tfdpm.") of this source."""
    found = []
    room = room_of(module)
    if room is None:
        return [f"{module} has no entry in the table of rooms"]
    if BANNED_NAMES & set(module.split(".")):
        found.append(f"{module} is named after nothing in particular")
    if not ast.get_docstring(ast.parse(source)):
        found.append(f"{module} does not start with a docstring")
    full_name = f"tfdpm.{module}" if module else "tfdpm"
    for item in imports_of(source, full_name, is_package):
        top, _, inner = item.target.partition(".")
        if top == "tfdpm":
            target = room_of(inner)
            # A name that is no module is something that tfdpm/__init__.py defines.
            target = "" if target is None else target
            own = is_within(inner, room.partition(".")[0]) and room != ""
            allowed = any(is_within(target, other) for other in MAY_IMPORT[room])
            if not own and not allowed:
                found.append(f"{module} imports tfdpm.{inner}")
        elif top in ONLY_IN and not any(is_within(module, r) for r in ONLY_IN[top]):
            found.append(f"{module} imports {top}")
        elif any(is_within(module, r) for r in NOT_IN.get(top, ())):
            found.append(f"{module} imports {top}")
        elif top in OPTIONAL and item.at_top:
            if not any(is_within(module, r) for r in MAY_LOAD_OPTIONAL):
                found.append(f"{module} imports {top} outside a function")
    return found


def modules() -> dict[str, Path]:
    """Every module of the package by its name without "tfdpm."."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


@pytest.mark.parametrize("module", modules())
def test_module_keeps_the_rules(module: str) -> None:
    path = modules()[module]
    assert violations(module, path.read_text(), path.name == "__init__.py") == []


def test_modules_do_not_import_each_other_in_circles() -> None:
    known = modules()
    graph: dict[str, set[str]] = {}
    for module, path in known.items():
        full_name = f"tfdpm.{module}" if module else "tfdpm"
        graph[module] = set()
        for item in imports_of(path.read_text(), full_name, path.name == "__init__.py"):
            inner = item.target.removeprefix("tfdpm.")
            if not item.at_top or inner == item.target:
                continue
            while inner not in known:
                inner = inner.rpartition(".")[0]
            # A package's __init__ is run by, and so does not wait for, its own modules.
            if inner != module and not is_within(module, inner):
                graph[module].add(inner)

    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module not in finished:
            for target in sorted(graph[module] - {""}):
                visit(target, (*path, module))
            finished.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("data.wrong", "from tfdpm.features import swav", "imports tfdpm.features.swav"),
        ("data.wrong", "import tfdpm.mixture.niw", "imports tfdpm.mixture.niw"),
        ("data.wrong", "from ..mixture import niw", "imports tfdpm.mixture.niw"),
        ("data.wrong", "from tfdpm import mixture", "imports tfdpm.mixture"),
        ("data.wrong", "from tfdpm import fit", "imports tfdpm.fit"),
        ("data.wrong", "import tfdpm", "imports tfdpm."),
        ("data.wrong", "def f():\n    from tfdpm import model", "imports tfdpm.model"),
        ("data.wrong", "import pandas as pd", "imports pandas outside a function"),
        ("features.wrong", "from tfdpm.data import multicrop", "imports tfdpm.data.multicrop"),
        ("mixture.wrong", "from tfdpm import config", "imports tfdpm.config"),
        ("mixture.wrong", "from tfdpm.proposals import split", "imports tfdpm.proposals.split"),
        ("mixture.wrong", "import keras", "imports keras"),
        ("mixture.wrong", "import tensorflow as tf\ntf.keras.layers.Dense(1)", "imports keras"),
        ("proposals.wrong", "from keras import layers", "imports keras"),
        ("proposals.wrong", "from tfdpm.model import deepdpm", "imports tfdpm.model.deepdpm"),
        ("model.wrong", "from tfdpm.features import swav", "imports tfdpm.features.swav"),
        ("model.wrong", "import tensorflow_probability as tfp", "imports tensorflow_probability"),
        ("model.wrong", "from tfdpm import pipeline", "imports tfdpm.pipeline"),
        ("export", "from tfdpm.pipeline import fit", "imports tfdpm.pipeline.fit"),
        ("mixture.utils", "", "is named after nothing"),
        ("misc", "", "no entry"),
    ],
)
def test_planted_violation_is_caught(module: str, line: str, complaint: str) -> None:
    found = violations(module, f'"""A module."""\n{line}\n')
    assert len(found) == 1
    assert complaint in found[0]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("data.right", "from tfdpm import checks"),
        ("data.right", "from tfdpm.data import synthetic"),
        ("data.right", "from . import synthetic"),
        ("data.right", "def f():\n    import pandas"),
        ("data.right", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas"),
        ("mixture.right", "if typing.TYPE_CHECKING:\n    from tfdpm.model import deepdpm"),
        ("mixture.right", "import tensorflow_probability as tfp"),
        ("proposals.right", "from tfdpm.mixture import niw"),
        ("model.right", "from tfdpm.proposals import split\nimport keras"),
        ("model.joint", "from tfdpm.features import autoencoder"),
        ("cli.right", "import tfdpm\nfrom tfdpm import pipeline"),
        ("sklearn", "from tfdpm.pipeline import fit"),
    ],
)
def test_permitted_import_is_not_caught(module: str, line: str) -> None:
    assert violations(module, f'"""A module."""\n{line}\n') == []


def test_missing_docstring_is_caught() -> None:
    assert violations("metrics", "x = 1\n") == ["metrics does not start with a docstring"]
