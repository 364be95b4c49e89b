"""`tfdpm bench`: runs one of the benchmarks in `tfdpm/benchmarks/`, each a module with a `run`.

`run(data, *, out, seed)` takes .npz files with arrays `x` and `y`, prints a table and writes JSON.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from tfdpm import checks

NAMES = ("quality", "speed", "ablation", "robustness", "swav")


def bench(
    name: Annotated[str, typer.Argument(metavar="NAME", help=", ".join(NAMES) + ".")],
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE.npz", help="Arrays x and y. Can be given several times."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Default: bench_NAME.json.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="First seed.")] = 0,
) -> None:
    """Measure, print a table, and write it as JSON."""
    checks.one_of(name, "NAME", NAMES)
    for path in data or ():
        if not path.is_file():
            checks.fail("--data", repr(str(path)), "an existing .npz file", FileNotFoundError)
    module = importlib.import_module(f"tfdpm.benchmarks.{name}")
    module.run(data or [], out=out or Path(f"bench_{name}.json"), seed=seed)
