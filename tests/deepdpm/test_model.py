"""The model itself: what it learns, what it reports, how it is saved. Inputs: test_pipeline.py."""

from __future__ import annotations

import logging
import timeit
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp

import tfdpm
from tests.reference import niw as reference
from tfdpm import DeepDPM, DeepDPMConfig
from tfdpm.deepdpm import inference
from tfdpm.mixture.density import LogJoint

FAST = DeepDPMConfig(
    min_steps_per_epoch=20,
    epochs=5,
    first_move_epoch=1,
    move_interval_epochs=1,
    frozen_epochs=1,
    stable_epochs=None,
)
X, Y = tfdpm.data.gaussian_mixture(3, 2, 300, seed=0)
X = 10.0 * X + 100.0  # raw units that are not the features'


def fit(x=X, y=None, config=FAST, **arguments):
    model = DeepDPM(config, seed=0)
    model.fit(x, y, **{"verbose": 0, **arguments})
    return model


@pytest.fixture(scope="module")
def model():
    return fit(y=Y)


@pytest.fixture(scope="module")
def single_column():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-20, 1, size=(80, 1)), rng.normal(30, 3, size=(120, 1))])
    return fit(x)


# -- what a fit finds -----------------------------------------------------------------------------


def test_the_clusters_are_those_of_the_mixture(model):
    assert model.n_clusters == 3
    assert tfdpm.metrics.ari(Y, model.labels_) == pytest.approx(1.0)


def test_labels_are_those_of_predict(model):
    np.testing.assert_array_equal(model.labels_, model.predict_labels(X))
    np.testing.assert_array_equal(model.labels_, model.predict(X).argmax(axis=1))
    np.testing.assert_array_equal(model.cluster_sizes_, np.bincount(model.labels_))
    assert model.labels_.dtype == np.int64 and model.labels_.shape == (300,)


def test_responsibilities_sum_to_one_and_do_not_depend_on_the_batch(model):
    responsibilities = model.predict(X)
    assert responsibilities.shape == (300, 3) and responsibilities.dtype == np.float32
    np.testing.assert_allclose(responsibilities.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(model.predict(X, batch_size=7), responsibilities, atol=1e-6)
    np.testing.assert_allclose(model.predict(X[5:6]), responsibilities[5:6], atol=1e-6)
    np.testing.assert_allclose(model(tf.constant(X)), responsibilities, atol=1e-6)


def test_one_point_is_answered_like_many_and_at_once(model):
    row = X[5:6]
    for ask in (model.predict_labels, model.score_samples, model.outlier_p):
        np.testing.assert_allclose(ask(row), ask(X)[5:6], rtol=1e-6)
        seconds = min(timeit.repeat(lambda ask=ask: ask(row), number=1, repeat=50))
        assert seconds < 6e-4  # TensorFlow's operations take 10 to 40 times as long


def test_the_networks_say_what_the_mixture_says(model):
    features = model.fitted.state.preprocessing.transform(X)
    expected = tf.nn.softmax(LogJoint(model.mixture_)(features)).numpy()
    assert np.abs(model.predict(X) - expected).mean() < 0.02


def test_moments_of_clusters_are_given_in_raw_units(model):
    assert model.means_.shape == (3, 2) and model.covariances_.shape == (3, 2, 2)
    for k in range(3):
        rows = X[model.labels_ == k].astype(np.float64)
        np.testing.assert_allclose(model.means_[k], rows.mean(axis=0), atol=1.0)
        np.testing.assert_allclose(model.weights_[k], len(rows) / 300, atol=0.02)
        # MAP covariances are a little smaller or larger: pseudo-points of the prior.
        ratio = np.linalg.det(model.covariances_[k]) / np.linalg.det(np.cov(rows.T))
        assert 0.5 < ratio < 2.0
    assert model.weights_.sum() == pytest.approx(1.0)


def test_the_history_tells_of_every_epoch(model):
    history = model.history.history
    assert {"loss", "subcluster_loss", "n_clusters", "accepted_splits", "accepted_merges"} <= set(
        history
    )
    assert model.history.epoch == list(range(5))
    assert all(len(values) == 5 for values in history.values())
    assert all(0.0 <= loss < 0.01 for loss in history["loss"][1:])
    scores = [history[name][-1] for name in ("nmi", "acc", "ari")]
    np.testing.assert_allclose(scores, 1.0, rtol=1e-12)
    assert history["n_clusters"][-1] == 3


# -- densities ------------------------------------------------------------------------------------


def slow_log_density(model, x):
    """Mixture of multivariate t densities from responsibilities and prior, by loops and SciPy."""
    preprocessing = model.fitted.state.preprocessing
    train = preprocessing.transform(X if x.shape[1] == 2 else None)
    responsibilities = model.predict(X).astype(np.float64)
    prior = [np.asarray(part) for part in model.prior_]
    prior = prior[0], float(prior[1]), float(prior[2]), prior[3]
    columns = []
    for k in range(model.n_clusters):
        after = reference.posterior(prior, train.astype(np.float64), responsibilities[:, k])
        weight = (responsibilities[:, k].sum() + 1.0 / 3.0) / (len(X) + 1.0)
        density = reference.predictive(after).logpdf(preprocessing.transform(x))
        columns.append(np.log(weight) + density)
    volume = np.linalg.slogdet(preprocessing.projection)[1]
    return logsumexp(columns, axis=0) + volume


def test_scores_are_the_log_density_of_a_mixture_of_t_distributions(model):
    x = np.concatenate([X[:20], [[0.0, 0.0], [1000.0, -500.0]]])
    scores = model.score_samples(x)
    assert scores.dtype == np.float64 and scores.shape == (22,)
    np.testing.assert_allclose(scores, slow_log_density(model, x), rtol=1e-4, atol=1e-3)
    assert scores[:20].min() > scores[20:].max()


def test_the_density_integrates_to_one_in_two_dimensions(model):
    centre, reach = X.mean(axis=0), 3.0 * np.abs(X - X.mean(axis=0)).max()
    axis = np.linspace(-reach, reach, 400)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2) + centre
    total = np.exp(model.score_samples(grid)).sum() * (axis[1] - axis[0]) ** 2
    assert total == pytest.approx(1.0, abs=0.01)


def test_the_density_integrates_to_one_in_one_dimension(single_column):
    assert single_column.n_clusters == 2
    assert "nmi" not in single_column.history.history  # no labels were given
    axis = np.linspace(-200, 200, 20_001)
    total = np.exp(single_column.score_samples(axis[:, None])).sum() * (axis[1] - axis[0])
    assert total == pytest.approx(1.0, abs=0.01)


# -- what users read ------------------------------------------------------------------------------


def test_the_summary_tells_the_number_sizes_prior_and_moves(model):
    lines = []
    model.summary(print_fn=lambda text, **_: lines.append(text))
    text = "\n".join(lines)
    sizes = ", ".join(str(size) for size in sorted(model.cluster_sizes_)[::-1])
    assert "Clusters: 3" in text and f"Sizes: {sizes}" in text
    assert "Prior: mean_precision 0.0001" in text and "merges accepted" in text
    assert "clustering" in text


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_one_cloud_is_one_cluster_at_any_scale_and_no_other_scale_is_advised(kind):
    x = getattr(np.random.default_rng(0), kind)(size=(1000, 2))
    for scale in (0.01, 1.0, 100.0):
        model = fit(x, config=FAST.replace(prior_scale=scale), epochs=1)
        assert model.n_clusters == 1
        lines = []
        model.summary(print_fn=lambda text, lines=lines, **_: lines.append(text))
        made = model.moves_
        assert lines[-1].startswith(f"Moves: {made.accepted_splits} of {made.proposed_splits} ")
        assert "prior_scale" not in "\n".join(lines)


def test_a_model_that_was_not_fitted_says_so(capsys):
    model = DeepDPM()
    model.summary()
    assert "Not fitted yet." in capsys.readouterr().out
    for ask in (
        lambda: model.predict(X),
        lambda: model.predict_labels(X),
        lambda: model.score_samples(X),
        lambda: model.n_clusters,
        lambda: model.labels_,
        lambda: model.means_,
    ):
        with pytest.raises(RuntimeError, match="`model`: got a model that was not fitted"):
            ask()


@pytest.mark.parametrize("verbose", [1, 2])
def test_progress_is_one_readable_line_an_epoch(verbose, capfd):
    fit(y=Y, epochs=2, verbose=verbose)
    out, err = capfd.readouterr()
    lines = [line for line in (out + err).splitlines() if "K " in line]
    assert len(lines) == 2, out + err
    assert "epoch 1 of " in lines[0] and "epoch 2 of 2, " in lines[1]
    for part in ("K 3", "loss 0.", "subcluster_loss", "splits 0", "merges 0", "nmi 1.0", "left"):
        assert part in lines[1]
    assert "\x1b" not in out + err and "\r" not in out + err


def test_silence_is_silent(capfd):
    messages = []
    handler = logging.Handler()
    handler.emit = messages.append
    logging.getLogger().addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            trained = fit(epochs=1, verbose=0)
            trained.predict(X)
    finally:
        logging.getLogger().removeHandler(handler)
    assert capfd.readouterr() == ("", "") and not messages


# -- saving and going on --------------------------------------------------------------------------


def test_a_saved_model_says_the_same_and_goes_on_the_same(tmp_path):
    original = fit(epochs=3)
    path = str(tmp_path / "model.keras")
    original.save(path)
    loaded = keras.models.load_model(path)
    assert loaded.config == original.config and loaded.n_clusters == original.n_clusters
    np.testing.assert_array_equal(loaded.labels_, original.labels_)
    np.testing.assert_allclose(loaded.predict(X), original.predict(X), atol=1e-6)
    np.testing.assert_allclose(loaded.score_samples(X), original.score_samples(X), atol=1e-6)
    for each in (original, loaded):
        each.fit(X, epochs=5, initial_epoch=3, verbose=0)
    assert loaded.history.epoch == [3, 4]
    for name in ("loss", "subcluster_loss", "n_clusters"):
        np.testing.assert_allclose(
            loaded.history.history[name], original.history.history[name], rtol=1e-5, err_msg=name
        )
    np.testing.assert_allclose(loaded.predict(X), original.predict(X), atol=1e-5)


def test_saving_computes_nothing_that_takes_long(model, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(inference, "run_chains", lambda *arguments: calls.append(arguments))
    model.save_weights(str(tmp_path / "model.weights.h5"))
    assert not calls


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
def test_a_model_that_was_not_fitted_can_be_saved(tmp_path):
    path = str(tmp_path / "model.keras")
    DeepDPM(FAST.replace(epochs=1), seed=3).save(path)
    loaded = keras.models.load_model(path)
    assert loaded.seed == 3 and loaded.config.epochs == 1
    loaded.fit(X, verbose=0)
    np.testing.assert_array_equal(loaded.labels_, loaded.predict_labels(X))


def test_one_seed_is_one_fit(model):
    keras.utils.set_random_seed(12345)
    again = fit(y=Y)
    np.testing.assert_array_equal(again.labels_, model.labels_)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.history.history == model.history.history


# -- callbacks ------------------------------------------------------------------------------------


def test_any_keras_callback_works_and_sees_continuous_epochs(tmp_path):
    pytest.importorskip("tensorboard")
    begun, ended, logged = [], [], {}
    recorder = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: begun.append(epoch),
        on_epoch_end=lambda epoch, logs: (ended.append(epoch), logged.update(logs)),
    )
    saver = keras.callbacks.ModelCheckpoint(str(tmp_path / "{epoch}.keras"))
    trained = fit(
        epochs=3,
        callbacks=[
            recorder,
            saver,
            keras.callbacks.CSVLogger(str(tmp_path / "log.csv")),
            keras.callbacks.TensorBoard(str(tmp_path / "board")),
            keras.callbacks.EarlyStopping("loss", patience=10),
            keras.callbacks.TerminateOnNaN(),
            keras.callbacks.ReduceLROnPlateau("loss", patience=1),
        ],
    )
    assert begun == ended == [0, 1, 2]
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert len(rows) == 4 and "n_clusters" in rows[0]
    assert list((tmp_path / "board").rglob("events*"))
    loaded = keras.models.load_model(tmp_path / "3.keras")
    np.testing.assert_allclose(loaded.predict(X), trained.predict(X), atol=1e-6)
    with pytest.raises(RuntimeError, match="`labels_`: got weights that were saved within a fit"):
        loaded.labels_  # noqa: B018
    # A checkpoint from the middle of a fit goes on as the fit did.
    middle = keras.models.load_model(tmp_path / "2.keras")
    middle.fit(X, epochs=3, initial_epoch=2, verbose=0)
    np.testing.assert_allclose(middle.history.history["loss"], [logged["loss"]], rtol=1e-5)


class ScriptedMetric(keras.callbacks.Callback):
    """Puts a number of its own into the logs, for callbacks that come after it."""

    def __init__(self, values):
        super().__init__()
        self.values = values

    def on_epoch_end(self, epoch, logs=None):
        logs["scripted"] = self.values[epoch]


def test_early_stopping_puts_back_the_best_weights_and_labels_follow():
    # The best epoch is the first, before the clusters are split.
    config = FAST.replace(start="kmeans", epochs=6, first_move_epoch=2)
    weights = []
    keeper = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: weights.append(trained.get_weights())
    )
    stopper = keras.callbacks.EarlyStopping(
        "scripted", mode="min", patience=3, restore_best_weights=True
    )
    trained = DeepDPM(config, seed=0)
    callbacks = [ScriptedMetric([0, 1, 1, 1, 1, 1]), stopper, keeper]
    trained.fit(X, verbose=0, callbacks=callbacks)
    counts = trained.history.history["n_clusters"]
    assert stopper.stopped_epoch == 3 and counts[0] == 1 and counts[-1] > 1
    assert trained.n_clusters == 1
    np.testing.assert_array_equal(trained.labels_, trained.predict_labels(X))
    np.testing.assert_array_equal(trained.labels_, 0)
    for old, new in zip(weights[0][:8], trained.get_weights()[:8], strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_schedule_of_learning_rates_takes_effect():
    kernels, rates = [], []
    trained = DeepDPM(FAST.replace(learning_rate_decay=1.0, splits=False, merges=False), seed=0)
    recorder = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: (
            kernels.append(trained.clustering.get_weights()[0]),
            rates.append(float(trained.optimizer.learning_rate)),
        )
    )
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.0 if epoch else rate)
    trained.fit(X, epochs=3, verbose=0, callbacks=[scheduler, recorder])
    assert rates == pytest.approx([FAST.learning_rate, 0.0, 0.0])
    np.testing.assert_array_equal(kernels[0], kernels[2])


def test_rates_fall_with_the_epochs_since_the_last_move():
    rates = []
    trained = DeepDPM(FAST.replace(learning_rate_decay=0.5), seed=0)
    recorder = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: rates.append(
            [
                float(each.learning_rate)
                for each in (trained.optimizer, trained.subcluster_optimizer)
            ]
        )
    )
    trained.fit(X, epochs=3, verbose=0, callbacks=[recorder])
    first = [FAST.learning_rate, FAST.subcluster_learning_rate]
    np.testing.assert_allclose(rates, 0.5 ** np.arange(3)[:, None] * first, rtol=1e-6)


def test_an_interrupted_fit_is_taken_up_where_it_was(model, tmp_path):
    class Interruption(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 3:
                raise KeyboardInterrupt

    def backup():
        return keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))

    with pytest.raises(KeyboardInterrupt):
        fit(callbacks=[backup(), Interruption()])
    resumed, whole = fit(callbacks=[backup()]), model
    assert resumed.history.epoch == [3, 4]
    np.testing.assert_allclose(
        resumed.history.history["loss"], whole.history.history["loss"][3:], rtol=1e-5
    )
    np.testing.assert_array_equal(resumed.labels_, whole.labels_)


@pytest.mark.parametrize("wrong", ["early stopping", [print]])
def test_callbacks_that_are_none_are_named(wrong):
    with pytest.raises(TypeError, match="`callbacks`: got .*, wanted Keras callbacks"):
        fit(callbacks=wrong)


def test_a_fit_stops_when_the_number_of_clusters_is_stable():
    trained = fit(config=FAST.replace(stable_epochs=2, settled_loss=None, epochs=50))
    assert len(trained.history.epoch) == 3  # first proposals after epoch 1, then two epochs


def test_a_fit_stops_at_the_first_proposals_once_the_networks_know_the_mixture():
    config = FAST.replace(stable_epochs=4, first_move_epoch=2, move_interval_epochs=2, epochs=50)
    unsettled = fit(config=config.replace(settled_loss=0.0))
    assert len(unsettled.history.epoch) == 6
    loss = unsettled.history.history["loss"][0]
    trained = fit(config=config.replace(settled_loss=2.0 * loss))
    assert len(trained.history.epoch) == 3  # epochs 0 to 2, after which moves are proposed
    assert trained.history.history["proposed_splits"] == [0, 0, 3]
    at_once = fit(config=config.replace(settled_loss=20.0 * loss))
    assert at_once.history.history["proposed_splits"] == [3]
    assert len(fit(config=config.replace(settled_loss=1.0, stable_epochs=None)).history.epoch) == 50


# -- configurations and ablations -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["paper", "official"])
def test_published_configurations_run_and_split(name):
    config = DeepDPMConfig.named(name).replace(
        epochs=8,
        first_move_epoch=1,
        move_interval_epochs=1,
        frozen_epochs=1,
        subcluster_start_epoch=0,
        frozen_epochs_after_move=1,
        min_steps_per_epoch=10,
    )
    rng = np.random.default_rng(0)
    angles = np.repeat([0.0, 2.0, 4.0], 100) + 0.05 * rng.normal(size=300)  # apart once normalised
    radii = 3.0 + 0.2 * rng.normal(size=300)
    trained = fit(np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1), config=config)
    history = trained.history.history
    assert sum(history["proposed_splits"]) > 0 and sum(history["proposed_merges"]) > 0
    assert sum(history["accepted_splits"]) > 0 and trained.n_clusters > 1
    assert np.isfinite(history["loss"]).all()


KMEANS = FAST.replace(start="kmeans", prior_scale=10.0)


def counts_of(config, **arguments):
    return fit(config=config, **arguments).history.history["n_clusters"]


def test_without_splits_the_number_never_grows():
    counts = counts_of(KMEANS.replace(splits=False, initial_clusters=6))
    assert counts[0] <= 6 and (np.diff(counts) <= 0).all() and counts[-1] < 6
    assert counts_of(FAST.replace(splits=False)) == [1] * 5


def test_without_merges_the_number_never_shrinks_by_them():
    trained = fit(config=KMEANS.replace(merges=False, initial_clusters=6))
    history = trained.history.history
    assert sum(history["accepted_merges"]) == sum(history["proposed_merges"]) == 0
    assert trained.n_components >= 5


@pytest.mark.parametrize("fixed_k", [4])
def test_a_fixed_number_of_clusters_is_kept(fixed_k):
    trained = fit(config=FAST.replace(fixed_k=fixed_k, initial_clusters=2))
    history = trained.history.history
    assert history["n_clusters"] == [fixed_k] * 5 and trained.n_clusters == fixed_k
    assert sum(history["proposed_splits"]) == sum(history["proposed_merges"]) == 0


def test_two_means_proposes_splits_without_subclustering_networks():
    trained = fit(config=KMEANS.replace(subclustering="two_means", epochs=8))
    history = trained.history.history
    assert history["subcluster_loss"] == [0.0] * 8
    assert trained.n_clusters >= 3 and sum(history["accepted_splits"]) >= 2


def test_without_prior_covariances_are_those_of_the_sample():
    trained = fit(config=FAST.replace(prior_in_m_step=False))
    responsibilities = trained.predict(X).astype(np.float64)
    for k in range(trained.n_clusters):
        expected = np.cov(X.T.astype(np.float64), aweights=responsibilities[:, k], bias=True)
        np.testing.assert_allclose(trained.covariances_[k], expected, rtol=1e-2)


def test_the_isotropic_loss_is_that_of_k_means():
    # No mixture is learned from: the loss is a mean squared distance, not a divergence.
    config = FAST.replace(cluster_loss="isotropic", fixed_k=3, epochs=8)
    trained = fit(config=config.replace(learning_rate=3e-2, learning_rate_decay=1.0))
    features = trained.fitted.state.preprocessing.transform(X)
    distances = ((features[:, None] - trained.mixture_.means.numpy()) ** 2).sum(axis=2)
    assert tfdpm.metrics.ari(Y, trained.labels_) > 0.9
    last = trained.history.history["loss"][-1]
    assert last == pytest.approx(distances.min(axis=1).mean(), rel=0.2)


# -- traces ---------------------------------------------------------------------------------------


def test_traces_grow_with_the_logarithm_of_the_number_of_clusters():
    x, _ = tfdpm.data.gaussian_mixture(20, 2, 600, seed=0)
    config = KMEANS.replace(
        subclustering="two_means",
        prior_scale=0.1,
        initial_clusters=8,
        learning_rate=1e-2,
        learning_rate_decay=1.0,
    )
    trained = fit(x, config=config, epochs=10)
    history = trained.history.history
    num_moves = sum(history["accepted_splits"]) + sum(history["accepted_merges"])
    assert num_moves > 20 and np.count_nonzero(np.diff(history["n_clusters"])) >= 5
    capacity = trained.clustering.capacity
    assert capacity == 32 and max(history["n_clusters"]) > 12
    # Three passes for each doubling of the first 16 slots.
    assert trained.num_traces <= 3 * (1 + np.log2(capacity / 16))
    before = trained.num_traces
    trained.fit(x, epochs=1, verbose=0)
    assert trained.num_traces == before


def test_weights_of_fewer_or_more_slots_than_the_model_has_can_be_loaded(tmp_path):
    few = tfdpm.data.gaussian_mixture(3, 2, 300, seed=0)[0]
    many = tfdpm.data.gaussian_mixture(20, 2, 2000, seed=0)[0]
    models = [tfdpm.DeepDPM(seed=0) for _ in range(2)]
    for model, points in zip(models, (few, many), strict=True):
        model.fit(points, epochs=1, verbose=0)
    assert models[0].clustering.capacity < models[1].clustering.capacity
    expected = [model.predict(points) for model, points in zip(models, (few, many), strict=True)]
    paths = [str(tmp_path / f"{index}.weights.h5") for index in range(2)]
    small = tfdpm.DeepDPM(seed=1)
    small.fit(few, epochs=1, verbose=0)
    models[1].save_weights(paths[1])
    models[0].save_weights(paths[0])
    small.load_weights(paths[1])
    np.testing.assert_allclose(small.predict(many), expected[1], atol=1e-6)
    small.load_weights(paths[0])
    np.testing.assert_allclose(small.predict(few), expected[0], atol=1e-6)


def test_labels_in_a_stream_are_scored():
    x, y = tfdpm.data.gaussian_mixture(3, 2, 600, seed=0)
    stream = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(600, seed=1).batch(100)
    model = tfdpm.fit(stream, epochs=1, verbose=0)
    assert model.history.history["nmi"] == pytest.approx([1.0])
