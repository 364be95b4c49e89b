"""`tfdpm bench`: runs one of the benchmarks in `tfdpm/benchmarks/`, each a module with a `run`.

`run(data, *, out, seed)` takes .npz files with arrays `x` and `y`, prints a table and writes JSON.
The other options go to those benchmarks whose `run` has an argument for them.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tfdpm import checks

# Each benchmark by name and the module whose `run` it is.
MODULES = {
    "quality": "quality.accuracy",
    "tables": "quality.tables",
    "images": "quality.images",
    "speed": "speed.fits",
    "ablation": "quality.ablation",
    "robustness": "quality.robustness",
    "prior": "quality.prior",
    "stress": "quality.stress",
    "serving": "speed.serving",
    "joint": "quality.joint",
    "swav": "swav.overview",
}
NAMES = tuple(MODULES)


def bench(
    name: Annotated[str, typer.Argument(metavar="NAME", help=", ".join(NAMES) + ".")],
    more: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE.npz]...", help="More data: what follows the first --data."),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE.npz...", help="Arrays x and y; one file or several."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Default: bench_NAME.json.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="First seed.")] = 0,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many: quality, images, ablation, prior ...")
    ] = None,
    peers: Annotated[
        str | None,
        typer.Option(help="Names with commas, all or none: quality, images, speed."),
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="As of `tfdpm.fit`; files alone: images.")
    ] = None,
    imbalanced: Annotated[
        bool | None,
        typer.Option("--imbalanced", help="Imbalanced versions: quality, prior, swav."),
    ] = None,
    normalize_rows: Annotated[
        bool | None,
        typer.Option("--normalize-rows", help="Unit length for all methods: quality, speed."),
    ] = None,
    initial_clusters: Annotated[
        str | None, typer.Option(metavar="K,K,...", help="Robustness, ablation.")
    ] = None,
    configuration: Annotated[
        str | None, typer.Option(help="default, paper or official: robustness, ablation.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Most epochs of a fit: robustness, ablation, swav.")
    ] = None,
    max_points: Annotated[
        int | None,
        typer.Option(min=2, help="Thins the data: quality, images, ablation, prior ..."),
    ] = None,
    repeats: Annotated[
        int | None, typer.Option(min=1, help="Times that are taken: speed, serving.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="For all methods: speed, serving.")
    ] = None,
    points: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Growth in N, or none: speed.")
    ] = None,
    clusters: Annotated[
        str | None, typer.Option(metavar="K,K,...", help="Growth in K, or none: speed.")
    ] = None,
    dims: Annotated[
        str | None, typer.Option(metavar="D,D,...", help="Growth in D, or none: speed.")
    ] = None,
    stream: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Streams from disk, or none: speed.")
    ] = None,
    cases: Annotated[int | None, typer.Option(min=1, help="How many: stress.")] = None,
    quick: Annotated[
        bool | None, typer.Option("--quick", help="A trial within seconds, of no other use.")
    ] = None,
) -> None:
    """Measure, print a table, and write it as JSON."""
    checks.one_of(name, "NAME", NAMES)
    data = [*(data or ()), *(more or ())]
    for path in data:
        if not path.is_file():
            checks.fail("--data", repr(str(path)), "an existing .npz file", FileNotFoundError)
    options = {
        "seeds": seeds,
        "peers": peers,
        "features": features,
        "imbalanced": imbalanced,
        "normalize_rows": normalize_rows,
        "initial_clusters": _numbers(initial_clusters, "--initial-clusters"),
        "configuration": configuration,
        "epochs": epochs,
        "max_points": max_points,
        "repeats": repeats,
        "threads": threads,
        "points": _numbers(points, "--points"),
        "clusters": _numbers(clusters, "--clusters"),
        "dims": _numbers(dims, "--dims"),
        "stream": _numbers(stream, "--stream"),
        "cases": cases,
        "quick": quick,
    }
    module = importlib.import_module(f"tfdpm.benchmarks.{MODULES[name]}")
    given = _accepted(name, module.run, options)
    module.run(data or [], out=out or Path(f"bench_{name}.json"), seed=seed, **given)


def _accepted(name: str, run: Callable, options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given; one that this benchmark does not have is an error."""
    given = {option: value for option, value in options.items() if value is not None}
    known = inspect.signature(run).parameters
    for option in given:
        if option not in known:
            has = [f"--{other.replace('_', '-')}" for other in options if other in known]
            wanted = f"options of `tfdpm bench {name}`: {', '.join(has) or 'no further ones'}"
            checks.fail(f"--{option.replace('_', '-')}", "an option of other benchmarks", wanted)
    return given


def _numbers(text: str | None, name: str) -> tuple[int, ...] | None:
    """Positive integers out of a list with commas; none at all for "none"."""
    if text is None:
        return None
    if text == "none":
        return ()
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        checks.fail(name, repr(text), "positive integers with commas between them, or none")
    return tuple(int(part) for part in parts)
