"""Samples for pictures: rows, labels and points stay together, whatever the data come in."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfdpm.viz.samples import sample_points


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
