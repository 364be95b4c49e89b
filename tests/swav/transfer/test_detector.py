"""The detector: boxes against loops, its loss, what it learns from a small stand-in, saving."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdpm.features import (
    Detector,
    Encoder,
    detection_batches,
    mean_average_precision,
    small_resnet,
)
from tfdpm.swav.transfer import boxes as geometry

SIZE = 32


def random_boxes(number, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.6, size=(number, 2))
    return np.concatenate([low, low + rng.uniform(0.1, 0.4, size=(number, 2))], 1).astype("float32")


def overlap_of(first, second):
    """Intersection over union of two boxes, by hand."""
    sides = [max(min(first[i + 2], second[i + 2]) - max(first[i], second[i]), 0) for i in (0, 1)]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    shared = sides[0] * sides[1]
    return shared / (sum(areas) - shared)


def test_overlaps_equal_the_loop():
    first, second = random_boxes(6), random_boxes(4, 1)
    expected = [[overlap_of(a, b) for b in second] for a in first]
    np.testing.assert_allclose(geometry.overlaps(first, second), expected, atol=1e-6)


def test_boxes_survive_their_coordinates_and_the_anchor_itself_is_zero():
    anchors, boxes = random_boxes(9), random_boxes(9, 1)
    codes = geometry.encode_boxes(tf.constant(boxes), tf.constant(anchors))
    np.testing.assert_allclose(geometry.decode_boxes(codes, tf.constant(anchors)), boxes, atol=1e-5)
    own = geometry.encode_boxes(tf.constant(anchors), tf.constant(anchors))
    np.testing.assert_allclose(own, 0.0, atol=1e-5)


def test_anchors_stand_on_their_grid():
    anchors = geometry.make_anchors([8, 4])
    assert anchors.shape == ((64 + 16) * 9, 4)
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    np.testing.assert_allclose(centres[9 * 9], [1.5 / 8, 1.5 / 8], atol=1e-6)  # row 1, column 1
    heights, widths = (anchors[:, 2:] - anchors[:, :2])[:9].T
    np.testing.assert_allclose(
        np.sort(heights * widths)[::3], np.array([1, 2 ** (2 / 3), 2 ** (4 / 3)]) / 4
    )
    np.testing.assert_allclose(np.sort(heights / widths)[::3], [0.5, 1.0, 2.0], rtol=1e-5)


def test_precision_is_that_of_a_worked_example():
    truth = [(np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], "float32"), np.array([0, 0]))]
    boxes = np.array([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], "float32")
    found = [(boxes, np.array([0.9, 0.8, 0.7]), np.array([0, 0, 0]))]
    # Right, a double, right: precision 1 at half of the recall, 2 / 3 at all of it.
    assert mean_average_precision(found, truth) == pytest.approx((1 + 2 / 3) / 2)
    wrong_class = [(boxes, np.array([0.9, 0.8, 0.7]), np.array([1, 1, 1]))]
    assert mean_average_precision(wrong_class, truth) == 0.0
    assert mean_average_precision([(boxes[[0, 2]], np.ones(2), np.zeros(2))], truth) == 1.0
    with pytest.raises(ValueError, match="`found`: got 2 images, wanted 1"):
        mean_average_precision([*found, *found], truth)
    with pytest.raises(ValueError, match="`truth`: got no object"):
        mean_average_precision(found[:0], [])


def scenes(number, seed):
    """A bright square (class 0) or a flat bar (class 1) on noise, as TensorFlow Datasets gives."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 40, size=(number, SIZE, SIZE, 1), dtype=np.uint8)
    labels = np.arange(number) % 2
    boxes = np.empty((number, 1, 4), np.float32)
    for image, label, box in zip(images, labels, boxes, strict=True):
        height, width = (12, 12) if label == 0 else (6, 18)
        top, left = rng.integers(0, SIZE - height), rng.integers(0, SIZE - width)
        image[top : top + height, left : left + width] = 230
        box[0] = np.array([top, left, top + height, left + width]) / SIZE
    return images, boxes, labels[:, np.newaxis]


def dataset_of(images, boxes, labels):
    return tf.data.Dataset.from_tensor_slices(
        {"image": images, "objects": {"bbox": boxes, "label": labels.astype(np.int64)}}
    )


@pytest.fixture(scope="module")
def encoder():
    backbone = small_resnet(channels=1, widths=(8, 16), stem_stride=2, seed=0)
    return Encoder(backbone, mean=(0.5,), std=(0.5,))


def make_detector(encoder):
    detector = Detector(encoder, 2, image_size=SIZE, width=16, depth=1, extra_levels=0)
    detector.compile(keras.optimizers.Adam(3e-3))
    return detector


def test_anchors_are_matched_as_a_loop_does(encoder):
    detector = make_detector(encoder)
    boxes = np.stack([random_boxes(3), random_boxes(3, 1)])
    labels = np.array([[0, 1, 1], [1, -1, -1]])
    coordinates, classes = (part.numpy() for part in detector.match(boxes, labels))
    anchors = geometry.make_anchors([16, 8])
    for image in range(2):
        objects = [m for m in range(3) if labels[image, m] >= 0]
        shared = np.array([[overlap_of(a, boxes[image, m]) for m in objects] for a in anchors])
        for place, row in enumerate(shared):
            owned = [m for m in range(len(objects)) if row[m] == shared[:, m].max()]
            if owned:
                assert classes[image, place] in labels[image, owned]
            elif row.max() < 0.4:
                assert classes[image, place] == -1
            elif row.max() < 0.5:
                assert classes[image, place] == -2
            else:
                assert classes[image, place] == labels[image, objects[int(row.argmax())]]
        place = int(shared[:, 0].argmax())
        decoded = geometry.decode_boxes(coordinates[image, place], anchors[place])
        np.testing.assert_allclose(decoded, boxes[image, 0], atol=1e-5)


def test_detector_learns_a_stand_in_and_survives_saving(encoder, tmp_path):
    before = encoder.get_weights()
    detector, data = make_detector(encoder), scenes(64, 0)
    batches = detection_batches(dataset_of(*data), image_size=SIZE, batch_size=8, max_boxes=3)
    images, boxes, labels = scenes(24, 1)
    truth = list(zip(boxes, labels, strict=True))
    untrained = mean_average_precision(detector.detect(images), truth)
    losses = detector.fit(batches, epochs=4, shuffle=False, verbose=0).history["loss"]
    trained = mean_average_precision(detector.detect(images), truth)
    assert losses[-1] < 0.5 * losses[0] and untrained < 0.2 and trained > 0.8
    for ours, theirs in zip(encoder.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    detector.save(tmp_path / "detector.keras")
    again = keras.models.load_model(tmp_path / "detector.keras")
    np.testing.assert_allclose(
        again.predict(images, verbose=0), detector.predict(images, verbose=0), atol=1e-5
    )


def test_detector_starts_from_the_weights_of_the_encoder(encoder):
    detector = make_detector(encoder)
    images = scenes(3, 2)[0]
    np.testing.assert_array_equal(
        detector.encoder.predict(images, verbose=0), encoder.predict(images, verbose=0)
    )
    trained = {id(variable) for variable in detector.trainable_variables}
    assert {id(variable) for variable in detector.encoder.trainable_variables} <= trained


def test_other_encoders_are_refused(encoder):
    with pytest.raises(TypeError, match="encoder"):
        Detector(encoder.backbone, 2, image_size=SIZE)
    images = keras.Input((None, None, 1))
    plain = keras.Model(images, keras.layers.GlobalAveragePooling2D()(images))
    with pytest.raises(ValueError, match="backbone without stages"):
        Detector(Encoder(plain, mean=(0.5,), std=(0.5,)), 2, image_size=SIZE)
