from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfdpm.mixture import niw


def test_parameters_are_float64_tensors():
    parameters = niw.niw_parameters([0, 1], 2, 4, [[2, 1], [1, 2]])
    assert all(part.dtype == tf.float64 for part in parameters)
    for part, truth in zip(parameters, ([0, 1], 2, 4, [[2, 1], [1, 2]]), strict=True):
        np.testing.assert_array_equal(part, truth)


@pytest.mark.parametrize(
    "name, arguments, wanted",
    [
        ("loc", ([[0.0, 0.0]], 1.0, 4.0, np.eye(2)), "shape [D]"),
        ("scale", ([0.0, 0.0], 1.0, 4.0, np.eye(3)), "shape [2, 2]"),
        ("mean_precision", ([0.0, 0.0], 0.0, 4.0, np.eye(2)), "positive numbers"),
        ("mean_precision", ([0.0, 0.0], np.nan, 4.0, np.eye(2)), "finite number"),
        ("df", ([0.0, 0.0], 1.0, 1.0, np.eye(2)), "above D - 1 = 1"),
        ("scale", ([0.0, 0.0], 1.0, 4.0, np.diag([1.0, 0.0])), "positive definite"),
        ("scale", ([0.0, 0.0], 1.0, 4.0, np.diag([1.0, -1.0])), "positive definite"),
        ("scale", ([0.0, 0.0], 1.0, 4.0, [[1.0, 0.5], [0.0, 1.0]]), "symmetric"),
        ("scale", ([0.0, 0.0], 1.0, 4.0, np.full((2, 2), np.nan)), "finite numbers"),
        ("loc", ([0.0, np.inf], 1.0, 4.0, np.eye(2)), "finite numbers"),
    ],
)
def test_bad_parameters_are_named(name, arguments, wanted):
    with pytest.raises(ValueError) as raised:
        niw.niw_parameters(*arguments)
    assert str(raised.value).startswith(f"`{name}`: got ")
    assert wanted in str(raised.value).split("wanted")[1]
