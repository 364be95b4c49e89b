"""Arrays whose features are kept, and those too large for it, give the same passes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfdpm.data import gaussian_mixture
from tfdpm.deepdpm import DeepDPM
from tfdpm.features.preprocessing import Preprocessing, feature_moments, fit_preprocessing
from tfdpm.mixture import statistics
from tfdpm.networks import passes as passes_module
from tfdpm.training import sources
from tfdpm.training.sources import ArraySource, StreamSource

X, _ = gaussian_mixture(3, 2, 1001, seed=2)
WEIGHTS = np.random.default_rng(0).integers(0, 3, size=len(X)).astype(float)


@pytest.fixture(scope="module")
def model():
    model = DeepDPM(seed=0)
    model.fit(X, epochs=1, verbose=0)
    return model


def source(monkeypatch, is_large, weights):
    monkeypatch.setattr(sources, "_KEPT_ELEMENTS", 0 if is_large else 2**21)
    monkeypatch.setattr(sources, "_PIECE_ELEMENTS", 600)
    monkeypatch.setattr(sources, "_UNTRACED_ELEMENTS", 0 if is_large else 2**21)
    made = ArraySource(X, weights)
    made.use(fit_preprocessing(feature_moments(X), "auto"))
    return made


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
def test_large_arrays_are_reduced_piece_by_piece_to_the_same_statistics(
    monkeypatch, model, weights
):
    passes, state = model.fitted.networks.passes, model.fitted.state
    results = []
    for is_large in (False, True):
        made = source(monkeypatch, is_large, weights)
        reduced = made.reduce(passes, state)
        results.append([*reduced.soft, *reduced.halves, *made.expectation(state.parameters)])
        total = len(X) if weights is None else weights.sum()
        np.testing.assert_allclose(reduced.halves.counts.numpy().sum(), total)
    for kept, in_pieces in zip(*results, strict=True):
        np.testing.assert_allclose(kept, in_pieces, rtol=1e-9, atol=1e-7)


def test_large_arrays_teach_the_networks_alike(monkeypatch):
    losses = []
    for is_large in (False, True):
        made = source(monkeypatch, is_large, None)
        model = DeepDPM(seed=0)
        model.fit(X, epochs=0, verbose=0)
        config = model.config.replace(batch_size=50, min_steps_per_epoch=1)
        passes = model.fitted.networks.passes
        losses.append(made.train(passes, model.fitted.state, config, 0, True))
    # 21 steps at once, or four times 6 of them with three more that fill the last piece.
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.25)
    assert (losses[0] > 0).all()


def test_features_come_in_the_order_of_the_points(monkeypatch):
    kept, in_pieces = (
        np.concatenate(
            [piece.numpy() for piece in source(monkeypatch, large, None).feature_batches()]
        )
        for large in (False, True)
    )
    np.testing.assert_array_equal(kept, in_pieces)


def test_fits_of_large_arrays_end_with_the_same_clusters(monkeypatch, model):
    monkeypatch.setattr(sources, "_KEPT_ELEMENTS", 0)
    monkeypatch.setattr(sources, "_PIECE_ELEMENTS", 600)
    other = DeepDPM(seed=0)
    other.fit(X, epochs=1, verbose=0)
    np.testing.assert_array_equal(model.labels_, other.labels_)


@pytest.mark.parametrize("batch_size", [7, 400])
def test_a_sample_of_a_stream_is_of_distinct_rows_from_all_of_it(batch_size):
    rows = np.arange(1000, dtype=np.float32)[:, np.newaxis]
    stream = tf.data.Dataset.from_tensor_slices(rows).batch(batch_size)
    sample = StreamSource(stream, 1000).sample(100, seed=0).ravel()
    assert len(sample) == len(np.unique(sample)) == 100
    assert (np.diff(sample) > 0).all()  # in their order
    assert abs(sample.mean() - 499.5) < 4 * 288.7 / 10  # four standard errors
    np.testing.assert_array_equal(StreamSource(stream, 1000).sample(2000, seed=0), rows)


@pytest.mark.parametrize("wrong", [[1e6, 1e6], [-99_999.0, 0.0]])
def test_a_few_wrong_entries_do_not_hide_the_clusters(wrong):
    wanted = DeepDPM(seed=0)
    wanted.fit(X, verbose=0)
    model = DeepDPM(seed=0)
    model.fit(np.concatenate([X, [wrong] * 2]), verbose=0)
    assert model.n_clusters == 3
    np.testing.assert_array_equal(model.labels_[: len(X)], wanted.labels_)
    assert model.outlier_p([wrong]) < 1e-6


def test_extreme_rows_have_no_weight_unless_they_may_be_a_cluster():
    rows = np.random.default_rng(0).normal(size=(1000, 2)) * [1.0, 1e6]
    assert sources._weights_without_extremes(rows) is None
    rows[[3, 7], 0] = 1e5, -1e5
    np.testing.assert_array_equal(
        np.flatnonzero(sources._weights_without_extremes(rows) == 0.0), [3, 7]
    )
    rows[100:106, 0] = 1e5
    assert sources._weights_without_extremes(rows) is None
    # Most of a column is one value, from which nothing is far.
    rows[:, 0] = np.arange(1000) % 8 == 0
    rows[0, 0] = 1e5
    assert sources._weights_without_extremes(rows) is None


def test_points_without_weight_do_not_make_a_cluster():
    x, labels = gaussian_mixture(3, 2, 1200, seed=5)
    for gone in range(3):
        weights = np.where(labels == gone, 0.0, 1.0)
        weighted = DeepDPM(seed=0)
        weighted.fit(x, sample_weight=weights, verbose=0)
        rest = DeepDPM(seed=0)
        rest.fit(x[labels != gone], verbose=0)
        assert weighted.n_clusters == rest.n_clusters == 2
        centres = [np.sort(each.means_[:, 0]) for each in (weighted, rest)]
        np.testing.assert_allclose(*centres, atol=0.1)


def test_a_sample_has_heavy_points_rather_than_light_ones_and_none_without_weight():
    x = np.arange(3000.0, dtype=np.float32)[:, np.newaxis]
    weights = np.repeat([0.0, 1.0, 4.0], 1000)
    drawn = ArraySource(x, weights).sample(200, seed=1)[:, 0]
    assert len(np.unique(drawn)) == 200 and (np.diff(drawn) > 0).all()
    counts = np.bincount((drawn // 1000).astype(int), minlength=3)
    # 160 expected of the heavy ones; the standard deviation is 5.4.
    assert counts[0] == 0 and 140 < counts[2] < 178
    everything = ArraySource(x, weights).sample(2500, seed=1)[:, 0]
    np.testing.assert_array_equal(everything, x[1000:, 0])
    alike = ArraySource(x, np.full(3000, 0.5)).sample(5000, seed=1)
    np.testing.assert_array_equal(alike, x)


def test_one_point_with_all_the_weight_is_one_cluster():
    weights = np.zeros(len(X))
    weights[7] = 2.0
    model = DeepDPM(seed=0)
    model.fit(X, sample_weight=weights, verbose=0)
    assert model.n_clusters == 1 and np.isfinite(model.means_).all()


@pytest.mark.parametrize(("devices", "expected"), [([], [4, 4, 5]), (["/GPU:0"], [0, 0, 0])])
def test_a_pass_takes_few_pieces_to_the_device_and_none_to_an_accelerator_that_holds_all(
    monkeypatch, model, devices, expected
):
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: devices)
    made, transform, taken = source(monkeypatch, True, None), Preprocessing.transform, []
    monkeypatch.setattr(
        Preprocessing, "transform", lambda self, rows: taken.append(rows) or transform(self, rows)
    )
    passes, state = model.fitted.networks.passes, model.fitted.state
    config = model.config.replace(batch_size=50, min_steps_per_epoch=1)
    counts = []
    for run in (
        lambda: made.reduce(passes, state),
        lambda: made.expectation(state.parameters),
        lambda: made.train(passes, state, config, 0, False),
    ):
        taken.clear()
        run()
        counts.append(len(taken))
        # Of 1,001 points and at most 300 in a piece, no piece is nearly empty.
        assert all(len(rows) > 240 for rows in taken)
    assert counts == expected


@pytest.mark.parametrize("devices", [[], ["/GPU:0"]])
def test_a_pass_is_one_call_that_brings_back_no_points(monkeypatch, model, devices):
    """Slices of a pass are taken within its graph, and no array of N numbers leaves the device."""
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: devices)
    passes, state = model.fitted.networks.passes, model.fitted.state
    made = source(monkeypatch, False, None)
    monkeypatch.setattr(sources, "_UNTRACED_ELEMENTS", 0)
    monkeypatch.setattr(statistics, "_SLICE_ELEMENTS", 256)
    calls, sizes = [], []

    def counted(function):
        return lambda *arguments: calls.append(function) or function(*arguments)

    for name in ("train_array", "reduce_array"):
        monkeypatch.setattr(passes, name, counted(getattr(passes, name)))
    monkeypatch.setattr(
        sources, "compiled", lambda function: counted(passes_module.compiled(function))
    )
    holder = next(each for each in type(tf.zeros([])).__mro__ if "_numpy" in vars(each))
    as_array = holder._numpy
    monkeypatch.setattr(
        holder, "_numpy", lambda self: sizes.append(int(np.prod(self.shape))) or as_array(self)
    )
    config = model.config.replace(batch_size=50, min_steps_per_epoch=1)
    for run in (
        lambda: made.train(passes, state, config, 0, True),
        lambda: made.reduce(passes, state),
        lambda: made.expectation(state.parameters),
    ):
        calls.clear(), sizes.clear()
        run()
        assert len(calls) == 1
        assert max(sizes, default=0) < 100 and len(sizes) <= 8


def test_an_accelerator_is_given_slices_of_eight_times_as_many_rows(monkeypatch):
    for dim, rows in ((2, 16_384), (100, 32_768)):
        assert statistics.slice_rows(dim) == rows
        with monkeypatch.context() as patched:
            patched.setattr(tf.config, "list_logical_devices", lambda kind: ["/GPU:0"])
            assert statistics.slice_rows(dim) == 8 * rows
