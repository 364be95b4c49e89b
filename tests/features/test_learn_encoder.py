"""Raw points to clusters: `features=` from end to end, and encoders that live inside the model."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdpm
from tfdpm import DeepDPMConfig, metrics
from tfdpm.data import as_features
from tfdpm.features import learn_encoder as encoding
from tfdpm.features.apply_encoder import encode
from tfdpm.features.choice import FeatureChoice
from tfdpm.progress.stages import Stages

FAST = DeepDPMConfig(min_steps_per_epoch=10, epochs=2, stable_epochs=None)


def bars(count=520, seed=0):
    """Grey images of 16 x 16: an upright bar, a lying one or both, of any strength, in noise."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = generator.uniform(0, 60, size=(count, 16, 16))
    strength = generator.uniform(100, 190, size=count)
    for image, label, value in zip(images, labels, strength, strict=True):
        if label != 0:
            image[7:9, 3:13] += value
        if label != 1:
            image[3:13, 7:9] += value
    return np.minimum(images, 255).astype(np.uint8), labels


IMAGES, LABELS = bars()


@pytest.fixture(scope="module", autouse=True)
def short_training():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding.parametric_umap, "_FEWEST_STEPS", 200)
        yield


@pytest.fixture(scope="module")
def model(short_training):
    return tfdpm.fit(IMAGES, config=FAST, verbose=0)


def test_images_are_clustered_raw_and_the_choice_is_told(model):
    assert metrics.nmi(LABELS, model.labels_) > 0.8
    assert model.features_.startswith("umap (N = 520 images of 16 x 16, grey")
    lines = []
    model.summary(print_fn=lambda line, **_: lines.append(str(line)))
    assert f"Features: {model.features_}" in "\n".join(lines)


def test_labels_are_those_of_raw_points(model):
    np.testing.assert_array_equal(model.labels_, model.predict_labels(IMAGES))
    np.testing.assert_array_equal(model.labels_, np.argmax(model.predict(IMAGES), axis=1))
    stream = tf.data.Dataset.from_tensor_slices(IMAGES).batch(100)
    assert np.mean(model.labels_ == model.predict_labels(stream)) > 0.99
    np.testing.assert_array_equal(model.labels_, model.predict_labels(IMAGES.reshape(520, 256)))
    assert model.score_samples(IMAGES).shape == (520,)


def test_new_images_get_the_labels_of_clusters_like_them(model):
    new, new_labels = bars(150, seed=1)
    found = model.predict_labels(new)
    of_cluster = [np.bincount(LABELS[model.labels_ == k]).argmax() for k in range(model.n_clusters)]
    assert np.mean(np.array(of_cluster)[found] == new_labels) > 0.9


@pytest.mark.parametrize("policy", ["mixed_float16", "float64"])
@pytest.mark.parametrize("features", ["umap", "autoencoder"])
def test_encoders_are_float32_under_any_policy(features, policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    try:
        made = tfdpm.fit(IMAGES[:90, ::2, ::2], features=features, config=FAST, verbose=0)
        assert keras.config.dtype_policy().name == policy
        made.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    assert {weight.dtype for weight in made.encoder.trainable_weights} == {"float32"}
    np.testing.assert_array_equal(loaded.predict_labels(IMAGES[:90, ::2, ::2]), made.labels_)


def test_the_saved_model_takes_raw_points(model, tmp_path):
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(IMAGES), model.predict(IMAGES))
    np.testing.assert_array_equal(loaded.score_samples(IMAGES), model.score_samples(IMAGES))
    assert loaded.features_ == model.features_


def test_the_exported_model_takes_raw_points(model, tmp_path):
    model.export(tmp_path / "1")
    served = tfdpm.load(tmp_path)
    assert served.input_shape == (16, 16)
    assert np.mean(served.predict_labels(IMAGES) == model.labels_) > 0.998
    np.testing.assert_allclose(served.predict(IMAGES), model.predict(IMAGES), atol=1e-3)
    assert served.card["features"] == model.features_


def test_points_of_another_shape_are_an_error(model):
    with pytest.raises(ValueError, match="`x`: got points of shape"):
        model.predict_labels(IMAGES[:, :8])


def test_the_same_seed_gives_the_same_model(model):
    again = tfdpm.fit(IMAGES, config=FAST, verbose=0)
    np.testing.assert_array_equal(again.predict(IMAGES), model.predict(IMAGES))


@pytest.mark.parametrize("features", ["none", "pca", "autoencoder"])
def test_every_kind_of_features_takes_raw_points(features):
    images = IMAGES[:60]
    fitted = tfdpm.fit(images, features=features, config=FAST, verbose=0)
    np.testing.assert_array_equal(fitted.labels_, fitted.predict_labels(images))
    dim = {"none": 256, "pca": 10, "autoencoder": 10}[features]
    width = fitted.encoder.output_shape[-1] if fitted.encoder else 256
    assert width == dim and fitted.features_ == f"{features} (asked for)"


def test_a_keras_model_is_features_and_stays_as_it_is():
    backbone = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3)])
    before = [np.array(value) for value in backbone.get_weights()]
    fitted = tfdpm.fit(IMAGES[:60], features=backbone, config=FAST, verbose=0)
    assert fitted.encoder.output_shape == (None, 4)
    np.testing.assert_array_equal(fitted.labels_, fitted.predict_labels(IMAGES[:60]))
    for one, two in zip(before, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_swav_is_features_of_colour_images():
    images = np.random.default_rng(0).integers(0, 255, size=(64, 16, 16, 3)).astype(np.uint8)
    fitted = tfdpm.fit(images, features="swav", config=FAST, verbose=0)
    np.testing.assert_array_equal(fitted.labels_, fitted.predict_labels(images))


def test_swav_of_a_table_is_an_error():
    with pytest.raises(ValueError, match="`features`: got 'swav'"):
        tfdpm.fit(np.random.default_rng(0).normal(size=(50, 4)), features="swav", verbose=0)


def test_a_stream_is_learnt_from_as_its_array_is():
    stream = as_features(tf.data.Dataset.from_tensor_slices(IMAGES).batch(50))
    rows = encoding.points_to_learn_from(stream, "umap", seed=0)
    np.testing.assert_array_equal(rows, IMAGES.astype(np.float32))


def test_digits_that_an_encoder_would_lose_are_named():
    x = as_features(1e9 + np.random.default_rng(0).normal(size=(50, 4)))
    with pytest.warns(UserWarning, match="Columns 0, 1, 2, 3: features='umap' computes in float32"):
        encoding.points_to_learn_from(x, "umap", seed=0)


@pytest.mark.parametrize(
    "kind", ["autoencoder", pytest.param("swav", marks=pytest.mark.slow), "umap"]
)
def test_a_stage_that_is_interrupted_goes_on_from_its_last_epoch(kind, tmp_path, monkeypatch):
    for name in ("_EFFORT", "_SWAV_EFFORT"):
        monkeypatch.setattr(encoding, name, encoding.Effort(100, 0, 4, 4))
    monkeypatch.setattr(encoding, "_BATCH_SIZE", 40)
    monkeypatch.setattr(encoding.parametric_umap, "_FEWEST_STEPS", 8)
    x = IMAGES[:80].astype(np.float32)
    choice = FeatureChoice(kind, "", (16, 16, 1))
    stage = {"autoencoder": "autoencoder", "swav": "views", "umap": "encoder"}[kind]

    class Run(Stages):
        """Counts the reports of one stage, and is interrupted at one of them."""

        def __init__(self, directory, stop=None):
            super().__init__(encoding.STAGES[kind], directory=directory, key="k")
            self.reports, self.start, self._stop = 0, 0, stop

        def resume(self, done, total):
            if self.names[self._current - 1] == stage:
                self.start = done / total

        def progress(self, done, total):
            self.reports += self.names[self._current - 1] == stage
            if self.reports == self._stop:
                raise KeyboardInterrupt

    whole = Run(None)
    wanted = encoding.learn_encoder(choice, x, whole, 0).encoder(x)
    with pytest.raises(KeyboardInterrupt):
        encoding.learn_encoder(choice, x, Run(tmp_path, stop=3 * whole.reports // 4), 0)
    assert any(path.name.endswith("-epochs-k.npz") for path in tmp_path.iterdir())
    again = Run(tmp_path)
    found = encoding.learn_encoder(choice, x, again, 0).encoder(x)
    assert again.start >= 0.5 and again.reports <= whole.reports // 2
    np.testing.assert_array_equal(found, wanted)
    assert not any(path.name.endswith("-epochs-k.npz") for path in tmp_path.iterdir())


def test_a_run_that_is_interrupted_goes_on_from_what_it_kept(tmp_path, monkeypatch):
    x = IMAGES[:80].astype(np.float32)
    choice = FeatureChoice("umap", "", (16, 16, 1))
    names = encoding.STAGES["umap"]
    real, calls = encoding.parametric_umap.fit_encoder, []

    def fit_encoder(rows, places, **options):
        calls.append(places)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return real(rows, places, epochs=1, hidden_units=(4,), seed=0)

    monkeypatch.setattr(encoding.parametric_umap, "fit_encoder", fit_encoder)
    with pytest.raises(KeyboardInterrupt, match="stage 2 of 3, encoder; run the same again"):
        encoding.learn_encoder(choice, x, Stages(names, directory=tmp_path, key="k"), 0)
    assert [path.name for path in tmp_path.iterdir()] == ["layout-k.npy"]

    def layout(*_, **__):
        raise AssertionError("the layout is kept")

    monkeypatch.setattr(encoding.parametric_umap, "neighbour_layout", layout)
    learned = encoding.learn_encoder(choice, x, Stages(names, directory=tmp_path, key="k"), 0)
    np.testing.assert_array_equal(calls[0], calls[1])
    kept = encoding.learn_encoder(choice, x, Stages(names, directory=tmp_path, key="k"), 0)
    assert len(calls) == 2
    np.testing.assert_array_equal(kept.encoder(x), learned.encoder(x))
    # Whoever encodes the same points again gets the same bits.
    np.testing.assert_array_equal(encode(learned.encoder, x), learned.places)
    np.testing.assert_array_equal(kept.neighbours, learned.neighbours)
