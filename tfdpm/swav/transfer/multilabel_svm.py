"""Linear support vector machines on frozen features of images with several labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import normalize
from sklearn.svm import LinearSVC

from tfdpm import checks

_COSTS = tuple(10.0**power for power in range(-3, 4))


def multilabel_svm(
    train_x,
    train_y,
    test_x,
    test_y,
    *,
    costs: Sequence[float] = _COSTS,
    folds: int = 3,
    seed: int = 0,
) -> float:
    """Returns the mean average precision of a linear SVM per class, as VOC07 is measured in [SwAV].

    Rows are scaled to unit length. The cost of each class is that of the best average precision
    in cross-validation; positive samples weigh twice.

    Args:
        train_x, test_x: features, `[N, D]` and `[M, D]`.
        train_y, test_y: labels, `[N, C]` and `[M, C]`: 1 for present, 0 for absent, -1 for
            samples that a class leaves out, such as difficult ones.
        costs: costs C that are tried, > 0; by default, powers of ten from 0.001 to 1,000.
        folds: number of parts in cross-validation, >= 2.
        seed: random seed of the folds and of the solver.
    Returns:
        Mean over the classes that have positive samples in both parts, in [0, 1].
    Raises:
        ValueError: if shapes do not fit, or no class has positive and negative samples.
    """
    folds = checks.integer(folds, "folds", minimum=2)
    train_y, test_y = np.asarray(train_y), np.asarray(test_y)
    for name, x, y in (("train_y", train_x, train_y), ("test_y", test_x, test_y)):
        if y.ndim != 2 or len(y) != len(x) or y.shape[1] != train_y.shape[-1]:
            checks.fail(name, f"shape {y.shape}", f"[{len(x)}, C], the same C in both parts")
        if not np.isin(y, (-1, 0, 1)).all():
            checks.fail(name, "other values", "1, 0 or -1")
    train_x, test_x = (normalize(np.asarray(x, np.float64)) for x in (train_x, test_x))
    scores = []
    for train_labels, test_labels in zip(train_y.T, test_y.T, strict=True):
        known, tested = train_labels >= 0, test_labels >= 0
        counts = np.bincount(train_labels[known], minlength=2)
        if counts.min() < folds or not (test_labels == 1).any():
            continue
        search = GridSearchCV(
            LinearSVC(class_weight={0: 1.0, 1: 2.0}, random_state=seed, max_iter=2000),
            {"C": list(costs)},
            scoring="average_precision",
            cv=StratifiedKFold(folds, shuffle=True, random_state=seed),
        )
        search.fit(train_x[known], train_labels[known])
        decided = search.decision_function(test_x[tested])
        scores.append(average_precision_score(test_labels[tested], decided))
    if not scores:
        wanted = f"a class with {folds} positive and negative samples, and one in the test"
        checks.fail("train_y", "no such class", wanted)
    return float(np.mean(scores))
