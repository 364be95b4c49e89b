"""Checks return what they were given, or raise naming the argument, what came, what was wanted."""

from __future__ import annotations

import numpy as np
import pytest

from tfdpm import checks


def test_fail_has_one_wording() -> None:
    with pytest.raises(ValueError, match=r"^`epochs`: got -1, wanted an integer of at least 1\.$"):
        checks.fail("epochs", -1, "an integer of at least 1")
    with pytest.raises(FileNotFoundError):
        checks.fail("path", "'x'", "a file", FileNotFoundError)


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_integer_returns_a_python_integer(value) -> None:
    result = checks.integer(value, "n", minimum=3, maximum=3)
    assert result == 3
    assert type(result) is int


@pytest.mark.parametrize("value", [True, 3.0, "3", None, np.float32(3)])
def test_integer_rejects_other_types(value) -> None:
    with pytest.raises(TypeError, match=r"^`n`: got .* of type .*, wanted an integer"):
        checks.integer(value, "n")


@pytest.mark.parametrize(
    ("value", "bounds", "wanted"),
    [
        (0, {"minimum": 1}, "of at least 1"),
        (9, {"maximum": 8}, "of at most 8"),
        (9, {"minimum": 1, "maximum": 8}, "from 1 to 8"),
    ],
)
def test_integer_states_the_bounds(value, bounds, wanted) -> None:
    with pytest.raises(ValueError, match=rf"^`n`: got {value}, wanted an integer {wanted}\.$"):
        checks.integer(value, "n", **bounds)


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int8(2)])
def test_number_returns_a_python_float(value) -> None:
    result = checks.number(value, "rate", minimum=2, maximum=2, above=1.9)
    assert result == 2.0
    assert type(result) is float


@pytest.mark.parametrize(
    ("value", "bounds"),
    [
        (float("nan"), {}),
        (float("inf"), {}),
        (-0.1, {"minimum": 0}),
        (1.1, {"maximum": 1}),
        (0.0, {"above": 0}),
    ],
)
def test_number_rejects_what_is_out_of_range(value, bounds) -> None:
    with pytest.raises(ValueError, match=r"^`rate`: got .*, wanted a finite number"):
        checks.number(value, "rate", **bounds)


@pytest.mark.parametrize("value", [True, "1.0", None, 1j])
def test_number_rejects_other_types(value) -> None:
    with pytest.raises(TypeError, match="`rate`"):
        checks.number(value, "rate")


def test_one_of_spells_out_the_choices() -> None:
    assert checks.one_of("full", "shape", ("full", "diagonal")) == "full"
    assert checks.one_of(None, "shape", (None, "full")) is None
    with pytest.raises(
        ValueError, match=r"^`shape`: got 'round', wanted one of 'full', 'diagonal'"
    ):
        checks.one_of("round", "shape", iter(("full", "diagonal")))
    with pytest.raises(ValueError, match="`count`"):
        checks.one_of(True, "count", (0, 1))


def test_boolean_does_not_take_text_for_true() -> None:
    assert checks.boolean(False, "splits") is False
    for value in ("False", 1, 0, None):
        with pytest.raises(TypeError, match=r"^`splits`: got .*, wanted True or False"):
            checks.boolean(value, "splits")


def test_optional_modules_are_imported_or_their_extra_named() -> None:
    assert checks.import_optional("math", "plot", "viz").pi > 3
    with pytest.raises(
        ImportError, match=r"^`plot`: got no no_such, wanted it .* 'tfdpm\[viz\]'\.$"
    ):
        checks.import_optional("no_such.module", "plot", "viz")


def test_names_of_clusters_come_by_number_or_one_for_each() -> None:
    assert checks.cluster_names(None, 3) == ("", "", "")
    assert checks.cluster_names({2: "shoes"}, 3) == ("", "", "shoes")
    assert checks.cluster_names(["hats"], 2) == ("hats", "")
    for wrong in ({3: "a"}, {0: 1}, {"0": "a"}, ["a", "b", "c"]):
        with pytest.raises(ValueError, match=r"`names`: got .* for cluster"):
            checks.cluster_names(wrong, 2)
    with pytest.raises(TypeError, match="`names`: got 'ab'"):
        checks.cluster_names("ab", 2)
