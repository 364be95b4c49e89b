"""The search before training: moves of all its parts, and logarithms of skewed columns."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import sklearn.datasets

import tfdpm
from tests.search.test_whitened_search import overlapping
from tfdpm import DeepDPMConfig, metrics
from tfdpm.data import gaussian_mixture
from tfdpm.features.preprocessing import feature_moments, fit_preprocessing
from tfdpm.search import initialization, whitened_search
from tfdpm.search.mixture_search import MixtureSearch
from tfdpm.search.whitened_search import partition_evidence

CONFIG = DeepDPMConfig()


def initialize(x, **changes):
    config, moments = DeepDPMConfig(**changes), feature_moments(x)
    whole = fit_preprocessing(moments, config.preprocessing)
    return initialization.initialize_mixture(x, moments, whole, config, 0)


def watch(monkeypatch, owner, name, note) -> None:
    """Lets `note` call a function of a module or class in its place."""
    real = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args: note(real, *args))


@pytest.fixture
def counted(monkeypatch) -> list[np.ndarray]:
    """Moves that each run of a search, and its end, adds to the search's own."""
    made: list[np.ndarray] = []

    def count(real, search, *args):
        before = np.array(dataclasses.astuple(search.moves))
        result = real(search, *args)
        made.append(dataclasses.astuple(search.moves) - before)
        return result

    watch(monkeypatch, MixtureSearch, "run_from", count)
    watch(monkeypatch, MixtureSearch, "settle", count)
    return made


def test_a_search_that_was_started_before_ends_as_a_whole_one() -> None:
    x, _ = gaussian_mixture(4, 2, 600, seed=1)
    moments = feature_moments(x)
    given = x, moments, fit_preprocessing(moments, "auto"), CONFIG, 0
    started = initialization.start_search(*given)
    assert started.result.parameters.num_components == len(np.unique(started.labels(x))) == 4
    found = initialization.initialize_mixture(*given, started=started)
    whole = initialization.initialize_mixture(*given)
    np.testing.assert_array_equal(found.parameters.means, whole.parameters.means)


@pytest.mark.parametrize(("dim", "most"), [(2, 1000), (30, 6000)])
def test_any_number_of_cores_finds_the_same_mixture(dim, most, monkeypatch) -> None:
    x, _ = gaussian_mixture(4, dim, 6000, seed=1)
    found = []
    for cores in ({0}, {0, 1, 2}):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: cores, raising=False)
        found.append(initialize(x, max_start_points=most))
    assert found[0].parameters.num_components == 4
    for name in ("parameters", "t_mixture"):
        for part, other in zip(*(getattr(each, name) for each in found), strict=True):
            np.testing.assert_array_equal(part, other)


def test_moves_of_both_samples_are_counted(counted) -> None:
    x, _ = gaussian_mixture(4, 2, 1200, seed=1)
    mixture = initialize(x, max_start_points=600)
    first, second, _ = counted  # two searches and the end of one
    assert (first[:2] > 0).all() and (second[:2] > 0).all()
    assert dataclasses.astuple(mixture.search.moves) == tuple(sum(counted))


def test_moves_of_all_prior_weights_structures_and_turns_are_counted(counted, monkeypatch) -> None:
    runs = []

    def note(real, *args):
        before = len(counted)
        result = real(*args)
        runs.append(len(counted) - before)
        return result

    watch(monkeypatch, initialization, "select_search", note)
    watch(monkeypatch, whitened_search, "_alternate", note)
    mixture = initialize(overlapping(600)[0])
    assert len(runs) > 1 and min(runs) > 1 and len(counted) == sum(runs) + 1
    assert dataclasses.astuple(mixture.search.moves) == tuple(sum(counted))


def initial_mixture(x, config=CONFIG, **options):
    moments = feature_moments(x)
    preprocessing = fit_preprocessing(moments, config.preprocessing)
    return initialization.initialize_mixture(x, moments, preprocessing, config, 0, **options)


def draws(kind, columns=3, num_points=600, seed=0):
    generator = np.random.default_rng(seed)
    arguments = (2.0,) if kind == "gamma" else ()
    return getattr(generator, kind)(*arguments, size=(num_points, columns))


def blobs(sizes, seed=0):
    """Gaussian clusters of three positive columns, and their labels."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    x = 5.0 * generator.normal(size=(len(sizes), 3))[labels] + generator.normal(
        size=(len(labels), 3)
    )
    return x - x.min(axis=0), labels


@pytest.mark.parametrize("kind", ["exponential", "lognormal", "gamma"])
def test_one_skewed_cluster_is_cut_unless_it_has_logarithms(kind):
    x = draws(kind)
    plain, found = initial_mixture(x, takes_logs=False), initial_mixture(x)
    assert plain.parameters.num_components > 2 and plain.preprocessing.log_scales is None
    assert found.parameters.num_components == 1
    assert np.isfinite(found.preprocessing.log_scales).all()


def test_clusters_of_lognormal_columns_are_found():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 900)
    logs = np.array([[0.0, 2.0, 0.0], [3.0, 0.0, 1.0], [5.0, 4.0, 3.0]])[labels]
    x = np.exp(logs + 0.7 * generator.normal(size=(900, 3)))
    found = initial_mixture(x)
    features = found.preprocessing.transform(x)
    np.testing.assert_allclose(np.unique(features, axis=0), found.search.features, atol=1e-6)
    owners = np.asarray(found.statistics.counts)
    assert len(owners) == 3 and found.preprocessing.log_scales is not None
    predicted = ((features[:, None] - np.asarray(found.parameters.means)) ** 2).sum(-1).argmin(1)
    assert metrics.ari(labels, predicted) > 0.95
    assert initial_mixture(x, takes_logs=False).parameters.num_components > 3


def test_many_pieces_do_not_hide_that_a_column_is_skewed():
    x = draws("exponential", columns=1, num_points=2000)
    assert initial_mixture(x, takes_logs=False).parameters.num_components > 4
    assert initial_mixture(x).preprocessing.log_scales is not None


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_one_skewed_cluster_is_whole_wherever_it_lies_and_whichever_way_its_tail_goes(sign):
    found = initial_mixture(sign * (draws("exponential", columns=2, num_points=2000) - 3.0))
    assert found.parameters.num_components == 1
    assert np.isfinite(found.preprocessing.log_scales).all()
    assert found.preprocessing.log_origins.all()


def test_a_frequent_value_is_no_evidence_of_a_cluster():
    generator = np.random.default_rng(0)
    x = np.stack([generator.exponential(size=400), np.ones(400)], axis=1)
    x[:3, 1] = 0.0
    no_logs, labels = np.full(2, np.inf), x[:, 1].astype(int)
    whole, cut = (
        initialization._raw_evidence(x, each, no_logs, CONFIG, 0) for each in (0 * labels, labels)
    )
    assert cut < whole


@pytest.mark.parametrize("sizes", [(300, 300, 300), (800, 80, 40)])
def test_positive_blobs_stay_as_they_are(sizes):
    x, _ = blobs(sizes)
    plain, found = initial_mixture(x, takes_logs=False), initial_mixture(x)
    assert found.preprocessing.log_scales is None
    np.testing.assert_array_equal(found.parameters.means, plain.parameters.means)


@pytest.mark.parametrize(("load", "count"), [("wine", 3), ("breast_cancer", 2)])
@pytest.mark.parametrize("seed", [1, 3])
def test_logarithms_join_pieces_and_no_clusters_that_stand_apart(load, count, seed):
    # A search of the logarithms of five columns of wine finds two clusters.
    x, y = getattr(sklearn.datasets, f"load_{load}")(return_X_y=True)
    model = tfdpm.fit(x, seed=seed, verbose=0)
    assert model.n_clusters == count
    assert metrics.ari(y, model.labels_) > 0.85


def test_a_column_without_skewness_has_no_logarithm():
    generator = np.random.default_rng(0)
    x = np.stack([generator.exponential(size=900), 10 + generator.normal(size=900)], axis=1)
    np.testing.assert_array_equal(
        np.isfinite(initial_mixture(x).preprocessing.log_scales), [True, False]
    )


@pytest.mark.parametrize(
    "changes", [{"preprocessing": "center"}, {"prior": "identity"}, {"covariance": "diagonal"}]
)
def test_settings_of_the_user_leave_no_logarithms(changes):
    assert (
        initial_mixture(draws("exponential"), CONFIG.replace(**changes)).preprocessing.log_scales
        is None
    )


def test_wide_tables_are_left():
    x = draws("exponential", columns=initialization._MOST_COLUMNS + 1, num_points=200)
    assert initial_mixture(x).preprocessing.log_scales is None


def test_evidence_follows_the_units_of_the_columns():
    x, labels = blobs((200, 200, 200))
    settings = initialization.SearchSettings(CONFIG, 5.0)
    units = np.array([10.0, 0.5, 3.0])
    evidence = [partition_evidence(points, labels, settings, 0) for points in (x, x * units + 7.0)]
    assert evidence[1] == pytest.approx(evidence[0] - np.log(units).sum(), abs=1e-6)
    assert evidence[0] > partition_evidence(x, np.roll(labels, 100), settings, 0) + 0.5


def test_evidence_of_logarithms_is_that_of_raw_columns():
    # Of log-normal columns, one Gaussian's likelihood lacks 1/2 log((e^v - 1) e^v / v) per column.
    deviation = 0.5
    x = np.exp(deviation * np.random.default_rng(0).normal(size=(20_000, 2)))
    labels, arguments = np.zeros(len(x), int), (CONFIG, 0)
    scores = [
        initialization._raw_evidence(x, labels, np.full(2, scale), *arguments)
        for scale in (np.inf, 1e-6)
    ]
    variance = deviation**2
    gain = np.log(np.expm1(variance) * np.exp(variance) / variance)
    assert scores[1] - scores[0] == pytest.approx(gain, abs=0.02)
