"""How well tfdpm clusters, against peers that are told the true K and peers that are not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfdpm import checks
from tfdpm.benchmarks.labelled import LabelledData, fewer, read_labelled, thin_classes
from tfdpm.benchmarks.peers import PEERS, chosen_peers
from tfdpm.benchmarks.records import fit_record, measured, show, spread, summarised, write

__all__ = ["run", "show_scores"]

_QUICK_POINTS = 300


def run(
    data: Sequence[str | Path],
    *,
    out: str | Path = "bench_quality.json",
    seed: int = 0,
    seeds: int = 3,
    peers: str = "all",
    imbalanced: bool = False,
    normalize_rows: bool = False,
    max_points: int | None = None,
    quick: bool = False,
) -> dict[str, Any]:
    """Clusters every data set with every method and seed.

    Args:
        data: .npz files with `x` and `y`.
        out: JSON file, written anew after every data set.
        seed: the first seed; the others follow it.
        seeds: how many.
        peers: names from `peers.PEERS` with commas between them, "all" or "none".
        imbalanced: adds the imbalanced versions of MNIST, USPS and Fashion-MNIST.
        normalize_rows: brings every point to unit length first, for all methods alike.
        max_points: thins each data set to so many points; `None` for all of them.
        quick: 300 points of each data set and one seed.
    Returns:
        What was written: `records`, and `summary` with means and standard deviations.
    """
    checks.integer(seeds, "--seeds", minimum=1)
    names = chosen_peers(peers)
    sets = read_labelled(data, normalize_rows=normalize_rows)
    if imbalanced:
        sets += [thin_classes(each, seed) for each in sets]
    if quick:
        max_points, seeds = _QUICK_POINTS, 1
    sets = [fewer(each, max_points, seed) for each in sets]
    results: dict[str, Any] = {"benchmark": "quality", "normalize_rows": normalize_rows}
    return compare(sets, names, results, out=out, seed=seed, seeds=seeds)


def compare(
    sets: Sequence[LabelledData],
    names: Sequence[str],
    results: dict[str, Any],
    *,
    out: str | Path,
    seed: int,
    seeds: int,
) -> dict[str, Any]:
    """Runs tfdpm and peers on data sets, prints the table, and returns what was written.

    Args:
        sets: what is clustered.
        names: of peers.
        results: what the file holds besides `records` and `summary`.
        out, seed, seeds: as for `run`.
    """
    records: list[dict[str, Any]] = []
    for each in sets:
        for number in range(seed, seed + seeds):
            records.append(fit_record(each, number))
            for name in names:
                records.append(_peer_record(each, name, number))
        results.update(records=records, summary=summarised(records, "data", "method"))
        write(out, results)
    show_scores("Quality, mean ± standard deviation over seeds", results["summary"])
    return results


def _peer_record(data, name: str, seed: int) -> dict[str, Any]:
    return measured(data, name, seed, lambda: PEERS[name](data.x, data.true_k, seed))


def show_scores(title: str, summary: list[dict[str, Any]]) -> None:
    """Prints scores, K and times by data set and method, and each method's mean over data sets."""
    rows = [
        (
            row["data"],
            row["method"],
            *(spread(row[name]) for name in ("nmi", "ari", "acc")),
            spread(row["clusters"], 1),
            " ".join(str(count) for count in row["each_clusters"]),
            spread(row["seconds"], 1),
        )
        for row in summary
    ]
    rows += _means_over_data(summary)
    columns = ("data", "method", "NMI", "ARI", "ACC", "K", "each K", "seconds")
    show(title, columns, rows)


def _means_over_data(summary: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """One row per method with its mean over the data sets, where there are several."""
    if len({row["data"] for row in summary}) < 2:
        return []
    rows = []
    for method in dict.fromkeys(row["method"] for row in summary):
        own = [row for row in summary if row["method"] == method]

        def mean(name, own=own):
            return sum(row[name]["mean"] for row in own) / len(own)

        score = [f"{mean(name):.3f}" for name in ("nmi", "ari", "acc")]
        rows.append(
            ("mean", method, *score, f"{mean('clusters'):.1f}", "", f"{mean('seconds'):.1f}")
        )
    return rows
