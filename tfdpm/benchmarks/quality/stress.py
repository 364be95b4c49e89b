"""Whether a fit with defaults ever fails: seeded random mixtures under seeded mistreatment."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tfdpm
from tfdpm import checks, metrics
from tfdpm.benchmarks.records import show, write

__all__ = ["TRANSFORMS", "broken_promises", "case", "run"]

_QUICK_CASES = 3
_MOST_POINTS = 2_000
_MOST_DIM = 64

Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _rotated(x, rng):
    axes, _ = np.linalg.qr(rng.standard_normal((x.shape[1],) * 2))
    return x @ axes


def _one_column_of_other_units(x, rng):
    factors = np.ones(x.shape[1])
    factors[rng.integers(x.shape[1])] = 10.0 ** rng.uniform(-8, 8)
    return x * factors


def _with_outliers(x, rng):
    x = x.copy()
    chosen = rng.choice(len(x), max(1, len(x) // 100), replace=False)
    x[chosen] += 1000.0 * x.std() * rng.standard_normal((len(chosen), x.shape[1]))
    return x


def _on_a_subspace(x, rng):
    width = rng.integers(1, _MOST_DIM + 1)
    return x @ rng.standard_normal((x.shape[1], width))


def _heavy_tailed(x, rng):
    return x + rng.standard_t(1.5, x.shape)


def _unit_rows(x, rng):
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(lengths > 0, lengths, 1)


def _with_constant_columns(x, rng):
    return np.hstack([x, np.full((len(x), 2), rng.normal())])


TRANSFORMS: dict[str, Transform] = {
    "as they are": lambda x, rng: x,
    "tiny": lambda x, rng: 1e-9 * x,
    "huge": lambda x, rng: 1e9 * x,
    "far away": lambda x, rng: x + 1e5 * x.std(),
    "rotated": _rotated,
    "other units": _one_column_of_other_units,
    "outliers": _with_outliers,
    "subspace": _on_a_subspace,
    "heavy tails": _heavy_tailed,
    "unit rows": _unit_rows,
    "constant columns": _with_constant_columns,
    "integers": lambda x, rng: np.rint(x).astype(np.int64),
    "copies": lambda x, rng: x[rng.integers(max(2, len(x) // 20), size=len(x))],
    "few points": lambda x, rng: x[: rng.integers(2, 12)],
    "exponential": lambda x, rng: np.exp(np.clip(x, -30, 30)),
    "one point": lambda x, rng: np.repeat(x[:1], len(x), axis=0),
}


def case(seed: int) -> tuple[str, np.ndarray, np.ndarray]:
    """One case: the transform's name, points `[N, D]` and `[N]` components they came from.

    Transforms take turns by seed, so that as many seeds as transforms cover all of them.
    """
    rng = np.random.default_rng([seed, 17])
    num_points = int(np.exp(rng.uniform(np.log(20), np.log(_MOST_POINTS))))
    dim = int(np.exp(rng.uniform(0, np.log(_MOST_DIM + 1))))
    count = int(np.exp(rng.uniform(0, np.log(max(2, num_points // 5)))))
    means = rng.uniform(0, 10) * rng.standard_normal((count, dim))
    spreads = np.exp(rng.normal(0, 0.5, (count, dim)))
    y = np.sort(rng.choice(count, num_points, p=rng.dirichlet(np.ones(count))))
    y = rng.permutation(y)
    x = means[y] + spreads[y] * rng.standard_normal((num_points, dim))
    name = list(TRANSFORMS)[seed % len(TRANSFORMS)]
    transformed = TRANSFORMS[name](x, rng)
    return name, transformed, y[: len(transformed)]


def broken_promises(model: tfdpm.DeepDPM, x: np.ndarray) -> list[str]:
    """What a fitted model promises of its training points and does not keep; best nothing."""
    count = model.n_clusters
    responsibilities = model.predict(x)
    kept = {
        "K from 1 to N": 1 <= count <= len(x),
        "labels from 0 to K - 1": np.all((0 <= model.labels_) & (model.labels_ < count)),
        "labels_ of N points": len(model.labels_) == len(x),
        "labels_ == predict_labels": np.array_equal(model.labels_, model.predict_labels(x)),
        "responsibilities [N, K]": responsibilities.shape == (len(x), count),
        "rows sum to one": np.allclose(responsibilities.sum(axis=1), 1, atol=1e-4),
        "finite densities": np.isfinite(model.score_samples(x)).all(),
        "finite means": np.isfinite(model.means_).all(),
        "finite covariances": np.isfinite(model.covariances_).all(),
        "weights sum to one": np.isclose(model.weights_.sum(), 1),
        "finite losses": np.isfinite(model.history.history["loss"]).all(),
    }
    return [promise for promise, is_kept in kept.items() if not is_kept]


def run(
    data: Sequence[str | Path] = (),
    *,
    out: str | Path = "bench_stress.json",
    seed: int = 0,
    cases: int = 200,
    epochs: int | None = None,
    quick: bool = False,
) -> dict[str, Any]:
    """Fits seeded cases and collects every exception, broken promise and warning.

    Args:
        data: none: the cases are drawn.
        out: JSON file, written anew after every case.
        seed: of the first case; the others follow it.
        cases: how many.
        epochs: most epochs of each fit; `None` for the configuration's.
        quick: three cases of one epoch.
    Returns:
        What was written: `records`, and the `failed` seeds among them.
    """
    if data:
        checks.fail("--data", f"{len(data)} files", "none: the cases of stress are drawn")
    checks.integer(cases, "--cases", minimum=1)
    if quick:
        cases, epochs = _QUICK_CASES, 1
    results: dict[str, Any] = {"benchmark": "stress", "records": [], "failed": []}
    for number in range(seed, seed + cases):
        record = _record(number, epochs)
        results["records"].append(record)
        if record["broken"]:
            results["failed"].append(number)
        write(out, results)
    _show(results)
    return results


def _record(seed: int, epochs: int | None) -> dict[str, Any]:
    """What became of one case."""
    name, x, y = case(seed)
    record = {"seed": seed, "transform": name, "shape": list(x.shape)}
    record |= {"true_clusters": len(np.unique(y)), "clusters": None, "nmi": None}
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = tfdpm.fit(x, seed=seed, epochs=epochs, verbose=0)
            record["broken"] = broken_promises(model, x)
            record |= {"clusters": model.n_clusters, "nmi": metrics.nmi(y, model.labels_)}
        except Exception as error:  # whatever it is, it is what this benchmark looks for
            record["broken"] = [f"{type(error).__name__}: {error}"[:500]]
    record["seconds"] = time.perf_counter() - start
    record["warnings"] = sorted({f"{item.category.__name__}: {item.message}" for item in caught})
    return record


def _show(results: dict[str, Any]) -> None:
    rows = []
    for name in TRANSFORMS:
        own = [record for record in results["records"] if record["transform"] == name]
        if own:
            failed = sum(bool(record["broken"]) for record in own)
            warned = sum(bool(record["warnings"]) for record in own)
            found = [record["nmi"] for record in own if record["nmi"] is not None]
            nmi = f"{np.mean(found):.3f}" if found else ""
            rows.append((name, len(own), failed, warned, nmi))
    show("Stress", ("transform", "cases", "failed", "warned", "mean NMI"), rows)
    broken = [
        (record["seed"], record["transform"], str(record["shape"]), "; ".join(record["broken"]))
        for record in results["records"]
        if record["broken"]
    ]
    if broken:
        show("Failures", ("seed", "transform", "shape", "what"), broken)
