"""What each rule for the prior gives on the same data: the study behind `prior="auto"`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfdpm import checks
from tfdpm.benchmarks.labelled import fewer, read_labelled, thin_classes
from tfdpm.benchmarks.quality.accuracy import show_scores
from tfdpm.benchmarks.records import fit_record, summarised, write
from tfdpm.config import DeepDPMConfig

__all__ = ["RULES", "run"]

# Each rule as what it changes in the default configuration. "v" is the mean feature variance.
RULES: dict[str, dict[str, Any]] = {
    "automatic": {},
    "automatic, a quarter": {"prior_scale": 0.25},
    "automatic, half": {"prior_scale": 0.5},
    "automatic, twice": {"prior_scale": 2.0},
    "automatic, four times": {"prior_scale": 4.0},
    "automatic, kappa 0.01": {"mean_precision": 0.01},
    "automatic, alpha 1": {"dp_concentration": 1.0},
    "automatic, diagonal": {"covariance": "diagonal"},
    "automatic, spherical": {"covariance": "spherical"},
    "automatic, columns at unit variance": {"preprocessing": "standardize"},
    "automatic, rows at unit length": {"preprocessing": "normalize"},
    "0.3 v I": {"prior": "identity", "prior_scale": 0.3},
    "0.005 I, rows at unit length": {
        "preprocessing": "normalize",
        "prior": "identity",
        "prior_scale": 0.005,
    },
    "0.005 nu I, rows at unit length": {
        "preprocessing": "normalize",
        "prior": "identity",
        "prior_scale": 0.005,
        "scale_times_df": True,
    },
}
_QUICK_POINTS = 300
_QUICK_RULES = ("automatic", "0.3 v I")


def run(
    data: Sequence[str | Path],
    *,
    out: str | Path = "bench_prior.json",
    seed: int = 0,
    seeds: int = 1,
    imbalanced: bool = False,
    max_points: int | None = None,
    quick: bool = False,
) -> dict[str, Any]:
    """Fits every data set under every rule.

    Labels are for the scores. Choosing a rule by this table on some data sets says nothing of how
    it does on others, unless those are other data sets.

    Args:
        data: .npz files with `x` and `y`.
        out: JSON file, written anew after every rule.
        seed: the first seed; the others follow it.
        seeds: how many.
        imbalanced: adds the imbalanced versions of MNIST, USPS and Fashion-MNIST.
        max_points: thins each data set to so many points; `None` for all of them.
        quick: 300 points of each data set, one seed and two rules.
    Returns:
        What was written: `records`, and `summary` with means and standard deviations.
    """
    checks.integer(seeds, "--seeds", minimum=1)
    sets = read_labelled(data)
    if imbalanced:
        sets += [thin_classes(each, seed) for each in sets]
    rules = dict(RULES)
    if quick:
        max_points, seeds, rules = _QUICK_POINTS, 1, {name: RULES[name] for name in _QUICK_RULES}
    sets = [fewer(each, max_points, seed) for each in sets]
    results: dict[str, Any] = {"benchmark": "prior"}
    records: list[dict[str, Any]] = []
    for name, changes in rules.items():
        config = DeepDPMConfig().replace(**changes)
        for each in sets:
            for number in range(seed, seed + seeds):
                records.append(fit_record(each, number, method=name, config=config))
        results.update(records=records, summary=summarised(records, "data", "method"))
        write(out, results)
    show_scores("Rules for the prior, mean ± standard deviation over seeds", results["summary"])
    return results
