"""Plot of the speed benchmark: seconds of each method, and growth on logarithmic axes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tfdpm.benchmarks.records import Record

__all__ = ["plot_times"]

_SIZES = {"points": ("num_points", "N"), "clusters": ("clusters", "K"), "dims": ("dim", "D")}


def plot_times(results: Record, path: Path) -> str | None:
    """Plots the results of the speed benchmark.

    Args:
        results: `comparisons`, `growth` and `exponents`.
        path: PNG file that is written.
    Returns:
        The path, or None where matplotlib is not installed or nothing was measured.
    """
    grown = [name for name in _SIZES if results["growth"][name]]
    panels = len(results["comparisons"]) + len(grown)
    if not panels or importlib.util.find_spec("matplotlib") is None:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * panels, 3.5), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for axis, comparison in zip(axes, results["comparisons"], strict=False):
        methods = comparison["methods"]
        bars = axis.barh(list(methods), [record["cpu_seconds"] for record in methods.values()])
        axis.bar_label(bars, [f"NMI {record['nmi']:.3f}" for record in methods.values()])
        axis.set(title=comparison["data"], xlabel="processor seconds", xscale="log")
        axis.margins(x=0.4)
    for axis, name in zip(axes[len(results["comparisons"]) :], grown, strict=True):
        key, letter = _SIZES[name]
        rows, power = results["growth"][name], results["exponents"][name]
        axis.loglog([row[key] for row in rows], [row["cpu_seconds"] for row in rows], "o-")
        what = "fit" if name == "points" else "epoch"
        title = f"one {what}" + ("" if power is None else f", exponent {power:.2f}")
        axis.set(title=title, xlabel=letter, ylabel="processor seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(path)
    return str(path)
