"""What a picture shows of the data: a sample of the points as the model sees them.

How it is drawn is the business of the other modules.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tfdpm import checks
from tfdpm.data.inputs import Inputs, as_features

__all__ = ["View", "look"]


class View(NamedTuple):
    """A sample of n points under a fitted model.

    Attributes:
        rows: `[n]` int64, numbers of the points in the data, ascending.
        inputs: `[n, ...]` raw points.
        features: `[n, D]` what the mixture sees.
        responsibilities: `[n, K]`.
        y: `[n]` int64 known labels, or `None`.
        num_points: of all data, N.
    """

    rows: np.ndarray
    inputs: np.ndarray
    features: np.ndarray
    responsibilities: np.ndarray
    y: np.ndarray | None
    num_points: int

    @property
    def labels(self) -> np.ndarray:
        """`[n]` int64 most probable clusters."""
        return self.responsibilities.argmax(axis=1)

    @property
    def confidence(self) -> np.ndarray:
        """`[n]` largest responsibility of each point."""
        return self.responsibilities.max(axis=1)

    def thinned(self, count: int, seed: int = 0) -> View:
        """At most `count` of the points, drawn at random, in their order."""
        if len(self.rows) <= count:
            return self
        chosen = np.random.default_rng([seed, 21]).choice(len(self.rows), count, replace=False)
        return self.at(np.sort(chosen))

    def at(self, chosen: np.ndarray) -> View:
        """The points at these positions of the view."""
        known = None if self.y is None else self.y[chosen]
        parts = (self.rows, self.inputs, self.features, self.responsibilities)
        return View(*(part[chosen] for part in parts), known, self.num_points)


def look(model: Any, x: Any, y: Any = None, *, max_points: int = 20_000, seed: int = 0) -> View:
    """A random sample of data as a fitted model sees it.

    Args:
        model: a fitted `tfdpm.DeepDPM`.
        x: points, as for `predict`; a stream is read once.
        y: `[N]` known labels, unless `x` brings them.
        max_points: most points of the sample, at least 1.
        seed: of the sample.
    """
    max_points = checks.integer(max_points, "max_points", minimum=1)
    inputs = as_features(x, y, minimum_points=1)
    if inputs.array is None:
        rows, points, known, total = _sample_of_stream(inputs, max_points, seed)
    else:
        total = len(inputs.array)
        rows = np.arange(total)
        if total > max_points:
            generator = np.random.default_rng([seed, 20])
            rows = np.sort(generator.choice(total, max_points, replace=False))
        points = inputs.array[rows]
        known = None if inputs.labels is None else inputs.labels[rows]
    return View(rows, points, model.embed(points), model.predict(points), known, total)


def _sample_of_stream(inputs: Inputs, count: int, seed: int):
    """A uniform sample without replacement in one pass: the points with the smallest draws."""
    generator = np.random.default_rng([seed, 20])
    kept: list[np.ndarray] | None = None
    total = 0
    is_labelled = inputs.labelled_dataset is not None
    for batch in inputs.labelled_dataset if is_labelled else inputs.dataset:
        points, known = batch if is_labelled else (batch, None)
        points = points.numpy()
        rows = total + np.arange(len(points))
        total += len(points)
        parts = [generator.random(len(points)), rows, points]
        if known is not None:
            parts.append(known.numpy())
        kept = parts if kept is None else [np.concatenate(p) for p in zip(kept, parts, strict=True)]
        if len(kept[0]) > count:
            best = np.sort(np.argpartition(kept[0], count)[:count])
            kept = [part[best] for part in kept]
    _, rows, points, *known = kept
    if known:
        return rows, points, known[0].astype(np.int64), total
    labels = None if inputs.labels is None else inputs.labels[rows]
    return rows, points, labels, total
