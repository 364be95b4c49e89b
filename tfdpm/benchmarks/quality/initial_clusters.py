"""The final K of fits from several initial K: [DeepDPM] Figure 4."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tfdpm.benchmarks.records import Record, measure_fit
from tfdpm.benchmarks.schedule import shorten_schedule
from tfdpm.benchmarks.sweep import Sweep
from tfdpm.benchmarks.tables import print_records, print_table
from tfdpm.config import DeepDPMConfig

_COLUMNS = {
    "data": "data",
    "seed": "seed",
    "initial_clusters": "initial K",
    "clusters": "final K",
    "nmi": "NMI",
    "ari": "ARI",
    "acc": "ACC",
    "seconds": "seconds",
}


def run(
    sweep: Sweep, *, initial_clusters: Sequence[int], configuration: str, epochs: int | None
) -> Record:
    """Fits every data set from every initial K.

    With `epochs`, schedules are shortened in proportion. Returns `records` with K by epoch, and
    `summary` with the range of final K, as written.
    """
    counts = (1, 10) if sweep.quick else initial_clusters
    config = shorten_schedule(DeepDPMConfig.named(configuration), epochs)
    methods = [partial(measure_fit, config=config, initial_clusters=count) for count in counts]
    results: Record = {"benchmark": "robustness", "configuration": configuration}
    sweep.measure(results, sweep.read_rows(), methods)
    results["summary"] = _find_ranges(results["records"])
    sweep.write(results)
    print_records("Robustness to the initial K", results["records"], _COLUMNS)
    rows = [[*row.values(), row["most"] - row["fewest"]] for row in results["summary"]]
    columns = ("data", "seed", "fewest", "most", "difference")
    print_table("Final K over all initial K", columns, rows)
    return results


def _find_ranges(records: list[Record]) -> list[Record]:
    """Returns the smallest and largest final K of every data set and seed."""
    groups: dict[tuple[str, int], list[int]] = {}
    for record in records:
        groups.setdefault((record["data"], record["seed"]), []).append(record["clusters"])
    return [
        {"data": name, "seed": seed, "fewest": min(counts), "most": max(counts)}
        for (name, seed), counts in groups.items()
    ]
