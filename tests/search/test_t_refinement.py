"""Points told apart by axes of little variance, once K is known."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import tfdpm
from tests.reference.searches import search_settings
from tfdpm import metrics
from tfdpm.features.preprocessing import feature_moments, fit_preprocessing
from tfdpm.mixture.density import LogJoint
from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.moves import transition as transitions
from tfdpm.search import initialization
from tfdpm.search.judge import SampleJudge
from tfdpm.search.mixture_search import MixtureSearch
from tfdpm.search.state import MixtureState
from tfdpm.search.t_refinement import fit_t_mixture, label_by_leading_axes, refine_mixture
from tfdpm.training.trainer import find_tails

GAP = 0.45  # between the clusters of `hidden`, along its third axis


def hidden(count=3000, seed=0):
    """Two clusters that touch in two axes, and lie apart in a third with half a per cent."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(2, size=count)
    centres = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, GAP]])
    x = generator.normal(size=(count, 3)) * [1.0, 1.0, 0.05] + centres[labels]
    return x[:, [2, 0, 1]] @ np.linalg.qr(generator.normal(size=(3, 3)))[0], labels


def leading_search(features, num_leading):
    points = features[:, :num_leading]
    return MixtureSearch(points, search_settings(num_leading), 0).with_features(features)


@pytest.fixture(scope="module")
def fitted():
    x, labels = hidden()
    return x, labels, tfdpm.fit(x, features="none", verbose=0)


def test_an_axis_of_little_variance_tells_clusters_apart(fitted) -> None:
    _, labels, model = fitted
    assert model.n_clusters == 2
    assert model.preprocessing_.num_leading == 2 and model.preprocessing_.feature_dim == 3
    # In the leading axes a share of 0.067 lies on the wrong side, whatever the model.
    assert metrics.clustering_accuracy(labels, model.labels_) > 0.99


def test_moves_do_not_undo_what_was_found_in_leading_axes(fitted) -> None:
    model = fitted[2]
    logs = model.history.history
    assert set(logs["n_clusters"]) == {2} and sum(logs["accepted_merges"]) == 0
    search = model.fitted.result.search
    # By true clusters, which overlap in the leading axes, a merge there would gain.
    truth = np.argmax(model.predict(model.preprocessing_.inverse(search.features)), axis=1)
    statistics = search.sample.hard_statistics(truth, 2)
    assert search.evidence.merge_gains(truth, statistics)[1][0] > 0
    ours = label_by_leading_axes(search, model.mixture_)
    assert SampleJudge(search.evidence, 2, ours).merge_ratios()[1][0] < 0


def strayed(seed=0):
    """`hidden`, of whose first cluster 3 % of the points lie far out along the third axis.

    Returns:
        Features in leading order, labels, and which points strayed.
    """
    x, labels = hidden(seed=seed)
    features = (x - x.mean(axis=0)) @ np.linalg.eigh(np.cov(x.T))[1][:, ::-1]
    features /= np.sqrt(features[:, :2].var(axis=0).mean())
    generator = np.random.default_rng(seed)
    is_far = (labels == 0) & (generator.uniform(size=len(x)) < 0.03)
    features[is_far, 2] += generator.normal(size=is_far.sum()) * 1.0
    return features, labels, is_far


def cut(features):
    """Clusters `[n]` as the leading axes tell them, a share of 0.067 wrongly."""
    return (features[:, 0] > 0).astype(int)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_few_points_far_out_do_not_make_a_cluster_claim_its_neighbours(seed) -> None:
    features, labels, is_far = strayed(seed)
    search = leading_search(features, 2)
    errors = {}
    for has_tails in (False, True):
        ours = refine_mixture(search, cut(features), 1.0, has_tails).labels[~is_far]
        errors[has_tails] = 1.0 - metrics.clustering_accuracy(labels[~is_far], ours)
    assert errors[True] < 0.005 and errors[False] > 3.0 * errors[True]


def test_tails_are_long_where_points_strayed_and_short_elsewhere() -> None:
    features, labels, _ = strayed()
    search = leading_search(features, 2)
    found = refine_mixture(search, cut(features), 1.0, True)
    assert found.t_mixture.num_components == found.parameters.num_components == 2
    first = found.labels[labels == 0][0]
    assert found.t_mixture.df[first] < 5.0 < 8.0 < found.t_mixture.df[1 - first]
    # The same order: `labels` are argmax of one, and statistics of the other.
    counts = np.bincount(found.labels)
    np.testing.assert_allclose(found.parameters.mixture_weights * len(labels), counts, rtol=0.01)
    np.testing.assert_allclose(found.t_mixture.mixture_weights * len(labels), counts, rtol=0.05)


def test_every_component_of_a_mixture_gets_its_tail_and_none_is_lost() -> None:
    features, labels, _ = strayed()
    search = leading_search(features, 2)
    means = np.stack([features[labels == k].mean(axis=0) for k in (0, 1)] + [np.full(3, 1e3)])
    mixture = MixtureParameters(np.array([0.5, 0.4, 0.1]), means, np.stack([0.3 * np.eye(3)] * 3))
    found = fit_t_mixture(search, mixture)
    assert found.num_components == 3
    np.testing.assert_allclose(found.means, means, atol=0.1)
    assert found.mixture_weights[2] < 1e-3


@pytest.mark.parametrize("has_tails", [False, True])
def test_k_is_what_it_was_in_leading_axes(has_tails) -> None:
    x, _ = hidden()
    features = (x - x.mean(axis=0)) @ np.linalg.eigh(np.cov(x.T))[1][:, ::-1]
    features /= np.sqrt(features[:, :2].var(axis=0).mean())
    search = leading_search(features, 2)
    labels, parameters = search.run(1)
    found = refine_mixture(search, labels, 1.0, has_tails)
    assert found.parameters.num_components == parameters.num_components == 2
    assert found.parameters.means.shape == (2, 3) and np.mean(found.labels != labels) > 0.02


def test_the_prior_expects_the_same_share_of_each_axis_within_clusters() -> None:
    generator = np.random.default_rng(3)
    features = generator.normal(size=(200, 4)) * [1.2, 0.8, 0.3, 0.1]
    search = leading_search(features, 2)
    labels, _ = search.run(1)
    prior = refine_mixture(search, labels, 5.0, True).prior
    leading = search.prior.partition_prior(5.0).as_niw()
    scale = float(leading.scale[0, 0])
    np.testing.assert_allclose(prior.scale[:2, :2], leading.scale)
    np.testing.assert_allclose(prior.scale[2:, 2:], scale * np.diag(features[:, 2:].var(axis=0)))
    np.testing.assert_allclose(prior.scale[2:, :2], 0.0)
    assert float(prior.df) == float(leading.df) + 2 and prior.loc.shape == (4,)


def test_a_search_is_taken_up_from_the_prior_in_all_axes() -> None:
    features = np.random.default_rng(3).normal(size=(300, 4)) * [1.2, 0.8, 0.3, 0.1]
    search = leading_search(features, 2)
    labels, parameters = search.run(1)
    prior = refine_mixture(search, labels, 7.0, True).prior
    again = MixtureSearch.resumed(
        features[:, :2], search.settings, 0, prior, parameters.num_components, 2100.0
    )
    assert again.prior.extra_df == search.prior.extra_df
    assert again.prior.scale == pytest.approx(search.prior.scale)
    assert again.score(labels) == pytest.approx(search.score(labels))


def test_a_saved_model_knows_which_axes_decide_on_k(fitted, tmp_path) -> None:
    x, _, model = fitted
    model.save(tmp_path / "model.keras")
    loaded = tfdpm.load(tmp_path / "model.keras")
    assert loaded.preprocessing_.num_leading == 2
    chains = loaded.stability(x[:600], num_chains=2)
    assert set(chains.k_posterior) <= {1, 2, 3} and chains.scores.shape == (600,)
    loaded.fit(x, epochs=1, verbose=0)
    assert loaded.n_clusters == 2


def test_states_of_models_without_such_axes_are_still_read(fitted) -> None:
    arrays = fitted[2].fitted.state.to_arrays()
    del arrays["preprocessing/num_leading"]
    assert MixtureState.from_arrays(arrays).preprocessing.num_leading is None


@pytest.mark.parametrize(
    "changes", [{"prior": "std"}, {"df": 7.0}, {"fixed_k": 2}, {"covariance": "spherical"}]
)
def test_where_anything_of_the_prior_is_given_only_leading_axes_are_used(changes) -> None:
    x, config = hidden(300)[0], tfdpm.DeepDPMConfig(**changes)
    moments = feature_moments(x)
    whole = fit_preprocessing(moments, "auto")
    assert (whole.num_leading, whole.feature_dim) == (2, 3)
    mixture = initialization.initialize_mixture(x, moments, whole, config, 0)
    assert mixture.preprocessing.num_leading is None
    assert mixture.preprocessing.feature_dim == mixture.parameters.means.shape[1] == 2


def test_the_networks_see_all_axes_of_the_sample(fitted) -> None:
    seen, points = fitted[2].fitted.result.search.features, fitted[2].fitted.result.search.points
    assert seen.shape == (3000, 3) and points.shape == (3000, 2)
    np.testing.assert_allclose(seen[:, :2], points)


class Watcher(keras.callbacks.Callback):
    """Keeps the t distributions that the networks learnt in each epoch."""

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.append(self.model.fitted.state.t_mixture)


def test_networks_learn_the_posterior_of_t_distributions_within_a_fit() -> None:
    x, labels, _ = strayed()
    watcher = Watcher()
    model = tfdpm.fit(x, features="none", verbose=0, callbacks=[watcher])
    assert model.fitted.state.t_mixture is None  # of that fit alone
    seen = watcher.seen[-1]
    assert seen.num_components == model.n_clusters == 2
    features = model.fitted.state.preprocessing.transform(x)
    ours = LogJoint(seen)(features).numpy().argmax(axis=1)
    assert np.mean(ours == model.labels_) > 0.99
    gaussian = tfdpm.DeepDPM(tfdpm.DeepDPMConfig(tails="gaussian")).fit(
        x, verbose=0, callbacks=[watcher]
    )
    assert set(watcher.seen) == {None} and len(gaussian.epoch) > 0


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_a_further_fit_learns_tails_of_the_points_it_is_given(is_interrupted) -> None:
    x, _, _ = strayed()
    watcher = Watcher()
    model = tfdpm.fit(x, features="none", verbose=0)
    if is_interrupted:  # as a checkpoint from the middle of a fit would be
        model.adopt(find_tails(model.fitted, model.config))
        before = model.fitted.state.t_mixture.means.numpy()
        model.fit(x, initial_epoch=1, epochs=2, verbose=0, callbacks=[watcher])
        np.testing.assert_array_equal(watcher.seen[0].means, before)
        model.adopt(find_tails(model.fitted, model.config))
    model.fit(0.8 * x + [0.3, 0.0, 0.0], epochs=1, verbose=0, callbacks=[watcher])
    means = model.fitted.state.preprocessing.inverse(watcher.seen[0].means.numpy())
    groups = [x[model.predict_labels(x) == k].mean(axis=0) for k in range(2)]
    expected = 0.8 * np.array(groups) + [0.3, 0.0, 0.0]
    np.testing.assert_allclose(means[:, 0], expected[:, 0], atol=0.15)


def test_after_a_move_tails_are_those_of_the_present_components() -> None:
    x, _, _ = strayed()
    model = tfdpm.fit(x, features="none", verbose=0)
    transition = transitions.of_merges(2, [[0, 1]])
    model.adopt(model.fitted.apply(transition, (), model.config, 0))
    model.adopt(find_tails(model.fitted, model.config))
    assert model.fitted.state.t_mixture.num_components == model.n_clusters == 1
    config = model.config.replace(cluster_loss="isotropic")
    model.adopt(find_tails(model.fitted, config))
    assert model.fitted.state.t_mixture is None
