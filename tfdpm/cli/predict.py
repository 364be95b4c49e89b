"""`tfdpm predict`: puts points into the clusters of a saved model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfdpm import checks
from tfdpm.cli import output, saved


def predict(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A .keras file, or the folder of fit --out.")
    ],
    data: Annotated[str, typer.Argument(metavar="DATA", help="As for fit.")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the clusters to this .npy or .csv, and print a summary."
        ),
    ] = None,
) -> None:
    """Print the cluster of each point of DATA, one to a line."""
    import numpy as np

    from tfdpm.data import as_features

    if out is not None and out.suffix not in (".npy", ".csv"):
        checks.fail("--out", repr(str(out)), "a name that ends in .npy or .csv")
    fitted = saved.load_model(model)
    inputs = as_features(data, name="DATA", minimum_points=1)
    labels, known = output.predict_labels(fitted, inputs)
    if out is None:
        typer.echo("\n".join(map(str, labels)))
        return
    if out.suffix == ".npy":
        np.save(out, labels)
    else:
        np.savetxt(out, labels, fmt="%d", header="cluster", comments="")
    output.show_clusters(labels)
    output.show_scores(output.score_labels(labels, known))
