"""How much the K at the end depends on the K at the start: [DeepDPM] Figure 4."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfdpm import checks
from tfdpm.benchmarks.labelled import fewer, read_labelled
from tfdpm.benchmarks.records import fit_record, show, write
from tfdpm.benchmarks.schedule import shortened
from tfdpm.config import DeepDPMConfig

__all__ = ["run"]

_QUICK_POINTS = 300


def run(
    data: Sequence[str | Path],
    *,
    out: str | Path = "bench_robustness.json",
    seed: int = 0,
    seeds: int = 1,
    initial_clusters: Sequence[int] = (1, 3, 10, 30, 100),
    configuration: str = "default",
    epochs: int | None = None,
    max_points: int | None = None,
    quick: bool = False,
) -> dict[str, Any]:
    """Fits every data set from every initial K.

    Args:
        data: .npz files with `x` and `y`.
        out: JSON file, written anew after every data set.
        seed: the first seed; the others follow it.
        seeds: how many.
        initial_clusters: the K at the start.
        configuration: "default", "paper" or "official".
        epochs: most epochs of each fit; fewer than the configuration's bring its schedule forward
            in proportion. `None` for the configuration's.
        max_points: thins each data set to so many points; `None` for all of them.
        quick: 300 points of each data set and initial K of 1 and 10.
    Returns:
        What was written: `records` with K by epoch, and `summary` with the range of final K.
    """
    checks.integer(seeds, "--seeds", minimum=1)
    if quick:
        max_points, initial_clusters, seeds = _QUICK_POINTS, (1, 10), 1
    sets = [fewer(each, max_points, seed) for each in read_labelled(data)]
    config = DeepDPMConfig.named(configuration)
    if epochs is not None:
        config = shortened(config, epochs)
    results: dict[str, Any] = {"benchmark": "robustness", "configuration": configuration}
    records: list[dict[str, Any]] = []
    for each in sets:
        for number in range(seed, seed + seeds):
            for count in initial_clusters:
                record = fit_record(each, number, config=config, initial_clusters=count)
                records.append({**record, "initial_clusters": count})
        results.update(records=records, summary=_ranges(records))
        write(out, results)
    _show(results)
    return results


def _ranges(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Smallest and largest final K of every data set and seed."""
    groups: dict[tuple[str, int], list[int]] = {}
    for record in records:
        groups.setdefault((record["data"], record["seed"]), []).append(record["clusters"])
    return [
        {"data": name, "seed": seed, "fewest": min(counts), "most": max(counts)}
        for (name, seed), counts in groups.items()
    ]


def _show(results: dict[str, Any]) -> None:
    columns = ("data", "seed", "initial K", "final K", "NMI", "ARI", "ACC", "seconds")
    rows = [
        (
            *(record[name] for name in ("data", "seed", "initial_clusters", "clusters")),
            *(f"{record[name]:.3f}" for name in ("nmi", "ari", "acc")),
            f"{record['seconds']:.1f}",
        )
        for record in results["records"]
    ]
    show("Robustness to the initial K", columns, rows)
    rows = [[*row.values(), row["most"] - row["fewest"]] for row in results["summary"]]
    show("Final K over all initial K", ("data", "seed", "fewest", "most", "difference"), rows)
