"""The commands `tfdpm bench`, with a sub-command for each benchmark, and `tfdpm reproduce`.

Benchmarks print a table and write JSON. They are imported when they run.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from tfdpm import checks

bench = typer.Typer(help="Measure, print a table, and write it as JSON.")


def _parse_numbers(param: typer.CallbackParam, value: str | None) -> tuple[int, ...] | None:
    """Returns the positive integers of a text with commas; "none" stands for no integer."""
    if value is None:
        return None
    parts = [] if value == "none" else value.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        wanted = "positive integers with commas between them, or none"
        checks.fail(f"--{param.name.replace('_', '-')}", repr(value), wanted)
    return tuple(int(part) for part in parts)


def _numbers(letter: str, text: str, default: str) -> tuple[type, Any, str]:
    metavar = f"{letter},{letter},..."
    return str, Option(metavar=metavar, callback=_parse_numbers, help=text), default


_PEERS = (
    "kmeans, gmm, bgmm, hdbscan, dbscan, movb, sampler, evoc, hdbscan_contrib, fast_hdbscan, "
    "dcn, dec, scan, turtle with commas; sklearn for the first five, all or none."
)
_POINTS = Option(metavar="FILE.npz...", help="Arrays x and y; one file or several.")

# Type, description and default of each option. A benchmark may have defaults of its own.
_OPTIONS: dict[str, tuple[Any, Any, Any]] = {
    "files": (list[Path] | None, Argument(metavar="FILE.npz", help="The same as --data."), None),
    "data": (list[Path] | None, _POINTS, None),
    "folder": (
        Path,
        Argument(metavar="FOLDER", help="Files .npz: x, y, maybe y_1, y_2, ...; 0 is noise."),
        inspect.Parameter.empty,
    ),
    "only": (str, Option(metavar="TEXT", help="Only sets whose name contains it."), ""),
    "out": (Path | None, Option(metavar="FILE.json", help="Default: bench_NAME.json."), None),
    "seed": (int, Option(min=0, help="First random seed."), 0),
    "seeds": (int, Option(min=1, help="Number of seeds."), 1),
    "cases": (int, Option(min=1, help="Number of random mixtures."), 200),
    "initial_clusters": _numbers("K", "Numbers of clusters at the start.", "3,10,30"),
    "configuration": (str, Option(help="default, paper or official."), "default"),
    "repeats": (int, Option(min=1, help="Number of timed runs."), 3),
    "threads": (int, Option(min=1, help="Cores and threads of all methods."), 1),
    "peers": (str, Option(help=_PEERS), "sklearn"),
    "features": (str, Option(help="As in tfdpm.fit; by name: files alone."), "auto"),
    "imbalanced": (bool, Option("--imbalanced", help="Add imbalanced versions."), False),
    "normalize_rows": (
        bool,
        Option("--normalize-rows", help="Unit length for all methods."),
        False,
    ),
    "points": _numbers("N", "Growth in N, or none.", "10000,100000,1000000"),
    "clusters": _numbers("K", "Growth in K, or none.", "10,100,1000"),
    "dims": _numbers("D", "Growth in D, or none.", "2,8,32,128,512"),
    "stream": _numbers("N", "Streams from disk, or none.", "1000000"),
    "everyday": (bool, Option(help="Starts, single calls, steps."), True),
    "epochs": (int | None, Option(min=1, help="Most epochs of a fit."), None),
    "max_points": (int | None, Option(min=2, help="Most points of each data set."), None),
    "quick": (bool, Option("--quick", help="A trial on few points."), False),
}
_FILES = "files data out seed"


def _add(name: str, module: str, text: str, options: str, own: Any = (), **defaults: Any) -> None:
    """Registers a sub-command that runs a module of `tfdpm.benchmarks`, with some of `_OPTIONS`.

    The options `own` and the defaults replace those of `_OPTIONS`. Options that `Sweep` has go
    there; the module's `run` takes the others.
    """

    def run(*, out: Path | None, files=None, data=None, **given: Any) -> None:
        benchmark = importlib.import_module(f"tfdpm.benchmarks.{module}")
        sweep = importlib.import_module("tfdpm.benchmarks.sweep").Sweep
        fields = {field.name for field in dataclasses.fields(sweep)} & set(given)
        shared = {name: given.pop(name) for name in fields}
        paths = [*(data or ()), *(files or ())]
        out = out or Path(f"bench_{name}.json")
        benchmark.run(sweep(data=paths, out=out, **shared), **given)

    parameters = []
    for option in options.split():
        kind, info, default = {**_OPTIONS, **dict(own)}[option]
        default, kind = defaults.get(option, default), Annotated[kind, info]
        parameters.append(
            inspect.Parameter(
                option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind
            )
        )
    run.__signature__ = inspect.Signature(parameters)
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    bench.command(name, help=text)(run)


_add(
    "quality",
    "quality.peer_scores",
    "NMI, ARI, ACC and K beside other methods.",
    f"{_FILES} seeds peers imbalanced normalize_rows max_points quick",
    seeds=3,
)
_add(
    "tables",
    "quality.table_scores",
    "Scores on iris, wine, breast cancer and any files.",
    f"{_FILES} seeds peers",
    seeds=3,
    peers="kmeans,gmm,hdbscan",
)
_add(
    "suite",
    "quality.suite",
    "Scores on a folder of labelled sets with several references and noise.",
    "folder out seed seeds peers features only",
    {"features": (str, Option(help="As in tfdpm.fit."), "auto")},
    peers="kmeans,gmm,hdbscan",
)
_add(
    "images",
    "quality.image_scores",
    "Scores on raw images, and on new ones through the saved model.",
    f"{_FILES} seeds peers features max_points quick",
    seeds=3,
    peers="kmeans",
)
_add(
    "ablation",
    "quality.ablation",
    "Scores with each part of the method left out.",
    f"{_FILES} seeds initial_clusters configuration epochs max_points quick",
)
_add(
    "robustness",
    "quality.initial_clusters",
    "The final K from several initial K.",
    f"{_FILES} seeds initial_clusters configuration epochs max_points quick",
    initial_clusters="1,3,10,30,100",
)
_add(
    "prior",
    "quality.prior_rules",
    "Scores under several rules for the prior.",
    f"{_FILES} seeds imbalanced max_points quick",
)
_add(
    "stress",
    "quality.stress",
    "Failures and warnings on random, badly scaled mixtures.",
    "out seed cases epochs quick",
)
_add(
    "joint",
    "quality.joint_rounds",
    "Scores of joint training after each round.",
    f"{_FILES} seeds configuration epochs max_points quick",
    {
        "configuration": (str, Option(help="default, mnist or reuters10k."), "default"),
        "epochs": (int | None, Option(min=1, help="Epochs of pretraining."), None),
    },
)
_add(
    "speed",
    "speed.fit_times",
    "Time beside other methods, and growth in N, D and K.",
    f"{_FILES} repeats threads peers normalize_rows points clusters dims stream everyday quick",
    peers="gmm,hdbscan,bgmm",
)
_add(
    "size",
    "speed.sizes",
    "Time, memory and K of fits up to 10,000,000 points or 1,024 columns.",
    "out seed threads only quick",
    {"only": (str, Option(metavar="TEXT", help="Only sizes whose name contains it."), "")},
)
_add(
    "serving",
    "speed.serving",
    "Time of calls to an exported model.",
    "out seed repeats threads quick",
    repeats=1000,
)
_add(
    "swav",
    "swav.training",
    "Rates of SwAV's training, and accuracy of its features.",
    f"{_FILES} repeats threads epochs max_points quick",
    {"epochs": (int, Option(min=1, help="Epochs of the small preset."), 20)},
)


def reproduce(
    name: Annotated[
        str,
        Argument(
            metavar="NAME",
            help="table1 to table6, configurations, figure1, figure4, imagenet, supplement1, "
            "supplement2, swav-figure2, swav-figure3 or swav-table1 to swav-table3.",
        ),
    ],
    data: Annotated[
        Path, Option(metavar="DIR", help="Folder with the data sets' .npz files.")
    ] = Path(),
    configuration: Annotated[str, Option(help="default, paper or official.")] = "default",
    seeds: Annotated[int, Option(min=1, help="Number of seeds.")] = 1,
    seed: Annotated[int, Option(min=0, help="First random seed.")] = 0,
    peers: Annotated[bool, Option("--peers", help="Run the other printed methods too.")] = False,
    epochs: Annotated[int | None, Option(min=1, help="Most epochs of a fit.")] = None,
    max_points: Annotated[int | None, Option(min=2, help="Most points of each data set.")] = None,
    resume: Annotated[
        bool, Option("--resume", help="Keep what the file of results already holds.")
    ] = False,
    assumed_k: Annotated[
        str | None,
        Option(
            metavar="K,K,...",
            callback=_parse_numbers,
            help="K that methods are given in figure1 and table5.",
        ),
    ] = None,
    on: Annotated[
        str, Option(metavar="NAME,...", help="Other data sets, such as digits or usps.")
    ] = "",
    download: Annotated[
        bool, Option("--download", help="Fetch MNIST's images and Reuters-10k to DIR.")
    ] = False,
    out: Annotated[
        Path | None,
        Option(metavar="FILE.json", help="Default: reproduce_NAME.json; a picture beside."),
    ] = None,
) -> None:
    """Run an experiment of the DeepDPM or SwAV paper beside its printed numbers."""
    from tfdpm.benchmarks.papers import run
    from tfdpm.benchmarks.sweep import Sweep

    sweep = Sweep(
        out=out or Path(f"reproduce_{name}.json"),
        seed=seed,
        seeds=seeds,
        max_points=max_points,
        resume=resume,
    )
    run(
        name,
        data,
        sweep,
        configuration=configuration,
        peers=peers,
        epochs=epochs,
        assumed_k=assumed_k,
        on=[each.strip() for each in on.split(",") if each.strip()],
        download=download,
    )
