"""SwAV's experiments on images that are small, few and synthetic."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from tfdpm.benchmarks.papers import EXPERIMENTS, run, swav_accuracy
from tfdpm.benchmarks.papers.data_files import find_images
from tfdpm.benchmarks.papers.printed import PRINTED, printed_for
from tfdpm.benchmarks.swav.feature_accuracy import make_small
from tfdpm.benchmarks.sweep import Sweep
from tfdpm.cli import main
from tfdpm.features import METHODS, PRESETS, DeepCluster, SwAV, preset, small_resnet


def pictures(count, size, channels=3, seed=0):
    """Two classes: bright above or below."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 2
    x = rng.integers(0, 60, [count, size, size, channels], dtype=np.uint8)
    x[y == 0, : size // 2] += 150
    x[y == 1, size // 2 :] += 150
    return x, y


def write_folders(folder, count=8, size=40):
    for part in ("train", "val"):
        for index, (image, label) in enumerate(zip(*pictures(count, size), strict=True)):
            place = folder / "imagenet" / part / f"n0{label}"
            place.mkdir(parents=True, exist_ok=True)
            data = tf.io.encode_jpeg(image).numpy()
            (place / f"{index}.JPEG").write_bytes(data)


@pytest.fixture
def small(monkeypatch):
    """A narrow network in place of ResNet-50; returns the widths that were asked for."""
    widths = []

    def resnet50(width, *, seed):
        widths.append(width)
        return small_resnet(channels=3, widths=(16, 32), stem_stride=2, seed=seed)

    monkeypatch.setattr(swav_accuracy, "resnet50", resnet50)
    return widths


def test_small_images_run_the_small_preset_beside_what_is_printed(tmp_path, capsys) -> None:
    x, y = pictures(80, 12, 1)
    np.savez(tmp_path / "mnist_images.npz", x=x[..., 0], y=y)
    arguments = ["--data", str(tmp_path), "--epochs", "1", "--out", str(tmp_path / "t.json")]
    assert main(["reproduce", "swav-table3", *arguments]) == 0
    results = json.loads((tmp_path / "t.json").read_text())
    cell = {(row["data"], row["method"]): row for row in results["rows"]}
    assert cell["imagenet", "400ep_bs256"]["printed"]["mean"] == 74.3
    assert cell["imagenet", "400ep_bs256"]["ours"] is None
    assert cell["mnist images", "raw pixels"]["ours"]["mean"] == 100.0
    assert 0.0 <= cell["mnist images", "SwAV.small, 1 epochs"]["ours"]["mean"] <= 100.0
    assert (tmp_path / "t.png").exists()
    printed = capsys.readouterr().out
    assert "missing: imagenet: no " in printed and "image-net.org" in printed
    assert "missing: cifar10: no cifar10_train.npz" in printed


def test_published_runs_train_on_folders_of_images(tmp_path, small) -> None:
    write_folders(tmp_path)
    data = find_images("imagenet", tmp_path, 0, 4)
    assert len(data.train) == 4 and len(data.validation) == 8
    record = swav_accuracy.measure_published(data, 0, method="200ep_bs256_2x160_4x96", epochs=1)
    assert record["method"] == "200ep_bs256_2x160_4x96" and record["training_images"] == 4
    assert 0.0 <= record["top1_percent"] <= 100.0
    assert small == [1]


def test_published_weights_spare_the_training(tmp_path, small, monkeypatch) -> None:
    write_folders(tmp_path)
    (tmp_path / "swav_RN50w2_400ep_pretrain.pth.tar").write_bytes(b"weights")
    read = []
    monkeypatch.setattr(
        swav_accuracy, "convert_published_weights", lambda _, path: read.append(path.name)
    )
    monkeypatch.setattr(SwAV, "fit", lambda *_, **__: pytest.fail("trained"))
    data = find_images("imagenet", tmp_path, 0, None)
    record = swav_accuracy.measure_published(data, 0, method="RN50w2_400ep", epochs=None)
    assert read == ["swav_RN50w2_400ep_pretrain.pth.tar"] and small == [2]
    # Brightness above and below differs in any features.
    assert record["top1_percent"] >= 50.0


def test_figure3_runs_every_method_with_and_without_small_crops(
    tmp_path, monkeypatch, capsys
) -> None:
    made = []

    def measure_features(data, seed, *, epochs, method, multi_crop, baselines):
        made.append(baselines)
        model = make_small(
            data.as_images(), seed, epochs=epochs, method=method, multi_crop=multi_crop
        )
        assert type(model) is METHODS[method]
        worth = {"linear": model.config.views.num_crops / 100}
        return {"images": 40, "trained": worth, "untrained": worth, "pixels": worth}

    monkeypatch.setattr(swav_accuracy, "measure_features", measure_features)
    x, y = pictures(40, 8, 1)
    np.savez(tmp_path / "mnist_images.npz", x=x[..., 0], y=y)
    sweep = Sweep(out=tmp_path / "f.json", resume=True)
    results = run("swav-figure3", tmp_path, sweep, epochs=1)
    assert made == [True] + 7 * [False]
    ours = {row["method"]: row["ours"]["mean"] for row in results["rows"] if row["ours"]}
    for method in ("SwAV", "SimCLR", "DeepCluster", "SeLa"):
        assert ours[f"{method}.small, 1 epochs"] == 4.0
        assert ours[f"{method}.small, 1 epochs, 2 crops"] == 2.0
    assert len(ours) == 10
    told = capsys.readouterr().out
    assert "\n2/8 mnist images: SwAV.small, 1 epochs, seed 0" in told
    results["records"].pop()
    sweep.write(results)
    assert run("swav-figure3", tmp_path, sweep, epochs=1)["rows"] == results["rows"]
    assert len(made) == 9  # the last alone was lost
    for method in ("SwAV", "SimCLR", "DeepCluster", "SeLa"):
        (alone, joined) = (each.splitlines()[0] for each in told.split(f"{method}\n")[1:3])
        assert "+" not in alone and alone.split()[:2] == joined.split()[:2]
        assert "+ 2x" in joined
    printed = {row["method"]: row["printed"] for row in results["rows"] if row["printed"]}
    assert printed["deepclusterv2_400ep"]["mean"] == 74.3


def test_weights_of_other_methods_lie_under_their_own_names(tmp_path, small, monkeypatch) -> None:
    write_folders(tmp_path)
    (tmp_path / "deepclusterv2_400ep_pretrain.pth.tar").write_bytes(b"weights")
    read = []
    monkeypatch.setattr(
        swav_accuracy,
        "convert_published_weights",
        lambda model, path: read.append((type(model), path.name)),
    )
    data = find_images("imagenet", tmp_path, 0, None)
    swav_accuracy.train_published("deepclusterv2_400ep", data, 0, None)
    assert read == [(DeepCluster, "deepclusterv2_400ep_pretrain.pth.tar")]


def test_images_that_are_stored_as_jpeg_are_decoded(tmp_path) -> None:
    x, y = pictures(6, 16)
    encoded = [tf.io.encode_jpeg(image, quality=100).numpy() for image in x]
    offsets = np.cumsum([0, *map(len, encoded)])
    joined = np.frombuffer(b"".join(encoded), np.uint8)
    np.savez(tmp_path / "cifar10_train.npz", jpeg=joined, offsets=offsets, y=y)
    found = find_images("cifar10", tmp_path, 0, None)
    np.testing.assert_array_equal(found.y, y)
    assert np.abs(found.x.astype(float) - x).mean() < 20.0
    assert len(find_images("cifar10", tmp_path, 0, 4).x) == 4


def test_every_printed_run_is_a_preset() -> None:
    others = {"SimCLR", "MoCov2", "MoCov2 (800 epochs)"}
    by_run = ("swav-figure2", "swav-figure3", "swav-table3")
    names = [each.method for each in PRINTED if each.experiment in by_run]
    assert set(names) - others <= set(PRESETS)
    assert printed_for("swav-table3", "imagenet", "200ep_bs256", "top-1").mean == 72.7
    assert preset("200ep_bs256").training.batch_size == 256


def test_nothing_at_all_is_an_error_that_names_all_files(tmp_path) -> None:
    assert {name for name in EXPERIMENTS if name.startswith("swav-")} == {
        "swav-figure2",
        "swav-figure3",
        "swav-table1",
        "swav-table2",
        "swav-table3",
    }
    with pytest.raises(FileNotFoundError, match="ILSVRC2012.*cifar10_train.npz.*mnist_images.npz"):
        run("swav-figure2", tmp_path, Sweep())
