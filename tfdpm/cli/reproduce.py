"""`tfdpm reproduce`: a table or figure of the papers, run again beside the printed numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def reproduce(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="table1 to table6, figure1, figure4, supplement1, supplement2, "
            "swav-figure2, swav-figure3 or swav-table3.",
        ),
    ],
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder with the data sets' .npz files.")
    ] = Path(),
    configuration: Annotated[str, typer.Option(help="default, paper or official.")] = "default",
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="First random seed.")] = 0,
    peers: Annotated[
        bool, typer.Option("--peers", help="Run K-means, GMM and DBSCAN too, where printed.")
    ] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Most epochs of a fit.")] = None,
    max_points: Annotated[
        int | None, typer.Option(min=2, help="Most points of each data set.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Default: reproduce_NAME.json; a picture beside."),
    ] = None,
) -> None:
    """Run an experiment of the DeepDPM or SwAV paper beside its printed numbers."""
    from tfdpm.benchmarks.papers import run
    from tfdpm.benchmarks.sweep import Sweep

    sweep = Sweep(
        out=out or Path(f"reproduce_{name}.json"), seed=seed, seeds=seeds, max_points=max_points
    )
    run(name, data, sweep, configuration=configuration, peers=peers, epochs=epochs)
