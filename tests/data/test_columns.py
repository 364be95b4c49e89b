"""Text in frames becomes zeros and ones, by names and categories that later frames are read by."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tfdpm.data import Columns, as_features

N = 60
FRAME = pd.DataFrame(
    {
        "island": np.array(["Dream", "Biscoe", "Torgersen"])[np.arange(N) % 3],
        "mass": np.arange(N, dtype=float),
        "sex": np.array(["m", "f"])[np.arange(N) % 2],
        "tagged": np.arange(N) % 5 == 0,
    }
)


def test_features_are_numbers_then_the_dummies_of_pandas() -> None:
    inputs = as_features(FRAME)
    expected = pd.concat(
        [
            FRAME[["mass", "tagged"]],
            pd.get_dummies(FRAME["island"]),
            pd.get_dummies(FRAME["sex"], drop_first=True),
        ],
        axis=1,
    )
    np.testing.assert_array_equal(inputs.array, expected.to_numpy(float))
    names = ("mass", "tagged", "island=Biscoe", "island=Dream", "island=Torgersen", "sex=m")
    assert inputs.columns.features == names
    assert inputs.feature_shape == (6,)
    assert Columns.from_json(inputs.columns.to_json()) == inputs.columns


@pytest.mark.parametrize("dtype", [object, "str", "string", "category"])
def test_type_and_order_of_categories_and_columns_change_nothing(dtype) -> None:
    inputs = as_features(FRAME)
    other = FRAME[["tagged", "sex", "mass", "island"]].astype({"sex": dtype, "island": dtype})
    if dtype == "category":
        other["island"] = other["island"].cat.set_categories(
            ["Torgersen", "Dream", "nowhere", "Biscoe"], ordered=True
        )
    np.testing.assert_array_equal(as_features(other).array.sum(), inputs.array.sum())
    again = as_features(other.iloc[7:8], columns=inputs.columns, minimum_points=1)
    np.testing.assert_array_equal(again.array, inputs.array[7:8])
    assert again.columns == inputs.columns


@pytest.mark.parametrize("values", [[3, 5, 7], [3.0, 5.0, 7.0], ["3", "5", "7"]])
def test_numbers_as_categories_are_found_again_as_numbers_and_text(values) -> None:
    column = np.array([3, 5, 7])[np.arange(N) % 3]
    inputs = as_features(FRAME.assign(sex=pd.Categorical(column)))
    assert inputs.columns.features[-3:] == ("sex=3", "sex=5", "sex=7")
    other = FRAME.assign(sex=np.array(values)[np.arange(N) % 3])
    np.testing.assert_array_equal(as_features(other, columns=inputs.columns).array, inputs.array)


def test_numbers_of_the_fit_may_be_categories_later() -> None:
    inputs = as_features(FRAME)
    other = FRAME.astype({"mass": "category", "tagged": object})
    np.testing.assert_array_equal(as_features(other, columns=inputs.columns).array, inputs.array)


def test_columns_without_names_are_taken_by_position() -> None:
    x = FRAME[["mass", "tagged"]].to_numpy(float)
    named = as_features(FRAME[["mass", "tagged"]]).columns
    for columns, frame in [
        (named, pd.DataFrame(x)),
        (as_features(pd.DataFrame(x)).columns, pd.DataFrame(x, columns=["a", "b"])),
        (as_features(x).columns, pd.DataFrame(x, columns=["a", "a"])),
    ]:
        np.testing.assert_array_equal(as_features(frame, columns=columns).array, x)
    numbered = as_features(pd.DataFrame(x)).columns
    turned = as_features(pd.DataFrame(x)[[1, 0]], columns=numbered)
    np.testing.assert_array_equal(turned.array, x)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda f: f.rename(columns={"mass": "weight"}), ValueError, r"\['mass'\] and .*'weight'"),
        (lambda f: f.assign(age=1), ValueError, r"got unknown columns \['age'\], wanted"),
        (lambda f: f.drop(columns="sex"), ValueError, r"missing columns \['sex'\], wanted"),
        (lambda f: f.assign(sex="x"), ValueError, "'x' in column 'sex', wanted .*: 'f', 'm'"),
        (lambda f: f.assign(sex=[None, *"fm" * 29, "f"]), ValueError, "1 missing values in colu"),
        (lambda f: f.assign(mass="heavy"), TypeError, r"not numbers: \['mass'\]"),
        (lambda f: f.assign(mass=np.nan), ValueError, r"60 NaN in columns mass \(60\), the f"),
        (lambda f: f[[*f, "sex"]], ValueError, r"got columns \['sex'\] more than once"),
        (lambda f: f.set_axis([1, 0, 3, 2], axis=1), ValueError, r"missing columns \['island'"),
    ],
)
def test_frames_unlike_that_of_the_fit_are_refused(change, error, message) -> None:
    columns = as_features(FRAME).columns
    with pytest.raises(error, match=message):
        as_features(change(FRAME), columns=columns)


def test_data_that_was_read_by_other_columns_is_refused() -> None:
    inputs = as_features(FRAME)
    assert as_features(inputs, columns=inputs.columns) is inputs
    with pytest.raises(ValueError, match=r"those of fit: \['mass', 'tagged', 'island=Biscoe'"):
        as_features(as_features(FRAME.replace("m", "male")), columns=inputs.columns)
    with pytest.raises(ValueError, match="sex=m"):
        as_features(inputs, columns=Columns())


def test_text_is_refused_where_the_fit_had_numbers_without_names() -> None:
    with pytest.raises(TypeError, match=r"columns that are not numbers: \['island', 'sex'\]"):
        as_features(FRAME, columns=Columns())


@pytest.mark.parametrize(("rows", "categories"), [(N, 31), (20, 11), (4, 3)])
def test_names_and_codes_are_no_categories(rows, categories) -> None:
    names = [f"p{i % categories}" for i in range(rows)]
    frame = pd.DataFrame({"a": np.arange(rows) / 2, "name": names})
    columns = as_features(frame).columns
    assert columns.names == ("a",)
    assert columns.origin == f"left out: name ({categories} different texts)"
    for asked in ((frame, None), frame[["name"]]):
        with pytest.raises(ValueError, match=f"{categories} categories in column 'name'.*drop the"):
            as_features(asked)
    fewer = frame.assign(name=[f"p{i % (categories - 1)}" for i in range(rows)])
    assert as_features(fewer).feature_shape == (1 + max(categories - 1 - (categories == 3), 1),)


def test_a_frame_of_one_column_of_rows_is_told_of_separators() -> None:
    frame = pd.DataFrame({"a;b": [f"{i};{i}" for i in range(60)]})
    with pytest.raises(ValueError, match="of a file, fit its path: then the separator is found"):
        as_features(frame)


def test_what_is_neither_number_nor_text_is_refused() -> None:
    frame = FRAME.assign(day=pd.Timestamp(0), span=pd.Timedelta(1))
    with pytest.raises(TypeError, match=r"neither numbers nor text: \['day', 'span'\]"):
        as_features((frame, None))
    assert as_features(frame).columns.origin == "left out: day (dates), span (dates)"


def test_each_value_knows_its_categorical_variable() -> None:
    frame = pd.DataFrame({"a": list("xyzxyz"), "b": [1.0, 2, 3, 4, 5, 7], "c": [True, False] * 3})
    columns = as_features(frame.assign(d=list("uvuvuv"))).columns
    assert columns.features == ("b", "c", "a=x", "a=y", "a=z", "d=v")
    assert columns.variables == (0, 1, 2, 2, 2, 3)
    assert Columns.from_json(columns.to_json()).variables == columns.variables
    assert as_features(frame[["b"]]).columns.variables == ()
