"""`tfdpm export`: makes a SavedModel, which is served without this package, of a saved model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfdpm.cli import output, saved


def export(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A .keras file, or the folder of fit --out.")
    ],
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Such as saved_models/NAME/1; made if needed.")
    ],
) -> None:
    """Write MODEL as a SavedModel for TensorFlow Serving to DIR."""
    saved.load_model(model).export(str(folder))
    output.show(f"written to {folder}")
