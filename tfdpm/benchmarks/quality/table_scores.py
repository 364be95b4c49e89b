"""Scores on scikit-learn's small tables of raw columns: iris, wine and breast cancer."""

from __future__ import annotations

import sklearn.datasets

from tfdpm.benchmarks.labelled import LabelledData
from tfdpm.benchmarks.quality.peer_scores import compare_methods
from tfdpm.benchmarks.records import Record
from tfdpm.benchmarks.sweep import Sweep

_LOADERS = {
    "iris": sklearn.datasets.load_iris,
    "wine": sklearn.datasets.load_wine,
    "breast_cancer": sklearn.datasets.load_breast_cancer,
}


def load_tables() -> list[LabelledData]:
    """Loads iris `[150, 4]`, wine `[178, 13]` and breast cancer `[569, 30]` without scaling."""
    return [LabelledData(name, *load(return_X_y=True)) for name, load in _LOADERS.items()]


def run(sweep: Sweep, *, peers: str) -> Record:
    """Clusters the tables and any further files with every method and seed, as `peer_scores`."""
    sets = load_tables() + (sweep.read_rows() if sweep.data else [])
    return compare_methods({"benchmark": "tables"}, sweep, sets, peers)
