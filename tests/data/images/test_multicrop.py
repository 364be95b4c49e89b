"""The pipeline: shapes, seeds, sources, damaged files, resuming, several workers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfdpm.data.images.multicrop import multicrop
from tfdpm.data.images.sources import SkippedImages, to_channels

SMALL = {
    "crop_sizes": (10, 6),
    "crop_counts": (2, 3),
    "crop_scales": ((0.3, 1.0), (0.1, 0.3)),
    "batch_size": 4,
}
PLAIN = {"jitter_prob": 0.0, "gray_prob": 0.0, "blur_prob": 0.0, "flip_prob": 0.0}
GRAY = {"mean": (0.0,), "std": (1.0,)}


def flat_images(number=12, size=16, channels=3):
    """Image n has brightness (n + 1) / 255 everywhere: a crop tells which image it came from."""
    levels = np.arange(1, number + 1, dtype=np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (number, size, size, channels)).copy()


def write_images(folder, number=10, size=16):
    folder.mkdir()
    for index, image in enumerate(flat_images(number, size)):
        encoded = tf.io.encode_png(image)
        tf.io.write_file(str(folder / f"{index:02d}.png"), encoded)
    return folder


def arrays(dataset):
    return [tuple(views.numpy() for views in batch) for batch in dataset]


def assert_same(first, second):
    for ours, theirs in zip(first, second, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def test_views_have_their_shapes_and_come_from_one_image():
    views = multicrop(flat_images(), **SMALL, **PLAIN, **GRAY)
    assert len(views) == 3
    seen = []
    for large, small in arrays(views):
        assert large.shape == (4, 2, 10, 10, 1) and small.shape == (4, 3, 6, 6, 1)
        levels = np.concatenate([large.mean((2, 3, 4)), small.mean((2, 3, 4))], axis=1)
        np.testing.assert_allclose(levels, levels[:, :1].repeat(5, axis=1), atol=1e-5)
        seen += list(np.round(levels[:, 0] * 255).astype(int))
    assert sorted(seen) == list(range(1, 13))


@pytest.mark.parametrize("source", ["array", "folder", "stream"])
def test_indices_tell_the_place_of_each_image(source, tmp_path):
    data = flat_images(10)
    if source == "folder":
        data = str(write_images(tmp_path / "images"))
        tf.io.write_file(f"{data}/04.png", b"not an image")
    if source == "stream":
        data = tf.data.Dataset.from_tensor_slices(data)
    views = multicrop(data, with_index=True, seed=2, **SMALL, **PLAIN, **GRAY)
    without = arrays(multicrop(data, seed=2, **SMALL, **PLAIN, **GRAY))
    seen = []
    for ((large, small), index), alone in zip(views, without, strict=True):
        assert index.dtype == tf.int32
        np.testing.assert_array_equal(
            np.round(large[:, 1].numpy().mean((1, 2, 3)) * 255), index + 1
        )
        np.testing.assert_array_equal(small, alone[1])
        seen += list(index.numpy())
    assert len(seen) == 8 and len(set(seen)) == 8 and (4 in seen) <= (source != "folder")


def test_equal_seeds_give_equal_views_and_passes_differ():
    images = np.random.default_rng(0).integers(0, 256, size=(9, 16, 16, 3), dtype=np.uint8)
    first, second = multicrop(images, seed=1, **SMALL), multicrop(images, seed=1, **SMALL)
    passes = [arrays(first), arrays(first)]
    assert_same(passes[0], arrays(second))
    assert_same(passes[1], arrays(second))
    assert np.abs(passes[0][0][0] - passes[1][0][0]).max() > 0.1
    assert np.abs(passes[0][0][0] - arrays(multicrop(images, seed=2, **SMALL))[0][0]).max() > 0.1


@pytest.mark.parametrize("source", ["array", "folder"])
def test_a_resumed_sequence_equals_the_uninterrupted_one(source, tmp_path):
    data = flat_images() if source == "array" else str(write_images(tmp_path / "images"))
    options = {**SMALL, **(PLAIN | {"flip_prob": 0.5}), "seed": 3}
    whole = multicrop(data, **options)
    passes = [arrays(whole) for _ in range(3)]
    assert_same(arrays(multicrop(data, initial_epoch=2, **options)), passes[2])
    joined = arrays(multicrop(data, epochs=3, **options))
    assert_same(joined, passes[0] + passes[1] + passes[2])


def test_flips_and_standardisation():
    ramp = np.tile(np.arange(16, dtype=np.uint8) * 10, (200, 16, 1))
    views = multicrop(
        ramp,
        batch_size=200,
        crop_sizes=(16,),
        crop_counts=(2,),
        crop_scales=((1.0, 1.0),),
        mean=(0.2,),
        std=(0.5,),
        **(PLAIN | {"flip_prob": 0.3}),
    )
    crops = arrays(views)[0][0]
    flipped = crops[:, :, 0, 0] > crops[:, :, 0, -1]
    assert abs(flipped.mean() - 0.3) < 0.08
    expected = (ramp[0] / 255.0 - 0.2) / 0.5
    np.testing.assert_allclose(crops[~flipped[..., 0]][0, ..., 0], expected, atol=1e-5)


def test_any_usual_number_of_channels_becomes_the_wanted_one():
    pixels = np.random.default_rng(0).uniform(size=(2, 5, 5, 4)).astype(np.float32)
    luma = pixels[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)
    gray = pixels[..., :1]
    np.testing.assert_array_equal(to_channels(tf.constant(pixels), 3), pixels[..., :3])
    np.testing.assert_allclose(to_channels(tf.constant(pixels), 1)[..., 0], luma, atol=1e-6)
    np.testing.assert_array_equal(to_channels(tf.constant(gray), 3), np.repeat(gray, 3, axis=-1))
    np.testing.assert_array_equal(to_channels(tf.constant(gray), 1), gray)


def test_transparency_is_dropped_in_the_pipeline():
    images = flat_images(channels=4)
    images[..., 3] = 255
    large = arrays(multicrop(images, **SMALL, **PLAIN, mean=(0.0,) * 3, std=(1.0,) * 3))[0][0]
    assert large.shape[-1] == 3 and large.max() < 13 / 255


def test_bytes_and_floats_give_the_same_views():
    images = np.random.default_rng(0).integers(0, 256, size=(8, 16, 16, 3), dtype=np.uint8)
    floats = (images / 255.0).astype(np.float32)
    options = SMALL | PLAIN
    for a, b in zip(
        arrays(multicrop(images, **options)), arrays(multicrop(floats, **options)), strict=True
    ):
        np.testing.assert_allclose(a[0], b[0], atol=1e-4)


def test_images_smaller_than_the_crop_are_enlarged():
    views = multicrop(flat_images(size=5), **SMALL, **PLAIN, **GRAY)
    assert arrays(views)[0][0].shape == (4, 2, 10, 10, 1)


def test_damaged_files_are_skipped_counted_and_replaced(tmp_path):
    folder = write_images(tmp_path / "images")
    (folder / "03.png").write_bytes(b"no picture")
    (folder / "07.png").write_bytes((folder / "07.png").read_bytes()[:40])
    skipped = SkippedImages()
    views = multicrop(str(folder), skipped=skipped, **SMALL, **PLAIN, **GRAY)
    batches = arrays(views) + arrays(views)
    assert len(batches) == 4
    levels = {int(round(float(v) * 255)) for large, _ in batches for v in large.mean((1, 2, 3, 4))}
    assert levels.isdisjoint({4, 8})
    assert skipped.count == 2 and skipped.paths[0].endswith(".png")


def test_a_folder_without_a_readable_image_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="readable"):
        multicrop(str(tmp_path), batch_size=1)


def test_every_kind_of_source_reaches_every_image(tmp_path):
    images = flat_images(8)
    folder = write_images(tmp_path / "images", 8)
    record = str(tmp_path / "images.tfrecord-00000")
    with tf.io.TFRecordWriter(record) as writer:
        for image in images:
            value = tf.train.BytesList(value=[tf.io.encode_png(image).numpy()])
            feature = {"image": tf.train.Feature(bytes_list=value)}
            writer.write(
                tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
            )
    np.savez(tmp_path / "images.npz", x=images)
    labelled = tf.data.Dataset.from_tensor_slices({"image": images, "label": np.arange(8)})
    sources = {
        "array": images[..., 0],
        "files": [str(path) for path in folder.iterdir()],
        "records": record,
        "archive": str(tmp_path / "images.npz"),
        "stream": labelled,
    }
    for source in sources.values():
        batches = arrays(multicrop(source, **SMALL, **PLAIN, **GRAY))
        levels = np.concatenate([large.mean((1, 2, 3, 4)) for large, _ in batches])
        np.testing.assert_array_equal(np.sort(np.round(levels * 255)), np.arange(1, 9))


def test_service_workers_share_the_epochs_without_loss():
    dispatcher = tf.data.experimental.service.DispatchServer()
    address = dispatcher.target.split("://")[1]
    workers = [
        tf.data.experimental.service.WorkerServer(
            tf.data.experimental.service.WorkerConfig(dispatcher_address=address)
        )
        for _ in range(2)
    ]
    options = {"seed": 3, "epochs": 4, **SMALL, **PLAIN}
    here = arrays(multicrop(flat_images(), **options))
    there = arrays(multicrop(flat_images(), service=dispatcher.target, **options))
    assert len(workers) == 2

    def ordered(batches):
        return sorted(float(np.abs(large).sum()) for large, _ in batches)

    np.testing.assert_allclose(ordered(there), ordered(here), rtol=1e-6)


@pytest.mark.parametrize(
    ("data", "options", "error"),
    [
        (flat_images(3), {}, "batch_size"),
        (flat_images().astype(np.float32), {}, "uint8"),
        (flat_images().astype(np.int64), {}, "uint8"),
        (flat_images(channels=2), {}, "channels"),
        (np.zeros((5, 4)), {}, "shape"),
        (flat_images(), {"crop_scales": ((0.5, 0.2), (0.1, 0.2))}, "crop_scales"),
        (flat_images(), {"crop_counts": (2,)}, "crop_counts"),
        (flat_images(), {"flip_prob": 1.5}, "flip_prob"),
        (flat_images(), {"service": "grpc://localhost:1"}, "epochs"),
        ("/no/such/folder", {}, "existing"),
    ],
)
def test_bad_input_is_named(data, options, error):
    with pytest.raises((ValueError, TypeError), match=error):
        multicrop(data, **(SMALL | options))
