"""What Keras's own models take, log and save works here too, or is refused with a reason."""

from __future__ import annotations

import copy
import inspect
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdpm
from tfdpm import DeepDPM, metrics
from tfdpm.data import inputs as inputs_module

GENERATOR = np.random.default_rng(3)
Y = GENERATOR.integers(0, 3, 450)
X = np.array([[0.0, 0.0], [20.0, 5.0], [-3.0, 25.0]])[Y] + GENERATOR.normal(size=(450, 2))
pairs = tf.data.Dataset.from_tensor_slices


def fit(x=X, y=None, optimizer=None, **arguments) -> DeepDPM:
    model = DeepDPM(seed=0)
    if optimizer is not None:
        model.compile(optimizer)
    model.fit(x, y, **{"verbose": 0, **arguments})
    return model


@pytest.fixture(scope="module")
def model() -> DeepDPM:
    return fit(y=Y)


def is_right(model: DeepDPM, x=X, y=Y) -> bool:
    return metrics.nmi(y, model.predict_labels(x)) > 0.99


# -- streams --------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [True, False], ids=["held", "read in each pass"])
def test_points_far_from_zero_are_told_apart_in_streams(monkeypatch, held):
    if not held:
        monkeypatch.setattr(inputs_module, "_HELD_ELEMENTS", 0)
    far = 0.1 * X + 5e6
    made = fit(pairs((far, Y)).batch(100))
    assert metrics.nmi(Y, made.labels_) > 0.99
    assert made.history.history["nmi"][-1] > 0.99
    np.testing.assert_array_equal(made.labels_, made.predict_labels(far))
    np.testing.assert_allclose(made(far), made.predict(far), atol=1e-6)


@pytest.mark.parametrize("held", [True, False], ids=["held", "read in each pass"])
def test_labels_never_end_the_fit_of_a_stream(monkeypatch, held):
    if not held:
        monkeypatch.setattr(inputs_module, "_HELD_ELEMENTS", 0)
    text = np.array(["a", "b", "c"])[Y]
    missing = np.where(np.arange(450) % 7 == 0, np.nan, Y)
    for labels in (np.eye(3)[Y], Y[:, None], text, missing):
        assert fit(pairs((X, labels)).batch(100), epochs=1).history.history["nmi"] == [1.0]
    with pytest.warns(UserWarning, match="labels of `x`"):
        made = fit(pairs((X, X)).batch(100), epochs=1)
    assert is_right(made) and "nmi" not in made.history.history
    late = np.where(np.arange(450) < 300, Y, 0.5)  # none of the first batch tells
    with pytest.warns(UserWarning, match="They are not used"):
        made = fit(pairs((X, late)).batch(100), epochs=1)
    assert is_right(made)


@pytest.mark.parametrize("held", [True, False], ids=["held", "read in each pass"])
def test_weights_in_a_stream_count(monkeypatch, held):
    if not held:
        monkeypatch.setattr(inputs_module, "_HELD_ELEMENTS", 0)
    weights = np.where(Y == 1, 0.0, 2.0)
    stream = pairs((X, Y, weights)).batch(100)
    made, alike = fit(stream), fit(X, sample_weight=weights)
    assert made.n_clusters == alike.n_clusters == 2
    order = np.argsort(made.means_[:, 0])
    np.testing.assert_allclose(
        made.means_[order], alike.means_[np.argsort(alike.means_[:, 0])], atol=0.05
    )
    with pytest.raises(ValueError, match="`sample_weight`: got weights beside a stream"):
        fit(stream, sample_weight=weights)
    with pytest.raises(ValueError, match="`sample_weight`: got negative"):
        fit(pairs((X, Y, -weights)).batch(100))


def test_a_small_stream_is_read_once_and_a_large_one_once_a_pass(monkeypatch):
    starts = []

    def batches():
        starts.append(1)
        yield from X.reshape(3, 150, 2)

    spec = tf.TensorSpec([150, 2], tf.float64)
    stream = tf.data.Dataset.from_generator(batches, output_signature=spec)
    fit(stream, epochs=3)
    assert len(starts) <= 2  # one of them sees whether there is anything
    monkeypatch.setattr(inputs_module, "_HELD_ELEMENTS", 0)
    starts.clear()
    made = fit(stream, epochs=1)
    assert is_right(made)
    # Moments, a sample, statistics, tails, the end; the small epoch repeats what 100 steps need.
    assert len(starts) < 30


def test_a_stream_that_shuffles_is_said_for_results_in_its_order(model):
    shuffled = pairs((X, Y)).shuffle(450).batch(90)
    for call in (fit, model.predict_labels, model.predict):
        with pytest.warns(UserWarning, match="`x` is a stream that shuffles"):
            call(shuffled)


def test_endless_data_are_refused_at_once_unless_steps_are_given():
    for stream in (pairs(X).repeat().batch(90), pairs(X).batch(90).repeat().filter(lambda x: True)):
        with pytest.raises(ValueError, match="an endless dataset, wanted .* steps_per_epoch"):
            fit(stream)
    batches = (X[90 * (i % 5) : 90 * (i % 5) + 90] for i in itertools.count())
    made = fit(batches, steps_per_epoch=5, epochs=2, validation_data=(X, Y))
    assert is_right(made)
    assert made.history.history["val_nmi"][-1] > 0.99
    assert made.history.history["remembered_points"] == pytest.approx([450.0, 900.0])


# -- arguments ------------------------------------------------------------------------------------


def test_what_cannot_be_validated_or_compiled_is_named():
    with pytest.raises(ValueError, match="`validation_data`: got points of shape .3,., wanted 2"):
        fit(validation_data=np.ones((5, 3)), epochs=1)
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam())
    for name in ("optimizer", "subcluster_optimizer"):
        with pytest.raises(ValueError, match=f"`{name}`: got a LossScaleOptimizer, wanted the opt"):
            DeepDPM().compile(**{name: scaled})


def test_a_batch_has_no_more_rows_than_there_are_points():
    made, whole = fit(batch_size=10**6, epochs=1), fit(batch_size=450, epochs=1)
    assert is_right(made)
    np.testing.assert_allclose(made.predict(X), whole.predict(X), atol=1e-6)


def test_validation_points_are_scored_and_not_learned():
    far = X + 1000.0
    made = fit(X[:300], Y[:300], validation_data=(X[300:], Y[300:]), epochs=2)
    assert len(made.labels_) == 300
    logs = made.history.history
    assert logs["val_nmi"][-1] > 0.99 and logs["val_acc"][-1] > 0.99 and logs["val_ari"][-1] > 0.99
    expected = made.score_samples(X[300:]).mean()
    assert logs["val_log_density"][-1] == pytest.approx(expected, abs=0.05)
    assert fit(validation_data=far, epochs=1).history.history["val_log_density"][-1] < -20
    stream = fit(validation_data=pairs((X, Y)).batch(99), epochs=1)
    assert stream.history.history["val_nmi"] == [1.0]
    endless = pairs((X, Y)).batch(90).repeat()
    options = {"validation_steps": 5, "validation_freq": 2, "validation_batch_size": 50}
    goes_on = DeepDPM(tfdpm.DeepDPMConfig(settled_loss=None), seed=0)
    goes_on.fit(X, epochs=4, verbose=0, validation_data=endless, **options)
    assert len(goes_on.history.history["val_nmi"]) == 2


def test_a_split_keeps_the_last_points_apart():
    made = fit(X, Y, validation_split=0.2, epochs=1)
    assert len(made.labels_) == 360
    alike = fit(X[:360], Y[:360], validation_data=(X[360:], Y[360:]), epochs=1)
    assert made.history.history == alike.history.history
    for share in (1.0, -0.5, 0.9999):
        with pytest.raises(ValueError, match="`validation_split`: got"):
            fit(validation_split=share)


def test_callbacks_see_the_scores_of_validation():
    stopping = keras.callbacks.EarlyStopping("val_log_density", mode="max", patience=0)
    made = fit(validation_data=X, callbacks=[stopping], epochs=30)
    assert np.isfinite(stopping.best) and len(made.history.epoch) < 30


def test_arguments_of_keras_are_taken(model):
    made = DeepDPM(seed=0)
    made.fit(X, Y, verbose=False, shuffle=True, class_weight=None, epochs=1)
    assert is_right(made)
    with pytest.raises(ValueError, match="`class_weight`: got"):
        fit(class_weight={0: 1.0})
    whole = model.predict(X)
    np.testing.assert_array_equal(model.predict(X, steps=None, callbacks=None, verbose=True), whole)
    np.testing.assert_array_equal(model.predict_on_batch(X[:7]), model.predict(X[:7]))
    endless = pairs(X).batch(90).repeat()
    np.testing.assert_allclose(model.predict(endless, steps=5), whole, atol=1e-6)

    seen = []
    told = keras.callbacks.LambdaCallback()
    told.on_predict_batch_end = lambda batch, logs: seen.append((batch, len(logs["outputs"])))
    model.predict(X, batch_size=200, callbacks=[told])
    assert seen == [(0, 200), (1, 200), (2, 50)]


def test_evaluate_is_the_scores_of_labels_and_the_mean_density(model):
    result = model.evaluate(X, Y, verbose=0, return_dict=True)
    expected = metrics.score_labels(Y, model.predict_labels(X))
    expected = {"log_density": model.score_samples(X).mean(), **expected}
    assert list(result) == ["log_density", "nmi", "ari", "acc"]
    assert result == pytest.approx(expected, rel=1e-6)
    assert model.evaluate((X, Y)) == pytest.approx(list(result.values()))
    assert model.evaluate(pairs((X, Y)).batch(77)) == pytest.approx(list(result.values()))
    assert model.evaluate(X) == pytest.approx(result["log_density"])
    assert model.test_on_batch(X, Y) == pytest.approx(list(result.values()))
    with pytest.raises(ValueError, match="`train_on_batch`: got .*partial_fit"):
        model.train_on_batch(X)
    weights = np.where(Y == 0, 1.0, 0.0)
    own = model.evaluate(X, sample_weight=weights)
    assert own == pytest.approx(model.score_samples(X)[Y == 0].mean())


@pytest.mark.parametrize("held", [True, False], ids=["held", "read in each pass"])
def test_weights_count_in_an_evaluation_whatever_brings_them(model, monkeypatch, held):
    if not held:
        monkeypatch.setattr(inputs_module, "_HELD_ELEMENTS", 0)
    weights = np.linspace(0.0, 1.0, 450) ** 2
    wanted = np.average(model.score_samples(X), weights=weights)
    assert wanted != pytest.approx(model.evaluate(X), abs=1e-3)
    streams = (pairs((X, Y, weights)).batch(100), pairs((X, Y, weights[:, None])).batch(100))
    for scores in (
        model.evaluate((X, Y, weights)),
        model.evaluate(X, Y, sample_weight=weights[:, np.newaxis]),
        *(model.evaluate(stream) for stream in streams),
    ):
        assert scores == pytest.approx([wanted, 1.0, 1.0, 1.0], rel=1e-5)
    made = fit(validation_data=streams[0], epochs=1)
    assert made.history.history["val_log_density"][-1] == pytest.approx(wanted, abs=0.01)
    for bad, message in (
        (weights[:3], "got shape .3,., wanted .450."),
        (-weights, "got negative"),
        (np.full(450, np.nan), "got negative or infinite"),
        (0 * weights, "got weights that are all zero"),
    ):
        with pytest.raises(ValueError, match=f"`sample_weight`: {message}"):
            model.evaluate(X, sample_weight=bad)


def test_a_stream_that_ends_early_ends_the_fit():
    def batches():
        return (X[90 * (i % 5) :][:90] for i in range(7))

    stream = tf.data.Dataset.from_generator(
        batches, output_signature=tf.TensorSpec((None, 2), tf.float64)
    )
    for x in (batches(), stream):
        with pytest.warns(UserWarning, match="`x` ended after 7 batches"):
            made = fit(x, steps_per_epoch=5, epochs=4)
        assert made.history.epoch == [0, 1]
        assert is_right(made)


def test_what_batches_do_not_know_is_refused_with_steps(model):
    backup = keras.callbacks.BackupAndRestore("unused")
    for arguments, message in (
        ({"sample_weight": np.ones(450)}, "`sample_weight`: got a ndarray, wanted None"),
        ({"reference": model}, "`reference`: got a DeepDPM, wanted None"),
        ({"validation_split": 0.1}, "`validation_split`: got a float, wanted None"),
        ({"x": pairs((X, Y, np.ones(450))).batch(90)}, "`x`: got weights in a stream"),
        ({"callbacks": [backup]}, "`callbacks`: got a BackupAndRestore"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(**{"x": pairs(X).batch(90).repeat(), "steps_per_epoch": 5, **arguments})
    with pytest.raises(ValueError, match="`x`: got points with weights"):
        DeepDPM(seed=0).partial_fit((X, Y, np.ones(450)))


def test_a_frozen_model_answers_and_is_not_fitted():
    made = fit(epochs=1)
    made.trainable = False
    assert is_right(made)
    for call in (made.fit, made.partial_fit):
        with pytest.raises(ValueError, match="`trainable`: got False"):
            call(X)


def test_networks_do_not_share_an_optimizer():
    shared = keras.optimizers.Adam()
    with pytest.raises(ValueError, match="`subcluster_optimizer`: got the object that is"):
        DeepDPM().compile(shared, subcluster_optimizer=shared)


def test_a_loss_or_metric_is_refused_with_a_reason():
    for argument in ({"loss": "mse"}, {"metrics": ["accuracy"]}, {"weighted_metrics": ["acc"]}):
        with pytest.raises(ValueError, match=f"`{next(iter(argument))}`: got .*evaluate"):
            DeepDPM().compile(**argument)


def test_formats_of_export_are_those_of_the_methods(model, tmp_path):
    model.export(tmp_path / "served", format="tf_saved_model")
    served = tfdpm.load(tmp_path / "served")
    np.testing.assert_array_equal(served.predict_labels(X), model.labels_)
    model.export(tmp_path / "model.tflite", format="litert")
    model.export(tmp_path / "same.tflite", format="tflite")
    model.export(tmp_path / "again", format="savedmodel")
    assert {path.name for path in tmp_path.iterdir()} >= {"same.tflite", "again"}
    assert (tmp_path / "model.tflite").read_bytes()[4:8] == b"TFL3"
    with pytest.raises(ValueError, match="`format`: got 'openvino', wanted one of"):
        model.export(tmp_path / "other", format="openvino")


# -- optimizers and policies ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Adafactor", "Lamb", "Lion", "Muon", "SGD"])
def test_optimizers_fit_and_go_on_when_loaded(name, tmp_path):
    made = fit(optimizer=getattr(keras.optimizers, name)(), epochs=4)
    assert is_right(made)
    made.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer).__name__ == name
    loaded.fit(X, verbose=0, epochs=2)
    assert is_right(loaded)


def test_adafactor_grows_with_the_number_of_clusters():
    x, y = tfdpm.data.gaussian_mixture(20, 2, 2000, seed=0)
    made = DeepDPM(tfdpm.DeepDPMConfig(start="kmeans", fixed_k=20), seed=0)
    made.compile(keras.optimizers.Adafactor(), subcluster_optimizer=keras.optimizers.Adafactor())
    made.fit(x, epochs=2, verbose=0)
    assert all(np.isfinite(weight).all() for weight in made.get_weights()) and len(y) == 2000


@pytest.mark.parametrize("rate", [1e4, 1e8])
def test_networks_that_diverge_are_named(rate):
    near = X / 5 + np.random.default_rng(0).normal(size=X.shape)
    with pytest.raises(ValueError, match="`optimizer`: got SGD with learning rate 1e"):
        fit(near, optimizer=keras.optimizers.SGD(rate), epochs=5)


def test_networks_as_bad_as_a_guess_are_told():
    with pytest.warns(UserWarning, match="Ftrl made a network .* as bad as a guess"):
        fit(optimizer=keras.optimizers.Ftrl(), epochs=2)


@pytest.fixture(params=["mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64"])
def policy(request):
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


def test_any_policy_of_the_program_gives_the_same_fit(policy, model, tmp_path):
    made = fit(y=Y)
    np.testing.assert_array_equal(made.labels_, model.labels_)
    np.testing.assert_allclose(made.predict(X), model.predict(X), atol=1e-6)
    made.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict_labels(X), made.labels_)
    assert {weight.dtype for weight in loaded.weights} == {"float32"}
    assert is_right(DeepDPM(seed=0).partial_fit(X))


# -- saving ---------------------------------------------------------------------------------------


def inside_functional(model):
    inputs = keras.Input((2,))
    return keras.Model(inputs, keras.layers.Rescaling(2.0)(model(inputs)))


def inside_sequential(model):
    return keras.Sequential([keras.Input((2,)), keras.layers.Rescaling(0.5), model])


@pytest.mark.parametrize("make", [inside_functional, inside_sequential])
@pytest.mark.parametrize("is_compiled", [True, False])
def test_a_model_inside_another_is_saved_and_loaded(make, is_compiled, tmp_path):
    inner = fit()
    if not is_compiled:
        inner.save(tmp_path / "inner.keras")
        inner = keras.models.load_model(tmp_path / "inner.keras", compile=False)
    outer = make(inner)
    assert outer.output_shape == (None, 3)
    expected = outer.predict(X, verbose=0)
    outer.save(tmp_path / "outer.keras")
    loaded = keras.models.load_model(tmp_path / "outer.keras")
    np.testing.assert_allclose(loaded.predict(X, verbose=0), expected, atol=1e-6)
    (again,) = (each for each in loaded.layers if isinstance(each, DeepDPM))
    np.testing.assert_array_equal(again.labels_, inner.labels_)
    np.testing.assert_allclose(again.score_samples(X), inner.score_samples(X))


def test_hdf5_is_refused(model, tmp_path):
    for name in ("model.h5", "model.hdf5"):
        with pytest.raises(
            ValueError, match="`filepath`: got .* wanted a path that ends in .keras"
        ):
            model.save(tmp_path / name)
        outer = keras.Sequential([keras.Input((2,)), model])
        with pytest.raises(ValueError, match="`filepath`: got an .h5 file .* ends in .keras"):
            outer.save(tmp_path / name)


def test_weights_of_another_model_are_refused(tmp_path):
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    other.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(ValueError, match="`filepath`: got .*other.weights.h5', which holds no"):
        DeepDPM().load_weights(tmp_path / "other.weights.h5")


def test_weights_go_into_a_new_model(model, tmp_path):
    path = str(tmp_path / "model.weights.h5")
    model.save_weights(path)
    for new in (DeepDPM(), DeepDPM(seed=5).compile("sgd")):
        new.load_weights(path)
        np.testing.assert_array_equal(new.labels_, model.labels_)
        np.testing.assert_array_equal(new.predict(X), model.predict(X))
        np.testing.assert_allclose(new.score_samples(X), model.score_samples(X))
        new.fit(X, verbose=0, epochs=1)
        assert is_right(new)


def test_what_waits_in_a_stream_is_in_every_saved_form(tmp_path):
    online = DeepDPM(seed=0).partial_fit(X[:300])
    online.partial_fit(np.array([[300.0, 300.0], [301.0, 299.0]]))
    assert len(online.fitted.result.waiting) == 2
    online.save(tmp_path / "model.keras")
    online.save_weights(tmp_path / "model.weights.h5")
    new = DeepDPM(seed=0)
    new.load_weights(tmp_path / "model.weights.h5")
    others = [keras.models.load_model(tmp_path / "model.keras"), copy.deepcopy(online), new]
    online.partial_fit(X[300:])
    for other in others:
        other.partial_fit(X[300:])
        np.testing.assert_array_equal(other.memory.rows, online.memory.rows)
        np.testing.assert_array_equal(other.fitted.result.waiting, online.fitted.result.waiting)
        np.testing.assert_allclose(other.means_, online.means_)


def test_after_an_interrupted_second_fit_there_are_no_labels_of_older_data():
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    made = fit()
    with pytest.raises(KeyboardInterrupt):
        made.fit(X[:200], verbose=0, callbacks=[Stop()])
    with pytest.raises(RuntimeError, match="`labels_`: got weights that were saved within a fit"):
        _ = made.labels_
    assert is_right(made)
    made.fit(X[:200], verbose=0)
    assert len(made.labels_) == 200


@pytest.mark.parametrize("scheme", ["gs", "s3", "hdfs"])
def test_paths_of_other_machines_are_refused_before_anything_is_written(
    scheme, model, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    away = f"{scheme}://bucket/folder"
    callbacks = tfdpm.callbacks
    for call in (
        lambda: model.export(f"{away}/1"),
        lambda: model.export_tflite(f"{away}/m.tflite"),
        lambda: model.report(f"{away}/report.html"),
        lambda: tfdpm.fit(X, directory=away, verbose=0),
        lambda: tfdpm.load(away),
        lambda: callbacks.Checkpoint(f"{away}/c.npz"),
        lambda: callbacks.MoveLedger(f"{away}/moves.csv"),
        lambda: callbacks.ClusterPlot(away, X),
        lambda: callbacks.ClusterBoard(away),
        lambda: callbacks.Animation(f"{away}/a.gif", X),
        lambda: tfdpm.JointClustering(seed=0).fit(X, directory=away, verbose=0),
    ):
        with pytest.raises(ValueError, match=f"got '{away}.*wanted a local path"):
            call()
    assert list(tmp_path.iterdir()) == []


# -- strategies -----------------------------------------------------------------------------------


def test_a_strategy_is_that_of_the_scope_or_of_the_argument(tmp_path):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    given = tfdpm.fit(X, strategy=strategy, features="none", epochs=1, verbose=0)
    with strategy.scope():
        within = tfdpm.fit(X, features="none", epochs=1, verbose=0)
        compiled = DeepDPM(seed=0)
        compiled.compile(keras.optimizers.Adam(2e-3))
        compiled.fit(X, epochs=1, verbose=0)
        compiled.partial_fit(X[:50])
        within.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(loaded.labels_, within.predict_labels(X))
        loaded.fit(X, epochs=1, verbose=0)
    assert not tf.distribute.has_strategy()
    for made in (given, within, compiled, loaded):
        assert made.fitted.networks.strategy is strategy
        assert is_right(made)


# -- copies and order of arguments ----------------------------------------------------------------


@pytest.mark.parametrize(
    "copied",
    [keras.models.clone_model, lambda model: keras.models.model_from_json(model.to_json())],
    ids=["clone_model", "json"],
)
def test_a_copy_without_clusters_can_be_fitted(model, copied):
    made = copied(model)
    made.fit(X, verbose=0)
    assert is_right(made)
    assert is_right(model)


def test_arguments_may_stand_in_the_order_of_keras():
    made = DeepDPM(seed=0)
    made.fit(X, Y, 64, 1, 0, None, 0.2)
    assert made.history.epoch == [0]
    assert {"val_nmi", "nmi"} <= set(made.history.history)
    names = list(inspect.signature(DeepDPM.fit).parameters)
    assert names[: names.index("must_link")] == list(inspect.signature(keras.Model.fit).parameters)


def test_weights_may_be_a_column():
    weights = np.where(Y == 1, 0.0, 2.0)
    column = pairs((X, Y, weights[:, np.newaxis])).batch(100)
    assert fit(column).n_clusters == fit(X, sample_weight=weights[:, np.newaxis]).n_clusters == 2


def test_quantised_networks_are_refused(model):
    with pytest.raises(ValueError, match="`quantize`: got a DeepDPM"):
        model.quantize("int8")
