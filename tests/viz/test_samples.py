"""Samples for pictures: rows, labels and points stay together, whatever the data come in."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfdpm.viz.samples import PointSample, sample_points


def test_a_sample_keeps_rows_points_and_labels_together(plane_model, plane_data):
    x, y = plane_data
    sample = sample_points(plane_model, x, y, max_points=50, seed=3)
    assert len(sample.rows) == len(np.unique(sample.rows)) == 50
    assert sample.num_points == 300
    np.testing.assert_array_equal(sample.inputs, x[sample.rows])
    np.testing.assert_array_equal(sample.y, y[sample.rows])
    np.testing.assert_array_equal(sample.labels, plane_model.labels_[sample.rows])
    few = sample.subsample(10)
    np.testing.assert_array_equal(few.features, plane_model.embed(x[few.rows]))
    assert np.all(np.diff(few.rows) > 0)
    np.testing.assert_array_equal(
        sample.rows, sample_points(plane_model, x, y, max_points=50, seed=3).rows
    )


def test_a_sample_is_reduced_like_points(plane_model, plane_data):
    sample = sample_points(plane_model, plane_data)
    few = sample_points(plane_model, sample, max_points=40, seed=5)
    np.testing.assert_array_equal(few.rows, sample.subsample(40, 5).rows)
    assert len(few.rows) == 40
    assert sample_points(plane_model, sample) is sample


def test_features_alone_give_back_points_in_their_shape(plane_model, plane_data):
    x = plane_data[0][:20]
    features, responsibilities = plane_model.embed(x), plane_model.predict(x)
    parts = (features, responsibilities, plane_model.preprocessing_)
    rows = PointSample.from_features(*parts)
    np.testing.assert_allclose(rows.inputs, x, atol=1e-4)
    np.testing.assert_array_equal(rows.features, features)
    np.testing.assert_array_equal(rows.labels, plane_model.predict_labels(x))
    assert (rows.num_points, rows.y) == (20, None)
    shaped = PointSample.from_features(*parts, (2, 1)).inputs
    np.testing.assert_array_equal(shaped, rows.inputs.reshape(20, 2, 1))


def test_a_stream_is_sampled_uniformly_in_one_pass(plane_model, plane_data):
    x, y = plane_data
    stream = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)
    sample = sample_points(plane_model, stream, max_points=60)
    assert sample.num_points == 300
    np.testing.assert_array_equal(sample.inputs, x[sample.rows])
    np.testing.assert_array_equal(sample.y, y[sample.rows])
    assert len(sample.rows) == 60
    assert 100 < sample.rows.mean() < 200
    unlabelled = tf.data.Dataset.from_tensor_slices(x)
    assert sample_points(plane_model, unlabelled, max_points=1000).y is None


def test_confidence_is_the_largest_responsibility(plane_model, plane_data):
    sample = sample_points(plane_model, plane_data)
    chosen = sample.responsibilities[np.arange(300), sample.labels]
    np.testing.assert_array_equal(sample.confidence, chosen)
