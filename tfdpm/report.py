"""One HTML page about a fit: K, sizes, scores, and how it came about. Needs nothing to be shown.

Only numbers that are passed in are laid out here; computing them is the caller's business.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["html_report"]

_WIDTH, _HEIGHT, _MARGIN = 600, 140, 8  # of a chart, in pixels

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 42rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } td, th { padding: .1rem .8rem; text-align: right }
td:first-child, th:first-child { text-align: left } svg { background: #f4f4f4; width: 100% }
.bar { background: #4477aa; height: .8rem } .bars td:last-child { width: 20rem }
"""


def html_report(
    title: str,
    labels: ArrayLike,
    scores: Mapping[str, float],
    history: Mapping[str, Sequence[float | None]],
) -> str:
    """Returns a self-contained HTML page: sizes as bars, scores as a table, history as charts.

    Args:
        title: heading, as plain text.
        labels: `[N]` integer clusters, N >= 1.
        scores: values by name, shown in this order.
        history: per-epoch values by name; values that are None or not finite leave a gap.
    """
    clusters, sizes = np.unique(np.asarray(labels), return_counts=True)
    order = np.argsort(-sizes, kind="stable")
    bars = "".join(
        f"<tr><td>{clusters[k]}</td><td>{sizes[k]:,}</td><td>{sizes[k] / sizes.sum():.1%}</td>"
        f'<td><div class="bar" style="width:{100 * sizes[k] / sizes.max():.1f}%"></div></td></tr>\n'
        for k in order
    )
    values = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{value:.3f}</td></tr>\n"
        for name, value in scores.items()
    )
    charts = "".join(_chart(name, series) for name, series in history.items())
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n<h1>{html.escape(title)}</h1>\n"
        f"<p>K = {len(clusters)} clusters of {sizes.sum():,} points.</p>\n"
        f"<h2>Scores</h2>\n<table>\n{values}</table>\n"
        f'<h2>Clusters</h2>\n<table class="bars">\n'
        f"<tr><th>cluster</th><th>points</th><th>share</th><th></th></tr>\n{bars}</table>\n"
        f"<h2>Epoch by epoch</h2>\n{charts}</html>\n"
    )


def _chart(name: str, series: Sequence[float | None]) -> str:
    """One curve over the epochs as SVG; nothing if no value of it can be drawn."""
    points = [
        (epoch, float(value))
        for epoch, value in enumerate(series)
        if value is not None and math.isfinite(value)
    ]
    if not points:
        return ""
    low, high = min(v for _, v in points), max(v for _, v in points)
    across = (_WIDTH - 2 * _MARGIN) / max(len(series) - 1, 1)
    up = (_HEIGHT - 2 * _MARGIN) / (high - low or 1.0)
    path = " ".join(
        f"{_MARGIN + epoch * across:.1f},{_HEIGHT - _MARGIN - (value - low) * up:.1f}"
        for epoch, value in points
    )
    return (
        f"<h3>{html.escape(name)}</h3><p>from {low:.4g} to {high:.4g}, at the end "
        f'{points[-1][1]:.4g}</p>\n<svg viewBox="0 0 {_WIDTH} {_HEIGHT}"><polyline fill="none" '
        f'stroke="#4477aa" stroke-width="2" points="{path}"/></svg>\n'
    )
