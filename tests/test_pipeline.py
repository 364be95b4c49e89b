"""`tfdpm.fit` from end to end: what it finds, what it takes, what it answers to bad input."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfdpm
from tfdpm import DeepDPMConfig, metrics

FAST = DeepDPMConfig(
    min_steps_per_epoch=20,
    epochs=3,
    first_move_epoch=1,
    move_interval_epochs=1,
    frozen_epochs=1,
    stable_epochs=None,
)
X, Y = tfdpm.data.gaussian_mixture(4, 2, 300, seed=0)


def fit(data, **arguments):
    return tfdpm.fit(data, **{"config": FAST, "verbose": 0, **arguments})


@pytest.fixture(scope="module")
def model():
    return fit((X, Y))


# -- what is found --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_small_separated_mixture_is_found_exactly(seed):
    num_components, dim, imbalance = [(1, 2, 1), (3, 8, 20), (15, 3, 1), (6, 2, 10), (3, 16, 1)][
        seed
    ]
    x, y = tfdpm.data.gaussian_mixture(num_components, dim, 900, imbalance=imbalance, seed=seed)
    found = fit(x, seed=seed)
    assert found.n_clusters == num_components
    assert metrics.ari(y, found.labels_) > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("imbalance", [1, 20])
@pytest.mark.parametrize("dim", [2, 16])
@pytest.mark.parametrize("num_components", [1, 3, 15, 40])
def test_separated_mixtures_are_found_exactly(num_components, dim, imbalance):
    seed = num_components + dim + imbalance  # another data set in each case
    x, y = tfdpm.data.gaussian_mixture(num_components, dim, imbalance=imbalance, seed=seed)
    found = tfdpm.fit(x, seed=seed, verbose=0)
    assert found.n_clusters == num_components
    assert metrics.ari(y, found.labels_) > 0.98


def test_layouts_have_a_scale_of_their_own_unless_one_is_asked_for(monkeypatch):
    from tfdpm import pipeline

    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    encoder = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])
    learned = pipeline.learn_encoder.Learned(encoder)
    monkeypatch.setattr(pipeline.learn_encoder, "learn_encoder", lambda *_: learned)
    find = pipeline.fit_layout_scale
    asked = FAST.replace(prior_scale=2.0)

    def find_unless_asked(places, neighbours, config, *others, are_images):
        if config == asked:
            return find(places, neighbours, config, *others, are_images=are_images)
        return 8.0 + are_images, None

    monkeypatch.setattr(pipeline, "fit_layout_scale", find_unless_asked)
    for config, features, scale in [(FAST, "umap", 8.0), (asked, "umap", 2.0), (FAST, "none", 1.0)]:
        found = tfdpm.fit(x, features=features, config=config, epochs=1, verbose=0)
        assert found.config.prior_scale == scale


def test_the_mixture_that_told_the_scale_of_a_layout_is_not_searched_again(monkeypatch):
    from tfdpm.training import trainer

    def search_again(*_, **__):
        raise RuntimeError("searched")

    monkeypatch.setattr(trainer, "initialize_mixture", search_again)
    found = fit(X, features="umap")
    assert found.n_clusters == 4 and found.config.prior_scale >= 1.0
    # Points without weight do not decide on K, but were laid out.
    with pytest.raises(RuntimeError, match="searched"):
        fit(X, features="umap", sample_weight=np.arange(len(X)) % 2)


def test_labels_are_those_of_predict_labels(model):
    np.testing.assert_array_equal(model.labels_, model.predict_labels(X))
    assert metrics.ari(Y, model.labels_) > 0.99
    assert model.history.history["nmi"][-1] > 0.99


@pytest.mark.parametrize(("factor", "shift"), [(1000.0, 5.0), (0.001, 0.0)])
def test_units_do_not_matter(model, factor, shift):
    other = fit(factor * X.astype(np.float64) + shift)
    assert other.n_clusters == model.n_clusters == 4
    assert metrics.ari(model.labels_, other.labels_) >= 0.99


def test_the_first_number_of_clusters_hardly_matters():
    assert fit(X, initial_clusters=7).n_clusters == 4


def test_a_short_stream_makes_as_many_steps_as_a_short_array(model):
    stream = fit(tf.data.Dataset.from_tensor_slices(X).batch(150), epochs=2)
    assert int(stream.optimizer.iterations) == 2 * FAST.min_steps_per_epoch
    assert int(model.optimizer.iterations) == 3 * FAST.min_steps_per_epoch


def test_a_data_sets_name_is_data_and_scores_come_with_its_labels():
    blobs = fit("blobs", epochs=2)
    assert blobs.n_clusters == 5 and blobs.history.history["acc"][-1] > 0.99


# -- what is taken --------------------------------------------------------------------------------


def test_what_columns_of_a_table_are_used_as_is_printed(tmp_path, capsys):
    x, y = tfdpm.data.blobs()
    rows = [f"{i};{b:.3f};{a:.3f};{k}" for i, ((a, b), k) in enumerate(zip(x, y, strict=True))]
    text = "\n".join([";b;a;target", *rows]).replace(".", ",")
    (tmp_path / "t.csv").write_text(text)
    model = tfdpm.fit(tmp_path / "t.csv", epochs=1, verbose="auto")
    printed = capsys.readouterr().out
    assert printed.startswith("columns: b, a; from t.csv; separator ;; decimal ,; labels: target;")
    assert "; left out: Unnamed: 0 (numbers the rows)\n" in printed
    assert metrics.ari(y, model.labels_) > 0.99
    assert model.history.history["acc"][-1] > 0.99
    again = model.predict_labels(x[:, ::-1])
    np.testing.assert_array_equal(again, model.labels_)
    fit(tmp_path / "t.csv")
    assert capsys.readouterr().out == ""


def read_only(x):
    x = np.asfortranarray(x.astype(np.float64))
    x.setflags(write=False)
    return x


# What differs by conversion alone is checked in tests/data; slow ones need a fit all the same.
@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(lambda x: (100 * x).astype(np.int64), id="int"),
        pytest.param(read_only, id="fortran"),
        pytest.param(lambda x: pytest.importorskip("pandas").DataFrame(x), id="pandas"),
        pytest.param(lambda x: tf.data.Dataset.from_tensor_slices(x).batch(64), id="batched"),
        pytest.param(tf.data.Dataset.from_tensor_slices, id="points"),
        pytest.param(lambda x: x.astype(np.float16), id="half", marks=pytest.mark.slow),
        pytest.param(tf.constant, id="tensor", marks=pytest.mark.slow),
        pytest.param(
            lambda x: tf.data.Dataset.from_tensor_slices((x, Y)).batch(50),
            id="pairs",
            marks=pytest.mark.slow,
        ),
        pytest.param(lambda x: np.stack([x, x], axis=2), id="images", marks=pytest.mark.slow),
    ],
)
def test_every_kind_of_data_gives_the_clusters_of_the_array(model, convert):
    data = convert(X)
    other = fit(data, epochs=2)
    assert other.n_clusters == 4
    assert metrics.ari(other.labels_, model.labels_) > 0.99
    np.testing.assert_array_equal(other.predict_labels(data), other.labels_)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        pytest.param(np.ones((50, 3)), 1, id="equal"),
        pytest.param(np.full((2, 1), 1e8), 1, id="equal pair"),
        pytest.param(np.repeat(X[:150], 4, axis=0), 4, id="copies"),
        pytest.param(np.random.default_rng(0).normal(size=(12, 40)), 1, id="wide"),
        pytest.param(np.insert(X, [0, 1], [7.0, 1e7], axis=1), 4, id="constant columns"),
        pytest.param(X[:2], 1, id="2"),
        pytest.param(X[:3], None, id="3", marks=pytest.mark.slow),
        pytest.param(X[:4], None, id="4", marks=pytest.mark.slow),
        pytest.param(X[:5], None, id="5"),
        pytest.param(np.repeat([[0.0], [1.0]], 40, axis=0), None, id="two values"),
    ],
)
def test_awkward_data_are_survived_without_warnings(x, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fit(x, epochs=2)
    assert found.n_clusters == expected or expected is None
    assert found.labels_.shape == (len(x),)
    np.testing.assert_array_equal(found.labels_, found.predict_labels(x))
    np.testing.assert_array_equal(np.unique(found.labels_), np.arange(found.n_clusters))
    for value in (found.means_, found.covariances_, found.score_samples(x), found.predict(x)):
        assert np.isfinite(value).all()
    assert np.isfinite(found.history.history["loss"]).all()


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.where(X == X[3, 0], np.nan, X), "1 NaN and 0 infinite values, the first in row 3"),
        (np.where(X == X[3, 0], np.inf, X), "0 NaN and 1 infinite"),
        (X[:0], "0 points, wanted at least 2"),
        (X[:1], "1 point, wanted at least 2"),
        (X[:, 0], "shape .300,., wanted .*reshape"),
        (X[None, None, None], "shape"),
        (X.astype(str), "text, wanted numbers"),
        (["a text", "another"], "text, wanted numbers, or features="),
        (X.astype(object) + 0j, "dtype object"),
        (X + 1j, "dtype complex"),
        ([[1.0], [2.0, 3.0]], "rows of different lengths"),
        (None, "NoneType"),
        (tf.data.Dataset.from_tensor_slices(X[:0]).batch(4), "point"),
        (tf.data.Dataset.from_tensor_slices(X).batch(4).repeat(), "endless|infinite|finite"),
    ],
    ids=str,
)
def test_data_that_cannot_be_clustered_get_one_error_that_names_it(data, message):
    with pytest.raises((ValueError, TypeError), match=f"`data`: got .*({message})") as raised:
        fit(data)
    assert str(raised.value).count("\n") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": -1}, "`epochs`: got -1, wanted an integer of at least 0"),
        ({"epochs": 1.5}, "`epochs`: got 1.5"),
        ({"initial_clusters": 301}, "`initial_clusters`: got 301, wanted at most the 300 points"),
        ({"initial_clusters": 0}, "`initial_clusters`: got 0"),
        ({"shape": "round"}, "`shape`: got 'round', wanted one of 'any', 'gaussian'"),
        ({"initial_clusters": True}, "`initial_clusters`: got True"),
        ({"config": FAST.replace(fixed_k=301)}, "`fixed_k`: got 301"),
        ({"config": "best"}, "`config`: got 'best'"),
        ({"config": {"epochs": 3}}, "`config`: got dict"),
        ({"features": "magic"}, "`features`: got 'magic'"),
        ({"seed": -1}, "`seed`: got -1"),
        ({"seed": 1.5}, "`seed`: got 1.5"),
        ({"verbose": 3}, "`verbose`: got 3"),
        ({"callbacks": ["early"]}, "`callbacks`: got 'early'"),
    ],
    ids=str,
)
def test_arguments_out_of_range_are_named(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fit(X, **arguments)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (Y[:-1], "299 labels, wanted 300"),
        (Y + 0.5, "fractions"),
        (np.stack([Y, Y], axis=1), "shape"),
    ],
    ids=["short", "fractions", "wide"],
)
def test_labels_that_do_not_fit_are_named(y, message):
    with pytest.raises((ValueError, TypeError), match=f"`y`: got .*{message}"):
        fit((X, y))


def test_sample_weights_that_do_not_fit_are_named():
    model = tfdpm.DeepDPM(FAST)
    for weights in (np.ones(3), -np.ones(300), np.zeros(300), np.full(300, np.nan)):
        with pytest.raises(ValueError, match="`sample_weight`: got "):
            model.fit(X, sample_weight=weights)


@pytest.mark.parametrize("method", ["predict", "predict_labels", "score_samples"])
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[:, :1], "`x`: got points of shape .1,., wanted 2 values as in fit"),
        (np.full((3, 2), np.nan), "`x`: got 6 NaN"),
        (X[:0], "`x`: got 0 points, wanted at least 1"),
        (tf.data.Dataset.from_tensor_slices(np.ones((4, 3))).batch(2), "`x`: got points of shape"),
    ],
    ids=["width", "nan", "empty", "stream"],
)
def test_points_that_do_not_fit_the_model_are_named(model, method, x, message):
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(x)


def test_arguments_of_predict_are_checked(model):
    with pytest.raises(ValueError, match="`batch_size`: got 0"):
        model.predict(X, batch_size=0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'batchsize'"):
        model.predict(X, batchsize=3)


def test_a_fitted_model_takes_no_points_of_another_width(model):
    with pytest.raises(ValueError, match="`x`: got points of shape .3,., wanted 2 values"):
        model.fit(np.ones((10, 3)))


def test_a_strategy_by_name_is_refused():
    with pytest.raises(TypeError, match="^`strategy`: got a str, wanted a tf.distribute.Strategy"):
        fit(X, strategy="mirrored")


# -- texts ----------------------------------------------------------------------------------------

WORDS = ("ball goal team match", "bank loan rate money", "rain wind cloud storm")


def texts_of(count, seed):
    """Sentences of three topics, and the topics."""
    generator = np.random.default_rng(seed)
    topics = generator.integers(0, 3, count)
    return [" ".join(generator.choice(WORDS[k].split(), 8)) for k in topics], topics


@pytest.fixture(scope="module")
def encoder():
    vectorize = keras.layers.TextVectorization(output_mode="count")
    vectorize.adapt(list(WORDS))
    axes = keras.layers.Dense(4, kernel_initializer=keras.initializers.Orthogonal(seed=0))
    return keras.Sequential([keras.Input((), dtype="string"), vectorize, axes])


@pytest.fixture(scope="module")
def texts_model(encoder):
    return fit(texts_of(300, seed=0), features=encoder)


def test_texts_are_clustered_through_an_encoder(texts_model, encoder, tmp_path):
    texts, topics = texts_of(300, seed=0)
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n\n", encoding="utf-8")
    model = texts_model
    assert metrics.ari(topics, model.labels_) > 0.95
    assert metrics.ari(topics, fit(encoder(tf.constant(texts)).numpy()).labels_) > 0.95
    import pandas as pd

    for data in (
        texts,
        np.array(texts),
        pd.Series(texts),
        tf.constant(texts),
        np.array(texts)[:, None],
    ):
        np.testing.assert_array_equal(model.predict_labels(data), model.labels_)
    stream = tf.data.Dataset.from_tensor_slices
    for data in (
        tmp_path / "texts.txt",
        pd.DataFrame({"sentence": texts}),
        {"text": texts, "label": topics},
        stream(texts).batch(70),
        stream((texts, topics)),
        stream({"id": [f"{i}" for i in range(300)], "text": texts, "label": topics}).batch(70),
        {"train": stream(texts).take(200), "test": stream(texts).skip(200)},
        (each for each in texts),
        zip(texts, topics, strict=True),
    ):
        np.testing.assert_array_equal(model.predict_labels(data), model.labels_)
    fitted = fit(stream((texts, topics)).batch(70), features=encoder)
    np.testing.assert_array_equal(fitted.labels_, model.labels_)
    assert fitted.history.history["nmi"][-1] > 0.95
    with pytest.raises(ValueError, match="^`x`: got an endless dataset"):
        model.predict(stream(texts).repeat())
    with pytest.raises(
        ValueError, match=r"^`x`: got .* of which \['a', 'b'\] are texts, wanted one"
    ):
        model.predict({"a": ["x"], "b": ["y"]})
    new, topics = texts_of(60, seed=1)
    assert metrics.ari(topics, model.predict_labels(new)) > 0.95
    assert np.isfinite(model.score_samples(new)).all()
    assert model.evaluate(new, topics, return_dict=True)["nmi"] > 0.95
    with pytest.raises(TypeError, match=r"^`x`: got 1.0 at 0, wanted \[N\] texts"):
        model.predict([1.0, 2.0])


def test_models_of_texts_are_saved_and_continued_but_not_exported(texts_model, encoder, tmp_path):
    texts, _ = texts_of(300, seed=0)
    texts_model.save(tmp_path / "model.keras")
    again = tfdpm.load(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict_labels(texts), texts_model.labels_)
    history = again.fit(texts, epochs=1, verbose=0, validation_data=texts_of(60, seed=1)).history
    assert history["val_nmi"][-1] > 0.95
    again.partial_fit(texts[:50])
    with pytest.raises(ValueError, match="^`model`: got a model whose encoder takes texts"):
        texts_model.export(tmp_path / "1")
    kept = fit(texts, features=encoder, directory=tmp_path / "stages")
    np.testing.assert_array_equal(kept.labels_, fit(texts, features=encoder).labels_)
