"""`tfdpm predict` and `tfdpm export`: what is done with a model that `tfdpm fit --out` saved."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import tfdpm
from tfdpm import checks
from tfdpm.cli import output, tables
from tfdpm.progress.files import complete_files, replace_file

Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A .keras file, or the folder of fit --out.")
]


def predict(
    model: Model,
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
) -> None:
    """Print the cluster of each point of DATA, one to a line."""
    if out is not None and out.suffix not in (".npy", ".csv"):
        checks.fail("--out", repr(str(out)), "a name that ends in .npy or .csv")
    fitted = _load_model(model)
    known = {"minimum_points": 1, "known": fitted.columns}
    inputs = tables.read_inputs(data, label, None, drop, header, missing, **known)
    labels, known = output.predict_labels(fitted, inputs)
    if out is None:
        typer.echo("\n".join(map(str, labels)))
        return
    with replace_file(out) as temporary:
        if out.suffix == ".npy":
            np.save(temporary, labels)
        else:
            np.savetxt(temporary, labels, fmt="%d", header="cluster", comments="")
    output.show_clusters(labels)
    output.show_scores(output.score_labels(labels, known))


def export(
    model: Model,
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="TARGET", help="A new folder such as saved_models/NAME/1, or a new file."
        ),
    ],
    form: Annotated[
        str, typer.Option("--format", help="savedmodel (for TensorFlow Serving), tflite or onnx.")
    ] = "savedmodel",
) -> None:
    """Write MODEL as a SavedModel folder, or as a TensorFlow Lite or ONNX file, to TARGET."""
    checks.one_of(form, "--format", ("savedmodel", "tflite", "onnx"))
    write = {"tflite": "export_tflite", "onnx": "export_onnx"}.get(form, "export")
    getattr(_load_model(model), write)(str(folder))
    output.show(f"written to {folder}")


def _load_model(path: Path) -> Any:
    """Returns the model at `path`, a .keras file or a folder that holds a model.keras."""
    file = path / "model.keras" if path.is_dir() else path
    complete_files(file.parent)
    if not file.is_file():
        wanted = "a .keras file, or a folder that `tfdpm fit --out` wrote"
        checks.fail("MODEL", repr(str(path)), wanted, FileNotFoundError)
    return tfdpm.export.load_file(file, tfdpm.DeepDPM)


def load_keras(path: Path, name: str) -> Any:
    """Returns the Keras model of a .keras file, which the argument `name` gives."""
    if not path.is_file():
        checks.fail(name, repr(str(path)), "an existing .keras file", FileNotFoundError)
    import keras

    return tfdpm.export.load_file(path, keras.Model)
