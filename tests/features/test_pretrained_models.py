"""Models by name: preprocessing inside, weights that are there or asked for, and clusters."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import tfdpm
from tfdpm.features import pretrained, pretrained_models
from tfdpm.features.choice import FeatureChoice, image_shape_of
from tfdpm.features.learn_encoder import given_front

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.float32)
MOBILENET = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
# The files that keras.applications downloads without the layers of classes.
FILES = {
    "EfficientNetV2B0": "efficientnetv2-b0_notop.h5",
    "EfficientNetB3": "efficientnetb3_notop.h5",
    "MobileNetV2": MOBILENET,
    "ResNet50": "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "ResNet50V2": "resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "ConvNeXtTiny": "convnext_tiny_notop.h5",
    "DenseNet121": "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "MobileNetV3Small": "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
    "VGG16": "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
}


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    """A folder of weights without any, and a Keras that may fetch none."""

    def refuse(*_, **__):
        raise AssertionError("Keras went to fetch weights")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras.utils, "get_file", refuse)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", refuse)
    (tmp_path / "models").mkdir()
    return tmp_path


@pytest.fixture(scope="module")
def mobilenet():
    return pretrained("mobilenet", weights=None, image_size=32)


def test_preprocessing_is_that_of_the_model(mobilenet):
    prepared = keras.applications.mobilenet_v2.preprocess_input(IMAGES.copy())
    wanted = mobilenet.get_layer(index=-1)(prepared)
    np.testing.assert_allclose(mobilenet(IMAGES), wanted, rtol=1e-4, atol=1e-5)
    assert mobilenet(IMAGES).shape == (3, 1280)


def test_images_may_have_any_size(mobilenet):
    twice = IMAGES.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(mobilenet(twice), mobilenet(IMAGES), rtol=1e-3, atol=1e-4)


def test_saved_model_prepares_images_alike(mobilenet, tmp_path):
    mobilenet.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(again(IMAGES), mobilenet(IMAGES), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet", "resnet", "convnext", "VGG16", "DenseNet121"])
def test_names_of_keras_applications_stand_for_models(name):
    model = pretrained(name, weights=None, image_size=32)
    rows = np.asarray(model(IMAGES))
    assert rows.shape[0] == 3 and rows.shape[1] >= 512 and np.isfinite(rows).all()


@pytest.mark.parametrize("name", FILES)
def test_weights_that_keras_has_fetched_are_found(name, keras_home):
    for file in FILES.values():
        (keras_home / "models" / file).touch()
    found = pretrained_models._application_file(name)
    assert found == str(keras_home / "models" / FILES[name])


def test_weights_are_those_of_this_machine_and_never_fetched_unasked(mobilenet, keras_home):
    with pytest.raises(FileNotFoundError, match=r"no weights of 'mobilenet'.*download=True"):
        pretrained("mobilenet", image_size=32)
    with pytest.raises(FileNotFoundError, match="no weights of 'mobilenet'"):
        tfdpm.fit(IMAGES, features="mobilenet", verbose=0)
    with pytest.raises(AssertionError, match="went to fetch"):
        pretrained("mobilenet", image_size=32, download=True)
    assert pretrained_models.local_model() is None
    mobilenet.get_layer(index=-1).save_weights(keras_home / "w.weights.h5")
    (keras_home / "w.weights.h5").rename(keras_home / "models" / MOBILENET)
    assert pretrained_models.local_model() == "mobilenet"


def test_weights_may_be_a_file(mobilenet, tmp_path):
    file = tmp_path / "own.weights.h5"
    mobilenet.get_layer(index=-1).save_weights(file)
    again = pretrained("MobileNetV2", weights=file, image_size=32)
    np.testing.assert_allclose(again(IMAGES), mobilenet(IMAGES), rtol=1e-5, atol=1e-6)
    with pytest.raises(FileNotFoundError, match="`weights`: got '.*none.h5', wanted an existing"):
        pretrained("mobilenet", weights="none.h5")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "magic"}, "`name`: got 'magic', wanted one of efficientnet, mobilenet"),
        ({"name": "mobilenet", "image_size": 8}, "`image_size`: got 8"),
        ({"name": "mobilenet", "download": 1}, "`download`: got 1"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        pretrained(**arguments)


def bars(number=90):
    """Images [N, 24, 24] of a bar above, in the middle or below, and which it is."""
    rng = np.random.default_rng(0)
    y = np.arange(number) % 3
    x = rng.integers(0, 40, (number, 24, 24))
    for k in range(3):
        x[y == k, 2 + 7 * k : 6 + 7 * k] = 255
    return x.astype(np.uint8), y


def front_of(x, model):
    choice = FeatureChoice("backbone", "asked for", image_shape_of(x))
    return given_front(choice, x, model)


def of_length_one(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("unit", [1.0, 1 / 255])
def test_raw_images_of_any_unit_are_those_of_the_model(mobilenet, unit):
    x, _ = bars()
    colour = np.repeat(x[:5, :, :, None], 3, axis=-1).astype(np.float32)
    wanted = of_length_one(mobilenet(colour))
    raw = (x * unit).astype(np.float32)
    np.testing.assert_allclose(front_of(raw, mobilenet)(raw[:5]), wanted, atol=1e-4)


def test_vectors_that_are_no_images_are_refused(mobilenet, monkeypatch):
    monkeypatch.setattr(pretrained_models, "pretrained", lambda name: mobilenet)
    with pytest.raises(ValueError, match="`features`: got a model of images for points of shape"):
        tfdpm.fit(np.random.default_rng(0).normal(size=(60, 5)), features="mobilenet", verbose=0)


def test_automatic_features_propose_a_model_for_photographs(monkeypatch):
    monkeypatch.setattr(pretrained_models, "local_model", lambda: "efficientnet")
    from tfdpm import pipeline
    from tfdpm.data import as_features

    for shape, is_proposed in {(40, 16, 16, 3): True, (40, 16, 16): False, (40, 6): False}.items():
        inputs = as_features(np.random.default_rng(0).uniform(size=shape))
        reason = pipeline._choose_features("auto", None, inputs).reason
        assert ("features='efficientnet'" in reason) == is_proposed


def test_a_trained_swav_is_taken_as_it_is():
    x, y = bars()
    swav = tfdpm.SwAV.small(
        image_size=24, channels=1, num_images=90, batch_size=30, epochs=1, print_fn=str
    )
    config = tfdpm.DeepDPMConfig(min_steps_per_epoch=5)
    model = tfdpm.fit((x, y), features=swav, config=config, epochs=1, verbose=0)
    assert model.features_ == "backbone (swav, asked for)"
    wanted = of_length_one(swav.encoder(x[:5, :, :, None]))
    raw = x.astype(np.float32)
    np.testing.assert_allclose(model.encoder.layers[-2](raw[:5]), wanted, atol=1e-4)
    np.testing.assert_array_equal(model.predict_labels(x), model.labels_)
    colour = np.repeat(raw[..., None], 3, axis=-1)  # of which a grey model takes the mean
    np.testing.assert_allclose(front_of(colour, swav)(colour[:5]), wanted, atol=1e-3)


def test_presets_of_keras_hub_are_models(tmp_path):
    hub = pytest.importorskip("keras_hub")
    backbone = hub.models.DINOV2Backbone(
        patch_size=14, num_layers=1, hidden_dim=16, num_heads=2, intermediate_dim=32,
        image_shape=(28, 28, 3), position_embedding_shape=(28, 28, 3),
    )  # fmt: skip
    backbone.save_to_preset(str(tmp_path / "small"))
    converter = hub.layers.DINOV2ImageConverter(
        image_size=(28, 28), scale=[0.02, 0.01, 0.03], offset=[-2.0, -1.0, -3.0]
    )
    converter.save_to_preset(str(tmp_path / "small"))
    model = pretrained(str(tmp_path / "small"))
    assert model(IMAGES).shape == (3, 16)
    small = np.ascontiguousarray(IMAGES[:, :28, :28])
    wanted = backbone(small * [0.02, 0.01, 0.03] + [-2.0, -1.0, -3.0])[:, 0]
    np.testing.assert_allclose(model(small), wanted, rtol=1e-3, atol=1e-4)
    with pytest.raises(FileNotFoundError, match="no weights of 'dinov2'"):
        pretrained("dinov2")
