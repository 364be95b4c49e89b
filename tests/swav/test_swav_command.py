"""`tfdpm swav` from images to accuracies, resumed and with mistakes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from tfdpm.cli.swav import app


def write_digits(path, number, seed):
    """Two classes of 12-pixel images: a bright bar above or below."""
    rng = np.random.default_rng(seed)
    labels = np.arange(number) % 2
    images = rng.integers(0, 60, size=(number, 12, 12), dtype=np.uint8)
    images[labels == 0, 2:5] += 150
    images[labels == 1, 7:10] += 150
    np.savez(path, x=images, y=labels)
    return str(path)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.bfloat16
def test_images_to_accuracy_and_resuming(tmp_path):
    train = write_digits(tmp_path / "train.npz", 48, 0)
    test = write_digits(tmp_path / "test.npz", 20, 1)
    out = tmp_path / "out"
    common = ("--out", out, "--epochs", 1, "--batch-size", 16, "--channels", 1)
    common += ("--dtype", "mixed_bfloat16")
    result = run("fit", train, *common)
    assert result.exit_code == 0, result.output
    assert "prototypes  30" in result.output
    history = json.loads((out / "history.json").read_text())
    assert len(history["loss"]) == 1 and np.isfinite(history["loss"][0])
    # The run is complete: nothing is left to do, and nothing is overwritten.
    assert run("fit", train, *common, "--resume").exit_code == 0
    result = run("knn", out / "encoder.keras", train, test, "--k", 5)
    assert result.exit_code == 0, result.output
    assert 0.0 <= float(result.output.split()[-1]) <= 1.0
    assert "top-1" in run("probe", out / "swav.keras", train, test, "--epochs", 2).output


def test_another_method_trains_and_is_measured(tmp_path):
    train = write_digits(tmp_path / "train.npz", 48, 0)
    common = ("--epochs", 1, "--batch-size", 16, "--channels", 1, "--out", tmp_path)
    result = run("fit", train, "--method", "deepcluster", *common)
    assert result.exit_code == 0, result.output
    assert (
        "queue" not in result.output
        and "used_prototypes" in (tmp_path / "history.json").read_text()
    )
    result = run("knn", tmp_path / "swav.keras", train, train, "--k", 5)
    assert result.exit_code == 0, result.output
    wrong = run("fit", train, "--method", "byol", *common)
    assert isinstance(wrong.exception, ValueError) and "'simclr'" in str(wrong.exception)
    other = run("fit", train, "--method", "sela", "--preset", "simclr_400ep", *common)
    assert "`--method`: got 'sela' with --preset simclr_400ep" in str(other.exception)


def test_a_missing_file_is_named(tmp_path):
    result = run("fit", tmp_path / "none")
    assert isinstance(result.exception, FileNotFoundError) and "IMAGES" in str(result.exception)
    result = run("knn", tmp_path / "none.keras", tmp_path / "a.npz", tmp_path / "a.npz")
    assert isinstance(result.exception, FileNotFoundError) and "MODEL" in str(result.exception)


@pytest.mark.parametrize("command", ["fit", "knn", "probe", "finetune", "convert"])
def test_every_command_explains_itself(command):
    assert run(command, "--help").exit_code == 0
