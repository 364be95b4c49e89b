"""Scores with each part of the method left out: [DeepDPM] Table 6 and supplement Table 2."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

from tfdpm.benchmarks.records import Record, measure_fit
from tfdpm.benchmarks.schedule import shorten_schedule
from tfdpm.benchmarks.sweep import Sweep
from tfdpm.benchmarks.tables import print_records
from tfdpm.config import DeepDPMConfig

# The paper's name of each ablation and the settings that it changes.
ABLATIONS: dict[str, dict[str, Any]] = {
    "full method": {},
    "no splits, no merges": {"splits": False, "merges": False},
    "no splits": {"splits": False},
    "no merges": {"merges": False},
    "2-means for subclusters": {"subclustering": "two_means"},
    "no prior in the M-step": {"prior_in_m_step": False},
    "isotropic cluster loss": {"cluster_loss": "isotropic"},
}
# The same for parts that the default configuration adds to the paper.
OWN_ABLATIONS: dict[str, dict[str, Any]] = {"Gaussian E-step": {"tails": "gaussian"}}
_QUICK_EPOCHS = 4
_COLUMNS = {
    "method": "method",
    "data": "data",
    "initial_clusters": "initial K",
    "acc": "ACC",
    "nmi": "NMI",
    "ari": "ARI",
    "clusters": "final K",
    "seconds": "seconds",
}


def run(
    sweep: Sweep, *, initial_clusters: Sequence[int], configuration: str, epochs: int | None
) -> Record:
    """Fits every data set with every part left out, from every initial K.

    The default configuration also finds a mixture by EM with moves before the networks learn,
    "paper" and "official" train networks only. With `epochs`, schedules are shortened in
    proportion. Returns `records` and their `summary` over seeds, as written.
    """
    if sweep.quick:
        initial_clusters, epochs = (3,), _QUICK_EPOCHS
    config = shorten_schedule(DeepDPMConfig.named(configuration), epochs)
    ablations = {**ABLATIONS, **(OWN_ABLATIONS if configuration == "default" else {})}
    methods = [
        partial(measure_fit, method=name, config=config.replace(**changes), initial_clusters=count)
        for count, (name, changes) in itertools.product(initial_clusters, ablations.items())
    ]
    results: Record = {"benchmark": "ablation", "configuration": configuration}
    sweep.measure(
        results, sweep.read_rows(), methods, group_by=("data", "initial_clusters", "method")
    )
    print_records(f"Ablations, configuration {configuration}", results["summary"], _COLUMNS)
    return results
