"""SwAV in numbers: rate of a training step, of the pipeline, and what the features are worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfdpm import checks
from tfdpm.benchmarks.records import show, write
from tfdpm.benchmarks.speed.threads import same_threads
from tfdpm.benchmarks.swav import (
    features as swav_features,
)
from tfdpm.benchmarks.swav import (
    step as swav_step,
)

__all__ = ["run"]

_QUICK_IMAGES = 200


def run(
    data: Sequence[str | Path] = (),
    *,
    out: str | Path = "bench_swav.json",
    seed: int = 0,
    repeats: int = 3,
    threads: int = 1,
    epochs: int = 20,
    quick: bool = False,
) -> dict[str, Any]:
    """Times the step on ResNet-50 and its pipeline, and trains the small preset on each file.

    Args:
        data: .npz files with images `x` `[N, H, W]` or `[N, H, W, C]` and labels `y`; four fifths
            train, one fifth tests. None times the step alone.
        out: JSON file, written anew after every part; a picture per file of images goes beside it.
        seed: of everything drawn.
        repeats: timed steps of each program, of which the median counts; one more warms up.
        threads: cores and threads of the timed steps.
        epochs: of the small preset.
        quick: a small network, few images and one epoch.
    Returns:
        What was written: `step`, `pipeline` and `features`.
    """
    checks.integer(repeats, "--repeats", minimum=1)
    results: dict[str, Any] = {"benchmark": "swav", "features": []}
    with same_threads(threads) as cores:
        results["cores"] = cores
        results["step"] = swav_step.step_rates(
            repeats=1 if quick else repeats, threads=cores, seed=seed, quick=quick
        )
        results["pipeline"] = swav_step.pipeline_rates(seed=seed, quick=quick)
    _compare(results)
    write(out, results)
    for path in data:
        record = swav_features.worth(
            path,
            epochs=1 if quick else epochs,
            seed=seed,
            max_images=_QUICK_IMAGES if quick else None,
        )
        picture = Path(out).with_name(f"{Path(out).stem}_{record['data']}.png")
        record["picture"] = swav_features.draw(record, picture)
        results["features"].append(record)
        write(out, results)
    _show(results)
    return results


def _compare(results: dict[str, Any]) -> None:
    """Ratios to the peer, and the pipeline's share of the time of a float32 step with its views."""
    step, pipeline = results["step"], results["pipeline"]
    results["ratios"] = {
        dtype: step[f"tfdpm, {dtype}"]["cpu_rate"] / step[f"PyTorch, {dtype}"]["cpu_rate"]
        for dtype in ("float32", "bfloat16")
        if f"PyTorch, {dtype}" in step
    }
    views, training = (1 / part["cpu_rate"] for part in (pipeline, step["tfdpm, float32"]))
    results["pipeline_share"] = views / (views + training)


def _show(results: dict[str, Any]) -> None:
    rows = [
        (name, part["rate"], part["cpu_rate"])
        for name, part in (*results["step"].items(), ("pipeline", results["pipeline"]))
    ]
    title = f"Images per second on {results['cores']} core(s): ResNet-50, 2x224 + 6x96"
    show(title, ("program", "images / s", "images / CPU s"), rows)
    rows = [(f"tfdpm / PyTorch, {name}", ratio) for name, ratio in results["ratios"].items()]
    rows.append(("pipeline's share of float32 step and views", results["pipeline_share"]))
    show("Ratios, by processor time", ("what", "value"), rows)
    for record in results["features"]:
        rows = [
            (name, *(f"{record[name][score]:.3f}" for score in ("knn", "linear")))
            for name in ("pixels", "untrained", "trained")
        ]
        show(f"Accuracy of features: {record['data']}", ("features", "kNN", "linear"), rows)
        rows = [
            ("last loss", record["loss"][-1]),
            ("ln(prototypes)", record["ln_prototypes"]),
            ("seconds", record["seconds"]),
            ("CPU s", record["cpu_seconds"]),
            ("watchdog", "; ".join(record["findings"]) or "silent"),
        ]
        show(f"Training: {record['data']}", ("what", "value"), rows)
