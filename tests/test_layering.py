"""Who may import whom: the rules of the rooms as a table, checked on every module's imports.

Imports are read from the source with `ast`, so nothing has to be importable. Imports inside
functions and under `if TYPE_CHECKING:` count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tfdpm"

# Rooms in the order in which data flows, each with the rooms before it that it may import from.
# The empty name is `tfdpm` itself, whose __init__ gathers the public names.
MAY_IMPORT = {
    "checks": "",
    "startup": "",
    "config": "checks",
    "metrics": "checks",
    "fused_adam": "",
    "threads": "",
    "progress": "checks",
    "data": "checks metrics progress",
    "swav": "checks progress data",
    "features": "checks config progress data swav",
    "mixture": "checks",
    "moves": "checks mixture",
    "search": "checks config threads features mixture moves",
    "networks": "checks config features mixture moves search",
    "shapes": "mixture",
    "interpret": "checks config features mixture moves search networks shapes",
    "training": "checks config threads progress data features mixture moves search networks shapes "
    "interpret",
    "serving": "checks progress mixture search networks",
    "viz": "checks config progress data features mixture",
    "report": "checks progress data metrics features viz",
    "deepdpm": "checks config metrics fused_adam progress data features mixture moves search "
    "networks shapes interpret training serving viz report",
    "joint": "checks config metrics progress data features serving deepdpm",
    "callbacks": "checks config metrics progress data swav moves search networks interpret "
    "training viz deepdpm",
    "distributions": "mixture",
    "export": "checks progress data mixture interpret serving deepdpm",
    "pipeline": "checks config progress data features callbacks deepdpm export",
    "sklearn": "checks config data pipeline",
    "": "startup config metrics data swav features deepdpm joint callbacks distributions export "
    "pipeline sklearn",
    "benchmarks": "checks config metrics progress data swav features mixture deepdpm joint tfdpm",
    "cli": "checks startup metrics progress data swav features report export tfdpm benchmarks",
    "__main__": "cli",
}

# Packages from outside that only some rooms may import.
ONLY_IN = {
    "tensorflow_probability": ("mixture",),
    "typer": ("cli", "benchmarks"),
    "rich": ("progress", "cli", "benchmarks", "training", "callbacks"),
}
NOT_IN = {
    "keras": ("checks", "config", "metrics", "mixture", "moves"),
    "tensorflow": ("checks", "config", "metrics"),
}

# Loaded by the functions that need them, so that `import tfdpm` neither needs nor waits for them.
OPTIONAL = {
    *("evoc", "fast_hdbscan", "hdbscan", "keras_hub", "matplotlib", "pandas", "plotly"),
    *("pyarrow", "tensorflow_datasets"),
}
MAY_LOAD_OPTIONAL = ("viz", "report", "benchmarks")

BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}
MOST_FILES = 14
MOST_SHARE = 0.12


@dataclass(frozen=True)
class Import:
    target: str  # dotted name, of a module or of something in it
    at_top: bool  # runs when the module is imported


def imports_of(source: str, module: str, is_package: bool) -> Iterator[Import]:
    """All imports of a module, `tf.keras` counted as one of Keras."""

    def visit(node: ast.AST, at_top: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            at_top = False
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
        for child in ast.iter_child_nodes(node):
            yield from visit(child, at_top and not inside)

    yield from visit(ast.parse(source), True)


def room_of(module: str) -> str:
    """The table's row for a module (without "tfdpm."), by default the package's own."""
    first = module.partition(".")[0]
    return first if first in MAY_IMPORT else ""


def violations(module: str, source: str, is_package: bool = False) -> list[str]:
    """What the rules have against a module called `module` (without "tfdpm.") of this source."""
    room = room_of(module)
    if room != module.partition(".")[0]:
        return [f"{module} has no row in the table of rooms"]
    found = []
    if BANNED_NAMES & set(module.split(".")):
        found.append(f"{module} is named after nothing in particular")
    if not ast.get_docstring(ast.parse(source)):
        found.append(f"{module} does not start with a docstring")
    allowed = {"" if name == "tfdpm" else name for name in MAY_IMPORT[room].split()}
    full_name = f"tfdpm.{module}" if module else "tfdpm"
    for item in imports_of(source, full_name, is_package):
        top, _, inner = item.target.partition(".")
        if top == "tfdpm":
            if room_of(inner) not in {room, *allowed}:
                found.append(f"{module} imports tfdpm.{inner}")
        elif top in ONLY_IN and room not in ONLY_IN[top]:
            found.append(f"{module} imports {top}")
        elif room in NOT_IN.get(top, ()):
            found.append(f"{module} imports {top}")
        elif top in OPTIONAL and item.at_top and room not in MAY_LOAD_OPTIONAL:
            found.append(f"{module} imports {top} outside a function")
    return found


def modules() -> dict[str, Path]:
    """Every module of the package by its name without "tfdpm."."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def import_graph() -> dict[str, set[str]]:
    """Which modules of the package each of them imports, anywhere and for types alone too."""
    known = modules()
    graph: dict[str, set[str]] = {}
    for module, path in known.items():
        full_name = f"tfdpm.{module}" if module else "tfdpm"
        graph[module] = set()
        for item in imports_of(path.read_text(), full_name, path.name == "__init__.py"):
            inner = item.target.removeprefix("tfdpm.")
            if inner == item.target:
                continue
            while inner not in known:
                inner = inner.rpartition(".")[0]
            # A package's __init__ is run by, and so does not wait for, its own modules.
            if inner not in ("", module) and not module.startswith(inner + "."):
                graph[module].add(inner)
    return graph


@pytest.mark.parametrize("module", modules())
def test_module_keeps_the_rules(module: str) -> None:
    path = modules()[module]
    assert violations(module, path.read_text(), path.name == "__init__.py") == []


def test_rooms_import_only_from_rooms_before_them() -> None:
    rooms = list(MAY_IMPORT)
    for index, room in enumerate(rooms):
        allowed = {"" if name == "tfdpm" else name for name in MAY_IMPORT[room].split()}
        assert allowed <= set(rooms[:index]), room


def test_modules_do_not_import_each_other_in_circles() -> None:
    graph = import_graph()
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module not in finished:
            for target in sorted(graph[module]):
                visit(target, (*path, module))
            finished.add(module)

    for module in graph:
        visit(module, ())


def test_no_folder_is_crowded() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in modules().values()}
    folders: dict[Path, list[Path]] = {}
    for path in lines:
        folders.setdefault(path.parent, []).append(path)
    for folder, files in folders.items():
        assert len(files) <= MOST_FILES, folder
        assert sum(lines[path] for path in files) <= MOST_SHARE * sum(lines.values()), folder


def private_names(node: ast.AST) -> set[str]:
    """Underscore attributes of `self` in a class."""
    return {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
        and ast.unparse(each.value) == "self"
        and each.attr.startswith("_")
        and not each.attr.startswith("__")
    }


def test_no_class_shares_a_private_attribute_with_its_base() -> None:
    classes = {
        node.name: (node, [ast.unparse(base).rpartition(".")[2] for base in node.bases])
        for path in modules().values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }

    def ancestors(name: str) -> set[str]:
        # One of the same name is a class of Keras.
        bases = {base for base in classes[name][1] if base in classes and base != name}
        return bases.union(*(ancestors(base) for base in bases)) if bases else bases

    for name, (node, _) in classes.items():
        for base in ancestors(name):
            assert private_names(node) & private_names(classes[base][0]) == set(), (name, base)


def test_nobody_sets_a_private_attribute_of_another_object() -> None:
    for module, path in modules().items():
        tree = ast.parse(path.read_text())
        constructors = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef)
            and any(ast.unparse(each) == "classmethod" for each in node.decorator_list)
        ]
        allowed = {id(node) for made in constructors for node in ast.walk(made)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                is_own = ast.unparse(node.value) == "self" or id(node) in allowed
                is_private = node.attr.startswith("_") and not node.attr.endswith("__")
                assert is_own or not is_private, f"{module}: {ast.unparse(node)}"


def test_deepdpm_has_at_most_two_bases_of_ours() -> None:
    import tfdpm

    own = [base for base in tfdpm.DeepDPM.__mro__ if base.__module__.startswith("tfdpm")]
    assert len(own) <= 3


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("data.wrong", "from tfdpm.features import encoders", "imports tfdpm.features.encoders"),
        ("data.wrong", "import tfdpm.mixture.niw", "imports tfdpm.mixture.niw"),
        ("data.wrong", "from ..mixture import niw", "imports tfdpm.mixture.niw"),
        ("data.wrong", "from tfdpm import mixture", "imports tfdpm.mixture"),
        ("data.wrong", "from tfdpm import fit", "imports tfdpm.fit"),
        ("data.wrong", "import tfdpm", "imports tfdpm."),
        ("data.wrong", "def f():\n    from tfdpm import search", "imports tfdpm.search"),
        ("data.wrong", "if TYPE_CHECKING:\n    from tfdpm import viz", "imports tfdpm.viz"),
        ("data.wrong", "import pandas as pd", "imports pandas outside a function"),
        ("mixture.wrong", "from tfdpm import config", "imports tfdpm.config"),
        ("mixture.wrong", "from tfdpm.moves import split", "imports tfdpm.moves.split"),
        ("mixture.wrong", "import keras", "imports keras"),
        ("mixture.wrong", "import tensorflow as tf\ntf.keras.layers.Dense(1)", "imports keras"),
        ("moves.wrong", "from keras import layers", "imports keras"),
        ("moves.wrong", "from tfdpm.deepdpm import model", "imports tfdpm.deepdpm.model"),
        ("deepdpm.wrong", "import tensorflow_probability", "imports tensorflow_probability"),
        ("deepdpm.wrong", "from tfdpm import pipeline", "imports tfdpm.pipeline"),
        ("export", "from tfdpm.pipeline import fit", "imports tfdpm.pipeline.fit"),
        ("mixture.utils", "", "is named after nothing"),
        ("misc", "", "no row"),
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
        ("data.right", "from tfdpm.data import streams"),
        ("data.right", "from . import streams"),
        ("data.right", "def f():\n    import pandas"),
        ("data.right", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas"),
        ("mixture.right", "import tensorflow_probability as tfp"),
        ("moves.right", "from tfdpm.mixture import niw"),
        ("deepdpm.right", "from tfdpm.moves import split\nimport keras"),
        ("joint.right", "from tfdpm.features import autoencoder"),
        ("cli.right", "import tfdpm\nfrom tfdpm import fit"),
    ],
)
def test_permitted_import_is_not_caught(module: str, line: str) -> None:
    assert violations(module, f'"""A module."""\n{line}\n') == []


def test_missing_docstring_is_caught() -> None:
    assert violations("metrics", "x = 1\n") == ["metrics does not start with a docstring"]
