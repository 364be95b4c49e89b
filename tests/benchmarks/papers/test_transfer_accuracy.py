"""Fine-tuning on few labels and linear classifiers on other images, on stand-ins."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tests.benchmarks.papers.test_swav_accuracy import pictures, write_folders
from tfdpm.benchmarks.papers import run, transfer_accuracy
from tfdpm.benchmarks.papers.data_files import find_images
from tfdpm.benchmarks.papers.transfer_accuracy import find_transfer, measure_few_labels
from tfdpm.benchmarks.sweep import Sweep
from tfdpm.features import Encoder, semi_supervised, small_resnet


@pytest.fixture(scope="module")
def encoder():
    return Encoder(small_resnet(channels=3, widths=(8,), stem_stride=2))


def test_small_images_are_tuned_on_few_labels_beside_what_is_printed(tmp_path, monkeypatch):
    monkeypatch.setattr(
        transfer_accuracy,
        "semi_supervised",
        lambda *data, **options: semi_supervised(*data, **options | {"epochs": 1}),
    )
    x, y = pictures(100, 8, 1)
    np.savez(tmp_path / "mnist_images.npz", x=x[..., 0], y=y)
    results = run("swav-table1", tmp_path, Sweep(out=tmp_path / "t.json"), epochs=1)
    cell = {(row["method"], row["metric"]): row for row in results["rows"] if row["ours"]}
    assert {method for method, _ in cell} == {"SwAV", "untrained network"}
    for metric in ("1 % top-1", "10 % top-1"):
        assert 0.0 <= cell["SwAV", metric]["ours"]["mean"] <= 100.0
    assert cell["SwAV", "1 % top-5"]["ours"]["mean"] == 100.0  # of two classes
    printed = {(row["method"], row["metric"]): row["printed"] for row in results["rows"]}
    assert printed["SimCLR", "10 % top-1"]["mean"] == 65.6


def test_folders_give_a_share_of_each_class(tmp_path, encoder, monkeypatch) -> None:
    write_folders(tmp_path, count=20)
    held, given = [], []

    class Trained:
        pass

    Trained.encoder = encoder
    monkeypatch.setattr(transfer_accuracy, "train_published", lambda *_: Trained)

    def tune(encoder, train_x, train_y, test_x, test_y, *, fraction, **options):
        held.append((train_x.shape, sorted(train_y), fraction))
        given.append(options["head_learning_rate"])
        return transfer_accuracy_result

    transfer_accuracy_result = type("Score", (), {"top1": 0.5, "top5": 1.0})
    monkeypatch.setattr(transfer_accuracy, "semi_supervised", tune)
    data = find_images("imagenet", tmp_path, 0, None)
    (record,) = measure_few_labels(data, 0, method="SwAV", epochs=None)
    # A tenth of ten images of each class is held, and a tenth of that is 1 %.
    assert held == [
        ((2, 224, 224, 3), ["n00", "n01"], 0.1),
        ((2, 224, 224, 3), ["n00", "n01"], 1.0),
    ]
    assert given == [5.0, 0.2]
    assert record["10 % top-5"] == 100.0 and record["1 % top-1"] == 50.0


def test_folders_of_images_are_classified_by_features(tmp_path, encoder) -> None:
    write_folders(tmp_path)
    (tmp_path / "imagenet").rename(tmp_path / "places205")
    encoder.save(tmp_path / "encoder.keras")
    results = run("swav-table2", tmp_path, Sweep(out=tmp_path / "t.json"))
    (ours,) = [row for row in results["rows"] if row["ours"]]
    assert (ours["data"], ours["method"], ours["metric"]) == ("places205", "SwAV", "top-1")
    assert ours["ours"]["mean"] >= 50.0  # bright above and below
    assert ours["printed"]["mean"] == 56.7
    missing = " ".join(results["missing"])
    assert "voc/2007" in missing and "download=True" in missing and "i_naturalist2018" in missing


def test_tfds_gives_classes_and_several_classes(tmp_path, encoder) -> None:
    encoder.save(tmp_path / "encoder.keras")
    with tfds.testing.mock_data(num_examples=12):
        voc = find_transfer("voc07", tmp_path, 0, 8)
        image, labels = next(iter(voc.train))
        assert image.shape == (224, 224, 3) and labels.shape == (20,)
        assert len(list(voc.train)) == 8
        naturalist = find_transfer("inat18", tmp_path, 0, None)
        assert next(iter(naturalist.test))[1].shape == ()


def test_difficult_objects_count_neither_as_present_nor_as_absent() -> None:
    element = {
        "image": tf.zeros([8, 9, 3], tf.uint8),
        "labels": tf.constant([3, 5, 3], tf.int64),
        "labels_no_difficult": tf.constant([5], tf.int64),
    }
    labels = transfer_accuracy._read_element(element)[1].numpy()
    assert labels[5] == 1 and labels[3] == -1 and np.count_nonzero(labels) == 2


def test_several_classes_are_measured_by_precision(encoder) -> None:
    x, y = pictures(24, 16)
    y = np.stack([y, 1 - y], axis=1)
    part = tf.data.Dataset.from_tensor_slices((x, y))
    # Features that tell above from below.
    images = keras.Input((16, 16, 3))
    means = keras.ops.mean(images, axis=(2, 3)) / 255.0
    data = transfer_accuracy.TransferData("voc07", part, part, keras.Model(images, means))
    (record,) = transfer_accuracy.measure_transfer(data, 0, method="SwAV")
    assert record["mAP"] == pytest.approx(100.0)


def test_without_an_encoder_it_says_how_to_get_one(tmp_path) -> None:
    write_folders(tmp_path)
    (tmp_path / "imagenet").rename(tmp_path / "places205")
    assert "tfdpm swav fit" in find_transfer("places205", tmp_path, 0, None)
