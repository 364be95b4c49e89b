"""Samples of points with their features and responsibilities under a fitted model."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tfdpm import checks
from tfdpm.data.inputs import Inputs
from tfdpm.features.apply_encoder import inputs_for


class PointSample(NamedTuple):
    """A sample of n points with what a fitted model says of them.

    Attributes:
        rows: positions of the points in the data, `[n]` int64, ascending.
        inputs: raw points, `[n, ...]`.
        features: features of the points, on which the mixture is defined, `[n, D]`.
        responsibilities: `[n, K]`, rows sum to one.
        y: known labels, `[n]` int64, or `None`.
        num_points: N, number of points in the whole data.
        classes: texts of the known labels by their numbers; none where they were numbers.
    """

    rows: np.ndarray
    inputs: np.ndarray
    features: np.ndarray
    responsibilities: np.ndarray
    y: np.ndarray | None
    num_points: int
    classes: tuple[str, ...] = ()

    @property
    def labels(self) -> np.ndarray:
        """Most probable clusters, `[n]` int64."""
        return self.responsibilities.argmax(axis=1)

    @property
    def confidence(self) -> np.ndarray:
        """Largest responsibility of each point, `[n]`."""
        return self.responsibilities.max(axis=1)

    @classmethod
    def from_features(
        cls,
        features: np.ndarray,
        responsibilities: np.ndarray,
        preprocessing: Any,
        feature_shape: tuple[int, ...] | None = None,
    ) -> PointSample:
        """Makes a sample of points of which only the features were kept.

        Args:
            features: `[n, D]`.
            responsibilities: `[n, K]`.
            preprocessing: the model's map from raw points to features, whose `inverse` is used.
            feature_shape: shape of one raw point; `None` leaves the raw points as rows.
        """
        raw = preprocessing.inverse(np.asarray(features, np.float64))
        raw = raw if feature_shape is None else raw.reshape(len(raw), *feature_shape)
        rows = np.arange(len(raw))
        return cls(rows, raw, np.asarray(features, np.float32), responsibilities, None, len(raw))

    def subsample(self, max_points: int, seed: int = 0) -> PointSample:
        """Returns at most `max_points` of the points, drawn at random, in their order."""
        if len(self.rows) <= max_points:
            return self
        generator = np.random.default_rng([seed, 21])
        chosen = np.sort(generator.choice(len(self.rows), max_points, replace=False))
        known = None if self.y is None else self.y[chosen]
        parts = (self.rows, self.inputs, self.features, self.responsibilities)
        return PointSample(*(part[chosen] for part in parts), known, self.num_points, self.classes)


def sample_points(
    model: Any, x: Any, y: Any = None, *, max_points: int = 20_000, seed: int = 0
) -> PointSample:
    """Draws points at random and asks a fitted model for their features and responsibilities.

    Args:
        model: a fitted model with `embed` and `predict`, such as `tfdpm.DeepDPM`.
        x: points, as for `predict`, or a `PointSample`, which is reduced to `max_points`.
        y: known labels, `[N]`; `None` where `x` brings them or has none.
        max_points: largest size of the sample, at least 1.
        seed: random seed; the same seed gives the same sample.
    """
    max_points = checks.integer(max_points, "max_points", minimum=1)
    if isinstance(x, PointSample):
        return x.subsample(max_points, seed)
    inputs = inputs_for(model, x, y)
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
    seen = (model.embed(points), model.predict(points))
    return PointSample(rows, points, *seen, known, total, inputs.classes)


def _sample_of_stream(inputs: Inputs, count: int, seed: int):
    """Draws a uniform sample without replacement in one pass over a stream.

    Every point gets a random number; the points with the `count` smallest numbers are kept.
    """
    generator = np.random.default_rng([seed, 20])
    kept: list[np.ndarray] = []
    total = 0
    is_labelled = inputs.labelled_dataset is not None
    stream = (inputs.labelled_dataset if is_labelled else inputs.dataset).as_numpy_iterator()
    for points, *known in stream if is_labelled else zip(stream):
        rows = total + np.arange(len(points))
        total += len(points)
        parts = [generator.random(len(points)), rows, points, *known]
        kept = [np.concatenate(pair) for pair in zip(kept, parts, strict=True)] if kept else parts
        if len(kept[0]) > count:
            best = np.sort(np.argpartition(kept[0], count)[:count])
            kept = [part[best] for part in kept]
    _, rows, points, *known = kept
    if is_labelled:
        return rows, points, known[0].astype(np.int64), total
    return rows, points, None if inputs.labels is None else inputs.labels[rows], total
