"""What each part of the method is worth: [DeepDPM] Table 6 and supplement Table 2."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfdpm import checks
from tfdpm.benchmarks.labelled import fewer, read_labelled
from tfdpm.benchmarks.records import fit_record, show, spread, summarised, write
from tfdpm.benchmarks.schedule import shortened
from tfdpm.config import DeepDPMConfig

__all__ = ["ABLATIONS", "OWN_ABLATIONS", "run"]

# The paper's names for its ablations, and what each changes in a configuration.
ABLATIONS: dict[str, dict[str, Any]] = {
    "full method": {},
    "no splits, no merges": {"splits": False, "merges": False},
    "no splits": {"splits": False},
    "no merges": {"merges": False},
    "2-means for subclusters": {"subclustering": "two_means"},
    "no prior in the M-step": {"prior_in_m_step": False},
    "isotropic cluster loss": {"cluster_loss": "isotropic"},
}
# What the default adds to the paper, left out.
OWN_ABLATIONS: dict[str, dict[str, Any]] = {"Gaussian E-step": {"tails": "gaussian"}}
_QUICK_POINTS = 300
_QUICK_EPOCHS = 4


def run(
    data: Sequence[str | Path],
    *,
    out: str | Path = "bench_ablation.json",
    seed: int = 0,
    seeds: int = 1,
    initial_clusters: Sequence[int] = (3, 10, 30),
    configuration: str = "default",
    epochs: int | None = None,
    max_points: int | None = None,
    quick: bool = False,
) -> dict[str, Any]:
    """Fits every data set with every part left out, from every initial K.

    Args:
        data: .npz files with `x` and `y`.
        out: JSON file, written anew after every ablation.
        seed: the first seed; the others follow it.
        seeds: how many.
        initial_clusters: the K at the start.
        configuration: "default", whose mixture is found by EM with moves before the networks
            learn; "paper" or "official": networks only.
        epochs: most epochs of each fit; fewer than the configuration's bring its schedule forward
            in proportion. `None` for the configuration's.
        max_points: thins each data set to so many points; `None` for all of them.
        quick: 300 points of each data set, an initial K of 3 and four epochs.
    Returns:
        What was written: `records` and their `summary` over seeds.
    """
    checks.integer(seeds, "--seeds", minimum=1)
    if quick:
        max_points, initial_clusters, seeds, epochs = _QUICK_POINTS, (3,), 1, _QUICK_EPOCHS
    sets = [fewer(each, max_points, seed) for each in read_labelled(data)]
    config = DeepDPMConfig.named(configuration)
    if epochs is not None:
        config = shortened(config, epochs)
    ablations = {**ABLATIONS, **(OWN_ABLATIONS if configuration == "default" else {})}
    results: dict[str, Any] = {"benchmark": "ablation", "configuration": configuration}
    records: list[dict[str, Any]] = []
    for each in sets:
        for count in initial_clusters:
            for name, changes in ablations.items():
                changed = config.replace(**changes)
                for number in range(seed, seed + seeds):
                    record = fit_record(
                        each, number, method=name, config=changed, initial_clusters=count
                    )
                    records.append({**record, "initial_clusters": count})
                summary = summarised(records, "data", "initial_clusters", "method")
                results.update(records=records, summary=summary)
                write(out, results)
    _show(results)
    return results


def _show(results: dict[str, Any]) -> None:
    rows = [
        (
            row["method"],
            row["data"],
            row["initial_clusters"],
            *(spread(row[name]) for name in ("acc", "nmi", "ari")),
            spread(row["clusters"], 1),
            spread(row["seconds"], 1),
        )
        for row in results["summary"]
    ]
    columns = ("method", "data", "initial K", "ACC", "NMI", "ARI", "final K", "seconds")
    show(f"Ablations, configuration {results['configuration']}", columns, rows)
