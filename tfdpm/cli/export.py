"""`tfdpm export`: makes of a saved model one that runs without this package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfdpm import checks
from tfdpm.cli import output, saved


def export(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A .keras file, or the folder of fit --out.")
    ],
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
    loaded = saved.load_model(model)
    write = {"tflite": "export_tflite", "onnx": "export_onnx"}.get(form, "export")
    getattr(loaded, write)(str(folder))
    output.show(f"written to {folder}")
