"""`tfdpm bench`: a sub-command for each benchmark, which prints a table and writes JSON."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tfdpm import checks

app = typer.Typer(help="Measure, print a table, and write it as JSON.")


def _parse_numbers(param: typer.CallbackParam, value: str) -> tuple[int, ...]:
    """Returns the positive integers of a text with commas; "none" stands for no integer."""
    parts = [] if value == "none" else value.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        wanted = "positive integers with commas between them, or none"
        checks.fail(f"--{param.name.replace('_', '-')}", repr(value), wanted)
    return tuple(int(part) for part in parts)


def _numbers(letter: str, text: str) -> Any:
    return typer.Option(metavar=f"{letter},{letter},...", callback=_parse_numbers, help=text)


Files = Annotated[list[Path] | None, typer.Argument(metavar="FILE.npz", help="The same as --data.")]
Data = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE.npz...", help="Arrays x and y; one file or several."),
]
Out = Annotated[Path | None, typer.Option(metavar="FILE.json", help="Default: bench_NAME.json.")]
Seed = Annotated[int, typer.Option(min=0, help="First random seed.")]
Seeds = Annotated[int, typer.Option(min=1, help="Number of seeds.")]
Peers = Annotated[
    str, typer.Option(help="kmeans, gmm, bgmm, hdbscan, dbscan with commas; all or none.")
]
Imbalanced = Annotated[bool, typer.Option("--imbalanced", help="Add imbalanced versions.")]
NormalizeRows = Annotated[
    bool, typer.Option("--normalize-rows", help="Unit length for all methods.")
]
InitialClusters = Annotated[str, _numbers("K", "Numbers of clusters at the start.")]
Configuration = Annotated[str, typer.Option(help="default, paper or official.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Most epochs of a fit.")]
MaxPoints = Annotated[int | None, typer.Option(min=2, help="Most points of each data set.")]
Repeats = Annotated[int, typer.Option(min=1, help="Number of timed runs.")]
Threads = Annotated[int, typer.Option(min=1, help="Cores and threads of all methods.")]
Quick = Annotated[bool, typer.Option("--quick", help="A trial on few points.")]


def _benchmark(module: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a function as the sub-command that runs a module of `tfdpm.benchmarks`.

    The function's signature declares the options. Those that `Sweep` has go there; the module's
    `run` takes the others.
    """

    def register(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(*, out: Path | None, files=None, data=None, **options: Any) -> None:
            benchmark = importlib.import_module(f"tfdpm.benchmarks.{module}")
            sweep = importlib.import_module("tfdpm.benchmarks.sweep")
            fields = {field.name for field in dataclasses.fields(sweep.Sweep)} & set(options)
            shared = {name: options.pop(name) for name in fields}
            out = out or Path(f"bench_{command.__name__}.json")
            paths = [*(data or ()), *(files or ())]
            benchmark.run(sweep.Sweep(data=paths, out=out, **shared), **options)

        return app.command()(run)

    return register


@_benchmark("quality.peer_scores")
def quality(
    files: Files = None,
    data: Data = None,
    out: Out = None,
    seed: Seed = 0,
    seeds: Seeds = 3,
    peers: Peers = "all",
    imbalanced: Imbalanced = False,
    normalize_rows: NormalizeRows = False,
    max_points: MaxPoints = None,
    quick: Quick = False,
) -> None:
    """NMI, ARI, ACC and K beside other methods."""


@_benchmark("quality.table_scores")
def tables(
    files: Files = None,
    data: Data = None,
    out: Out = None,
    seed: Seed = 0,
    seeds: Seeds = 3,
    peers: Peers = "kmeans,gmm,hdbscan",
) -> None:
    """Scores on iris, wine, breast cancer and any files."""


@_benchmark("quality.image_scores")
def images(
    files: Files = None,
    data: Data = None,
    out: Out = None,
    seed: Seed = 0,
    seeds: Seeds = 3,
    peers: Peers = "kmeans",
    features: Annotated[str, typer.Option(help="As in tfdpm.fit; by name: files alone.")] = "auto",
    max_points: MaxPoints = None,
    quick: Quick = False,
) -> None:
    """Scores on raw images, and on new ones through the saved model."""


@_benchmark("quality.ablation")
def ablation(
    files: Files = None,
    data: Data = None,
    out: Out = None,
    seed: Seed = 0,
    seeds: Seeds = 1,
    initial_clusters: InitialClusters = "3,10,30",
    configuration: Configuration = "default",
    epochs: Epochs = None,
    max_points: MaxPoints = None,
    quick: Quick = False,
) -> None:
    """Scores with each part of the method left out."""


@_benchmark("quality.initial_clusters")
def robustness(
    files: Files = None,
    data: Data = None,
    out: Out = None,
    seed: Seed = 0,
    seeds: Seeds = 1,
    initial_clusters: InitialClusters = "1,3,10,30,100",
    configuration: Configuration = "default",
    epochs: Epochs = None,
    max_points: MaxPoints = None,
    quick: Quick = False,
) -> None:
    """The final K from several initial K."""


@_benchmark("quality.prior_rules")
def prior(
    files: Files = None,
    data: Data = None,
    out: Out = None,
    seed: Seed = 0,
    seeds: Seeds = 1,
    imbalanced: Imbalanced = False,
    max_points: MaxPoints = None,
    quick: Quick = False,
) -> None:
    """Scores under several rules for the prior."""


@_benchmark("quality.stress")
def stress(
    out: Out = None,
    seed: Seed = 0,
    cases: Annotated[int, typer.Option(min=1, help="Number of random mixtures.")] = 200,
    epochs: Epochs = None,
    quick: Quick = False,
) -> None:
    """Failures and warnings on random, badly scaled mixtures."""


@_benchmark("quality.joint_rounds")
def joint(
    files: Files = None,
    data: Data = None,
    out: Out = None,
    seed: Seed = 0,
    seeds: Seeds = 1,
    configuration: Annotated[str, typer.Option(help="default, mnist or reuters10k.")] = "default",
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of pretraining.")] = None,
    max_points: MaxPoints = None,
    quick: Quick = False,
) -> None:
    """Scores of joint training after each round."""


@_benchmark("speed.fit_times")
def speed(
    files: Files = None,
    data: Data = None,
    out: Out = None,
    seed: Seed = 0,
    repeats: Repeats = 3,
    threads: Threads = 1,
    peers: Peers = "gmm,hdbscan,bgmm",
    normalize_rows: NormalizeRows = False,
    points: Annotated[str, _numbers("N", "Growth in N, or none.")] = "10000,100000,1000000",
    clusters: Annotated[str, _numbers("K", "Growth in K, or none.")] = "10,100,1000",
    dims: Annotated[str, _numbers("D", "Growth in D, or none.")] = "2,8,32,128,512",
    stream: Annotated[str, _numbers("N", "Streams from disk, or none.")] = "1000000",
    quick: Quick = False,
) -> None:
    """Time beside other methods, and growth in N, D and K."""


@_benchmark("speed.serving")
def serving(
    out: Out = None,
    seed: Seed = 0,
    repeats: Repeats = 1000,
    threads: Threads = 1,
    quick: Quick = False,
) -> None:
    """Time of calls to an exported model."""


@_benchmark("swav.training")
def swav(
    files: Files = None,
    data: Data = None,
    out: Out = None,
    seed: Seed = 0,
    repeats: Repeats = 3,
    threads: Threads = 1,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the small preset.")] = 20,
    max_points: MaxPoints = None,
    quick: Quick = False,
) -> None:
    """Rates of SwAV's training, and accuracy of its features."""
