"""SimCLR's loss against loops over crops, and what its model shares with SwAV's."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.swav.methods.test_swav import VIEWS, linear_backbone, make_crops, make_dataset
from tfdpm.features import SelfSupervisedConfig, SimCLR, contrastive_loss, small_resnet
from tfdpm.swav.monitoring import CollapseWatchdog, TrainingState


def reference_loss(embeddings, temperature):
    """Equation 7, term by term: crops of an image against the crops of all other images."""
    images, views, _ = embeddings.shape
    total = 0.0
    for image in range(images):
        others = [embeddings[n, v] for n in range(images) if n != image for v in range(views)]
        for anchor in range(views):
            z = embeddings[image, anchor]
            negatives = sum(np.exp(z @ other / temperature) for other in others)
            for partner in range(views):
                if partner != anchor:
                    match = np.exp(z @ embeddings[image, partner] / temperature)
                    total -= np.log(match / (match + negatives))
    return total / (images * views * (views - 1))


def unit_embeddings(images=5, views=4, width=6, seed=0):
    embeddings = np.random.default_rng(seed).normal(size=(images, views, width))
    return embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)


@pytest.mark.parametrize(("views", "temperature"), [(2, 0.1), (6, 0.5)])
def test_loss_equals_the_loop(views, temperature):
    embeddings = unit_embeddings(views=views)
    ours = contrastive_loss(tf.constant(embeddings, tf.float32), temperature=temperature)
    assert float(ours) == pytest.approx(reference_loss(embeddings, temperature), rel=1e-5)


def test_loss_of_equal_embeddings_counts_the_negatives_and_loss_of_a_perfect_encoder_is_small():
    equal = tf.ones([5, 4, 1])
    assert float(contrastive_loss(equal)) == pytest.approx(np.log(1 + 4 * 4), rel=1e-6)
    perfect = tf.repeat(tf.eye(5)[:, tf.newaxis], 4, axis=1)
    assert float(contrastive_loss(perfect, temperature=0.05)) < 1e-6


def test_loss_ignores_the_order_of_images_and_of_views():
    embeddings = tf.constant(unit_embeddings(), tf.float32)
    loss = float(contrastive_loss(embeddings))
    assert float(contrastive_loss(embeddings[::-1])) == pytest.approx(loss, rel=1e-6)
    assert float(contrastive_loss(embeddings[:, ::-1])) == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("shape", [(5, 6), (5, 1, 6)])
def test_embeddings_without_pairs_are_refused(shape):
    with pytest.raises(ValueError, match="embeddings"):
        contrastive_loss(tf.zeros(shape))


def make_model(optimizer=None, backbone=None, **options):
    settings = {"embedding_dim": 5, "hidden_units": 0, "views": VIEWS} | options
    model = SimCLR(backbone or linear_backbone(), SelfSupervisedConfig(**settings), seed=1)
    model.compile(optimizer or keras.optimizers.SGD(0.0))
    return model


def test_a_step_has_the_loss_of_the_embeddings():
    model, crops = make_model(), make_crops()
    expected = reference_loss(model(crops).numpy().astype(np.float64), 0.1)
    logs = model.fit(make_dataset(crops), epochs=1, verbose=0).history
    assert logs["loss"][0] == pytest.approx(expected, rel=1e-4)
    assert list(logs) == ["loss"]
    tested = model.evaluate(make_dataset(crops), verbose=0, return_dict=True)["loss"]
    assert tested == pytest.approx(expected, rel=1e-4)


def test_two_replicas_equal_one(two_replicas):
    crops = make_crops(32)

    def start():
        backbone = small_resnet(channels=1, widths=(4,), seed=3)
        return make_model(keras.optimizers.SGD(0.05), backbone, hidden_units=8)

    single = start()
    with two_replicas.scope():
        double = start()
    losses = [
        model.fit(make_dataset(crops), epochs=1, verbose=0).history["loss"]
        for model in (single, double)
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    for ours, theirs in zip(single.weights, double.weights, strict=True):
        np.testing.assert_allclose(
            theirs.numpy(), ours.numpy(), rtol=1e-5, atol=1e-5, err_msg=ours.path
        )


def test_a_saved_model_goes_on_as_the_one_before(tmp_path):
    model, crops = make_model(keras.optimizers.Adam(0.01), hidden_units=8), make_crops()
    model.fit(make_dataset(crops), epochs=1, verbose=0)
    model.save(tmp_path / "simclr.keras")
    again = keras.models.load_model(tmp_path / "simclr.keras")
    assert isinstance(again, SimCLR) and again.config == model.config
    losses = [
        each.fit(make_dataset(crops), epochs=2, verbose=0).history["loss"]
        for each in (model, again)
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-6)


def test_watchdog_and_training_state_take_a_model_without_prototypes():
    watchdog = CollapseWatchdog(patience=0)
    model, crops = make_model(keras.optimizers.SGD(0.1)), make_crops()
    history = model.fit(
        make_dataset(crops), epochs=1, verbose=0, callbacks=[watchdog, TrainingState()]
    ).history
    assert history["learning_rate"] == [pytest.approx(0.1)] and "queue_filled" not in history
    assert watchdog.findings == {}
    with pytest.warns(UserWarning, match="SimCLR may have collapsed.*learning rate"):
        watchdog.on_epoch_end(1, {"loss": model.collapsed_loss()})
    assert "sinkhorn" not in watchdog.findings["stuck"]
