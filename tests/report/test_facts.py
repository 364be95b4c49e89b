"""What a report says is what the model says."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import tfdpm
from tfdpm import metrics
from tfdpm.report import facts, sentences


@pytest.fixture(scope="module")
def gathered(model, images):
    return facts.gather_facts(model, images[0], images[1], images[2], seed=0)


def test_scores_and_sizes_are_those_of_all_points(gathered, model, images) -> None:
    y = images[1]
    assert gathered.scores["NMI"] == metrics.nmi(y, model.labels_)
    assert gathered.scores["ACC"] == metrics.clustering_accuracy(y, model.labels_)
    np.testing.assert_array_equal(gathered.sizes, np.bincount(model.labels_))
    assert gathered.images.shape == (300, 4, 4, 1)
    assert sum(gathered.k_posterior.values()) == pytest.approx(1.0)


def test_matching_clusters_stand_on_the_diagonal(gathered) -> None:
    table, classes, clusters = gathered.confusion
    assert table.sum() == 300
    assert np.trace(table) == 300
    assert sorted(clusters) == list(range(4))
    assert classes == ["0", "1", "2", "3"]


def test_known_classes_are_called_as_in_the_labels(model, images) -> None:
    texts = np.array(["rye", "oat", "wheat", "barley"])[images[1]]
    table, classes, _ = facts.gather_facts(model, images[0], texts, None, seed=0).confusion
    assert classes == ["barley", "oat", "rye", "wheat"]
    assert table.sum(axis=1).tolist() == [(texts == each).sum() for each in classes]


def test_clusters_without_a_class_follow_the_matched_ones() -> None:
    known, found = np.array([0, 0, 0, 1, 1]), np.array([2, 2, 0, 1, 1])
    table, _, clusters = facts._count_confusion(known, found, 3, ())
    assert clusters.tolist() == [2, 1, 0]
    assert table.tolist() == [[2, 0, 1], [0, 2, 0]]


def test_a_stream_of_images_needs_no_images_beside_it(model, images) -> None:
    stream = tf.data.Dataset.from_tensor_slices(images[2][:100]).batch(30)
    gathered = facts.gather_facts(model, stream, None, None, seed=0)
    assert gathered.images.shape == (100, 4, 4, 1)
    assert gathered.confusion is None
    assert "NMI" not in gathered.scores


def test_another_number_of_images_is_an_error(model, images) -> None:
    with pytest.raises(ValueError, match="`images`: got 3 images, wanted 300"):
        facts.gather_facts(model, images[0], None, images[2][:3], seed=0)


def test_the_prior_is_said_to_weigh_what_it_weighs(model) -> None:
    df = float(model.prior_.df)
    told = sentences.describe_prior(model, int(3 * df))[1]
    assert f"It makes up {df / (df + int(3 * df)):.1%} of the shape of the largest" in told


def test_k_is_called_firm_only_where_chains_agree() -> None:
    assert "88% of the chains" in sentences.describe_k(10, {10: 0.875, 11: 0.125})
    unsure = sentences.describe_k(10, {9: 0.25, 10: 0.25, 11: 0.5})
    assert "between 9 and 11, most often 11" in unsure


def test_the_prior_is_told_with_its_numbers(model) -> None:
    first, second, _ = sentences.describe_prior(model, 75)
    prior = model.prior_
    dim = prior.loc.shape[0]
    mode = np.sqrt(np.diag(prior.scale)[0] / (float(prior.df) + dim + 1))
    assert f"{mode:.3g}" in first
    assert "set from the data" in first
    assert f"as much as {float(prior.df):.4g} points" in second


@pytest.mark.parametrize("num_numbers", [0, 2])
def test_categories_have_no_expected_size(num_numbers) -> None:
    prior = SimpleNamespace(scale=np.diag([9.0, 9.0, 0.5, 0.5][: 2 + num_numbers]))
    prior.df, prior.mean_precision = 5.0, 1e-4
    preprocessing = SimpleNamespace(category_sizes=(2,))
    model = SimpleNamespace(
        prior_=prior, config=tfdpm.DeepDPMConfig(), preprocessing_=preprocessing
    )
    told = sentences.describe_prior(model, 75)
    assert "concentration" in told[-1]
    if num_numbers:
        assert f"in its numbers, a ball with a standard deviation of about {0.25:.3g} (" in told[0]
    else:
        assert len(told) == 1
