"""One training step against NumPy and against two replicas; saving, resuming, precision, input."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.swav.methods.test_codes import reference_codes
from tests.swav.methods.test_loss import reference_loss
from tfdpm.data.images import sources
from tfdpm.data.images.multicrop import multicrop
from tfdpm.data.images.view_config import ViewConfig
from tfdpm.features import SwAV
from tfdpm.swav.backbones import small_resnet
from tfdpm.swav.config import SwAVConfig, TrainingConfig
from tfdpm.swav.views import is_images

VIEWS = ViewConfig(crop_sizes=(8, 6), crop_counts=(2, 6), mean=(0.5,), std=(0.25,))


def linear_backbone(seed=0):
    """Mean pixel brightness in a 2 x 2 grid, then a dense layer: easy to repeat in NumPy."""
    images = keras.Input((None, None, 1))
    pooled = keras.layers.GlobalAveragePooling2D()(images * images)
    features = keras.layers.Dense(6, kernel_initializer=keras.initializers.GlorotUniform(seed))(
        keras.layers.Concatenate()([pooled, keras.layers.GlobalMaxPooling2D()(images)])
    )
    return keras.Model(images, features)


def make_model(optimizer=None, backbone=None, dtype=None, **options):
    settings = {
        "num_prototypes": 10,
        "embedding_dim": 5,
        "hidden_units": 0,
        "freeze_prototypes_steps": 0,
        "views": VIEWS,
    }
    config = SwAVConfig(**(settings | options))
    model = SwAV(backbone or linear_backbone(), config, seed=1, dtype=dtype)
    model.compile(optimizer or keras.optimizers.SGD(0.0))
    return model


def make_crops(images=16, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(images, 2, 8, 8, 1)).astype(np.float32),
        rng.normal(size=(images, 6, 6, 6, 1)).astype(np.float32),
    )


def make_dataset(crops, batch=16):
    return tf.data.Dataset.from_tensor_slices(crops).batch(batch, drop_remainder=True)


def parameters_of(model):
    """Kernels and biases of the linear backbone and head, and the prototypes, in float64."""
    arrays = [*model.backbone.get_weights(), *model.head.output_layer.get_weights()]
    return [array.astype(np.float64) for array in (*arrays, model.prototypes.kernel.numpy())]


def reference_forward(parameters, crops):
    """Embeddings and scores `[B, V, .]` of the linear backbone and linear head, in NumPy."""
    kernel, bias, head, head_bias, prototypes = parameters
    features = []
    for views in crops:
        pooled = [np.square(views).mean((2, 3, 4)), views.max((2, 3, 4))]
        features.append(np.stack(pooled, axis=-1) @ kernel + bias)
    output = np.concatenate(features, axis=1) @ head + head_bias
    embeddings = output / np.linalg.norm(output, axis=-1, keepdims=True)
    return embeddings, embeddings @ prototypes


@pytest.mark.parametrize("with_queue", [False, True])
def test_loss_and_codes_of_a_step_equal_numpy(with_queue):
    model, crops = make_model(queue_length=32 if with_queue else 0), make_crops()
    past = np.random.default_rng(5).normal(size=(2, 32, 5))
    past /= np.linalg.norm(past, axis=-1, keepdims=True)
    if with_queue:
        model.queue.storage.assign(past)
        model.queue.filled.assign(32)
    embeddings, scores = reference_forward(parameters_of(model), crops)
    codes = []
    for lane in range(2):
        rows = scores[:, lane]
        if with_queue:
            rows = np.concatenate([rows, past[lane] @ model.prototypes.kernel.numpy()])
        codes.append(reference_codes(rows, 0.05, 3)[:16])
    codes = np.stack(codes, axis=1)
    ours = model(crops)
    np.testing.assert_allclose(ours[0], embeddings, atol=1e-5)
    np.testing.assert_allclose(model.assign_codes(ours[1]), codes, atol=1e-4)
    history = model.fit(make_dataset(crops), epochs=1, verbose=0).history
    assert history["loss"][0] == pytest.approx(reference_loss(scores, codes, 0.1), abs=1e-4)
    if with_queue:
        newest = embeddings[:, :2].transpose(1, 0, 2)
        expected = np.concatenate([past[:, 16:], newest], axis=1)
        np.testing.assert_allclose(model.queue.storage.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("with_queue", [False, True])
def test_gradients_of_a_step_equal_finite_differences(with_queue):
    model, crops = make_model(keras.optimizers.SGD(1.0), queue_length=32 * with_queue), make_crops()
    model.queue.filled.assign(32 * with_queue)
    if with_queue:
        past = np.random.default_rng(5).normal(size=(2, 32, 5))
        model.queue.storage.assign(past / np.linalg.norm(past, axis=-1, keepdims=True))
    codes = model.assign_codes(model(crops)[1]).numpy()
    before = parameters_of(model)
    model.fit(make_dataset(crops), epochs=1, verbose=0)
    steps = [old - new for old, new in zip(before, parameters_of(model), strict=True)]
    for index in range(len(before)):
        for place in list(np.ndindex(*before[index].shape))[::7]:
            values = []
            for sign in (1, -1):
                moved = [array.copy() for array in before]
                moved[index][place] += sign * 1e-5
                values.append(reference_loss(reference_forward(moved, crops)[1], codes, 0.1))
            slope = (values[0] - values[1]) / 2e-5
            assert steps[index][place] == pytest.approx(slope, rel=1e-4, abs=1e-4), (index, place)


def convolutional_model(dtype=None, **options):
    backbone = small_resnet(channels=1, widths=(4,), seed=3, dtype=dtype)
    return make_model(keras.optimizers.SGD(0.05), backbone, hidden_units=8, dtype=dtype, **options)


def test_two_replicas_equal_one(two_replicas):
    crops = make_crops(32)
    single = convolutional_model(queue_length=16)
    with two_replicas.scope():
        double = convolutional_model(queue_length=16)
    histories = [
        model.fit(make_dataset(crops), epochs=1, verbose=0).history for model in (single, double)
    ]
    for name, values in histories[0].items():
        np.testing.assert_allclose(histories[1][name], values, rtol=1e-5, err_msg=name)
    for ours, theirs in zip(single.weights, double.weights, strict=True):
        np.testing.assert_allclose(
            theirs.numpy(), ours.numpy(), rtol=1e-5, atol=1e-5, err_msg=ours.path
        )


def test_two_replicas_in_float64_equal_one_for_sixteen_steps(two_replicas):
    """In float32, weights are up to 2e-3 apart then, and losses 1e-4."""
    crops = make_crops(16 * 16)
    single = convolutional_model("float64", queue_length=16)
    with two_replicas.scope():
        double = convolutional_model("float64", queue_length=16)
    start, moved = single.get_weights(), []
    for model in (single, double):
        model.fit(make_dataset(crops), epochs=1, verbose=0)
    for ours, theirs, before in zip(single.weights, double.weights, start, strict=True):
        np.testing.assert_allclose(theirs.numpy(), ours.numpy(), rtol=1e-11, atol=1e-11)
        assert not ours.trainable or ours.dtype == "float64"
        moved.append(np.abs(ours.numpy() - before).max())
    assert np.median(moved) > 0.01


def test_prototypes_stay_frozen_then_move_and_have_unit_norm():
    model = convolutional_model(freeze_prototypes_steps=2)
    start = model.prototypes.kernel.numpy()
    model.fit(make_dataset(make_crops(32)), epochs=1, verbose=0)
    np.testing.assert_allclose(model.prototypes.kernel.numpy(), start, atol=1e-6)
    model.fit(make_dataset(make_crops(16)), epochs=1, verbose=0)
    assert np.abs(model.prototypes.kernel.numpy() - start).max() > 1e-3
    model.fit(make_dataset(make_crops(16)), epochs=1, verbose=0)
    model.prototypes.renormalize()
    norms = np.linalg.norm(model.prototypes.kernel.numpy(), axis=0)
    np.testing.assert_allclose(norms, 1.0, atol=1e-6)


def test_queue_joins_only_from_its_step_and_once_full():
    rng = np.random.default_rng(0)
    scores = tf.constant(rng.uniform(-1, 1, size=(16, 8, 10)), tf.float32)
    model = make_model(queue_length=32, queue_start_steps=1)
    model.queue.storage.assign(rng.normal(size=(2, 32, 5)))
    alone = make_model().assign_codes(scores).numpy()
    with_queue = []
    for filled, step in [(32, 0), (31, 1), (32, 1)]:
        model.queue.filled.assign(filled)
        model.step.assign(step)
        with_queue.append(np.abs(model.assign_codes(scores).numpy() - alone).max())
    assert with_queue[0] < 1e-6 and with_queue[1] < 1e-6 < 1e-3 < with_queue[2]


def test_interrupted_run_equals_uninterrupted_run(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, size=(40, 12, 12, 1), dtype=np.uint8)
    training = TrainingConfig(
        optimizer="adam", num_images=40, batch_size=16, epochs=2, warmup_epochs=1
    )

    def start():
        model = convolutional_model(queue_length=16, training=training)
        model.compile()  # with the schedule of the settings
        return model

    def train(model, first, last):
        views = multicrop(images, initial_epoch=first, **model.view_options())
        model.fit(views, initial_epoch=first, epochs=last, verbose=0)

    whole, part = start(), start()
    train(whole, 0, 2)
    train(part, 0, 1)
    part.save(tmp_path / "swav.keras")
    resumed = keras.models.load_model(tmp_path / "swav.keras")
    train(resumed, 1, 2)
    assert float(resumed.optimizer.learning_rate) == float(whole.optimizer.learning_rate)
    pairs = zip(
        [*whole.weights, *whole.optimizer.variables],
        [*resumed.weights, *resumed.optimizer.variables],
        strict=True,
    )
    for ours, theirs in pairs:
        np.testing.assert_array_equal(theirs.numpy(), ours.numpy(), err_msg=ours.path)
    assert int(resumed.optimizer.iterations) == int(whole.optimizer.iterations) == 4


@pytest.mark.parametrize(
    "policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.bfloat16)]
)
def test_mixed_precision_learns_with_float32_codes(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = convolutional_model()
    finally:
        keras.config.set_dtype_policy("float32")
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")
    crops = make_crops(16)
    embeddings, scores = model(crops)
    assert scores.dtype == embeddings.dtype == tf.float32
    losses = model.fit(make_dataset(crops), epochs=12, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]


def test_accumulating_two_batches_steps_once():
    model = convolutional_model()
    model.compile(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2))
    start = model.head.output_layer.kernel.numpy()
    model.fit(make_dataset(make_crops(16)), epochs=1, verbose=0)
    np.testing.assert_array_equal(model.head.output_layer.kernel.numpy(), start)
    model.fit(make_dataset(make_crops(16)), epochs=1, verbose=0)
    assert np.abs(model.head.output_layer.kernel.numpy() - start).max() > 0


def test_encoder_takes_raw_images_of_any_size_and_survives_saving(tmp_path):
    model = convolutional_model()
    images = np.random.default_rng(0).integers(0, 256, size=(3, 20, 17, 1), dtype=np.uint8)
    features = model.encoder.predict(images, verbose=0)
    assert features.shape == (3, 4)
    standardised = (images / 255.0 - 0.5) / 0.25
    expected = model.backbone(standardised.astype(np.float32), training=False)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    model.encoder.save(tmp_path / "encoder.keras")
    again = keras.models.load_model(tmp_path / "encoder.keras")
    np.testing.assert_array_equal(again.predict(images, verbose=0), features)


def test_small_says_what_it_chose():
    said: list[str] = []
    model = SwAV.small(
        image_size=16, channels=1, num_images=8000, batch_size=20, epochs=2, print_fn=said.append
    )
    assert f"prototypes  {model.config.num_prototypes}" in said[0]
    assert f"{model.config.queue_length} embeddings" in said[0]
    assert model.view_options()["batch_size"] == 20


def test_too_few_samples_for_the_prototypes_are_reported():
    with pytest.warns(UserWarning, match="16 samples .* share 64 prototypes"):
        make_model(num_prototypes=64).fit(make_dataset(make_crops()), epochs=1, verbose=0)


def test_calls_with_images_instead_of_crops_are_refused():
    with pytest.raises(ValueError, match="multicrop"):
        make_model()(np.zeros((4, 8, 8, 1), np.float32))


def test_unknown_settings_and_bad_backbones_are_refused():
    with pytest.raises(TypeError, match="num_prototype"):
        SwAV(linear_backbone(), num_prototype=5)
    images = keras.Input((None, None, 3))
    unpooled = keras.Model(images, keras.layers.Conv2D(4, 3)(images))
    with pytest.raises(ValueError, match="pool"):
        SwAV(unpooled)


def test_schedule_needs_the_size_of_the_training_set():
    with pytest.raises(ValueError, match="num_images"):
        SwAV(linear_backbone(), SwAVConfig(views=VIEWS, training=TrainingConfig())).compile()


# -- images ---------------------------------------------------------------------------------------


IMAGES = np.random.default_rng(0).integers(0, 256, (24, 10, 10), dtype=np.uint8)
LABELS = np.arange(24) % 2


def tiny(**options):
    config = {"views": ViewConfig(crop_sizes=(8, 6), crop_counts=(2, 1), mean=(0.5,), std=(0.2,))}
    config["training"] = TrainingConfig(num_images=24, batch_size=8, epochs=1, warmup_epochs=0)
    config["training"] = dataclasses.replace(config["training"], optimizer="adam")
    return make_model("adam", **config | options)


@pytest.fixture(scope="module")
def model():
    return tiny()


def images_of(data):
    """The images, in order, of which views of `data` are made, where `fit` makes views."""
    assert is_images(data)
    source = sources.open_source(
        data, channels=1, shuffle=False, shuffle_buffer=1, skipped=sources.SkippedImages()
    )
    seed = tf.zeros([2], tf.int32)
    images = source.batches(seed, 1).unbatch() if source.is_batched else source.images(seed)
    found = np.stack([image.numpy()[..., 0] for image in images])
    assert len(found) == source.num_images
    return found


def test_training_on_images_is_training_on_their_views():
    by_hand, by_images = tiny(), tiny()
    views = multicrop(IMAGES, **by_hand.view_options(), seed=by_hand.seed)
    wanted = by_hand.fit(views, verbose=0).history["loss"]
    found = by_images.fit(IMAGES, LABELS, validation_data=IMAGES[:8], verbose=0).history
    np.testing.assert_allclose(found["loss"], wanted, rtol=1e-3)
    assert len(found["val_loss"]) == 1


@pytest.mark.parametrize(
    "data",
    [
        IMAGES[..., np.newaxis],
        (IMAGES / 255).astype(np.float32),
        tf.constant(IMAGES),
        (IMAGES, LABELS),
        list(IMAGES),
        (IMAGES / 255).tolist(),
    ],
    ids=["channel", "floats", "tensor", "pair", "list", "nested list"],
)
def test_arrays_of_images_are_images(data):
    np.testing.assert_allclose(images_of(data), IMAGES / 255, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: tf.data.Dataset.from_tensor_slices(x),
        lambda x, y: tf.data.Dataset.from_tensor_slices(x).batch(7),
        lambda x, y: tf.data.Dataset.from_tensor_slices(x[..., np.newaxis]).batch(7),
        lambda x, y: tf.data.Dataset.from_tensor_slices((x, y)),
        lambda x, y: tf.data.Dataset.from_tensor_slices((x, y)).batch(5),
        lambda x, y: tf.data.Dataset.from_tensor_slices({"image": x, "label": y}),
        lambda x, y: tf.data.Dataset.from_tensor_slices({"id": y, "image": x}).batch(5),
    ],
    ids=["images", "batches", "colour batches", "pairs", "pair batches", "dictionaries", "both"],
)
def test_streams_batched_or_not_are_images(make):
    np.testing.assert_allclose(images_of(make(IMAGES, LABELS)), IMAGES / 255, atol=1e-6)


def test_folders_files_and_names_are_images(tmp_path, monkeypatch):
    for index, image in enumerate(IMAGES):
        (tmp_path / "folder" / str(index // 12)).mkdir(parents=True, exist_ok=True)
        png = tf.io.encode_png(image[..., np.newaxis]).numpy()
        (tmp_path / "folder" / str(index // 12) / f"{index:02}.png").write_bytes(png)
    np.savez(tmp_path / "images.npz", x=IMAGES, y=LABELS)
    monkeypatch.setattr(sources.named, "load", lambda name: {"mnist": (IMAGES, LABELS)}[name])
    for data in (tmp_path / "folder", str(tmp_path / "images.npz"), "mnist"):
        np.testing.assert_allclose(images_of(data), IMAGES / 255, atol=1e-6)


def test_crops_are_no_images():
    crops = make_crops()
    for each in (crops, crops[0], make_dataset(crops), (crops, LABELS), iter([crops]), None):
        assert not is_images(each)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((24, 5), np.uint8), "`data`: got an array of shape .24, 5."),
        (IMAGES.astype(np.float32), "`data`: got floats from 0.0 to 255.0"),
        (IMAGES.astype(np.int64), "`data`: got dtype int64, wanted uint8"),
        ([IMAGES[0], IMAGES[0, :5]], "`data`: got arrays of different shapes"),
        (IMAGES[:5], "`batch_size`: got 8, wanted at most the number of images, 5"),
        ("no_such_set", "`data`: got 'no_such_set'"),
        ("no/such/folder", "`data`: got 'no/such/folder'"),
        (tf.data.Dataset.from_tensor_slices(IMAGES).repeat(), "`data`: got an endless data set"),
        (tf.data.Dataset.range(9), "`data`: got elements of shape"),
        (tf.data.Dataset.from_tensors({"x": 1}), "`data`: got elements with .'x'."),
        (
            tf.data.Dataset.from_tensor_slices(IMAGES.astype(np.float32)),
            "`data`: got floats from",
        ),
    ],
)
def test_what_are_no_images_is_named_before_training(model, data, message):
    with pytest.raises((ValueError, TypeError), match=message) as raised:
        model.fit(data)
    assert str(raised.value).count("\n") == 0


def test_files_without_an_array_of_images_are_named(model, tmp_path):
    encoded = np.frombuffer(b"".join(tf.io.encode_jpeg(i[..., None]).numpy() for i in IMAGES), "u1")
    np.savez(tmp_path / "jpeg.npz", jpeg=encoded, offsets=np.arange(25))
    with pytest.raises(ValueError, match="`data`: got .*jpeg.npz' with arrays .'jpeg', 'offsets'"):
        model.fit(tmp_path / "jpeg.npz")


def test_the_batch_of_images_is_that_of_the_schedule(model):
    with pytest.raises(ValueError, match="`batch_size`: got 4, wanted 8"):
        model.fit(IMAGES, batch_size=4)
