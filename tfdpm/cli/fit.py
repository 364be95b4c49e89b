"""`tfdpm fit`: clusters data, prints what came out, and saves it if asked to."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

import tfdpm
from tfdpm import checks
from tfdpm.cli import output, tables
from tfdpm.cli.saved import load_keras
from tfdpm.progress.files import complete_files, make_folder, replace_files, reserved

if TYPE_CHECKING:
    from tfdpm.data import Inputs

_STAGES = "stages"  # folder in --out where an unfinished run keeps its results


def fit(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A .npy, .npz, .csv, .tsv, .xlsx, .json or .parquet file, a folder of images, or "
            "a name: digits, blobs, gaussians15 or one of TensorFlow Datasets. Known labels only "
            "score.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Write model.keras, labels.npy and history.json to this folder. An interrupted "
            "run goes on from what it has kept there.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same clusters.")] = 0,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Most epochs. It stops by itself when K has been stable."),
    ] = None,
    features: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="How raw points become features: auto (chooses by the data and says why), none, "
            "pca, umap, autoencoder, swav, a pretrained model such as efficientnet, or a .keras "
            "file of an encoder.",
        ),
    ] = "auto",
    shape: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What a cluster is: any (rings and chains too: components of the mixture without "
            "a valley between them are joined), or gaussian (one component).",
        ),
    ] = "any",
    report: Annotated[
        bool, typer.Option("--report", help="Write report.html, into --out or else here.")
    ] = False,
    download: Annotated[
        bool, typer.Option("--download", help="Download the files of a data set's name.")
    ] = False,
    data_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of those files; default ~/tensorflow_datasets."),
    ] = None,
    label: tables.Label = None,
    columns: tables.ColumnNames = None,
    drop: tables.Drop = None,
    header: tables.Header = None,
    missing: tables.Missing = None,
    quiet: output.Quiet = False,
    as_json: output.Json = False,
) -> None:
    """Cluster DATA and find out how many clusters it has."""
    if report:  # before the fit, which may take long
        checks.import_optional("plotly.offline", "report", "viz")
    source: Any = data
    if download or data_dir is not None:
        if Path(data).exists() or (label, columns, drop, header, missing) != (None,) * 5:
            wanted = "a data set's name, without options of tables, beside --download or --data-dir"
            checks.fail("DATA", repr(data), wanted)
        source = tfdpm.data.load(data, data_dir=data_dir, download=download)
    encoder = load_keras(Path(features), "--features") if features.endswith(".keras") else None
    inputs = tables.read_inputs(source, label, columns, drop, header, missing, encoder=encoder)
    written = ["model.keras", "labels.npy", "history.json"] if out is not None else []
    written += ["report.html"] if report else []
    target = out or Path()
    if written:
        make_folder(target)
        complete_files(target)
        try:
            context.with_resource(reserved(target / "fit"))
        except BlockingIOError as error:
            wanted = "another folder, or the end of that process"
            checks.fail("out", f"{str(target)!r}, in which {error} fits", wanted, BlockingIOError)
    started = time.perf_counter()
    kept = None if out is None else out / _STAGES
    options = {"shape": shape, "directory": kept} | ({"verbose": 0} if quiet or as_json else {})
    wanted = features if encoder is None else encoder
    model = tfdpm.fit(inputs, features=wanted, seed=seed, epochs=epochs, **options)
    seconds = time.perf_counter() - started

    labels, known = output.predict_labels(model, inputs)
    scores = _score_without_labels(model, inputs, labels) | output.score_labels(labels, known)
    is_told = not (quiet or as_json)
    if is_told:
        output.show_clusters(labels)
        output.show_scores(scores)
        output.show(f"{seconds:.1f} s")
    if written:
        with replace_files(target) as folder:
            if out is not None:
                history = output.plain(model.history.history)
                model.save(folder / "model.keras")
                np.save(folder / "labels.npy", labels)
                (folder / "history.json").write_text(json.dumps(history, indent=1) + "\n")
            if report:
                model.report(
                    folder / "report.html",
                    inputs,
                    images=output.images_of(data, inputs),
                    title=f"Clusters of {data}",
                    command=shlex.join(["tfdpm", *sys.argv[1:]]),
                    seconds=seconds,
                )
        if kept is not None:
            shutil.rmtree(kept, ignore_errors=True)  # of use to unfinished runs only
        if is_told:
            place = "" if out is None else f" to {out}"
            output.show(f"written{place}: {', '.join(written)}")
    if as_json:
        sizes = output.sizes_of(labels)
        files = [str(target / name) for name in written]
        facts = {"n_clusters": len(sizes), "sizes": sizes, "scores": scores, "written": files}
        output.show_json(**facts, seconds=seconds)


def _score_without_labels(model: Any, inputs: Inputs, labels: Any) -> dict[str, float]:
    """Returns the mean log density, and the silhouette of clusters' features held in memory."""
    scores = {}
    if inputs.array is not None and len(np.unique(labels)) > 1:
        # Of what was clustered: pixels, and columns in their units, say little about clusters.
        scores["silhouette"] = tfdpm.metrics.silhouette(model.embed(inputs), labels)
    scores["mean log density (nats)"] = float(model.score_samples(inputs).mean())
    return scores
