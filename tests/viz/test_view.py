"""Samples for pictures: rows, labels and points stay together, whatever the data come in."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfdpm.viz.view import look


def test_a_sample_keeps_rows_points_and_labels_together(plane_model, plane_data):
    x, y = plane_data
    view = look(plane_model, x, y, max_points=50, seed=3)
    assert len(view.rows) == len(np.unique(view.rows)) == 50
    assert view.num_points == 300
    np.testing.assert_array_equal(view.inputs, x[view.rows])
    np.testing.assert_array_equal(view.y, y[view.rows])
    np.testing.assert_array_equal(view.labels, plane_model.labels_[view.rows])
    few = view.thinned(10)
    np.testing.assert_array_equal(few.features, plane_model.embed(x[few.rows]))
    assert np.all(np.diff(few.rows) > 0)
    np.testing.assert_array_equal(view.rows, look(plane_model, x, y, max_points=50, seed=3).rows)


def test_a_stream_is_sampled_uniformly_in_one_pass(plane_model, plane_data):
    x, y = plane_data
    stream = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)
    view = look(plane_model, stream, max_points=60)
    assert view.num_points == 300
    np.testing.assert_array_equal(view.inputs, x[view.rows])
    np.testing.assert_array_equal(view.y, y[view.rows])
    assert len(view.rows) == 60
    assert 100 < view.rows.mean() < 200
    unlabelled = tf.data.Dataset.from_tensor_slices(x)
    assert look(plane_model, unlabelled, max_points=1000).y is None


def test_confidence_is_the_largest_responsibility(plane_model, plane_data):
    view = look(plane_model, plane_data)
    chosen = view.responsibilities[np.arange(300), view.labels]
    np.testing.assert_array_equal(view.confidence, chosen)
