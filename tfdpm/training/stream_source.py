"""The points of a fit as a `tf.data` stream, which is read once per pass."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.config import DeepDPMConfig
from tfdpm.features.preprocessing import (
    FeatureMoments,
    Preprocessing,
    feature_moments,
    normalize_rows,
)
from tfdpm.mixture.density import LogJoint
from tfdpm.mixture.parameters import MixtureParameters, TMixtureParameters
from tfdpm.mixture.statistics import SufficientStatistics, slice_rows, zeros
from tfdpm.networks.passes import Passes
from tfdpm.networks.reduction import PassStatistics, first_components, soft_statistics
from tfdpm.networks.slots import PRECISION, padded_density, padded_means
from tfdpm.search.state import MixtureState

__all__ = ["StreamSource"]


class StreamSource:
    """Points that are read from a `tf.data` stream, once per pass.

    Args:
        batches: dataset of `[B, D_in]` float32 batches, finite.
        num_points: N, or `None` if unknown.
    """

    def __init__(self, batches: tf.data.Dataset, num_points: int | None):
        self._raw = batches
        self._num_points = num_points
        self._batches: tf.data.Dataset | None = None
        self._num_batches: int | None = None
        self._sample: np.ndarray | None = None
        self._moments: FeatureMoments | None = None

    @property
    def num_points(self) -> int | None:
        """N, known at the latest after the first pass."""
        return self._num_points

    def sample(self, count: int, seed: int) -> np.ndarray:
        """At most `count` raw rows, each row of the stream equally likely."""
        if self._sample is None or len(self._sample) < min(count, self._num_points or count):
            self._sample = self._reservoir(count, np.random.default_rng([seed, 1]))
        return self._sample

    def moments(self, normalizes_rows: bool) -> FeatureMoments:
        """Moments of the whole stream in one pass."""
        total: FeatureMoments | None = None
        self._num_batches = 0
        for batch in self._raw:
            self._num_batches += 1
            rows = batch.numpy()
            rows = normalize_rows(rows.astype(np.float64)) if normalizes_rows else rows
            part = feature_moments(rows)
            total = part if total is None else total.plus(part)
        if total is None:
            checks.fail("x", "a stream without batches", "at least 2 points")
        self._num_points = int(total.num_points)
        return total

    def use(self, preprocessing: Preprocessing) -> None:
        """Prepares batches of features with their weights."""

        def prepare(raw):
            features = preprocessing(raw)
            return features, tf.ones_like(features[:, 0])

        self._batches = self._raw.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2)

    def train(
        self,
        passes: Passes,
        state: MixtureState,
        config: DeepDPMConfig,
        seed: int,
        trains_subclusters: bool,
    ) -> np.ndarray:
        """One epoch; returns the mean cluster and subcluster losses."""
        del seed  # The stream has its own batches and its own order.
        if self._num_batches is None:
            self._num_batches = sum(1 for _ in self._raw)
        # Small data are passed over several times within an epoch, as those of an array are.
        rounds = -(-config.min_steps_per_epoch // max(self._num_batches, 1))
        means, sub_means = padded_means(state, passes.capacity)
        return passes.train_stream(
            self._batches.repeat(rounds),
            padded_density(state.targets, passes.capacity),
            means,
            sub_means,
            tf.constant(state.num_components),
            trains_subclusters,
        ).numpy()

    def reduce(self, passes: Passes, state: MixtureState) -> PassStatistics:
        """Statistics of the whole stream under the networks, `[K]` components."""
        _, sub_means = padded_means(state, passes.capacity)
        result = passes.reduce_stream(self._batches, sub_means, tf.constant(state.num_components))
        return first_components(result, state.num_components)

    def expectation(
        self, parameters: MixtureParameters | TMixtureParameters
    ) -> SufficientStatistics:
        """Statistics of all points under the E-step of a mixture, `[K]` components."""
        log_joint = LogJoint(parameters, PRECISION)

        def add(total, batch):
            return tuple(SufficientStatistics(*total).plus(soft_statistics(log_joint, *batch)))

        nothing = zeros(parameters.num_components, int(parameters.means.shape[-1]))
        add = tf.autograph.experimental.do_not_convert(add)
        rows = slice_rows(nothing.feature_dim, parameters.num_components)
        return SufficientStatistics(*self._batches.rebatch(rows).reduce(tuple(nothing), add))

    def feature_batches(self) -> Iterator[tf.Tensor]:
        """Features batch by batch, in the order of the stream."""
        for features, _ in self._batches:
            yield features

    def _reservoir(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """The `count` rows with the smallest of one random key per row."""
        keys, rows, held = [], [], 0
        for batch in self._raw:
            rows.append(batch.numpy())
            keys.append(generator.uniform(size=len(rows[-1])))
            held += len(rows[-1])
            if held > 2 * count:
                keys, rows = _smallest(keys, rows, count)
                held = count
        if not rows:
            checks.fail("x", "a stream without batches", "at least 2 points")
        return _smallest(keys, rows, count)[1][0]


def _smallest(keys: list, rows: list, count: int) -> tuple[list, list]:
    """The `count` smallest keys and their rows (all, if they are fewer), in their order."""
    joined_keys, joined_rows = np.concatenate(keys), np.concatenate(rows)
    if len(joined_keys) > count:
        kept = np.sort(np.argpartition(joined_keys, count)[:count])
        joined_keys, joined_rows = joined_keys[kept], joined_rows[kept]
    return [joined_keys], [joined_rows]
