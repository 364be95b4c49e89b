"""DeepCluster-v2 and SeLa-v2: the memory bank, its assignments, a step, saving, replicas."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.swav.methods.test_codes import reference_codes
from tests.swav.methods.test_swav import VIEWS, linear_backbone, make_crops
from tfdpm.data.images.multicrop import multicrop
from tfdpm.features import DeepCluster, SeLa, small_resnet, spherical_kmeans
from tfdpm.swav.config import TrainingConfig
from tfdpm.swav.methods.memory_bank import MemoryBank

METHODS = pytest.mark.parametrize("method", [DeepCluster, SeLa])


def unit_rows(number=40, width=5, seed=0):
    rows = np.random.default_rng(seed).normal(size=(number, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


# -- spherical K-means ----------------------------------------------------------------------------


def reference_kmeans(rows, centres, iterations):
    """Lloyd's iteration in a loop; centres are directions of the sums of their rows."""
    centres = centres.astype(np.float64)
    for iteration in range(iterations + 1):
        chosen = np.array([np.argmax([row @ centre for centre in centres]) for row in rows])
        if iteration < iterations:
            for index in range(len(centres)):
                if (chosen == index).any():
                    total = rows[chosen == index].sum(0, dtype=np.float64)
                    centres[index] = total / np.linalg.norm(total)
    return centres, chosen


@pytest.mark.parametrize("iterations", [0, 1, 10])
def test_kmeans_equals_the_loop(iterations):
    rows = unit_rows()
    start, _ = spherical_kmeans(tf.constant(rows), 6, 0, seed=(3, 4))
    assert len({tuple(row) for row in start.numpy()} & {tuple(row) for row in rows}) == 6
    expected, labels = reference_kmeans(rows, start.numpy(), iterations)
    centres, chosen = spherical_kmeans(tf.constant(rows), 6, iterations, seed=(3, 4))
    np.testing.assert_allclose(centres, expected, atol=1e-5)
    np.testing.assert_array_equal(chosen, labels)


def test_kmeans_in_blocks_finds_directions_whatever_the_start(monkeypatch):
    monkeypatch.setattr("tfdpm.swav.methods.spherical_kmeans._BLOCK", 7)
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(2), 25)
    rows = np.eye(2, 5)[truth] * np.where(truth, -1, 1)[:, None] + 0.1 * rng.normal(size=(50, 5))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for seed in range(5):
        _, chosen = spherical_kmeans(tf.constant(rows, tf.float32), 2, seed=(seed, 0))
        agreement = np.mean(chosen == truth)
        assert agreement in (0.0, 1.0)


def test_more_clusters_than_rows_are_refused():
    with pytest.raises(ValueError, match="`num_clusters`: got 6.*5"):
        spherical_kmeans(tf.constant(unit_rows(5)), 6)


# -- the bank -------------------------------------------------------------------------------------


def test_bank_keeps_the_latest_embeddings_of_each_image():
    bank, rows = MemoryBank(6, 2, 3), unit_rows(10, 3)
    bank.write(tf.constant([4, 1]), tf.constant(rows[:4].reshape(2, 2, 3)))
    bank.write(tf.constant([1, 0]), tf.constant(rows[4:8].reshape(2, 2, 3)))
    np.testing.assert_array_equal(bank.seen(), [0, 1, 4])
    np.testing.assert_array_equal(bank.lane(1, bank.seen()), rows[[7, 5, 1]])


# -- the models -----------------------------------------------------------------------------------


def make_model(method, optimizer=None, backbone=None, images=16, **options):
    training = TrainingConfig(optimizer="adam", num_images=images, batch_size=8, warmup_epochs=0)
    settings = {
        "num_prototypes": 4,
        "num_heads": 3,
        "embedding_dim": 5,
        "hidden_units": 0,
        "views": VIEWS,
        "training": training,
    }
    if method is SeLa:
        settings["freeze_prototypes_steps"] = 0
    model = method(backbone or linear_backbone(), seed=1, **(settings | options))
    model.compile(optimizer or keras.optimizers.SGD(0.0))
    return model


def make_dataset(crops, index=None, batch=8):
    index = np.arange(len(crops[0]), dtype=np.int32) if index is None else index
    dataset = tf.data.Dataset.from_tensor_slices((crops, index))
    return dataset.batch(batch, drop_remainder=True)


def reference_assignments(model, embeddings):
    """Labels `[N, sets]` of embeddings `[N, 2, E]`, set by set."""
    labels = []
    for head in range(model.config.num_heads):
        rows = embeddings[:, head % 2]
        if isinstance(model, DeepCluster):
            seed = (model.seed + head, int(model.step))
            start, _ = spherical_kmeans(tf.constant(rows), 4, 0, seed=seed)
            labels.append(reference_kmeans(rows, start.numpy(), 10)[1])
        else:
            scores = rows @ model.prototypes[head].kernel.numpy()
            labels.append(reference_codes(scores, 0.05, 20).argmax(1))
    return np.stack(labels, axis=1)


@METHODS
def test_assignments_and_loss_of_an_epoch_equal_numpy(method):
    # The images come in an order of their own, which the indices tell.
    model, crops = make_model(method), make_crops()
    order = np.random.default_rng(3).permutation(16).astype(np.int32)
    embeddings = model(crops)[0].numpy()
    by_place = np.empty_like(embeddings)
    by_place[order] = embeddings
    expected = reference_assignments(model, by_place[:, :2])
    history = model.fit(make_dataset(crops, order), epochs=1, verbose=0).history
    np.testing.assert_array_equal(model.assignments.numpy(), expected)
    np.testing.assert_allclose(model.bank.storage.numpy(), by_place[:, :2], atol=1e-6)
    total = 0.0
    for image in range(16):
        for view in range(8):
            for head in range(3):
                kernel = model.prototypes[head].kernel.numpy().astype(np.float64)
                logits = by_place[image, view] @ kernel / 0.1
                total += np.log(np.exp(logits).sum()) - logits[expected[image, head]]
    assert history["loss"][0] == pytest.approx(total / (16 * 8 * 3), rel=1e-4)


def test_sela_parts_the_images_equally_and_deepcluster_takes_the_centres():
    rows = unit_rows(400, 5)
    sela = make_model(SeLa, images=400, num_heads=1, sinkhorn_epsilon=0.02)
    sela.bank.storage.assign(np.repeat(rows[:, None], 2, axis=1))
    sela.assign_images()
    counts = np.bincount(sela.assignments.numpy()[:, 0], minlength=4)
    nearest = (rows @ sela.prototypes[0].kernel.numpy()).argmax(1)
    assert np.ptp(counts) <= 20 < np.ptp(np.bincount(nearest, minlength=4))
    deep = make_model(DeepCluster, images=400, num_heads=1)
    deep.bank.storage.assign(np.repeat(rows[:, None], 2, axis=1))
    deep.assign_images()
    nearest = (rows @ deep.prototypes[0].kernel.numpy()).argmax(1)
    np.testing.assert_array_equal(nearest, deep.assignments.numpy()[:, 0])


def test_only_sela_trains_its_prototypes():
    crops = make_crops()
    for method, moves in ((DeepCluster, False), (SeLa, True)):
        model = make_model(method, keras.optimizers.SGD(0.5))
        kernels = [prototypes.kernel for prototypes in model.prototypes]
        trained = {id(variable) for variable in model.trainable_variables}
        assert [id(kernel) in trained for kernel in kernels] == [moves] * 3
        model.fit(make_dataset(crops), epochs=1, verbose=0)
        start = kernels[0].numpy()
        model.train_step(next(iter(make_dataset(crops))))
        assert (np.abs(kernels[0].numpy() - start).max() > 1e-4) == moves
    frozen = make_model(SeLa, keras.optimizers.SGD(0.5), freeze_prototypes_steps=9)
    start = frozen.prototypes[2].kernel.numpy()
    frozen.fit(make_dataset(crops), epochs=1, verbose=0)
    np.testing.assert_allclose(frozen.prototypes[2].kernel.numpy(), start, atol=1e-6)


def test_images_that_the_bank_lacks_do_not_count():
    model, crops = make_model(DeepCluster), make_crops()
    model.fit(make_dataset(crops), epochs=1, verbose=0)
    known = model.assignments.numpy()
    data = next(iter(make_dataset(crops)))
    half = tuple(part[:4] for part in data[0]), data[1][:4]
    expected = float(model.objective(half, True).loss)
    model.assignments.assign(np.where(np.arange(16)[:, None] < 4, known, -1))
    assert float(model.objective(data, True).loss) == pytest.approx(expected, rel=1e-5)


IMAGES = np.random.default_rng(0).integers(0, 256, size=(40, 12, 12, 1), dtype=np.uint8)


@METHODS
def test_interrupted_run_equals_uninterrupted_run(method, tmp_path):
    def start():
        return make_model(method, keras.optimizers.Adam(0.01), images=40, hidden_units=8)

    whole, part = start(), start()
    wanted = whole.fit(IMAGES, epochs=2, verbose=0).history["loss"]
    part.fit(IMAGES, epochs=1, verbose=0)
    part.save(tmp_path / "model.keras")
    resumed = keras.models.load_model(tmp_path / "model.keras")
    found = resumed.fit(IMAGES, epochs=2, initial_epoch=1, verbose=0).history["loss"]
    assert isinstance(resumed, method) and resumed.config == part.config
    assert found == pytest.approx(wanted[1:], rel=1e-5)
    np.testing.assert_array_equal(resumed.assignments.numpy(), whole.assignments.numpy())


@METHODS
def test_two_replicas_equal_one(method, two_replicas):
    crops = make_crops(32)

    def start():
        backbone = small_resnet(channels=1, widths=(4,), seed=3)
        return make_model(method, keras.optimizers.SGD(0.05), backbone, images=32, hidden_units=8)

    single = start()
    with two_replicas.scope():
        double = start()
    losses = [
        model.fit(make_dataset(crops, batch=16), epochs=1, verbose=0).history["loss"]
        for model in (single, double)
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    for ours, theirs in zip(single.weights, double.weights, strict=True):
        np.testing.assert_allclose(
            theirs.numpy(), ours.numpy(), rtol=1e-4, atol=1e-4, err_msg=ours.path
        )


@METHODS
def test_what_cannot_be_trained_on_is_named(method):
    model = make_model(method)
    with pytest.raises(ValueError, match="with_index=True"):
        model.fit(multicrop(IMAGES[:16], **model.view_options()), verbose=0)
    with pytest.raises(TypeError, match="with_index=True"):
        model.fit(make_crops(), verbose=0)
    training = dataclasses.replace(model.config.training, num_images=None)
    with pytest.raises(ValueError, match="num_images"):
        make_model(method, training=training)
    with pytest.raises(ValueError, match="`x`: got 5 batches, wanted 2"):
        model.fit(IMAGES, verbose=0)
