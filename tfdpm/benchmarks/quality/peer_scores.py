"""Scores of tfdpm beside other methods: some are given the true K, some find their own."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from tfdpm.benchmarks.labelled import LabelledData
from tfdpm.benchmarks.peers import choose_peers
from tfdpm.benchmarks.records import Record, measure_fit, measure_peer
from tfdpm.benchmarks.sweep import Sweep
from tfdpm.benchmarks.tables import print_scores


def run(sweep: Sweep, *, peers: str) -> Record:
    """Clusters every data set with every method and seed; `peers` are as `choose_peers` takes them.

    Returns `records`, and `summary` with means and standard deviations over seeds, as written.
    """
    results = {"benchmark": "quality", "normalize_rows": sweep.normalize_rows}
    return compare_methods(results, sweep, sweep.read_rows(), peers)


def compare_methods(
    results: Record, sweep: Sweep, sets: Iterable[LabelledData], peers: str
) -> Record:
    """Clusters the sets with tfdpm and its peers, prints the scores and adds them to `results`."""
    methods = [measure_fit, *(partial(measure_peer, peer=name) for name in choose_peers(peers))]
    sweep.measure(results, sets, methods, group_by=("data", "method"))
    print_scores("Quality, mean ± standard deviation over seeds", results["summary"])
    return results
