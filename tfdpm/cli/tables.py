"""Options of commands that read tables, and the reading of what DATA names."""

from __future__ import annotations

import csv
from typing import Annotated, Any

import typer

Label = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Column of known labels; default one called label, target, class, ..."
    ),
]
ColumnNames = Annotated[
    str | None,
    typer.Option(metavar="A,B,...", help="Columns of a table to cluster; default all others."),
]
Drop = Annotated[
    str | None, typer.Option(metavar="A,B,...", help="Columns of a table to leave out.")
]
Header = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="Whether the first row of a table holds names."),
]
Missing = Annotated[
    str | None,
    typer.Option(metavar="drop|mean", help="Leave out rows with missing values, or fill in means."),
]


def read_inputs(
    data: Any,
    label: str | None = None,
    columns: str | None = None,
    drop: str | None = None,
    header: bool | None = None,
    missing: str | None = None,
    *,
    model: Any = None,
    encoder: Any = None,
) -> Any:
    """Returns the checked points of DATA, for a fit with an encoder or as a fitted model's."""
    from tfdpm.data.files import read_path
    from tfdpm.data.inputs import as_features
    from tfdpm.data.tables import TableOptions
    from tfdpm.features.apply_encoder import inputs_for, takes_text

    known = None if model is None else model.columns
    wanted = None if columns is None else _names(columns)
    table = TableOptions(label, wanted, () if drop is None else _names(drop), header, missing)
    read = data if table == TableOptions() else read_path(data, table, name="DATA", known=known)
    if model is not None:
        return inputs_for(model, read, name="DATA")
    return as_features(read, name="DATA", takes_text=takes_text(encoder))


def _names(text: str) -> list[str]:
    """Names between commas; one that has a comma stands in quotes."""
    return [name.strip() for name in next(csv.reader([text], skipinitialspace=True))]
