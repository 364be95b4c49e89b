"""The source of a fit's points: an array in memory or a stream, which answer the same questions."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.config import DeepDPMConfig
from tfdpm.data.inputs import Inputs, as_weights
from tfdpm.data.streams import draw_rows
from tfdpm.features.apply_encoder import as_rows
from tfdpm.features.preprocessing import (
    FeatureMoments,
    Preprocessing,
    feature_moments,
    normalize_rows,
)
from tfdpm.mixture.density import LogJoint
from tfdpm.mixture.parameters import MixtureParameters, TMixtureParameters
from tfdpm.mixture.statistics import (
    SufficientStatistics,
    has_accelerator,
    is_wide,
    rows_for_device,
    slice_rows,
    zeros,
)
from tfdpm.networks.compilation import compiles_steps
from tfdpm.networks.passes import Passes, compiled, epoch_order
from tfdpm.networks.reduction import PassStatistics, soft_statistics
from tfdpm.networks.slots import PRECISION, padded_density, padded_means
from tfdpm.search.state import MixtureState

# Features with more numbers than this (64 MiB) are not kept but computed anew in every pass, some
# points at a time, in no memory that grows with N. Of a million points in ten dimensions, computing
# them four times took a fifth of the fit.
_KEPT_ELEMENTS = 2**24
# A pass over features with more numbers than this is worth a trace.
_UNTRACED_ELEMENTS = 2**21
# So is a pass that takes more components one by one.
_MOST_UNTRACED_COMPONENTS = 64
# An accelerator has memory of its own, to which all points go once: 1 GiB of them at most.
_KEPT_ON_ACCELERATOR = 2**28
_PIECE_ELEMENTS = 2**21  # that go to the device at once
_LABELLED_ROWS = 16_384
_FEWEST_ROWS = 32  # of a step
# Of a million points, an epoch then has 488 steps. With a quarter as many rows, it takes half as
# long again.
_MOST_ROWS = 2048
_MOST_ROWS_FOR_SLOTS = 512
_ROWS_FOR_SPREAD = 4096  # about so many, by which the spread of columns is known
_EXTREME = 1000.0  # distance from the median, in interquartile ranges, of extreme values
_FEW_EXTREMES = 5


class ArraySource:
    """Points in memory.

    Args:
        array: `[N, D_in]` float32 or float64.
        weights: `[N]` non-negative sample weights, or `None`.
    """

    def __init__(self, array: np.ndarray, weights: np.ndarray | None = None):
        self._array = array
        self._sample_weights = None if weights is None else np.asarray(weights, np.float64)
        self._preprocessing: Preprocessing | None = None
        self._features: tf.Tensor | None = None  # where they are kept

    @classmethod
    def of_features(cls, features: np.ndarray) -> ArraySource:
        """Points `[N, D]` that are features already."""
        source = cls(features)
        source._features = tf.constant(features, tf.float32)
        return source

    @property
    def num_points(self) -> int:
        """N."""
        return len(self._array)

    def sample(self, count: int, seed: int) -> np.ndarray:
        """At most `count` raw rows, drawn without replacement, in their order.

        Rows are drawn in proportion to their weights; those without weight never are.
        """
        shares, candidates = None, len(self._array)
        if self._sample_weights is not None:
            shares = self._sample_weights / self._sample_weights.sum()
            candidates = int(np.count_nonzero(shares))
        if count >= candidates:
            return self._array if candidates == len(self._array) else self._array[shares > 0]
        generator = np.random.default_rng([seed, 1])
        chosen = generator.choice(len(self._array), count, replace=False, p=shares)
        return self._array[np.sort(chosen)]

    def moments(self, normalizes_rows: bool) -> FeatureMoments:
        """Moments of all raw rows, of their normalised form where asked."""
        rows = normalize_rows(self._array.astype(np.float64)) if normalizes_rows else self._array
        return feature_moments(rows, self._sample_weights)

    def use(self, preprocessing: Preprocessing) -> None:
        """Computes the features once, if they are few."""
        self._preprocessing, self._features = preprocessing, None
        most = _KEPT_ON_ACCELERATOR if has_accelerator() else _KEPT_ELEMENTS
        if self.num_points * preprocessing.feature_dim <= most:
            self._features = tf.constant(preprocessing.transform(self._array))

    def train(
        self,
        passes: Passes,
        state: MixtureState,
        config: DeepDPMConfig,
        seed: int,
        trains_subclusters: bool,
    ) -> np.ndarray:
        """One epoch; returns the mean cluster and subcluster losses."""
        batch_size = config.batch_size or default_batch_size(self.num_points, passes.capacity)
        batch_size = min(batch_size, self.num_points)  # more would show points again and again
        steps = max(-(-self.num_points // batch_size), config.min_steps_per_epoch)
        train = passes.train_array_by_xla if compiles_steps(config, steps) else passes.train_array
        at_once = steps
        if self._features is None:
            # As many in each piece, so that they share a trace.
            num_pieces = -(-steps // max(1, self._piece_rows // batch_size))
            at_once = -(-steps // num_pieces)
            steps = num_pieces * at_once
        order = epoch_order(self.num_points, batch_size, steps, seed, state.epoch)
        constants = _constants(state, passes.capacity, trains_subclusters)
        losses = np.zeros(2)
        for start in range(0, steps, at_once):
            piece = order[start : start + at_once]
            if self._features is not None:
                points, weights = self._features, self._weights_of(slice(None))
            else:
                rows = piece.ravel()
                points, weights = self._features_of(rows), self._weights_of(rows)
                piece = np.arange(piece.size, dtype=np.int32).reshape(piece.shape)
            losses += train(points, weights, tf.constant(piece), *constants).numpy()
        return losses * at_once / steps

    def reduce(self, passes: Passes, state: MixtureState) -> PassStatistics:
        """Statistics of all points under the networks, `[K]` components."""
        _, sub_means = padded_means(state, passes.capacity)
        total = None
        reduce = passes.reduce_few_points if self._are_few else passes.reduce_array
        for features, weights in self._pieces():
            piece = reduce(features, weights, sub_means, tf.constant(state.num_components))
            total = piece if total is None else tf.nest.map_structure(tf.add, total, piece)
        return _of_clusters(total, state)

    def expectation(
        self, parameters: MixtureParameters | TMixtureParameters
    ) -> SufficientStatistics:
        """Statistics of all points under the E-step of a mixture, `[K]` components."""
        total = None
        expect = functools.partial(soft_statistics, LogJoint(parameters, PRECISION))
        dim, count = self._preprocessing.feature_dim, parameters.num_components
        if not self._are_few or (is_wide(dim) and count > _MOST_UNTRACED_COMPONENTS):
            expect = compiled(expect)
        for features, weights in self._pieces():
            piece = expect(features, weights)
            total = piece if total is None else total.plus(piece)
        return total.widened(self._preprocessing.rounding)

    def feature_batches(self) -> Iterator[tf.Tensor]:
        """Features slice by slice, in the order of the points."""
        rows = rows_for_device(_LABELLED_ROWS)
        for start in range(0, self.num_points, rows):
            yield self._features_of(slice(start, start + rows))

    @property
    def _are_few(self) -> bool:
        """Whether a pass over the points takes less time than tracing a graph of it."""
        return self.num_points * self._preprocessing.feature_dim <= _UNTRACED_ELEMENTS

    @property
    def _piece_rows(self) -> int:
        """Points that go to the device at once: as many in each piece, so that they share a trace.

        A pass slices them there, where no array is as long as a piece but the points themselves.
        """
        most = max(1, _PIECE_ELEMENTS // self._preprocessing.feature_dim)
        return -(-self.num_points // -(-self.num_points // most))

    def _pieces(self) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """All features and weights, or as many at a time as fit; the last are filled up.

        What fills them has no weight. Pieces of one size share a trace.
        """
        if self._features is not None:
            yield self._features, self._weights_of(slice(None))
            return
        for start in range(0, self.num_points, self._piece_rows):
            chosen = slice(start, start + self._piece_rows)
            features, weights = self._features_of(chosen), self._weights_of(chosen)
            missing = self._piece_rows - int(features.shape[0])
            yield tf.pad(features, [[0, missing], [0, 0]]), tf.pad(weights, [[0, missing]])

    def _features_of(self, rows) -> tf.Tensor:
        """Features of a slice of the points, or, where they are not kept, of chosen ones."""
        if self._features is not None:
            return self._features[rows]
        return tf.constant(self._preprocessing.transform(self._array[rows]))

    def _weights_of(self, rows) -> tf.Tensor:
        if self._sample_weights is not None:
            return tf.constant(self._sample_weights[rows], tf.float32)
        if isinstance(rows, slice):
            return tf.ones([len(range(*rows.indices(self.num_points)))])
        return tf.ones([len(rows)])


def default_batch_size(num_points: int, num_slots: int) -> int:
    """Points per step: small data get small batches, so that an epoch has enough steps.

    A step that meets only some of the clusters spoils the outputs of the others: of 500 clusters,
    steps of 128 points made the networks worse than they began.
    """
    size = 2 ** int(np.log2(max(num_points / 128, min(2 * num_slots, _MOST_ROWS_FOR_SLOTS))))
    return int(np.clip(size, _FEWEST_ROWS, _MOST_ROWS))


class StreamSource:
    """Points that are read from a `tf.data` stream, once per pass.

    Args:
        batches: dataset of `[B, D_in]` batches, finite, or of pairs of these and weights `[B]`.
        num_points: N, or `None` if unknown.

    Attributes:
        num_points: N, known at the latest after the first pass.
    """

    def __init__(self, batches: tf.data.Dataset, num_points: int | None):
        self._raw = batches
        self._is_weighted = isinstance(batches.element_spec, tuple)
        self.num_points = num_points
        self._preprocessing: Preprocessing | None = None
        self._batches: tf.data.Dataset | None = None
        self._largest_batch: int | None = None
        self._sample: np.ndarray | None = None

    def sample(self, count: int, seed: int) -> np.ndarray:
        """At most `count` raw rows, in proportion to their weights, as those of an array."""
        if self._sample is None or len(self._sample) < min(count, self.num_points or count):
            self._sample = draw_rows(self._raw, count, np.random.default_rng([seed, 1]))
        return self._sample

    def moments(self, normalizes_rows: bool) -> FeatureMoments:
        """Moments of the whole stream in one pass."""
        total: FeatureMoments | None = None
        sizes = [0]
        for batch in self._raw:
            rows, weights = batch if self._is_weighted else (batch, None)
            rows = rows.numpy()
            sizes.append(len(rows))
            rows = normalize_rows(rows.astype(np.float64)) if normalizes_rows else rows
            if weights is not None:
                weights = as_weights(weights.numpy(), len(rows))
                if not weights.any():
                    continue
            part = feature_moments(rows, weights)
            total = part if total is None else total.plus(part)
        if total is None:
            checks.fail("x", "a stream without points that have weight", "at least 2 points")
        self.num_points, self._largest_batch = sum(sizes), max(sizes)
        return total

    def use(self, preprocessing: Preprocessing) -> None:
        """Prepares batches of features with their weights."""
        self._preprocessing = preprocessing

        def prepare(raw, weights=None):
            features = preprocessing(raw)
            if weights is None:
                weights = tf.ones_like(features[:, 0])
            return features, tf.cast(weights, tf.float32)

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
        del seed  # The stream has its own order.
        if self._largest_batch is None:
            sizes = [len(features) for features, _ in self._batches]
            self.num_points, self._largest_batch = sum(sizes), max(sizes)
        batches, rows = self._batches, self._largest_batch
        # Large batches are cut rather than that the stream is read again. Few points are passed
        # over several times within an epoch, as those of an array are.
        enough = max(self.num_points // config.min_steps_per_epoch, _FEWEST_ROWS)
        if rows > enough:
            batches, rows = batches.rebatch(enough), enough
        rounds = -(-config.min_steps_per_epoch * rows // self.num_points)
        constants = _constants(state, passes.capacity, trains_subclusters)
        return passes.train_stream(batches.repeat(rounds), *constants).numpy()

    def reduce(self, passes: Passes, state: MixtureState) -> PassStatistics:
        """Statistics of the whole stream under the networks, `[K]` components."""
        _, sub_means = padded_means(state, passes.capacity)
        result = passes.reduce_stream(self._batches, sub_means, tf.constant(state.num_components))
        return _of_clusters(result, state)

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
        total = SufficientStatistics(*self._batches.rebatch(rows).reduce(tuple(nothing), add))
        return total.widened(self._preprocessing.rounding)

    def feature_batches(self) -> Iterator[tf.Tensor]:
        """Features batch by batch, in the order of the stream."""
        for features, _ in self._batches:
            yield features


Source = ArraySource | StreamSource


def _constants(state: MixtureState, capacity: int, trains_subclusters: bool) -> tuple[Any, ...]:
    """What an epoch of gradient steps needs beside the points."""
    density, count = padded_density(state.targets, capacity), tf.constant(state.num_components)
    return density, *padded_means(state, capacity), count, trains_subclusters


def _of_clusters(total: PassStatistics, state: MixtureState) -> PassStatistics:
    """Statistics of a pass, whose spare slots have none, for points as wide as their rounding."""
    total = tf.nest.map_structure(lambda part: part[: state.num_components], total)
    rounding = state.preprocessing.rounding
    return PassStatistics(*(part.widened(rounding) for part in total))


def source_of(inputs: Inputs, sample_weight) -> Source:
    """The source of a fit's encoded points, with `[N]` non-negative weights where they have any.

    Raises:
        ValueError: naming `sample_weight`.
    """
    if sample_weight is not None and (inputs.weights is not None or inputs.array is None):
        wanted = "them in its elements (x, y, weight)"
        checks.fail("sample_weight", "weights beside a stream", wanted)
    if inputs.array is None:
        batches = inputs.dataset.map(as_rows)
        if inputs.weighted_dataset is not None:
            batches = inputs.weighted_dataset.map(lambda x, w, *_: (as_rows(x), w))
        return StreamSource(batches, inputs.num_points)
    weights = inputs.weights
    if sample_weight is not None:
        weights = as_weights(sample_weight, len(inputs.array))
    if weights is not None and not weights.any():
        checks.fail("sample_weight", "weights that are all zero", "some that are not")
    rows = as_rows(inputs.array)
    return ArraySource(rows, _weights_without_extremes(rows) if weights is None else weights)


def _weights_without_extremes(rows: np.ndarray) -> np.ndarray | None:
    """Weights `[N]` of rows, zero for a few extreme ones; `None` where there are none.

    Beside a value of a million, such as a wrong entry, all other points would be alike. More rows
    than a few may be a cluster.
    """
    some = rows[:: max(len(rows) // _ROWS_FOR_SPREAD, 1)].astype(np.float64)
    low, middle, high = np.quantile(some, [0.25, 0.5, 0.75], axis=0)
    reach = np.where(high > low, _EXTREME * (high - low), np.inf)
    if (rows.max(axis=0) <= middle + reach).all() and (rows.min(axis=0) >= middle - reach).all():
        return None
    is_extreme = ((rows > middle + reach) | (rows < middle - reach)).any(axis=1)
    return None if is_extreme.sum() > _FEW_EXTREMES else 1.0 - is_extreme
