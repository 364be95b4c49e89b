"""The numbers that [DeepDPM], its supplement and [SwAV] print, with remarks on printing errors."""

from __future__ import annotations

import csv
from importlib import resources
from typing import NamedTuple


class Printed(NamedTuple):
    """A printed number.

    Attributes:
        experiment: table or figure, such as "table1".
        data: data set, such as "mnist" or "mnist imbalanced".
        method: row of the table; presets of SwAV and ablations have their names in this package.
        metric: "NMI", "ARI", "ACC", "K", or in per cent "top-1", "mAP" and such as "1 % top-5".
        mean: mean as it is printed.
        std: standard deviation as it is printed, or `None` where there is none.
        source: table and section in the paper.
        remark: what is wrong with the printed number or its data, or "".
    """

    experiment: str
    data: str
    method: str
    metric: str
    mean: float
    std: float | None
    source: str
    remark: str = ""


def _read_printed() -> tuple[Printed, ...]:
    text = (resources.files(__package__) / "printed.csv").read_text(encoding="utf-8")
    rows = [Printed(**row) for row in csv.DictReader(text.splitlines())]
    return tuple(
        row._replace(mean=float(row.mean), std=float(row.std) if row.std else None) for row in rows
    )


PRINTED = _read_printed()


def printed_for(experiment: str, data: str, method: str, metric: str) -> Printed | None:
    """Returns the printed number of a cell, or `None` where the paper has none."""
    cell = (experiment, data, method, metric)
    return next((each for each in PRINTED if each[:4] == cell), None)
