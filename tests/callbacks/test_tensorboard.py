"""Files that TensorBoard reads, read by its own reader."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.projector import projector_config_pb2

import tfdpm
from tfdpm.callbacks import ClusterBoard
from tfdpm.callbacks import tensorboard as board

X, Y = tfdpm.data.gaussian_mixture(3, 4, 240, seed=0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("board") / "run"
    model = tfdpm.DeepDPM(tfdpm.DeepDPMConfig(min_steps_per_epoch=10, stable_epochs=None), seed=0)
    model.fit(X, Y, epochs=3, verbose=0, callbacks=[ClusterBoard(folder, X, Y, every_epochs=2)])
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return model, folder, events


def values(events, tag):
    return [(each.step, tf.make_ndarray(each.tensor_proto)) for each in events.Tensors(tag)]


def test_scalars_are_the_history(run):
    model, _, events = run
    for name, expected in model.history.history.items():
        steps, found = zip(*values(events, f"epoch/{name}"), strict=True)
        assert steps == (0, 1, 2)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_histograms_come_every_few_epochs_and_count_all_clusters(run):
    model, _, events = run
    for tag in ("clusters/mixture_weights", "clusters/sizes"):
        ((step, buckets),) = values(events, tag)
        assert step == 1 and buckets[:, 2].sum() == model.n_clusters
    names = {tag for tag in events.Tags()["tensors"] if tag.startswith("subclustering/")}
    assert len(names) == len(model.subclustering.weights)


def test_projector_shows_every_point_with_its_cluster(run):
    model, folder, _ = run
    text = (folder / "projector_config.pbtxt").read_text()
    config = text_format.Parse(text, projector_config_pb2.ProjectorConfig())
    (embedding,) = config.embeddings
    features = np.loadtxt(folder / embedding.tensor_path, delimiter="\t")
    np.testing.assert_allclose(features, model.embed(X), rtol=1e-4, atol=1e-5)
    header, *rows = (folder / embedding.metadata_path).read_text().splitlines()
    assert header.split("\t") == ["cluster", "responsibility", "label"]
    columns = np.array([row.split("\t") for row in rows], float)
    np.testing.assert_array_equal(columns[:, 0], model.predict_labels(X))
    np.testing.assert_array_equal(columns[:, 2], Y)


def test_board_needs_tensorboard_and_points_in_memory(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="`x`: got a stream"):
        ClusterBoard(tmp_path, tf.data.Dataset.from_tensor_slices(X))
    monkeypatch.setattr(board.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="`ClusterBoard`: got no tensorboard"):
        ClusterBoard(tmp_path).on_train_begin()
