"""Rates of SwAV's training step and views, and accuracy of the features that it learns."""

from __future__ import annotations

from pathlib import Path

from tfdpm import checks
from tfdpm.benchmarks.labelled import LabelledData
from tfdpm.benchmarks.records import Record
from tfdpm.benchmarks.speed.threads import limit_threads
from tfdpm.benchmarks.swav.feature_accuracy import measure_features, plot_training
from tfdpm.benchmarks.swav.step_rates import measure_steps, measure_views
from tfdpm.benchmarks.sweep import Sweep
from tfdpm.benchmarks.tables import print_table


def run(sweep: Sweep, *, repeats: int, epochs: int) -> Record:
    """Times the step on ResNet-50 and its views, and trains the small preset on each file.

    Files hold images `[N, H, W]` or `[N, H, W, C]`, and a picture for each goes beside the output;
    without files, the step alone is timed. The median of `repeats` counts; one more warms up.
    Returns `step`, `pipeline`, `ratios` and `features`, as written.
    """
    checks.integer(repeats, "--repeats", minimum=1)
    quick, seed = sweep.quick, sweep.seed
    sets = [data.as_images() for data in sweep.read_images()] if sweep.data else []
    results: Record = {"benchmark": "swav", "features": []}
    with limit_threads(sweep.threads) as cores:
        results["cores"] = cores
        results["step"] = measure_steps(
            repeats=1 if quick else repeats, threads=cores, seed=seed, quick=quick
        )
        results["pipeline"] = measure_views(seed=seed, quick=quick)
    _add_ratios(results)
    sweep.write(results)

    def measure_and_plot(data: LabelledData, seed: int) -> Record:
        record = measure_features(data, seed, epochs=1 if quick else epochs)
        picture = Path(sweep.out).with_name(f"{Path(sweep.out).stem}_{data.name}.png")
        return {**record, "picture": plot_training(record, picture)}

    sweep.measure(results, sets, [measure_and_plot], key="features")
    _print_results(results)
    return results


def _add_ratios(results: Record) -> None:
    """Adds our rates by those of peers, and the views' share of a float32 step with views."""
    step, views = results["step"], results["pipeline"]
    results["ratios"] = {
        dtype: step[f"tfdpm, {dtype}"]["cpu_rate"] / step[f"PyTorch, {dtype}"]["cpu_rate"]
        for dtype in ("float32", "bfloat16")
        if f"PyTorch, {dtype}" in step
    }
    if "Pillow" in views:
        results["ratios"]["views"] = views["tfdpm"]["cpu_rate"] / views["Pillow"]["cpu_rate"]
    ours = views["tfdpm"], step["tfdpm, float32"]
    view_time, step_time = (1 / part["cpu_rate"] for part in ours)
    results["pipeline_share"] = view_time / (view_time + step_time)


def _print_results(results: Record) -> None:
    rows = [
        (name, part["rate"], part["cpu_rate"])
        for name, part in (
            *results["step"].items(),
            *((f"views, {name}", part) for name, part in results["pipeline"].items()),
        )
    ]
    title = f"Images per second on {results['cores']} core(s): ResNet-50, 2x224 + 6x96"
    print_table(title, ("program", "images / s", "images / CPU s"), rows)
    rows = [(f"tfdpm / peer, {name}", ratio) for name, ratio in results["ratios"].items()]
    rows.append(("pipeline's share of float32 step and views", results["pipeline_share"]))
    print_table("Ratios, by processor time", ("what", "value"), rows)
    for record in results["features"]:
        rows = [
            (name, *(f"{record[name][score]:.3f}" for score in ("knn", "linear")))
            for name in ("pixels", "untrained", "trained")
        ]
        print_table(f"Accuracy of features: {record['data']}", ("features", "kNN", "linear"), rows)
        rows = [
            ("last loss", record["loss"][-1]),
            ("loss of constant features", record["collapsed_loss"]),
            ("seconds", record["seconds"]),
            ("CPU s", record["cpu_seconds"]),
            ("watchdog", "; ".join(record["findings"]) or "silent"),
        ]
        print_table(f"Training: {record['data']}", ("what", "value"), rows)
