"""What Keras's own models take works for models of views, or is refused in one line."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.swav.methods.test_swav import VIEWS, linear_backbone
from tfdpm.data.images.multicrop import multicrop
from tfdpm.features import DeepCluster, SeLa, SimCLR, SwAV
from tfdpm.swav.config import TrainingConfig

IMAGES = np.random.default_rng(0).integers(0, 256, (24, 10, 10), dtype=np.uint8)
LABELS = np.arange(24) % 2
slices = tf.data.Dataset.from_tensor_slices
METHODS = pytest.mark.parametrize("method", [SwAV, SimCLR, DeepCluster, SeLa])


def make(method=SwAV, optimizer="adam", num_images=24, **options):
    training = TrainingConfig(optimizer="adam", num_images=num_images, batch_size=8, epochs=1)
    settings = {"embedding_dim": 5, "hidden_units": 0, "views": VIEWS, "training": training}
    if method is not SimCLR:
        settings["num_prototypes"] = 4
    model = method(linear_backbone(), method.config_type(**(settings | options)), seed=1)
    model.compile(optimizer)
    return model


def fit(x=IMAGES, y=None, method=SwAV, num_images=24, **arguments):
    model = make(method, num_images=num_images)
    return model.fit(x, y, **{"verbose": 0, **arguments}).history


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        chosen = slice(6 * index, 6 * index + 6)
        return IMAGES[chosen], LABELS[chosen]


@pytest.fixture(scope="module")
def model():
    return make()


# -- evaluate and predict -------------------------------------------------------------------------


@METHODS
def test_evaluation_of_images_is_that_of_their_views(method):
    model = make(method)
    views = model.views_of(IMAGES, shuffle=False)
    wanted = model.evaluate(views, verbose=0, return_dict=True)
    found = model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    assert found == pytest.approx(wanted, rel=1e-5)
    assert len(set(model.metrics_names)) == len(model.metrics_names) == len(found)
    listed = model.evaluate(slices(IMAGES), verbose=0)
    assert np.size(listed) == len(found)
    assert np.isfinite(listed).all()
    validated = fit(method=method, validation_data=IMAGES)["val_loss"]
    assert len(validated) == 1


def test_few_images_are_one_batch_of_an_evaluation(model):
    views = model.views_of(IMAGES[:5], shuffle=False, batch_size=5)
    wanted = model.evaluate(views, verbose=0)
    np.testing.assert_allclose(model.evaluate(IMAGES[:5], verbose=0), wanted, rtol=1e-5)
    history = fit(validation_data=(IMAGES[:5], LABELS[:5]))
    assert np.isfinite(history["val_loss"]).all()


def test_prediction_of_images_is_that_of_the_encoder(model, tmp_path):
    wanted = model.encoder.predict(IMAGES[..., np.newaxis], verbose=0)
    assert wanted.shape == (24, 6)
    for index, image in enumerate(IMAGES):
        cut = image if index % 2 else image[:7]  # files of two sizes
        (tmp_path / f"{index:02}.png").write_bytes(tf.io.encode_png(cut[..., None]).numpy())
    for x in (IMAGES, IMAGES / 255, (IMAGES, LABELS), slices(IMAGES), Batches()):
        np.testing.assert_allclose(model.predict(x, verbose=0), wanted, atol=1e-5)
    np.testing.assert_allclose(model.predict_on_batch(IMAGES[:3]), wanted[:3], atol=1e-5)
    files = model.predict(tmp_path, verbose=0)
    np.testing.assert_allclose(files[1::2], wanted[1::2], atol=1e-5)
    embeddings, scores = model.predict(model.views_of(IMAGES), verbose=0)
    assert embeddings.shape == (24, 8, 5) and scores.shape == (24, 8, 4)


def test_export_takes_images_of_any_size(model, tmp_path):
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    for size in (10, 7):
        images = (IMAGES[:, :size, :, np.newaxis] / 255).astype(np.float32)
        np.testing.assert_allclose(
            served.serve(images), model.predict(images, verbose=0), atol=1e-5
        )


# -- arguments of fit -----------------------------------------------------------------------------


def test_a_split_keeps_the_last_images_apart():
    split = fit(validation_split=0.25, num_images=18)
    assert split == fit(IMAGES[:18], num_images=18, validation_data=IMAGES[18:])
    assert split == fit((IMAGES, LABELS), num_images=18, validation_split=0.25)
    with pytest.raises(ValueError, match="`validation_split`: got 0.1 of a .*Dataset, wanted"):
        fit(slices(IMAGES), validation_split=0.1)
    for share in (1.0, -0.5):
        with pytest.raises(ValueError, match=f"`validation_split`: got {share}, wanted a"):
            fit(validation_split=share)


def test_images_are_not_shuffled_where_fit_says_so():
    by_hand, model = make(), make()
    views = multicrop(IMAGES, shuffle=False, seed=1, **model.view_options())
    by_hand.fit(views, verbose=0)
    model.fit(IMAGES, shuffle=False, verbose=0)
    for ours, theirs in zip(model.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    shuffled = make()
    shuffled.fit(IMAGES, verbose=0)
    moved = shuffled.backbone.get_weights()[0] - by_hand.backbone.get_weights()[0]
    assert np.abs(moved).max() > 1e-4


def test_datasets_and_generators_of_keras_are_streams_of_images():
    stream = pytest.approx(fit(slices((IMAGES, LABELS)).batch(6))["loss"], rel=1e-5)
    assert fit(Batches())["loss"] == stream
    assert fit(Batches()[index] for index in range(4))["loss"] == stream
    with pytest.raises(ValueError, match="`x`: got nothing"):
        fit(iter(()))


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_the_end_of_a_stream_of_unknown_length_is_no_step():
    """It was counted in the mean loss, the schedule and the steps."""
    known, unknown, generated = make(), make(), make()
    wanted = known.fit(known.views_of(IMAGES), verbose=0).history
    for model, views in (
        (unknown, known.views_of(IMAGES, epochs=1).filter(lambda *crops: True)),
        (generated, iter(known.views_of(IMAGES, epochs=1))),
    ):
        assert model.fit(views, verbose=0).history["loss"] == pytest.approx(wanted["loss"])
        assert int(model.step) == int(model.optimizer.iterations) == 3
    views = known.views_of(IMAGES, shuffle=False, epochs=1)
    scores = known.evaluate(views.filter(lambda *crops: True), verbose=0)
    np.testing.assert_allclose(scores, known.evaluate(views, verbose=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sample_weight": np.ones(24)}, "`sample_weight`: got weights, wanted None: images"),
        ({"class_weight": {0: 1.0}}, "`class_weight`: got weights, wanted None: images"),
        ({"shuffle": "batch"}, "`shuffle`: got 'batch'"),
        ({"x": None}, "`x`: got None, wanted images"),
        ({"x": {"image": IMAGES}}, "`x`: got a dict, wanted crops"),
        ({"x": tf.ragged.constant([[1], [2, 3]])}, "`data`: got a RaggedTensor, wanted .N, H, W."),
    ],
)
def test_what_has_no_meaning_is_refused_in_one_line(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message) as raised:
        fit(**arguments)
    assert "\n" not in str(raised.value)


def test_weights_elsewhere_are_refused(model):
    with pytest.raises(ValueError, match="`sample_weight`: got weights"):
        model.evaluate(IMAGES, sample_weight=np.ones(24))
    weighted = model.views_of(IMAGES).map(lambda *crops: (crops, tf.zeros(8), tf.ones(8)))
    with pytest.raises(ValueError, match="`sample_weight`: got weights"):
        model.fit(weighted, verbose=0)


@pytest.mark.parametrize("name", ["loss", "metrics", "weighted_metrics", "loss_weights"])
def test_losses_and_metrics_of_labels_are_refused(name):
    with pytest.raises(ValueError, match=f"`{name}`: got .* brings its own loss"):
        make().compile("adam", **{name: ["mse"]})


@METHODS
def test_a_batch_of_images_is_refused_in_one_line(method):
    model = make(method)
    for call in (model.train_on_batch, model.test_on_batch):
        with pytest.raises(
            ValueError, match="`x`: got a tensor of shape .24, 10, 10., wanted crops"
        ) as raised:
            call(IMAGES)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("method", [DeepCluster, SeLa])
def test_batches_without_the_places_of_their_images_are_refused(method):
    model = make(method)
    crops, places = next(iter(model.views_of(IMAGES)))
    with pytest.raises(ValueError, match="`x`: got crops alone"):
        model.train_on_batch(crops)
    assert np.isfinite(model.train_on_batch(crops, places)).all()


# -- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [SwAV, SeLa])
def test_frozen_prototypes_let_the_rest_learn(method):
    """The missing variable looked like the end of the data, and nothing was learned."""
    model = make(method)
    prototypes = tf.nest.flatten(model.prototypes)
    for each in prototypes:
        each.trainable = False
    model.compile("adam")
    before = model.backbone.get_weights()[0]
    assert len(model.fit(IMAGES, verbose=0).history["loss"]) == 1
    assert np.abs(model.backbone.get_weights()[0] - before).max() > 1e-4
    model.trainable = False
    before = model.backbone.get_weights()[0]
    model.compile("adam")
    assert len(model.fit(IMAGES, verbose=0).history["loss"]) == 1
    np.testing.assert_array_equal(model.backbone.get_weights()[0], before)


@pytest.mark.parametrize("method", [SwAV, DeepCluster])
def test_callbacks_of_keras_do_what_they_say(method, tmp_path):
    callbacks = keras.callbacks
    model = make(method)
    stopping = callbacks.EarlyStopping("val_loss", patience=5, restore_best_weights=True)
    given = [
        stopping,
        callbacks.ReduceLROnPlateau("val_loss", factor=0.1, patience=0, min_delta=100.0),
        callbacks.ModelCheckpoint(tmp_path / "model.keras", save_best_only=True),
        callbacks.ModelCheckpoint(tmp_path / "last.weights.h5", save_weights_only=True),
        callbacks.CSVLogger(tmp_path / "log.csv"),
        callbacks.TerminateOnNaN(),
        callbacks.BackupAndRestore(tmp_path / "backup"),
        callbacks.TensorBoard(tmp_path / "board", histogram_freq=1),
    ]
    data = {"validation_data": IMAGES[:8], "callbacks": given}
    history = model.fit(IMAGES, epochs=3, verbose=0, **data).history
    assert len(history["val_loss"]) == 3
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-5, rel=0.01)
    best = keras.models.load_model(tmp_path / "model.keras")
    score = best.evaluate(IMAGES[:8], verbose=0, return_dict=True)["loss"]
    assert score == pytest.approx(min(history["val_loss"]), rel=1e-4)
    last = make(method)
    last.load_weights(tmp_path / "last.weights.h5")
    score = last.evaluate(IMAGES[:8], verbose=0, return_dict=True)["loss"]
    assert score == pytest.approx(history["val_loss"][-1], rel=1e-4)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4
    assert any((tmp_path / "board").iterdir())
