"""Small tables of raw columns that everybody knows, against peers: `tfdpm bench tables`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sklearn.datasets

from tfdpm import checks
from tfdpm.benchmarks.labelled import LabelledData, read_labelled
from tfdpm.benchmarks.peers import chosen_peers
from tfdpm.benchmarks.quality import accuracy as quality

__all__ = ["known_tables", "run"]

_LOADERS = {
    "iris": sklearn.datasets.load_iris,
    "wine": sklearn.datasets.load_wine,
    "breast_cancer": sklearn.datasets.load_breast_cancer,
}


def known_tables() -> list[LabelledData]:
    """Iris `[150, 4]`, wine `[178, 13]` and breast cancer `[569, 30]`, of scikit-learn."""
    loaded = {name: load(return_X_y=True) for name, load in _LOADERS.items()}
    return [LabelledData(name, x, y) for name, (x, y) in loaded.items()]


def run(
    data: Sequence[str | Path] = (),
    *,
    out: str | Path = "bench_tables.json",
    seed: int = 0,
    seeds: int = 3,
    peers: str = "kmeans,gmm,hdbscan",
) -> dict[str, Any]:
    """Clusters iris, wine and breast cancer, columns as they are, with every method and seed.

    Args:
        data: further .npz files with `x` and `y`.
        out: JSON file, written anew after every data set.
        seed: the first seed; the others follow it.
        seeds: how many.
        peers: names from `peers.PEERS` with commas between them, "all" or "none".
    Returns:
        What was written, as of `quality.run`.
    """
    checks.integer(seeds, "--seeds", minimum=1)
    sets = known_tables() + (read_labelled(data) if data else [])
    results: dict[str, Any] = {"benchmark": "tables"}
    return quality.compare(sets, chosen_peers(peers), results, out=out, seed=seed, seeds=seeds)
