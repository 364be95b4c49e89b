"""Tables as programs write them: the same numbers by every road, and mistakes named."""

from __future__ import annotations

import bz2
import decimal
import gzip
import sys
import time
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from tfdpm.data import Columns, as_features, read
from tfdpm.metrics import UNKNOWN_LABEL

GENERATOR = np.random.default_rng(0)
X = np.round(GENERATOR.normal(size=(30, 3)) * [1.0, 10.0, 1e3], 4)
KINDS = np.array(["red", "green", "blue"])[np.arange(30) % 3]
NAMES = ["a", "b", "c"]
FRAME = pd.DataFrame(X, columns=NAMES)
LABELLED = FRAME.assign(target=np.arange(30) % 3)


def write(path, text: str, encoding="utf-8"):
    path.write_text(text, encoding=encoding)
    return path


def with_commas(text: str) -> str:
    return text.replace(",", ";").replace(".", ",")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", FRAME.to_csv(index=False)),
        ("t.csv", FRAME.to_csv(index=False).replace("\n", "\r\n")),
        ("t.csv", FRAME.to_csv(index=False, quoting=1)),
        ("t.csv", FRAME.to_csv(index=False).replace(",", " , ")),
        ("t.csv", FRAME.to_csv(index=False, header=False)),
        ("t.csv", FRAME.to_csv()),
        ("t.csv", FRAME.to_csv(index_label="id")),
        ("t.csv", FRAME.reset_index().to_csv()),
        ("t.csv", FRAME.set_axis([f"r{i}" for i in range(30)]).to_csv()),
        ("t.csv", FRAME.set_axis(range(7, 37)).to_csv().removeprefix(",")),  # R's write.table
        ("t.csv", FRAME.set_axis([f"[{i},]" for i in range(1, 31)]).to_csv()),  # of a matrix in R
        ("t.csv", pd.DataFrame(X).to_csv(index=False)),
        ("t.csv", pd.DataFrame(X).to_csv()),
        ("t.csv", FRAME.set_axis([1990, 2000, 2010], axis=1).to_csv(index=False)),
        ("t.csv", FRAME.set_axis(["400.5", "401", "long name, m"], axis=1).to_csv(index=False)),
        ("t.csv", FRAME.to_csv(index=False).replace("\n", ",\n")),
        ("t.csv", FRAME.to_csv(index=False).replace("\n", ",\n").replace("c,", "c", 1)),
        ("t.csv", FRAME.to_csv(index=False, header=False).replace("\n", ",\n")),
        ("t.csv", "# made by\n# a program\n" + FRAME.to_csv(index=False)),
        ("t.csv", "# " + FRAME.to_csv(index=False)),
        ("t.csv", "sep=;\n" + FRAME.to_csv(index=False, sep=";")),
        ("t.csv", with_commas(FRAME.to_csv(index=False))),
        ("t.csv", with_commas(FRAME.to_csv(index=False, header=False))),
        ("t.csv", FRAME.map(lambda v: f"{v:,.4f}").to_csv(index=False)),
        ("t.csv", FRAME.map(lambda v: f"{v:,.4f}".translate({44: 46, 46: 44})).to_csv(index=False)),
        ("t.csv", FRAME.map(lambda v: f"{v:,.4f}".replace(",", " ")).to_csv(index=False)),
        ("t.csv", FRAME.map(lambda v: f"{v:,.4f}".replace(",", "'")).to_csv(index=False)),
        ("t.csv", FRAME.map(lambda v: f"{v:.4f} %").to_csv(index=False)),
        ("t.csv", with_commas(FRAME.map(lambda v: f"{v:.4f} €").to_csv(index=False))),
        (
            "t.csv",
            FRAME.map(lambda v: f"{v:.4f}".replace("-", "\N{MINUS SIGN}")).to_csv(index=False),
        ),
        ("t.csv", FRAME.assign(a=[f"{v:.4f}".replace("-", "-$") for v in X[:, 0]]).to_csv()),
        ("t.csv", "Measured in 2021\n\n" + FRAME.to_csv(index=False)),
        ("t.csv", "By A, B\nDate: 2021-01-02\n" + FRAME.to_csv(index=False)),
        ("t.csv", "Measured in 2021,,\n,,\n" + FRAME.to_csv(index=False)),
        ("t.csv", FRAME.to_csv(index=False).replace("\n", "\n# again\n", 9)),
        ("t.csv", FRAME.to_csv(index=False).replace("\n", "\n# so, and, so, on\n", 9)),
        ("t.csv", "# by me\n" + FRAME.to_csv(sep=";").replace("\n2;", "\n#\n2;")),
        ("t.csv", FRAME.to_csv(index=False, sep="|")),
        ("t.tsv", FRAME.to_csv(index=False, sep="\t")),
        ("t.tsv", FRAME.to_csv(index=False, sep="\t", decimal=",")),
        ("t.txt", FRAME.to_csv(index=False, sep=" ", header=False)),
        ("t.dat", FRAME.to_string(index=False)),
        ("t.data", FRAME.set_axis([f"r {i}" for i in range(30)]).to_csv(sep=" ", quoting=2)[3:]),
        ("t.json", FRAME.to_json()),
        ("t.json", FRAME.to_json(orient="records")),
        ("t.json", FRAME.to_json(orient="split")),
        ("t.json", FRAME.to_json(orient="index")),
        ("t.json", FRAME.to_json(orient="values")),
        ("t.json", FRAME.to_json(orient="records", lines=True)),
        ("t.jsonl", FRAME.to_json(orient="records", lines=True)),
    ],
)
def test_the_same_numbers_however_they_are_written(tmp_path, name, text) -> None:
    x, y = read(write(tmp_path / name, text))
    np.testing.assert_allclose(x, X, atol=1e-9)
    assert y is None


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("gbk", "城市 北京 上海 广州 红色"),
        ("cp932", "都市 東京 大阪 みどり りんご"),
        ("big5", "城市 台北 高雄 紅色 綠色"),
        ("cp949", "도시 서울 부산 빨강 초록"),
        ("cp1251", "город Москва Казань красный зелёный"),
        ("cp1253", "πόλη Αθήνα κόκκινο πράσινο μήλο"),
        ("cp1256", "مدينة القاهرة دبي أحمر أخضر"),
        ("cp1252", "ville été Zürich größer São"),
        ("cp1252", "ação ção coração não mãe"),
        ("cp1252", "€ € £ µ °"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_letters_of_other_scripts_are_read_as_they_were_written(
    encoding, words, suffix, tmp_path
) -> None:
    name, *categories = words.split()
    frame = pd.DataFrame({name: np.array(categories)[np.arange(40) % 4], "a": np.arange(40) ** 2})
    text = frame.to_csv(index=False).encode(encoding)
    (tmp_path / f"t.{suffix}").write_bytes(gzip.compress(text) if "gz" in suffix else text)
    columns = as_features(tmp_path / f"t.{suffix}").columns
    assert columns.names == (name, "a")
    assert columns.categories[0] == tuple(sorted(categories))
    assert text.decode(columns.origin.rpartition("encoding ")[2]) == text.decode(encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_names_in_any_encoding_are_read(tmp_path, encoding) -> None:
    frame = FRAME.set_axis(["Größe", "Länge", "c"], axis=1)
    path = write(tmp_path / "t.csv", frame.to_csv(index=False), encoding)
    columns = as_features(path).columns
    assert columns.names == ("Größe", "Länge", "c")
    found = "" if encoding.startswith("utf-8") else f"; encoding {encoding}"
    assert columns.origin == f"from t.csv{found}"


def test_names_are_on_one_line_and_bytes_without_a_mark_are_decoded(tmp_path) -> None:
    path = write(tmp_path / "1.csv", '"a\n(cm)",b\n1,2.5\n3,4.5\n')
    assert as_features(path).columns.names == ("a (cm)", "b")
    for encoding in ("utf-16-le", "utf-16-be"):
        inputs = as_features(write(tmp_path / "2.csv", FRAME.to_csv(index=False), encoding))
        np.testing.assert_allclose(inputs.array, X, atol=1e-9)


def test_a_title_of_one_word_above_two_columns_may_name_them(tmp_path) -> None:
    text = "".join(f"r{i},{row[0]}\n" for i, row in enumerate(X))
    x, _ = read(write(tmp_path / "t.csv", "value\n" + text))  # as R writes names of rows
    np.testing.assert_allclose(x, X[:, :1], atol=1e-9)
    assert list(x.columns) == ["value"]


def test_comments_far_below_the_header_are_found(tmp_path) -> None:
    text = "a,b\n" + "1,2.5\n3,4.5\n" * 500 + "# end\n5,6.5\n"
    assert read(write(tmp_path / "t.csv", text))[0].shape == (1001, 2)
    colors = "a,b\n" + "".join(f"#{i % 2}0f,{i}.5\n" for i in range(40))
    assert len(read(write(tmp_path / "t.csv", colors))[0]) == 40


def test_lists_of_numbers_are_columns(tmp_path) -> None:
    frame = pd.DataFrame({"text": [f"number {i}" for i in range(30)], "vector": X.tolist()})
    frame["label"] = KINDS
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.assign(vector=list(X.astype(np.float32))).to_parquet(tmp_path / "t.parquet")
    frame.assign(vector=list(X)).to_csv(tmp_path / "arrays.csv", index=False)
    for name in ("t.jsonl", "t.csv", "t.parquet", "arrays.csv"):
        inputs = as_features(tmp_path / name)
        np.testing.assert_allclose(inputs.array, X, rtol=1e-6)
        assert inputs.columns.names == ("vector[0]", "vector[1]", "vector[2]")
        assert inputs.columns.left_out == ("text", "label") and inputs.labels is not None
        later = as_features(pd.DataFrame({"vector": list(X[:5])}), columns=inputs.columns)
        np.testing.assert_allclose(later.array, X[:5])
    kept = read(tmp_path / "t.jsonl", columns=["vector"])[0]
    np.testing.assert_allclose(kept, X)
    for wrong in ([[1.0, 2.0]] * 29 + [[1.0]], [["a", "b"]] * 30):
        with pytest.raises(ValueError, match="lists in column 'vector' that are not numbers, or"):
            as_features(frame.assign(vector=wrong)[["vector"]])


def test_later_missing_values_are_filled_as_in_the_fit(tmp_path) -> None:
    frame = LABELLED.assign(kind=np.where(np.arange(30) < 20, "red", "blue"), n=1)
    frame.loc[3, "a"] = np.nan
    path = write(tmp_path / "1.csv", frame.to_csv(index=False))
    columns = Columns.from_json(as_features(read(path, missing="mean")).columns.to_json())
    later = write(tmp_path / "2.csv", "a,b,c,kind,n\n,1,2,,1\n7,8,9,blue,1\n")
    array = as_features(later, columns=columns).array
    mean = np.delete(X[:, 0], 3).mean()
    np.testing.assert_allclose(array, [[mean, 1, 2, 1, 1], [7, 8, 9, 1, 0]][:2], rtol=1e-6)
    in_frame = as_features(pd.read_csv(later), columns=columns).array
    np.testing.assert_array_equal(in_frame, array)
    plain = as_features(FRAME).columns
    with pytest.raises(ValueError, match=r"missing values in columns a \(1\)"):
        as_features(write(tmp_path / "3.csv", "a,b,c\n,1,2\n3,4,5\n"), columns=plain)


def test_files_are_read_compressed_and_as_parquet_and_excel(tmp_path) -> None:
    for suffix, module in [(".gz", gzip), (".bz2", bz2)]:
        with module.open(tmp_path / f"t.csv{suffix}", "wt") as file:
            file.write(with_commas(LABELLED.to_csv(index=False)))
    LABELLED.to_parquet(tmp_path / "t.parquet")
    LABELLED.to_excel(tmp_path / "t.xlsx")
    pd.DataFrame(X).to_excel(tmp_path / "numbers.xlsx", header=False, index=False)
    LABELLED.to_csv(tmp_path / "t.csv.zip")
    for name in ("t.csv.gz", "t.csv.bz2", "t.csv.zip", "t.parquet", "t.xlsx"):
        inputs = as_features(tmp_path / name)
        np.testing.assert_allclose(inputs.array, X, atol=1e-9)
        np.testing.assert_array_equal(inputs.labels, LABELLED["target"])
        assert inputs.columns.names == ("a", "b", "c")
    np.testing.assert_allclose(as_features(tmp_path / "numbers.xlsx").array, X)


@pytest.mark.parametrize(
    "name", ["y", "label", "Labels", "TARGET", "class", "Species", "true label"]
)
def test_columns_named_as_labels_only_score(tmp_path, name) -> None:
    for values in (KINDS, np.arange(30) % 4):
        x, y = read(write(tmp_path / "t.csv", FRAME.assign(**{name: values}).to_csv()))
        assert list(x.columns) == NAMES
        np.testing.assert_array_equal(y, values)


def test_names_of_the_labels_are_left_out_with_them(tmp_path) -> None:
    frame = LABELLED.assign(
        target_names=KINDS, other=np.roll(KINDS, 1) + (np.arange(30) % 2).astype(str)
    )
    columns = as_features(write(tmp_path / "t.csv", frame.to_csv(index=False))).columns
    assert columns.names == ("a", "b", "c", "other")
    assert "labels: target; left out: target_names (the labels again)" in str(columns)


def test_text_at_the_end_of_numbers_without_names_is_a_class(tmp_path) -> None:
    inputs = as_features(
        write(tmp_path / "t.csv", FRAME.assign(kind=KINDS).to_csv(header=False, index=False))
    )
    np.testing.assert_allclose(inputs.array, X, atol=1e-9)
    np.testing.assert_array_equal(inputs.labels, np.unique(KINDS, return_inverse=True)[1])
    assert "labels: 3" in str(inputs.columns)


def test_many_columns_are_named_in_short() -> None:
    columns = as_features(pd.DataFrame(np.ones((3, 30))).add_prefix("c")).columns
    assert str(columns).endswith("c18, c19 and 10 more")


def test_coordinates_and_amounts_are_no_labels(tmp_path) -> None:
    whole = np.arange(30) % 7
    for frame in (
        pd.DataFrame({"x": whole, "y": whole[::-1]}),
        FRAME.rename(columns={"c": "y"}),
        FRAME.rename(columns={"c": "target"}),
        FRAME.assign(label=GENERATOR.permutation(30) * 3),
    ):
        x, y = read(write(tmp_path / "t.csv", frame.to_csv(index=False)))
        pd.testing.assert_frame_equal(x, frame, check_dtype=False)
        assert y is None


@pytest.mark.parametrize(
    ("name", "values", "is_used"),
    [
        ("id", np.arange(1, 31), False),
        ("Unnamed: 0", np.arange(30), False),
        ("time", np.arange(100, 130), False),
        ("customer_id", GENERATOR.permutation(30) + 7, False),
        ("PassengerId", GENERATOR.permutation(30), False),
        ("id", [f"p{i}" for i in range(30)], False),
        ("id", np.arange(30) % 3, True),
        ("time", np.arange(30) * 2, True),
        ("valid", GENERATOR.permutation(30), True),
        ("size", np.arange(30.0) + 0.5, True),
        ("store_id", np.arange(30) // 2 * 7, True),
        ("subject_id", np.maximum(np.arange(30), 3) * 7, False),
    ],
)
def test_columns_that_number_the_rows_are_left_out(tmp_path, name, values, is_used) -> None:
    frame = FRAME.assign(**{name: values})
    columns = as_features(write(tmp_path / "t.csv", frame.to_csv(index=False))).columns
    assert columns.names == (*NAMES, *[name] * is_used)
    assert columns.left_out == (() if is_used else (name,))
    assert ("left out: " in str(columns)) != is_used


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (pd.date_range("2020-01-01", periods=30, freq="7D").strftime("%Y-%m-%d"), "dates"),
        (pd.date_range("2020-01-01", periods=30, freq="7D").strftime("%b %d, %Y"), "dates"),
        (pd.date_range("2020-01-01", periods=30, freq="7D").strftime("%d-%b-%Y"), "dates"),
        (pd.date_range("2020-01-01", periods=30, freq="7D").strftime("%Y%m%d"), "dates"),
        (pd.date_range("2001-01-01", periods=30, freq="7D").strftime("%y%m%d"), "dates"),
        (["2020-01-01", None] * 15, "dates"),
        ([f"customer {i}" for i in range(30)], "30 different texts"),
        ([f"customer {i}" if i else None for i in range(30)], "29 different texts"),
        (["none of these"] * 30, "the same in each row"),
        ([None] * 30, "empty"),
    ],
)
def test_columns_that_say_nothing_as_numbers_or_categories_are_left_out(
    tmp_path, values, reason
) -> None:
    frame = FRAME.assign(**{"date of birth": values})
    expected = f"left out: date of birth ({reason})"
    inputs = as_features(write(tmp_path / "t.csv", frame.to_csv(index=False)))
    assert inputs.columns.names == ("a", "b", "c")
    assert inputs.columns.origin == f"from t.csv; {expected}"
    in_frame = as_features(frame)
    if reason != "dates" or not frame["date of birth"].iloc[0].isdecimal():
        assert in_frame.columns.origin == expected
        np.testing.assert_allclose(in_frame.array, inputs.array, atol=1e-9)
    later = as_features(frame.iloc[:3], columns=inputs.columns)
    np.testing.assert_allclose(later.array, inputs.array[:3], atol=1e-9)


def test_eight_digits_that_are_no_dates_are_numbers(tmp_path) -> None:
    frame = FRAME.assign(part=20_240_132 + 1000 * np.arange(30) ** 2, code=240_101)
    columns = as_features(write(tmp_path / "t.csv", frame.to_csv(index=False))).columns
    assert columns.names == ("a", "b", "c", "part", "code")


def test_a_frame_alone_is_read_as_its_file(tmp_path) -> None:
    frame = LABELLED.assign(name=[f"n{i}" for i in range(30)], kind=np.repeat(KINDS[:3], 10))
    path = write(tmp_path / "t.csv", frame.to_csv())
    first, second = as_features(path), as_features(pd.read_csv(path))
    np.testing.assert_allclose(second.array, first.array, atol=1e-9)
    np.testing.assert_array_equal(second.labels, first.labels)
    assert first.columns.names == second.columns.names == (*NAMES, "kind")
    assert second.columns.left_out == ("Unnamed: 0", "name", "target") == first.columns.left_out
    assert as_features((pd.read_csv(path).drop(columns="name"), None)).labels is None
    with_labels = as_features(LABELLED, np.arange(30) % 2)
    assert with_labels.columns.names == (*NAMES, "target")


def test_counts_called_y_are_no_labels(tmp_path) -> None:
    counts = GENERATOR.permutation(60) // 4
    for name in ("y", "target"):
        frame = pd.DataFrame({"a": GENERATOR.normal(size=60), name: counts})
        assert as_features(write(tmp_path / "t.csv", frame.to_csv())).labels is None
        few = as_features(frame.assign(**{name: counts // 4}))
        np.testing.assert_array_equal(few.labels, counts // 4)


def test_none_is_a_category_among_words_and_missing_among_numbers(tmp_path) -> None:
    change = np.array(["None", "Some", "Marked"])[np.arange(30) % 3]
    path = write(tmp_path / "t.csv", FRAME.assign(change=change).to_csv(index=False))
    assert as_features(path).columns.categories[-1] == ("Marked", "None", "Some")
    gaps = FRAME.astype(object)
    gaps.loc[3, "a"] = "None"
    with pytest.raises(ValueError, match=r"missing values in columns a \(1\), the first in row 3"):
        as_features(write(tmp_path / "t.csv", gaps.to_csv(index=False)))


def test_few_codes_of_which_some_are_numbers_are_categories(tmp_path) -> None:
    children = np.array(["0", "1", "2", "3+"])[np.arange(30) % 4]
    path = write(tmp_path / "t.csv", FRAME.assign(children=children).to_csv(index=False))
    assert as_features(path).columns.categories[-1] == ("0", "1", "2", "3+")
    ages = FRAME.assign(age=[*map(str, range(40, 69)), "old"])
    with pytest.raises(ValueError, match="numbers and text in column 'age', such as 'old' in row"):
        as_features(write(tmp_path / "t.csv", ages.to_csv(index=False)))


def test_empty_rows_are_left_out(tmp_path) -> None:
    text = FRAME.assign(id=np.arange(30)).to_csv(index=False)
    lines = text.splitlines()
    gaps = "\n".join([*lines[:9], ",,,", *lines[9:], ",,,", ",,,"])
    inputs = as_features(write(tmp_path / "t.csv", gaps))
    np.testing.assert_allclose(inputs.array, X, atol=1e-9)
    assert inputs.columns.left_out == ("id",)
    assert "3 empty rows left out, and not counted" in inputs.columns.origin


def test_sheets_of_notes_and_titles_of_sheets_are_passed_over(tmp_path) -> None:
    with pd.ExcelWriter(tmp_path / "t.xlsx") as book:
        pd.DataFrame({"Please read": ["made in 2021", "by me", "for you"]}).to_excel(
            book, sheet_name="notes", index=False
        )
        LABELLED.to_excel(book, sheet_name="values", index=False, startrow=2)
        book.sheets["values"].cell(1, 1).value = "Measured in 2021, by me"
    inputs = as_features(tmp_path / "t.xlsx")
    np.testing.assert_allclose(inputs.array, X)
    np.testing.assert_array_equal(inputs.labels, LABELLED["target"])
    assert inputs.columns.origin == "from t.xlsx; sheet values; labels: target"


def test_records_below_one_name_are_rows(tmp_path) -> None:
    x, _ = read(write(tmp_path / "t.json", '{"rows": ' + FRAME.to_json(orient="records") + "}"))
    np.testing.assert_allclose(x[NAMES], X)


def test_lines_of_text_are_no_table(tmp_path) -> None:
    for lines in (["so, it begins", "no, it ends", "so, it begins"], ["good night", "hello"]):
        with pytest.raises(TypeError, match="^`DATA`: got text, wanted numbers, or features="):
            read(write(tmp_path / "t.txt", "\n".join(lines * 9)), name="DATA")
    words = FRAME.assign(kind=KINDS)[["kind"]].assign(size="big")
    assert read(write(tmp_path / "t.txt", words.to_csv(index=False)))[0].shape == (30, 1)


@pytest.mark.parametrize("title", ["text", "my text", "how it was in the end"])
def test_a_column_of_sentences_is_not_cut_at_its_spaces(tmp_path, title) -> None:
    texts = [f"it was {word * 2 if i % 3 else 'very'} good {i}" for i, word in enumerate(KINDS)]
    texts[4::5] = ["yes"] * len(texts[4::5])
    frame, _ = read(write(tmp_path / "t.csv", "\n".join([title, *texts])))
    assert frame[title].tolist() == texts
    assert as_features(tmp_path / "t.csv", takes_text=True).array.tolist() == texts
    with pytest.raises(ValueError, match="in column .* features= a Keras model that takes texts"):
        as_features(tmp_path / "t.csv")
    cities = ["New York", "Rome", "Los Angeles"] * 9
    frame, _ = read(write(tmp_path / "t.csv", "\n".join([title, *cities])))
    assert frame[title].tolist() == cities


def test_one_column_is_a_table(tmp_path) -> None:
    for text in (
        "a\n1.5\n2.5\n2.25\n",
        "1.5\n2.5\n2.25\n",
        "a\n1,5\n2,5\n2,25\n",
        "0\n1.5\n2.5\n2.25\n",
    ):
        x, _ = read(write(tmp_path / "t.csv", text))
        np.testing.assert_array_equal(x, [[1.5], [2.5], [2.25]])
    counts, _ = read(write(tmp_path / "t.csv", "n\n" + "\n".join(map(str, range(40)))))
    np.testing.assert_array_equal(counts[["n"]], np.arange(40)[:, None])


def test_text_flags_and_constants_are_read_as_frames_are(tmp_path) -> None:
    frame = FRAME.assign(kind=KINDS, flag=np.arange(30) % 2 == 0, one=1)
    for name in ("t.csv", "t.parquet", "t.jsonl"):
        if name == "t.csv":
            frame.to_csv(tmp_path / name)
        elif name == "t.parquet":
            frame.astype({"kind": "category"}).to_parquet(tmp_path / name)
        else:
            frame.to_json(tmp_path / name, orient="records", lines=True)
        inputs, expected = as_features(tmp_path / name), as_features(frame)
        np.testing.assert_allclose(inputs.array, expected.array, atol=1e-9)
        assert inputs.columns == expected.columns
        assert "columns: a, b, c, flag, one; kind (3 categories)" in str(inputs.columns)


def test_columns_are_used_as_asked(tmp_path) -> None:
    path = write(tmp_path / "t.csv", LABELLED.assign(kind=KINDS).to_csv(index=False))
    x, y = read(path, label="kind")
    assert list(x.columns) == [*NAMES, "target"]
    np.testing.assert_array_equal(y, KINDS)
    x, y = read(path, columns=["c", "target"])
    assert list(x.columns) == ["c", "target"]
    assert y is None
    x, y = read(path, drop=["a", "kind"])
    assert list(x.columns) == ["b", "c"]
    np.testing.assert_array_equal(y, LABELLED["target"])
    numbers = write(tmp_path / "n.csv", "3,4,5\n1,2,3\n")
    assert len(read(numbers)[0]) == 2
    assert list(read(numbers, header=True)[0].columns) == ["3", "4", "5"]
    assert len(read(write(tmp_path / "m.csv", "0,1\n0.5,0.2\n"), header=False)[0]) == 2


def test_missing_values_are_an_error_left_out_or_filled_in(tmp_path) -> None:
    frame = LABELLED.assign(kind=KINDS).astype({"a": object})
    frame.loc[3, "a"], frame.loc[5, "kind"] = "?", np.nan
    path = write(tmp_path / "t.csv", frame.to_csv())
    with pytest.raises(
        ValueError, match=r"in columns a \(1\), kind \(1\), the first in row 3.*--mi"
    ):
        read(path)
    kept = [i for i in range(30) if i not in (3, 5)]
    inputs = as_features(read(path, missing="drop"))
    expected = as_features(FRAME.assign(kind=KINDS).loc[kept])
    np.testing.assert_allclose(inputs.array, expected.array, atol=1e-9)
    np.testing.assert_array_equal(inputs.labels, LABELLED["target"][kept])
    assert inputs.columns.origin.endswith("2 of 30 rows left out, and not counted: missing values")
    x, _ = read(path, missing="mean")
    assert x.loc[3, "a"] == pytest.approx(np.delete(X[:, 0], 3).mean())
    assert x.loc[5, "kind"] in ("red", "green")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "which is empty"),
        ("\n \n", "which is empty"),
        ("a,b\n", "which is empty"),
        ("a,b\n1,x,2\n1,x,5\n", "rows longer than the header"),
        ("a,b\n1,2,3,4\n5,6,7,8\n", "rows longer than the header"),
        ("a,b\n1,2\n3,4,5\n6,7\n8,9\n", "Expected 2 fields in line 3"),
        ("1,2\n3,x\n", "text in column '1', such as 'x' in row 1, wanted rows of numbers"),
        ("1,2\n3\n", r"missing values in columns 1 \(1\)"),
        ("day\n2020-01-01\n2020-01-03\n", "dates in column 'day'.* leaves the column out"),
        ("<!DOCTYPE html>\n<html>, not found</html>\n", "which is HTML or XML"),
        ("a,b\n1,2,\n3,4\n5,6\n7,8\n", "rows longer than the header"),
        ("a,b\n1,2,9\n3,4\n5,6\n7,8\n", "rows longer than the header"),
        ('[{"a": 1}, {"a": 2}]', "which is JSON, whatever its name"),
        ("+1 1:0.5 7:2\n-1 2:1e-3\n", "in LIBSVM's format, of which load_svmlight_file"),
        ("p,a\n45.5%,1\n0.452,2\n45.4%,3\n0.45,4\n0.459,6\n", "numbers and text in column 'p'"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message) -> None:
    with pytest.raises(ValueError, match=f"^`DATA`: got .*{message}"):
        read(write(tmp_path / "t.csv", text), name="DATA")


def test_wrong_options_and_broken_files_are_named(tmp_path, monkeypatch) -> None:
    path = write(tmp_path / "t.csv", FRAME.to_csv(index=False))
    for options in ({"label": "z"}, {"columns": ["a", "z"]}, {"drop": ["z"]}):
        with pytest.raises(
            ValueError, match=rf"^`{next(iter(options))}`: got 'z'.*\['a', 'b', 'c'\]"
        ):
            read(path, **options)
    with pytest.raises(ValueError, match="^`missing`: got 'zero'"):
        read(path, missing="zero")
    with pytest.raises(ValueError, match="without a column of data .*name them by `columns`"):
        read(path, drop=NAMES)
    with pytest.raises(TypeError, match="^`drop`: got 'ab', wanted a list of names"):
        read(path, drop="ab")
    with pytest.raises(
        FileNotFoundError, match="`path`: got 'https://a.b/c.csv', .* copy the file"
    ):
        read("https://a.b/c.csv")
    for name in ("t.parquet", "t.json", "t.jsonl", "t.xlsx", "t.csv.gz", "t.csv.zip", "t.csv.xz"):
        with pytest.raises(ValueError, match=f"^`path`: got .*{name}', which cannot be read"):
            read(write(tmp_path / name, "neither"))
    FRAME.to_excel(tmp_path / "t.xlsx")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ImportError, match=r"pip install 'tfdpm\[tables\]'"):
        read(tmp_path / "t.xlsx")
    FRAME.to_parquet(tmp_path / "t.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'tfdpm\[tables\]'"):
        read(tmp_path / "t.parquet")
    monkeypatch.setitem(sys.modules, "odf", None)
    with zipfile.ZipFile(tmp_path / "t.ods", "w") as file:
        file.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        file.writestr("content.xml", "<content/>")
    with pytest.raises(ImportError, match="pip install odfpy.$"):
        read(tmp_path / "t.ods")


def test_groups_of_two_digits_before_the_last_three_are_numbers(tmp_path) -> None:
    text = 'a,b\n"12,34,567",1.5\n"1,00,000.5",2.5\n"345",0.5\n'
    x, _ = read(write(tmp_path / "t.csv", text))
    assert x["a"].tolist() == [1234567, 100000.5, 345]


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_years_above_whole_numbers_name_columns(suffix, tmp_path) -> None:
    frame = pd.DataFrame(np.arange(60).reshape(20, 3) ** 2, columns=[2019, 2020, 2021])
    path = tmp_path / f"t.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_excel(path, index=False)
    inputs = as_features(path)
    assert inputs.columns.names == ("2019", "2020", "2021")
    np.testing.assert_array_equal(inputs.array, frame)
    years = write(tmp_path / "y.csv", "2019,2020,2021\n2011,2013,2020\n1999,2001,2010\n")
    assert as_features(years).num_points == 3


def test_records_within_records_are_columns(tmp_path) -> None:
    places = [{"x": i + 0.5, "near": {"y": i**2}} for i in range(20)]
    frame = pd.DataFrame({"a": np.arange(20) ** 3, "place": places})
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "t.parquet")
    for data in (frame, tmp_path / "t.jsonl", tmp_path / "t.parquet"):
        inputs = as_features(data)
        assert inputs.columns.names == ("a", "place.x", "place.near.y")
        np.testing.assert_array_equal(inputs.array[3], [27, 3.5, 9])
    bytes_ = pd.DataFrame(
        {"image": [{"bytes": b"\x89PNG%d" % i} for i in range(40)], "a": range(40)}
    )
    bytes_.to_parquet(tmp_path / "images.parquet")
    assert "image.bytes (40 different texts)" in str(
        as_features(tmp_path / "images.parquet").columns
    )


def test_rows_by_their_names_are_rows_again(tmp_path) -> None:
    frame = FRAME.assign(kind=KINDS).set_axis([f"r{i}" for i in range(30)])
    frame.to_json(tmp_path / "t.json", orient="index")
    np.testing.assert_allclose(as_features(tmp_path / "t.json").array[:, :3], X)
    FRAME.iloc[:2].set_axis(["first", "second"]).to_json(tmp_path / "t.json")
    assert "rows: first, second" in as_features(tmp_path / "t.json").columns.origin
    FRAME.assign(kind=KINDS).set_index("kind").to_parquet(tmp_path / "t.parquet")
    assert as_features(tmp_path / "t.parquet").columns.names == ("kind", "a", "b", "c")


@pytest.mark.parametrize("name", ["date", "created_at", "order date", "start_date", "datetime"])
def test_times_since_1970_are_dates(name) -> None:
    frame = FRAME.assign(**{name: 1_577_836_800_000 + 7_000_000 * (np.arange(30) % 11)})
    assert f"left out: {name} (dates)" in str(as_features(frame).columns)
    assert as_features(FRAME.assign(update=np.arange(30) % 11)).array.shape == (30, 4)


@pytest.mark.parametrize(
    ("name", "values", "is_left_out"),
    [
        ("month", 202001 + np.arange(30) % 12, True),
        ("period", 201701 + np.arange(30) % 3 * 100, True),
        ("month", 1 + np.arange(30) % 12, False),
        ("amount", 202001 + np.arange(30) % 12, False),
        ("order date", 43_831 + np.arange(30) % 17, True),  # a spreadsheet's serial numbers
        ("date", 1 + np.arange(30) ** 2 % 300, False),  # days of a year
        ("count", 43_831 + np.arange(30) % 17, False),
        ("date", 20200101.0 + np.arange(30) % 17, True),
        ("user_id", 7.0 * np.arange(30), True),
        ("length", 7.0 * np.arange(30), False),
    ],
)
def test_whole_numbers_that_are_dates_or_numbers_of_rows_are_left_out(
    name, values, is_left_out
) -> None:
    left_out = as_features(FRAME.assign(**{name: values})).columns.left_out
    assert (name in left_out) == is_left_out


@pytest.mark.parametrize("target", [[0, 1, None], ["x", "y", None]])
def test_labels_of_some_rows_are_labels(target, tmp_path) -> None:
    frame = FRAME.assign(label=target * 10)
    frame.to_csv(tmp_path / "t.csv", index=False)
    for data in (frame, tmp_path / "t.csv"):
        inputs = as_features(data)
        assert inputs.columns.names == ("a", "b", "c")
        assert inputs.labels.tolist() == [0, 1, UNKNOWN_LABEL] * 10


def test_letters_of_powers_beside_units_are_no_numbers(tmp_path) -> None:
    text = pd.DataFrame({"v": [f"{i + 0.5}T" if i % 2 else f"{i + 0.5}B" for i in range(40)]})
    scaled = as_features(text.assign(a=range(40)))
    np.testing.assert_allclose(scaled.array[:3, 0], [0.5e9, 1.5e12, 2.5e9])
    open_ = as_features(text.assign(v=text.v.str.replace("T", "m"), a=range(40)))
    assert "v (40 different texts)" in str(open_.columns)


@pytest.mark.parametrize("name", ["zip", "Zip Code", "postal_code", "PLZ", "home phone"])
def test_codes_of_places_and_phones_are_no_amounts(name) -> None:
    frame = FRAME.loc[np.repeat(range(30), 3)].assign(**{name: np.arange(90) % 45 * 1009 + 1000})
    assert f"{name} (numbers what rows belong to)" in str(as_features(frame).columns)


@pytest.mark.parametrize(
    ("cells", "categories"),
    [
        ("Yes yes YES No no", ("No", "Yes")),
        ("yes YES no unknown Unknown", ("Unknown", "YES", "no")),
        ("M m F f F", ("F", "M")),
        ("y Y n N unknown", ("N", "Y", "unknown")),
        ("Berlin berlin BERLIN Paris McDonald Mcdonald", ("Berlin", "McDonald", "Paris")),
        ("AA Aa aa", ("AA", "Aa", "aa")),  # genotypes
        ("AA Aa aa unknown", ("AA", "Aa", "aa", "unknown")),
        ("AB aB Ab ab BB", ("AB", "Ab", "BB", "aB", "ab")),
        ("a A", ("A", "a")),
        ("a A b B c C d D e E", tuple("ABCDEabcde")),
        ("mW MW kW KW", ("KW", "MW", "kW", "mW")),
        ("Co CO Ni NI Fe FE Mg MG Zn", ("CO", "Co", "FE", "Fe", "MG", "Mg", "NI", "Ni", "Zn")),
    ],
)
@pytest.mark.parametrize("form", ["csv", "frame", "pair"])
def test_spellings_of_a_word_are_one_category_and_codes_are_not(
    cells, categories, form, tmp_path
) -> None:
    values = np.array(cells.split())[np.arange(60) % len(cells.split())]
    frame = pd.DataFrame({"word": values, "a": np.arange(60) ** 2})
    before = frame.copy()
    data = {"frame": frame, "pair": (frame, None)}.get(form)
    if data is None:
        data = tmp_path / "t.csv"
        frame.assign(word=[f"{e} " if i % 3 else e for i, e in enumerate(values)]).to_csv(
            data, index=False
        )
    columns = as_features(data).columns
    assert {e.lower() for e in columns.categories[0]} == {e.lower() for e in categories}
    assert len(columns.categories[0]) == len(categories)
    is_joined = len(set(cells.split())) > len(categories)
    if form != "pair":
        assert ("upper and lower case joined: word" in columns.origin) == is_joined
    pd.testing.assert_frame_equal(frame, before)


def test_the_commonest_spelling_names_a_category_and_later_ones_are_known() -> None:
    frame = pd.DataFrame({"ok": ["yes", "Yes", "Yes ", "No", "NO", "NO"] * 5, "a": range(30)})
    first = as_features((frame, None))
    assert first.columns.categories[0] == ("NO", "Yes")
    np.testing.assert_array_equal(first.array[:6, 1], [1, 1, 1, 0, 0, 0])
    later = pd.DataFrame({"ok": ["YES", "no"], "a": [1, 2]})
    read_later = as_features((later, None), columns=first.columns)
    np.testing.assert_array_equal(read_later.array, [[1, 1], [2, 0]])
    genes = as_features((pd.DataFrame({"g": ["AA", "aa"] * 9, "a": range(18)}), None))
    with pytest.raises(ValueError, match="got 'Aa' in column 'g', wanted a category of fit"):
        as_features(
            (pd.DataFrame({"g": ["Aa"], "a": [1]}), None), columns=genes.columns, minimum_points=1
        )


def test_later_files_are_read_by_the_columns_of_the_first(tmp_path) -> None:
    first = write(tmp_path / "1.csv", LABELLED.assign(n=7).to_csv(index_label="row"))
    columns = as_features(first).columns
    assert Columns.from_json(columns.to_json()) == columns
    assert Columns.from_json(columns.to_json()).left_out == ("row", "target")
    for frame in (
        LABELLED.assign(n=7)[["n", "c", "target", "a", "b"]],
        LABELLED.assign(n=7, row=3.5).iloc[::-1].iloc[::-1],
        FRAME.assign(n=7),
    ):
        expected = FRAME.assign(n=7).to_numpy()
        for data in (frame, write(tmp_path / "2.csv", frame.to_csv())):
            array = as_features(data, columns=columns).array
            np.testing.assert_allclose(array, expected, atol=1e-9)
    gaps = FRAME.assign(n=7, row=pd.Timestamp(0), target=np.where(np.arange(30) < 3, np.nan, 1))
    array = as_features(write(tmp_path / "2.csv", gaps.to_csv(index=False)), columns=columns).array
    np.testing.assert_allclose(array, expected, atol=1e-9)
    single = write(tmp_path / "3.csv", "a,b,c,n\n1,2,3,4\n")
    array = as_features(single, columns=columns, minimum_points=1).array
    np.testing.assert_array_equal(array, [[1, 2, 3, 4]])
    with pytest.raises(ValueError, match=r"missing columns \['n'\] and unknown columns \['m'\]"):
        as_features(write(tmp_path / "4.csv", FRAME.assign(m=7).to_csv()), columns=columns)


def test_columns_saved_before_files_were_named_are_read() -> None:
    text = '{"names": ["a"], "categories": [[]], "has_flags": false}'
    assert Columns.from_json(text) == Columns(("a",), ((),))


# -- tables in the wild ---------------------------------------------------------------------------

VALUES = np.round(1000 + 300 * X[:, 0], 2)
SMALL = np.round(X[:, 1], 2)


def read_columns(path, names=("a", "b")) -> list[np.ndarray]:
    frame, _ = read(path)
    assert tuple(frame.columns) == tuple(names)
    return [frame[name].to_numpy(np.float64) for name in names]


@pytest.mark.parametrize(
    "written",
    [
        lambda v: f"({-v:.2f})" if v < 1000 else f"{v:.2f}",
        lambda v: f"{v:.2f} kg",
        lambda v: f"{v:.2f}km/h",
        lambda v: f"{v:.2f} EUR",
        lambda v: f"USD {v:,.2f}",
        lambda v: f" {v:.2f} ",
        lambda v: f"{v:.2f}M",
    ],
)
def test_numbers_with_a_unit_are_numbers(tmp_path, written) -> None:
    lines = [f'"{written(v)}",{w}' for v, w in zip(VALUES, SMALL, strict=True)]
    a, b = read_columns(write(tmp_path / "t.csv", "\n".join(["a,b", *lines])))
    np.testing.assert_allclose(a, np.where(VALUES < 1000, -1.0, 1.0) * VALUES
                               if written(-1.0)[0] == "(" else VALUES)  # fmt: skip
    np.testing.assert_allclose(b, SMALL)


def test_powers_of_ten_count_where_they_differ(tmp_path) -> None:
    cells = [("950", 950), ("1.2K", 1200), ("2.5M", 2.5e6), ("3k", 3000)] * 8
    text = "\n".join(["a,b", *(f"${cell},{i / 7:.3f}" for i, (cell, _) in enumerate(cells))])
    np.testing.assert_allclose(
        read_columns(write(tmp_path / "t.csv", text))[0], [value for _, value in cells]
    )


@pytest.mark.parametrize("units", [("$", "€"), (" kg", " g"), (" m", " ft")])
def test_numbers_of_several_units_are_no_numbers(tmp_path, units) -> None:
    cells = [f"{v}{units[i % 2]}" for i, v in enumerate(VALUES)]
    path = write(tmp_path / "t.csv", FRAME.assign(size=cells).to_csv(index=False))
    assert as_features(path).columns.left_out == ("size",)


@pytest.mark.parametrize(
    ("separator", "cells", "expected"),
    [
        (";", ["950", "1.200", "23.500", "400"], [950, 1200, 23500, 400]),
        ("\t", ["950", "1,200", "23,500", "400"], [950, 1200, 23500, 400]),
        (";", ["1.272.219", "3.120.000", "2.000.001", "9.999.999"],
         [1272219, 3120000, 2000001, 9999999]),
        (";", ["1.5", "2", "0.25", "12.125"], [1.5, 2, 0.25, 12.125]),
        (";", ["48.123", "48.321", "48.456", "48.789"], [48.123, 48.321, 48.456, 48.789]),
        (";", ["1,234", "2,345", "3,456", "4,567"], [1.234, 2.345, 3.456, 4.567]),
    ],
)  # fmt: skip
def test_marks_between_thousands_are_told_from_decimals(
    tmp_path, separator, cells, expected
) -> None:
    rows = [f"{cell}{separator}{i}" for i, cell in enumerate(cells * 4)]
    path = write(tmp_path / "t.csv", "\n".join([f"a{separator}b", *rows]))
    np.testing.assert_allclose(read_columns(path)[0], expected * 4)


def test_a_column_with_points_keeps_them_beside_decimal_commas(tmp_path) -> None:
    rows = [f"{v:.2f};{w:.2f}".replace(".", ",", 1) for v, w in zip(VALUES, SMALL, strict=True)]
    a, b = read_columns(write(tmp_path / "t.csv", "\n".join(["a;b", *rows])))
    np.testing.assert_allclose(a, VALUES)
    np.testing.assert_allclose(b, SMALL)


@pytest.mark.parametrize(
    ("below", "said"),
    [
        ("Total,{0},{1}", "the last row left out, 'Total"),
        ("Summe,{0},{1}", "the last row left out, 'Summe"),
        (",,\nSource: somebody,,", "notes below the rows left out"),
        ("* preliminary,,", "notes below the rows left out"),
    ],
)
def test_what_stands_below_the_rows_is_no_row(tmp_path, below, said) -> None:
    city = KINDS[np.arange(30) % 3]
    frame = pd.DataFrame({"city": city, "a": VALUES, "b": SMALL})
    last = below.format(VALUES.sum().round(2), SMALL.sum().round(2))
    inputs = as_features(write(tmp_path / "t.csv", frame.to_csv(index=False) + last + "\n"))
    np.testing.assert_allclose(inputs.array, as_features(frame).array, atol=1e-9)
    assert said in inputs.columns.origin


def test_a_last_row_of_sums_without_a_name_is_no_row(tmp_path) -> None:
    frame = pd.DataFrame({"a": VALUES, "b": SMALL})
    sums = pd.concat([frame, frame.sum().to_frame().T])
    inputs = as_features(write(tmp_path / "t.csv", sums.to_csv(index=False)))
    np.testing.assert_allclose(inputs.array, frame, atol=1e-9)
    assert "the sum of those before" in inputs.columns.origin
    assert len(as_features(write(tmp_path / "u.csv", frame.to_csv(index=False))).array) == 30


@pytest.mark.parametrize("units", ["kg,m,s", "(kg),[m],-", "numeric,numeric,numeric"])
def test_units_below_the_names_are_no_row(tmp_path, units) -> None:
    text = FRAME.to_csv(index=False).replace("a,b,c\n", f"a,b,c\n{units}\n")
    inputs = as_features(write(tmp_path / "t.csv", text))
    np.testing.assert_allclose(inputs.array, X, atol=1e-9)
    assert "units left out: " in inputs.columns.origin


@pytest.mark.parametrize("form", ["%Y-%m", "%b-%y", "%A, %d %B %Y", "%H:%M", "%Y.%m.%d", "%Y-W%W"])
def test_few_dates_are_no_categories(tmp_path, form) -> None:
    days = pd.date_range("2020-01-01", periods=30, freq="97h").strftime(form)
    path = write(tmp_path / "t.csv", FRAME.assign(when=days).to_csv(index=False, sep="|"))
    assert "when (dates)" in as_features(path).columns.origin
    rooms = FRAME.assign(room=[f"Room {10 + i % 4}" for i in range(30)])
    path = write(tmp_path / "t.csv", rooms.to_csv(index=False))
    assert len(as_features(path).columns.categories[-1]) == 4


def test_blanks_make_no_category(tmp_path) -> None:
    kinds = np.array(["red", "red ", "blue", " blue"])[np.arange(30) % 4]
    frame = FRAME.assign(kind=kinds)
    path = write(tmp_path / "t.csv", frame.to_csv(index=False, quoting=1))
    for data in (path, frame):
        assert as_features(data).columns.categories[-1] == ("blue", "red")


@pytest.mark.parametrize("mark", ["--", "n.a.", "#DIV/0!", "–", "(null)", "..", "\\N", '" NA "'])
def test_marks_of_missing_values_are_missing(tmp_path, mark) -> None:
    lines = [
        f"{mark if i == 3 else v},{w}" for i, (v, w) in enumerate(zip(VALUES, SMALL, strict=True))
    ]
    path = write(tmp_path / "t.csv", "\n".join(["a,b", *lines]))
    with pytest.raises(ValueError, match=r"missing values in columns a \(1\), the first in row 3"):
        read(path)
    np.testing.assert_allclose(read(path, missing="drop")[0]["a"], np.delete(VALUES, 3))


@pytest.mark.parametrize("code", [-999, -9999.0, 99999, -999.25])
def test_codes_of_missing_values_are_warned_of(tmp_path, code) -> None:
    coded = FRAME.assign(a=np.where(np.arange(30) % 7 == 0, code, X[:, 0]))
    path = write(tmp_path / "t.csv", coded.to_csv(index=False))
    with pytest.warns(UserWarning, match=f"Column 'a' holds {code:g} in 5 rows"):
        read(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(write(tmp_path / "t.csv", FRAME.assign(a=np.arange(99, 69, -1)).to_csv(index=False)))


def test_archives_of_downloads_are_read(tmp_path) -> None:
    text = FRAME.to_csv(index=False)
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("__MACOSX/._t.csv", b"\0\1")
        archive.writestr("README.txt", "made by me")
        archive.writestr("data/t.csv", text)
    (tmp_path / "named.csv").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "t.jsonl.gz").write_bytes(
        gzip.compress(FRAME.to_json(orient="records", lines=True).encode())
    )
    write(tmp_path / "t.xls", FRAME.to_csv(index=False, sep="\t"))
    FRAME.to_feather(tmp_path / "t.feather")
    rows = "\n".join(f"{a},{b},{c}" for a, b, c in X)
    head = "@relation t\n" + "".join(f"@attribute {name} numeric\n" for name in NAMES)
    write(tmp_path / "t.arff", f"{head}@data\n{rows}\n")
    for name in ("t.zip", "named.csv", "t.jsonl.gz", "t.xls", "t.feather", "t.arff"):
        np.testing.assert_allclose(as_features(tmp_path / name).array, X, atol=1e-6)
    with zipfile.ZipFile(tmp_path / "t.zip", "a") as archive:
        archive.writestr("second.csv", text)
    with pytest.raises(ValueError, match=r"t.zip', which cannot .*2 files of tables: data/t.csv"):
        read(tmp_path / "t.zip")


def test_numbers_of_other_types_in_frames_are_numbers() -> None:
    text = FRAME.assign(
        a=FRAME["a"].astype(str), b=FRAME["b"].map(lambda v: decimal.Decimal(str(v)))
    )
    inputs = as_features(text)
    np.testing.assert_allclose(inputs.array, X, atol=1e-6)
    later = as_features(text.iloc[:5], columns=inputs.columns, minimum_points=1)
    np.testing.assert_allclose(later.array, X[:5], atol=1e-6)
    codes = as_features(FRAME.assign(code=[str(i % 3) for i in range(30)]))
    assert codes.columns.categories[-1] == ("0", "1", "2")
    assert text["a"].iloc[0] == str(X[0, 0])  # the caller's frame is as it was
    records = as_features(FRAME.to_dict("records"))
    np.testing.assert_allclose(records.array, X, atol=1e-6)
    np.testing.assert_allclose(as_features(scipy.sparse.dok_matrix(X)).array, X, atol=1e-6)


def test_hundreds_of_columns_of_text_are_read_in_seconds(tmp_path) -> None:
    values = GENERATOR.integers(0, 2, (20, 500))
    rows = [",".join(f"v{each}" for each in row) for row in values]
    path = write(tmp_path / "t.csv", "\n".join([",".join(f"c{i}" for i in range(500)), *rows]))
    started = time.process_time()
    assert as_features(path).array.shape[0] == 20
    assert time.process_time() - started < 4.0
