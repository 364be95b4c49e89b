"""Failures and warnings of default fits to random mixtures that are transformed in hostile ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from sklearn import preprocessing

import tfdpm
from tfdpm import checks, metrics
from tfdpm.benchmarks.records import Record, measure_time
from tfdpm.benchmarks.sweep import Sweep
from tfdpm.benchmarks.tables import print_table

_QUICK_CASES = 3
_MOST_POINTS = 2_000
_MOST_DIM = 64

Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def _rotate(x, rng):
    axes, _ = np.linalg.qr(rng.standard_normal((x.shape[1],) * 2))
    return x @ axes


def _rescale_one_column(x, rng):
    factors = np.ones(x.shape[1])
    factors[rng.integers(x.shape[1])] = 10.0 ** rng.uniform(-8, 8)
    return x * factors


def _add_outliers(x, rng):
    x = x.copy()
    chosen = rng.choice(len(x), max(1, len(x) // 100), replace=False)
    x[chosen] += 1000.0 * x.std() * rng.standard_normal((len(chosen), x.shape[1]))
    return x


def _project_on_subspace(x, rng):
    width = rng.integers(1, _MOST_DIM + 1)
    return x @ rng.standard_normal((x.shape[1], width))


def _add_constant_columns(x, rng):
    return np.hstack([x, np.full((len(x), 2), rng.normal())])


TRANSFORMS: dict[str, Transform] = {
    "as they are": lambda x, rng: x,
    "tiny": lambda x, rng: 1e-9 * x,
    "huge": lambda x, rng: 1e9 * x,
    "far away": lambda x, rng: x + 1e5 * x.std(),
    "rotated": _rotate,
    "other units": _rescale_one_column,
    "outliers": _add_outliers,
    "subspace": _project_on_subspace,
    "heavy tails": lambda x, rng: x + rng.standard_t(1.5, x.shape),
    "unit rows": lambda x, rng: preprocessing.normalize(x),
    "constant columns": _add_constant_columns,
    "integers": lambda x, rng: np.rint(x).astype(np.int64),
    "copies": lambda x, rng: x[rng.integers(max(2, len(x) // 20), size=len(x))],
    "few points": lambda x, rng: x[: rng.integers(2, 12)],
    "exponential": lambda x, rng: np.exp(np.clip(x, -30, 30)),
    "one point": lambda x, rng: np.repeat(x[:1], len(x), axis=0),
}


def draw_case(seed: int) -> tuple[str, np.ndarray, np.ndarray]:
    """Draws a Gaussian mixture and transforms it.

    Transforms take turns by seed, so that consecutive seeds, as many as transforms, cover them all.
    Returns the name of the transform, points `[N, D]` and the `[N]` components they come from.
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


def find_broken_promises(model: tfdpm.DeepDPM, x: np.ndarray) -> list[str]:
    """Returns the documented properties that a fitted model lacks on its training points."""
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


def run(sweep: Sweep, *, cases: int, epochs: int | None) -> Record:
    """Fits seeded cases and records every exception, broken promise and warning.

    The sweep has no files; its seed is that of the first case, which the others follow. Returns
    `records`, and the `failed` seeds among them, as written.
    """
    if sweep.data:
        checks.fail("--data", f"{len(sweep.data)} files", "none: the cases of stress are drawn")
    checks.integer(cases, "--cases", minimum=1)
    if sweep.quick:
        cases, epochs = _QUICK_CASES, 1
    sweep = replace(sweep, seeds=cases, quick=False)
    results: Record = {"benchmark": "stress"}
    sweep.measure(results, [None], [lambda _, seed: _measure_case(seed, epochs)])
    results["failed"] = [each["seed"] for each in results["records"] if each["broken"]]
    sweep.write(results)
    _print_results(results["records"])
    return results


def _measure_case(seed: int, epochs: int | None) -> Record:
    """Fits one case and records what went wrong."""
    name, x, y = draw_case(seed)
    record = {"seed": seed, "transform": name, "shape": list(x.shape)}
    record |= {"true_clusters": len(np.unique(y)), "clusters": None, "nmi": None}
    with measure_time() as cost:
        try:
            model = tfdpm.fit(x, seed=seed, epochs=epochs, verbose=0)
            record["broken"] = find_broken_promises(model, x)
            record |= {"clusters": model.n_clusters, "nmi": metrics.nmi(y, model.labels_)}
        except Exception as error:  # any exception is a failure that this benchmark looks for
            record["broken"] = [f"{type(error).__name__}: {error}"[:500]]
    return {**record, **cost}


def _print_results(records: list[Record]) -> None:
    rows = []
    for name in TRANSFORMS:
        own = [record for record in records if record["transform"] == name]
        if own:
            failed = sum(bool(record["broken"]) for record in own)
            warned = sum(bool(record["warnings"]) for record in own)
            scores = [record["nmi"] for record in own if record["nmi"] is not None]
            rows.append(
                (name, len(own), failed, warned, f"{np.mean(scores):.3f}" if scores else "")
            )
    print_table("Stress", ("transform", "cases", "failed", "warned", "mean NMI"), rows)
    broken = [
        (record["seed"], record["transform"], str(record["shape"]), "; ".join(record["broken"]))
        for record in records
        if record["broken"]
    ]
    if broken:
        print_table("Failures", ("seed", "transform", "shape", "what"), broken)
