"""Scores under several rules for the prior: the study behind `prior="auto"`."""

from __future__ import annotations

from functools import partial
from typing import Any

from tfdpm.benchmarks.records import Record, measure_fit
from tfdpm.benchmarks.sweep import Sweep
from tfdpm.benchmarks.tables import print_scores
from tfdpm.config import DeepDPMConfig

# Each rule and the settings that it changes; "v" is the mean variance of the features.
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
_QUICK_RULES = ("automatic", "0.3 v I")


def run(sweep: Sweep) -> Record:
    """Fits every data set under every rule.

    The classes are used for the scores alone. A rule that is chosen by these scores has to be
    judged on other data sets. Returns `records`, and `summary` with means and standard deviations
    over seeds, as written.
    """
    methods = [
        partial(measure_fit, method=name, config=DeepDPMConfig().replace(**RULES[name]))
        for name in (_QUICK_RULES if sweep.quick else RULES)
    ]
    results: Record = {"benchmark": "prior"}
    sweep.measure(results, sweep.read_rows(), methods, group_by=("data", "method"))
    print_scores("Rules for the prior, mean ± standard deviation over seeds", results["summary"])
    return results
