"""Joint training on clusters bent into more dimensions: K, scores, keeping, going on."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits, load_wine

from tfdpm.config import DeepDPMConfig
from tfdpm.data import gaussian_mixture
from tfdpm.data import inputs as inputs_module
from tfdpm.features import autoencoder as autoencoders
from tfdpm.joint import model as joint
from tfdpm.joint.config import JointConfig
from tfdpm.joint.model import JointClustering

CONFIG = JointConfig(
    latent_dim=2,
    embedding="none",
    pretrain_epochs=15,
    round_epochs=3,
    max_rounds=2,
    stable_rounds=None,
    learning_rate=5e-3,
    round_learning_rate=2e-3,
    batch_size=64,
    clustering=DeepDPMConfig(fixed_k=3, epochs=2, min_steps_per_epoch=20),
)


@pytest.fixture(scope="module")
def data():
    flat, y = gaussian_mixture(3, 2, 300, separation=5, anisotropy=1, seed=4)
    return (flat @ np.random.default_rng(0).normal(size=(2, 12))).astype(np.float32), y


def new(config=CONFIG, seed=0):
    autoencoder = autoencoders.dense(12, latent_dim=2, hidden_units=(32,), seed=seed)
    return JointClustering(config, autoencoder=autoencoder, seed=seed)


@pytest.fixture(scope="module")
def fitted(data):
    model = new()
    model.fit(*data, verbose=0)
    return model


def test_clusters_are_found_and_scored_by_round(fitted, data) -> None:
    history = fitted.history.history
    assert fitted.n_clusters == 3
    assert history["n_clusters"] == [3, 3]
    assert history["ari"][-1] > 0.85
    assert set(history) == {
        "n_clusters", "reconstruction_loss", "clustering_loss", "nmi", "ari", "acc",
    }  # fmt: skip
    assert history["clustering_loss"][0] == 0 < history["clustering_loss"][1]
    np.testing.assert_array_equal(fitted.labels_, fitted.predict_labels(data[0]))
    assert fitted.cluster_sizes_.sum() == 300


def test_pull_makes_clusters_denser_than_reconstruction_alone(data) -> None:
    def within(weight):
        model = new(
            CONFIG.replace(clustering_weight=weight, round_epochs=20, round_learning_rate=5e-3)
        )
        model.fit(data[0], verbose=0)
        latents = model.embed(data[0])
        means = np.stack([latents[model.labels_ == k].mean(axis=0) for k in range(3)])
        return np.mean((latents - means[model.labels_]) ** 2) / latents.var(axis=0).mean()

    assert within(50.0) < 0.7 * within(1e-6)


def test_saved_model_answers_alike_on_raw_points(fitted, data, tmp_path) -> None:
    fitted.save(tmp_path / "joint.keras")
    loaded = keras.saving.load_model(tmp_path / "joint.keras")
    x = data[0]
    np.testing.assert_array_equal(loaded.predict(x), fitted.predict(x))
    np.testing.assert_array_equal(loaded.score_samples(x), fitted.score_samples(x))
    np.testing.assert_array_equal(loaded.labels_, fitted.labels_)
    np.testing.assert_allclose(loaded(x), fitted.predict(x), atol=1e-6)
    assert loaded.history.history == fitted.history.history
    assert loaded.config == fitted.config
    stream = tf.data.Dataset.from_tensor_slices(x).batch(100)
    np.testing.assert_array_equal(loaded.predict_labels(stream), fitted.labels_)


def test_export_takes_raw_points(fitted, data, tmp_path) -> None:
    fitted.export(tmp_path / "joint" / "1")
    serve = tf.saved_model.load(str(tmp_path / "joint" / "1")).signatures["serving_default"]
    answer = serve(inputs=tf.constant(data[0]))
    np.testing.assert_array_equal(answer["labels"], fitted.labels_)
    np.testing.assert_allclose(answer["log_density"], fitted.score_samples(data[0]), atol=1e-3)


class Interruption(keras.callbacks.Callback):
    """Stops the program within a round."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


def test_interrupted_fit_ends_as_if_it_had_not_been(fitted, data, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        new().fit(*data, directory=tmp_path, callbacks=[Interruption()], verbose=0)
    model = new()
    model.fit(*data, directory=tmp_path, verbose=0)  # the same seed: the same model
    assert model.history.history == fitted.history.history
    np.testing.assert_array_equal(model.predict(data[0]), fitted.predict(data[0]))
    with pytest.raises(ValueError, match=r"^`directory`: got .*kept by a fit of other data"):
        new(seed=1).fit(*data, directory=tmp_path, verbose=0)


def test_fit_that_is_interrupted_within_a_stage_ends_as_if_it_had_not_been(
    fitted, data, tmp_path, monkeypatch
) -> None:
    """Once in the pretraining, once in the second round's autoencoder."""
    real, seen = joint.ProgressDisplay.step, []

    def step(display, steps=1, note=""):
        real(display, steps, note)
        seen.append(note.partition(" ")[0])
        if seen.count("reconstruction") == 9 or seen.count("distance") == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(joint.ProgressDisplay, "step", step)
    with pytest.raises(KeyboardInterrupt):
        new().fit(*data, directory=tmp_path, verbose=0)
    assert [path.name for path in tmp_path.iterdir()] == ["joint-epochs.npz"]
    seen.append("reconstruction")
    with pytest.raises(KeyboardInterrupt):
        new().fit(*data, directory=tmp_path, verbose=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["joint-epochs.npz", "joint.keras"]
    monkeypatch.setattr(joint.ProgressDisplay, "step", real)
    model = new()
    runs = []
    monkeypatch.setattr(joint.EpochBackup, "save", lambda *args: runs.append(args[1]))
    model.fit(*data, directory=tmp_path, verbose=0)
    assert runs == [3]  # two of the second round's three epochs were kept
    assert model.history.history == fitted.history.history
    np.testing.assert_array_equal(model.predict(data[0]), fitted.predict(data[0]))
    assert [path.name for path in tmp_path.iterdir()] == ["joint.keras"]


def test_stops_when_k_is_stable(data) -> None:
    model = new(CONFIG.replace(stable_rounds=1, max_rounds=4))
    model.fit(data[0], verbose=0)
    assert model.history.history["n_clusters"] == [3, 3]


@pytest.mark.parametrize(("name", "rounds", "most"), [("digits", 2, 18), ("wine", 3, 5)])
def test_rounds_keep_the_number_of_clusters_of_few_points(name, rounds, most) -> None:
    """Of ten digits there were 25 and then 36 clusters, of three wines 5 and then 8."""
    x, y = {"digits": load_digits, "wine": load_wine}[name](return_X_y=True)
    if name == "wine":
        x = (x - x.mean(axis=0)) / x.std(axis=0)
    model = JointClustering(JointConfig(max_rounds=rounds, stable_rounds=None))
    history = model.fit(x[:600], y[:600], verbose=0).history
    assert max(history["n_clusters"]) <= most
    assert history["acc"][-1] > max(history["acc"][0] - 0.02, 0.7)


def test_vectors_of_pixels_are_moved_like_images() -> None:
    x = load_digits().data[:200]

    def reconstruction(points, augment):
        settings = {"latent_dim": 10, "pretrain_epochs": 30, "learning_rate": 1e-3}
        model = JointClustering(CONFIG.replace(augment=augment, max_rounds=1, **settings))
        model.fit(points, verbose=0)
        return model.progress.losses.reconstruction

    moved = reconstruction(x, augment=True)
    assert moved == pytest.approx(reconstruction(x.reshape(-1, 8, 8), augment=True), rel=0.01)
    assert moved > 1.2 * reconstruction(x, augment=False)


def test_prior_that_is_given_is_kept_for_every_round(data) -> None:
    clustering = DeepDPMConfig(prior_scale=3.0, epochs=1)
    config = CONFIG.replace(embedding="umap", clustering=clustering, max_rounds=1)
    model = new(config)
    model.fit(data[0], verbose=0)
    assert model.clustering.config.prior_scale == 3.0


def test_images_through_a_convolutional_encoder_and_a_layout(monkeypatch) -> None:
    monkeypatch.setattr(joint, "_EMBEDDER_EPOCHS", 40)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 40, size=(120, 8, 8), dtype=np.uint8)
    images[:60, 2:4, 1:7] += 200
    images[60:, 1:7, 5:7] += 200
    model = JointClustering(
        CONFIG.replace(
            clustering=DeepDPMConfig(fixed_k=2, epochs=2),
            encoder="convolutional",
            embedding="umap",
            max_rounds=1,
            pretrain_epochs=4,
        )
    )
    model.fit(images, verbose=0)
    assert len(set(model.labels_[:60]) & set(model.labels_[60:])) == 0
    np.testing.assert_array_equal(model.predict_labels(images), model.labels_)
    np.testing.assert_array_equal(model.predict_labels(images[:7, ..., None]), model.labels_[:7])


def test_only_parts_of_the_last_round_are_layers(fitted, data) -> None:
    """Each round left its clustering among the layers, and the weights grew by its size."""
    assert fitted.layers == [fitted.autoencoder, fitted.scaling, fitted.clustering]
    before = len(fitted.weights)
    model = new(CONFIG.replace(max_rounds=1))
    model.fit(*data, verbose=0)
    assert len(model.weights) == before


@pytest.mark.parametrize(
    "copied",
    [keras.models.clone_model, lambda model: keras.models.model_from_json(model.to_json())],
    ids=["clone_model", "json"],
)
def test_a_copy_without_weights_can_be_fitted(fitted, data, copied) -> None:
    model = copied(fitted)
    history = model.fit(*data, verbose=0).history
    assert len(history["n_clusters"]) == 2
    assert history["ari"][-1] > 0.8


def test_a_model_inside_another_is_saved_and_loaded(fitted, data, tmp_path) -> None:
    inputs = keras.Input((12,))
    outer = keras.Model(inputs, keras.layers.Rescaling(2.0)(fitted(inputs)))
    assert outer.output_shape == (None, 3)
    outer.save(tmp_path / "outer.keras")
    loaded = keras.models.load_model(tmp_path / "outer.keras")
    expected = 2 * fitted.predict(data[0])
    np.testing.assert_allclose(loaded.predict(data[0], verbose=0), expected, atol=1e-5)


def test_keras_methods_are_those_of_the_clustering_of_raw_points(fitted, data, tmp_path) -> None:
    x, y = data
    scores = fitted.evaluate(x, y, verbose=0, return_dict=True)
    assert scores["log_density"] == pytest.approx(fitted.score_samples(x).mean())
    assert scores["acc"] == pytest.approx(fitted.history.history["acc"][-1])
    assert fitted.test_on_batch(x, y) == pytest.approx(list(scores.values()))
    whole = fitted.predict(x)
    np.testing.assert_array_equal(fitted.predict(x, 50, "auto", 2, None), whole[:100])
    np.testing.assert_array_equal(fitted.predict_on_batch(x), whole)
    fitted.export(tmp_path / "model.tflite", format="tflite", verbose=False)
    assert (tmp_path / "model.tflite").read_bytes()[4:8] == b"TFL3"
    with pytest.raises(ValueError, match="`train_on_batch`: got a batch, wanted all points"):
        fitted.train_on_batch(x)
    with pytest.raises(ValueError, match="`quantize`: got a JointClustering"):
        fitted.quantize("int8")


def test_weights_of_an_earlier_round_are_put_back_with_its_clusters(data) -> None:
    x = data[0]
    seen = []
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append((model.embed(x), model.score_samples(x)))
    )
    options = {"mode": "max", "restore_best_weights": True}
    first = keras.callbacks.EarlyStopping("reconstruction_loss", **options)
    model = new()
    model.fit(x, callbacks=keras.callbacks.CallbackList([keep, first]), verbose=0)
    assert np.abs(seen[1][1] - seen[0][1]).max() > 0.01
    np.testing.assert_allclose(model.embed(x), seen[0][0], atol=1e-5)
    np.testing.assert_allclose(model.score_samples(x), seen[0][1], atol=1e-4)
    np.testing.assert_array_equal(model.labels_, model.predict_labels(x))
    model.set_weights(model.get_weights())
    with pytest.raises(RuntimeError, match="`labels_`: got weights that were set by hand"):
        _ = model.labels_


def test_callbacks_of_keras_see_the_rounds(data, tmp_path) -> None:
    callbacks = keras.callbacks
    given = [
        callbacks.ModelCheckpoint(tmp_path / "round{epoch}.keras"),
        callbacks.ModelCheckpoint(tmp_path / "last.weights.h5", save_weights_only=True),
        callbacks.CSVLogger(tmp_path / "log.csv"),
        callbacks.TensorBoard(tmp_path / "board", histogram_freq=1),
        callbacks.TerminateOnNaN(),
    ]
    model = new()
    model.fit(data[0], callbacks=given, verbose=0)
    again = keras.models.load_model(tmp_path / "round2.keras")
    np.testing.assert_array_equal(again.predict(data[0]), model.predict(data[0]))
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3
    again.load_weights(tmp_path / "last.weights.h5")
    np.testing.assert_array_equal(again.predict(data[0]), model.predict(data[0]))
    model.fit(data[0], rounds=2, callbacks=callbacks.TerminateOnNaN(), verbose=0)


def test_what_has_no_meaning_is_refused_in_one_line(data) -> None:
    model = new()
    model.compile()
    for call, message in (
        (lambda: model.compile("sgd"), "`optimizer`: got a str, wanted None: `config` has the"),
        (lambda: model.compile(metrics=["mae"]), "`metrics`: got a list, wanted None"),
        (lambda: model.fit(data[0], epochs=2), "`epochs`: got a int, wanted None: `rounds`"),
        (lambda: model.fit(data[0], batch_size=9), "`batch_size`: got a int, wanted None: `conf"),
        (
            lambda: model.fit(data[0], sample_weight=data[1]),
            "`sample_weight`: got a ndarray, wanted None: every round learns from all points",
        ),
        (
            lambda: model.fit(data[0], callbacks=keras.callbacks.ReduceLROnPlateau("loss")),
            "`callbacks`: got a ReduceLROnPlateau, wanted none",
        ),
    ):
        with pytest.raises(ValueError, match=message) as raised:
            call()
        assert "\n" not in str(raised.value)


def test_a_fit_in_the_scope_of_a_strategy_is_that_of_one_device(data) -> None:
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    alone = JointClustering(CONFIG.replace(max_rounds=1), seed=0)
    alone.fit(data[0], verbose=0)
    with strategy.scope():
        within = JointClustering(CONFIG.replace(max_rounds=1), seed=0)
        within.fit(data[0], verbose=0)
        mirrored = new()
    np.testing.assert_array_equal(within.labels_, alone.labels_)
    with pytest.raises(ValueError, match="`autoencoder`: got a model made in the scope"):
        mirrored.fit(data[0], verbose=0)


def test_progress_tells_stages(data, capsys) -> None:
    new(CONFIG.replace(max_rounds=1, pretrain_epochs=1)).fit(*data, verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("pretraining: reconstruction ")
    assert lines[1].startswith("round 1 of at most 1: K ")
    assert lines[1].endswith(" s left")


def test_mistakes_are_named(data, monkeypatch) -> None:
    x = data[0]
    monkeypatch.setattr(inputs_module, "_HELD_ELEMENTS", 0)
    with pytest.raises(RuntimeError, match=r"^`model`: got a model that was not fitted"):
        new().predict(x)
    with pytest.raises(TypeError, match=r"^`x`: got a stream"):
        new().fit(tf.data.Dataset.from_tensor_slices(x), verbose=0)
    with pytest.raises(TypeError, match=r"^`config`: got int"):
        JointClustering(3)
    with pytest.raises(ValueError, match=r"^`x`: got points of shape \(12,\), wanted images"):
        JointClustering(CONFIG.replace(encoder="convolutional")).fit(x, verbose=0)
    with pytest.raises(ValueError, match=r"^`autoencoder`: got inputs of shape \(12,\)"):
        new().fit(x[:, :5], verbose=0)
