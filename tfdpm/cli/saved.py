"""What is done with a model that `tfdpm fit --out` saved: labels, page, drift, edits, exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import tfdpm
from tfdpm import checks, startup
from tfdpm.cli import output, tables
from tfdpm.progress.files import complete_files, replace_file

Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A .keras file, or the folder of fit --out.")
]

Answering = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", help="A .keras file, or the folder of fit --out or of a SavedModel."
    ),
]

Names = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        metavar="FILE",
        help='JSON file with names of clusters: {"3": "shoes"}, or a list with one for each.',
    ),
]


def predict(
    model: Answering,
    data: Annotated[str, typer.Argument(metavar="DATA", help="As for fit.")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the clusters to this .npy or .csv, and print a summary."
        ),
    ] = None,
    label: tables.Label = None,
    drop: tables.Drop = None,
    header: tables.Header = None,
    missing: tables.Missing = None,
    quiet: output.Quiet = False,
    as_json: output.Json = False,
) -> None:
    """Print the cluster of each point of DATA, one to a line."""
    if out is not None and out.suffix not in (".npy", ".csv"):
        checks.fail("--out", repr(str(out)), "a name that ends in .npy or .csv")
    fitted = _load_model(model, takes_exported=True)
    inputs = tables.read_inputs(data, label, None, drop, header, missing, model=fitted)
    labels, known = output.predict_labels(fitted, inputs)
    if out is not None:
        with replace_file(out) as temporary:
            if out.suffix == ".npy":
                np.save(temporary, labels)
            else:
                np.savetxt(temporary, labels, fmt="%d", header="cluster", comments="")
    scores = output.score_labels(labels, known)
    if as_json:
        found = {"labels": labels} if out is None else {"written": [str(out)]}
        output.show_json(**found, sizes=output.sizes_of(labels), scores=scores)
    elif out is None:
        typer.echo("\n".join(map(str, labels)))
    elif not quiet:
        output.show_clusters(labels)
        output.show_scores(scores)


def report(
    model: Model,
    data: Annotated[str, typer.Argument(metavar="DATA", help="As for fit.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page.")] = Path("report.html"),
    names: Names = None,
    texts: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, metavar="FILE", help="A line of text for each point."
        ),
    ] = None,
    title: Annotated[
        str | None, typer.Option(help='Heading of the page; default "Clusters of DATA".')
    ] = None,
    label: tables.Label = None,
    drop: tables.Drop = None,
    header: tables.Header = None,
    missing: tables.Missing = None,
    quiet: output.Quiet = False,
) -> None:
    """Write one HTML page about the clusters of DATA, with names and texts where given."""
    checks.import_optional("plotly.offline", "report", "viz")
    fitted = _load_model(model)
    inputs = tables.read_inputs(data, label, None, drop, header, missing, model=fitted)
    fitted.report(
        out,
        inputs,
        images=output.images_of(data, inputs),
        # Lines end where files end them, not at all that Unicode calls ends of lines.
        texts=None if texts is None else texts.read_text("utf-8").removesuffix("\n").split("\n"),
        names=_read_names(names),
        title=f"Clusters of {data}" if title is None else title,
        verbose=0 if quiet else "auto",
    )
    if not quiet:
        output.show(f"written to {out}")


def drift(
    model: Answering,
    data: Annotated[str, typer.Argument(metavar="DATA", help="New points, as for fit.")],
    level: Annotated[
        float, typer.Option(help="P-value below which a change counts, of all tests together.")
    ] = 0.01,
    label: tables.Label = None,
    drop: tables.Drop = None,
    header: tables.Header = None,
    missing: tables.Missing = None,
    as_json: output.Json = False,
) -> None:
    """Print which clusters of MODEL grew, shrank or moved in DATA, and whether others appeared."""
    fitted = _load_model(model, takes_exported=True)
    inputs = tables.read_inputs(data, label, None, drop, header, missing, model=fitted)
    found = fitted.drift(inputs, level=level)
    if as_json:
        clusters = found.table.reset_index().to_dict("records")
        output.show_json(clusters=clusters, smallest_p=found.smallest_p, level=level)
    else:
        output.show(str(found))


Edited = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write the edited model to this .keras file."),
]


def merge(
    model: Model,
    clusters: Annotated[list[int], typer.Argument(metavar="CLUSTER...", help="Two or more.")],
    out: Edited = None,
    quiet: output.Quiet = False,
) -> None:
    """Make one of two or more clusters of MODEL, which is written anew unless --out is given."""
    fitted = _load_model(model)
    if len(clusters) < 2:
        raise typer.BadParameter(f"got {clusters}, wanted two or more", param_hint="CLUSTER")
    number = fitted.merge(*clusters)
    _write_edited(fitted, model, out)
    if not quiet:
        output.show(f"cluster {number}, of {fitted.n_clusters} clusters")


def split(
    model: Model,
    cluster: Annotated[int, typer.Argument(metavar="CLUSTER", help="Its number.")],
    out: Edited = None,
    quiet: output.Quiet = False,
) -> None:
    """Make two of a cluster of MODEL, which is written anew unless --out is given."""
    fitted = _load_model(model)
    first, second = fitted.split(cluster)
    _write_edited(fitted, model, out)
    if not quiet:
        output.show(f"clusters {first} and {second}, of {fitted.n_clusters} clusters")


def _write_edited(fitted: Any, model: Path, out: Path | None) -> None:
    """Writes an edited model, all or nothing, by default where it was."""
    if out is not None and out.suffix != ".keras":
        checks.fail("--out", repr(str(out)), "a name that ends in .keras")
    file = (model / "model.keras" if model.is_dir() else model) if out is None else out
    with replace_file(file) as temporary:
        fitted.save(temporary)


def export(
    model: Model,
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="TARGET", help="A new folder such as saved_models/NAME/1, or a new file."
        ),
    ],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="savedmodel (for TensorFlow Serving), tflite or onnx; or Keras's names for them, "
            "tf_saved_model and litert.",
        ),
    ] = "savedmodel",
    names: Names = None,
    quiet: output.Quiet = False,
) -> None:
    """Write MODEL as a SavedModel folder, or as a TensorFlow Lite or ONNX file, to TARGET."""
    checks.one_of(form, "--format", ("savedmodel", "tf_saved_model", "tflite", "litert", "onnx"))
    fitted = _load_model(model)
    with startup.without_information():
        fitted.export(str(folder), format=form, names=_read_names(names))
    if not quiet:
        output.show(f"written to {folder}")


def _read_names(path: Path | None) -> dict[Any, Any] | list[Any] | None:
    """Returns the names of clusters in a JSON file, by number or one for each; None without one."""
    if path is None:
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError:  # no JSON, or no text
        found = None
    if isinstance(found, dict):  # the model checks what is not a number
        return {int(k) if k.isdecimal() else k: name for k, name in found.items()}
    if not isinstance(found, list):
        wanted = 'a JSON file such as {"3": "shoes"}, or with a list of names'
        checks.fail("--names", repr(str(path)), wanted)
    return found


def _load_model(path: Path, *, takes_exported: bool = False) -> Any:
    """Returns the model of a .keras file, or of a folder with a model.keras, or of an export."""
    file = path / "model.keras" if path.is_dir() else path
    complete_files(file.parent)
    if file.is_file():
        return tfdpm.export.load_file(file, tfdpm.DeepDPM)
    got, wanted = repr(str(path)), "a .keras file, or a folder that `tfdpm fit --out` wrote"
    if any(path.glob("saved_model.pb")) or any(path.glob("*/saved_model.pb")):
        if takes_exported:
            return tfdpm.load(path)
        got += ", an exported model, which only answers predict and drift"
    checks.fail("MODEL", got, wanted, FileNotFoundError)


def load_keras(path: Path, name: str) -> Any:
    """Returns the Keras model of a .keras file, which the argument `name` gives."""
    if not path.is_file():
        checks.fail(name, repr(str(path)), "an existing .keras file", FileNotFoundError)
    import keras

    return tfdpm.export.load_file(path, keras.Model)
