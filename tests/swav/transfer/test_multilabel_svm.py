"""The multi-label SVM against precision counted by hand, and on data whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from tfdpm.features import multilabel_svm


def labelled_rows(number, seed):
    """Rows whose first columns tell three overlapping classes, with noise."""
    rng = np.random.default_rng(seed)
    y = (rng.random((number, 3)) < 0.4).astype(int)
    x = np.concatenate([y + 0.3 * rng.normal(size=y.shape), rng.normal(size=(number, 2))], axis=1)
    return x, y


def count_average_precision(scores, labels):
    """Mean over positive samples of the share of positives among those that score no less."""
    return np.mean([labels[scores >= score].mean() for score in scores[labels == 1]])


def test_mean_precision_equals_the_count_by_hand():
    (x, y), (test_x, test_y) = labelled_rows(60, 0), labelled_rows(40, 1)
    expected = []
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (x, test_x)]
    for index in range(3):
        model = LinearSVC(C=1.0, class_weight={0: 1.0, 1: 2.0}, random_state=0)
        model.fit(unit[0], y[:, index])
        scores = model.decision_function(unit[1])
        expected.append(count_average_precision(scores, test_y[:, index]))
    found = multilabel_svm(x, y, test_x, test_y, costs=[1.0])
    assert found == pytest.approx(np.mean(expected), abs=1e-6) and 0.7 < found < 1.0


def test_length_of_rows_and_left_out_samples_do_not_matter():
    (x, y), (test_x, test_y) = labelled_rows(60, 0), labelled_rows(40, 1)
    found = multilabel_svm(x, y, test_x, test_y)
    scales = np.random.default_rng(2).uniform(0.1, 10, size=(60, 1))
    assert multilabel_svm(scales * x, y, test_x, test_y) == pytest.approx(found, abs=1e-6)
    wrong = np.concatenate([test_x, -5 * test_x])
    labels = np.concatenate([test_y, np.full_like(test_y, -1)])
    assert multilabel_svm(x, y, wrong, labels) == pytest.approx(found, abs=1e-6)


def test_cross_validation_finds_a_cost_that_learns():
    (x, y), (test_x, test_y) = labelled_rows(200, 0), labelled_rows(200, 1)
    # With one cost that is far too small the weights follow the means alone.
    assert multilabel_svm(x, y, test_x, test_y) >= multilabel_svm(
        x, y, test_x, test_y, costs=[1e-6]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_y": np.zeros(60, int)}, "train_y"),
        ({"test_y": np.zeros((40, 2), int)}, "test_y"),
        ({"train_y": np.full((60, 3), 2)}, "train_y"),
        ({"train_y": np.zeros((60, 3), int)}, "`train_y`: got no such class"),
    ],
)
def test_labels_that_do_not_fit_are_refused(change, message):
    (x, y), (test_x, test_y) = labelled_rows(60, 0), labelled_rows(40, 1)
    with pytest.raises(ValueError, match=message):
        multilabel_svm(**{"train_x": x, "train_y": y, "test_x": test_x, "test_y": test_y} | change)
