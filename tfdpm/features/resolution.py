"""How finely each column's values are told apart, and whether rows repeat because of that.

Counts, answers of questionnaires, flags and rounded measurements are values that many points share.
A cluster of them may lie on one value, but a density cannot tell more than the values do. Each of
them stands for an interval, whose variance is a twelfth of its squared width, as in Sheppard's
corrections.
"""

from __future__ import annotations

import numpy as np

_MOST_ROWS = 4096  # that steps are read from
_SHARED = 0.3  # least share of the points whose values others have too; fewer may by chance
_SAME = 1e-7  # values nearer to each other than this share of their range are the same
_WIDEST = 0.97  # share of the points that share a value whose widths are not cut
_COMPARABLE = 0.01  # least share of the points at a value that the next one has
_FEW_VALUES = 16  # a column of no more values takes each of them again, whatever is measured
_LARGEST_COPY = 0.05  # share of the points up to which equal ones are copies and no cluster
_MOST_COPIES = 20  # number of them
_POINTS_PER_CELL = 0.1  # least number of points for each cell in which clusters may lie


def column_steps(rows: np.ndarray) -> np.ndarray:
    """Root mean square width `[D]` of the intervals that values stand for; 0 if none are shared.

    A shared value reaches to the next one that at least a hundredth as many points share: on a
    grid that is the step, of two values their distance. Values of single points have no width, nor
    has the only shared one among them. Of the rows `[n, D]`, 4,096 are looked at.
    """
    if len(rows) > _MOST_ROWS:
        chosen = np.random.default_rng([0, 14]).choice(len(rows), _MOST_ROWS, replace=False)
        rows = rows[chosen]
    rows = np.asarray(rows, np.float64)
    steps = np.array([_step(column) for column in rows.T])
    choices = _one_of_several(rows)
    is_lone = choices[np.ptp(rows, axis=0) > 0].all() and rows[:1, choices].sum() == 1
    if not is_lone:
        # Two answers differ in two columns. Otherwise the evidence of each answer as a cluster of
        # its own would outweigh what it costs to say which one it is.
        steps[choices] *= np.sqrt(2.0)
    return steps


def _one_of_several(rows: np.ndarray) -> np.ndarray:
    """Which columns `[D]` are indicators, one of a few neighbouring columns being one in each row.

    That is what dummy coding makes of a column of categories.
    """
    is_flag = ((rows == 0) | (rows == 1)).all(axis=0) & (np.ptp(rows, axis=0) > 0)
    found = np.zeros(rows.shape[1], bool)
    first, total = 0, np.zeros(len(rows))
    for column in range(rows.shape[1]):
        total = total + rows[:, column] if is_flag[column] else np.zeros(len(rows))
        if not is_flag[column] or total.max() > 1:
            is_next = bool(is_flag[column])
            first, total = column + (not is_next), rows[:, column] * is_next
        elif total.min() == 1:
            found[first : column + 1] = True
            first, total = column + 1, np.zeros(len(rows))
    return found


def _step(column: np.ndarray) -> float:
    values, counts = _distinct(column)
    is_shared = counts > 1
    if len(values) < 2 or counts[is_shared].sum() < _SHARED * len(column):
        return 0.0
    shared, sizes = values[is_shared], counts[is_shared]
    widths = np.empty(len(shared))
    least = np.maximum(2, np.ceil(_COMPARABLE * sizes)).astype(int)
    for level in np.unique(least):
        is_next = sizes >= level
        gaps = np.concatenate([[np.inf], np.diff(shared[is_next]), [np.inf]])
        of_these = least[is_next] == level
        widths[least == level] = np.minimum(gaps[:-1], gaps[1:])[of_these]
    widths[np.isinf(widths)] = 0.0
    order = np.argsort(widths)
    cut = np.searchsorted(np.cumsum(sizes[order]), _WIDEST * sizes.sum())
    widths = np.minimum(widths, widths[order[min(cut, len(order) - 1)]])
    return float(np.sqrt(np.sum(sizes * widths**2) / len(column)))


def _distinct(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values in rising order, and how many rows have each."""
    values, counts = np.unique(column, return_counts=True)
    is_new = np.diff(values, prepend=-np.inf) > _SAME * (values[-1] - values[0])
    starts = np.flatnonzero(is_new)
    return values[starts], np.add.reduceat(counts, starts)


def repeats_by_chance(rows: np.ndarray, steps: np.ndarray) -> bool:
    """Whether equal rows are equal because there are few values, so that each of them counts.

    In columns of many values, equal rows `[n, D]` are copies of one another, which are no evidence
    for a cluster where they lie. `column_steps` gives the steps `[D]`.
    """
    rows = np.asarray(rows, np.float64)
    is_varying = np.ptp(rows, axis=0) > 0
    rows, steps = rows[:, is_varying], steps[is_varying]
    if not len(steps) or not (steps > 0).all():
        return False
    if all(len(_distinct(column)[0]) <= _FEW_VALUES for column in rows.T):
        return True
    # A Gaussian with the rows' covariance has so many typical cells as its entropy says, in steps.
    # Its determinant is a product over the singular values, of which few rows have few.
    offsets = (rows - rows.mean(axis=0)) / steps
    variances = np.zeros(len(steps))
    singular_values = np.linalg.svd(offsets, compute_uv=False)
    variances[: len(singular_values)] = singular_values**2 / len(rows)
    log_cells = 0.5 * np.sum(np.log(2.0 * np.pi * np.e * (variances + 1.0 / 12.0)))
    return bool(np.log(len(rows)) - log_cells >= np.log(_POINTS_PER_CELL))


def has_atom(rows: np.ndarray) -> bool:
    """Whether so many rows `[n, D]` are equal that they are a cluster, such as rows of zeros."""
    _, counts = np.unique(rows, axis=0, return_counts=True)
    return bool(counts.max() > max(_LARGEST_COPY * len(rows), _MOST_COPIES))
