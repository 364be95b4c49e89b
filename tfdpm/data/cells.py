"""Cells of tables as text: which are missing, and which are numbers with marks and units."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

# As pandas has them, and marks; "None" may be a category, such as that of patients without change.
MISSING_CELLS = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "n/a", "nan", "null", "?", "-", ".", "--", "---", "..",
    "...", "–", "—", "n.a.", "N.A.", "NaT", "(null)", "\\N", "#DIV/0!", "#VALUE!", "#REF!",
    "#NAME?", "#NUM!",
]  # fmt: skip
_MISSING = {"none", *map(str.lower, MISSING_CELLS)}
_NUMBER = re.compile(r"[+-]?(\d[\d.,]*|[.,]\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)
_GROUP = re.compile(r"(?<=\d)['’ \u00a0\u2009\u202f](?=\d{3}(?!\d))")
_CURRENCY = r"(?:R|US)?[$€£¥₹]|(?:USD|EUR|GBP|CHF|JPY)(?![A-Za-z])"
_WITH_MARKS = re.compile(
    rf"(?P<open>\()?(?P<sign>[+-]?)\s*(?P<before>{_CURRENCY})?\s*(?P<second>[+-]?)"
    r"(?P<number>(?:\d[\d.,]*|[.,]\d+)(?:[eE][+-]?\d+)?)"
    rf"\s*(?P<after>{_CURRENCY}|[%‰]|[°º][A-Za-z]?|[^\W\d_]{{1,8}}\.?(?:[²³]|/[^\W\d_]{{1,8}})?)?"
    r"(?P<close>\))?"
)
_SCALES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "bn": 1e9, "T": 1e12}
# Numbers with decimals after a point, and with decimals after a comma, perhaps in groups of three.
# India groups by two before the last three.
_POINT = re.compile(
    r"(?:\d*\.?\d*|(?:[1-9]\d{0,2}(?:,\d{3})+|[1-9]\d?(?:,\d\d)+,\d{3})(?:\.\d*)?)(?:[eE].*)?"
)
_COMMA = re.compile(r"(?:\d*,?\d*|[1-9]\d{0,2}(?:\.\d{3})+(?:,\d*)?)(?:[eE].*)?")
_SHARE = re.compile(r"[01]|[01]?[.,]\d+")
_TOTAL = re.compile(r"(?i)(grand |sub)?totals?:?|sums?:?|summe:?|gesamt:?|average:?|mean:?")
_NOTE = re.compile(r"(?i)[*†©]|(source|notes?|footnotes?|quelle)\b")
_CODE = re.compile(r"9{2,}(\.(9+|25))?|1e\+?\d\d|9\.?9*e\+?\d\d")
_FEWEST_ROWS = 4  # of a table whose last row may be their sum
_FEW_FLAGS = 4  # different words of a column such as yes, no and unknown
_LETTERS_OF_CODES = 2  # at most; longer texts that differ in case alone are one word


class _Cell(NamedTuple):
    """A number as text: sign, digits with their marks, unit, and letter of a power of ten."""

    sign: str
    digits: str
    unit: str
    scale: str
    is_unit_behind: bool


def is_number(cell: str) -> bool:
    """Whether text is a number, with any decimal mark."""
    return _NUMBER.fullmatch(cell) is not None


def is_missing(cell: str) -> bool:
    """Whether text stands for a missing value."""
    return cell.lower() in _MISSING


def is_text(values: Any) -> bool:
    """Whether a column of a frame may hold text."""
    return values.dtype.kind not in "biufcmM" and values.dtype.name != "category"


def distinct_texts(values: Any) -> list[str]:
    """The known values of a column, each once, as text."""
    try:
        found = values.unique()
    except TypeError:  # lists
        return [str(each) for each in values]
    nothing = ("NAType", "NoneType")
    return [str(each) for each in found if type(each).__name__ not in nothing and each == each]


def strip_texts(frame: Any) -> None:
    """Takes blanks off the ends of text; what is then a mark of a missing value is missing."""
    for place in range(frame.shape[1]):
        values = frame.iloc[:, place]
        if is_text(values) and any(each != each.strip() for each in distinct_texts(values)):
            text = values.str.strip()
            frame.isetitem(place, text.mask(text.isin(MISSING_CELLS)))


def join_spellings(frame: Any) -> str:
    """Puts one spelling for text such as "Yes", "yes" and "YES "; returns where, in words."""
    joined = []
    for place in range(frame.shape[1]):
        values = frame.iloc[:, place]
        if is_text(values):
            counts = Counter(each for each in values.array if isinstance(each, str))
            spellings = spellings_of(counts)
            if spellings:
                joined.append(str(frame.columns[place]))
                frame.isetitem(place, values.replace(spellings))
    return f"upper and lower case joined: {', '.join(joined)}" if joined else ""


def spellings_of(counts: Mapping[str, int]) -> dict[str, str]:
    """The commonest spelling for each text that differs from others in case and blanks alone.

    None where case may tell texts apart: one word alone, such as AA, Aa and aa, or codes of one or
    two letters such as a and A, unless they are few flags such as y, Y, n and N.
    """
    words: dict[str, Counter[str]] = {}
    for text, count in counts.items():
        stripped = text.strip()
        words.setdefault(stripped.casefold(), Counter())[stripped] += count
    several = {word: found for word, found in words.items() if len(found) > 1}
    if len(words) < 2:
        return {}
    for word, found in several.items():
        letters = [each for each in word if each.isalpha()]
        is_repeated = len(letters) > 1 and len(set(letters)) == 1
        is_styled = all(e in (e.lower(), e.upper(), e.capitalize()) for e in found)
        is_flag = len(words) <= _FEW_FLAGS and is_styled and not is_repeated
        if len(letters) <= _LETTERS_OF_CODES and not is_flag:
            return {}
    best = {word: max(sorted(found), key=found.__getitem__) for word, found in several.items()}
    return {text: best[key] for text in counts if (key := text.strip().casefold()) in best}


def warn_of_codes(frame: Any) -> None:
    """Warns of numbers such as -999, far from all others of a column, that may mean "missing"."""
    numbers = frame.select_dtypes("number")
    for place, values in enumerate(numbers.to_numpy(np.float64).T if numbers.size else ()):
        for extreme in (np.nanmin(values), np.nanmax(values)):
            rest = values[(values != extreme) & ~np.isnan(values)]
            count, text = int((values == extreme).sum()), f"{extreme:.15g}"
            if count < 2 or rest.size < 2 or not _CODE.fullmatch(text.lstrip("-")):
                continue
            if min(abs(rest - extreme)) > np.ptp(rest) > 0:
                warnings.warn(
                    f"Column {numbers.columns[place]!r} holds {text} in {count} rows, far "
                    "from all its other values. If that means a missing value, write NaN there, "
                    "and `missing=` of tfdpm.data.read says what becomes of it.",
                    stacklevel=2,
                )


def without_notes(frame: Any) -> tuple[Any, str]:
    """The frame without notes and totals below its rows, and what was left out, in words."""
    texts = [i for i in range(frame.shape[1]) if is_text(frame.iloc[:, i])]
    count = len(frame)
    while texts and count > 2 and _is_note(frame.iloc[:count], texts):
        count -= 1
    notes = "notes below the rows left out" if count < len(frame) else ""
    before = frame.iloc[: count - 1]
    is_total = count >= _FEWEST_ROWS and any(
        _TOTAL.fullmatch(str(frame.iat[count - 1, i]).strip())
        and not (before.iloc[:, i] == frame.iat[count - 1, i]).any()
        for i in texts
    )
    total = f"the last row left out, {_shown(frame.iloc[count - 1])}" if is_total else ""
    left = frame.iloc[: count - is_total]
    return (left if len(left) < len(frame) else frame), "; ".join(filter(None, [notes, total]))


def without_sum(frame: Any) -> tuple[Any, str]:
    """The frame without a last row that is the sum of those before in every column of numbers."""
    numbers = frame.select_dtypes("number")
    if len(frame) < _FEWEST_ROWS or numbers.shape[1] < 2:
        return frame, ""
    values = numbers.to_numpy(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        sums = values[:-1].sum(axis=0)
        is_sum = np.isclose(values[-1], sums, rtol=1e-6, atol=0.0)
    if not is_sum.all() or (np.ptp(values[:-1], axis=0) == 0).sum() > is_sum.size - 2:
        return frame, ""
    return frame.iloc[:-1], f"the last row left out, the sum of those before: {_shown(values[-1])}"


def read_cells(frame: Any, form: str) -> tuple[Any, str]:
    """A table that came with types of its own, with `form` and what else was done in words."""
    strip_texts(frame)
    frame, note = without_notes(frame)
    frame = frame.reset_index(drop=True).infer_objects()
    marked, notation, _ = read_numbers(frame)
    frame, total = without_sum(frame)
    marks = f"numbers with marks: {', '.join(marked)}" if marked else ""
    return frame, "; ".join(filter(None, [form, notation, note, total, marks]))


def read_numbers(
    frame: Any,
    heads: Sequence[Sequence[str]] | None = None,
    separator: str = "",
    most_categories: int = 0,
) -> tuple[list[str], str, list[int]]:
    """Puts numbers for text that is numbers but for marks and units.

    Args:
        frame: the table, whose columns are replaced in place.
        heads: `[D]` first cells of each column as the file has them; `None` without a file of text.
        separator: what stands between cells.
        most_categories: text of so few different values is left as it is.

    Returns:
        Names of the columns with marks; how decimals and groups are written, in words, where not
        as in 1234.5; and places of columns of numbers that must be read again, as text.
    """
    found = {}
    for place in range(frame.shape[1]):
        values = frame.iloc[:, place]
        if is_text(values):
            texts = [each for each in distinct_texts(values) if each != "None"]
            if len(texts) <= most_categories and any(isinstance(e, str) for e in values.unique()):
                continue
            cells = _as_cells(texts)
            if cells is not None:
                found[place] = texts, cells
    digits = {place: [cell.digits for cell in cells] for place, (_, cells) in found.items()}
    found = {place: each for place, each in found.items() if _decimal_of(digits[place]) != "?"}
    digits = {place: digits[place] for place in found}
    places = enumerate(heads or ())
    plain = {
        place: [cell.lstrip("+-") for cell in head if not is_missing(cell)]
        for place, head in places
        if place not in found and frame.iloc[:, place].dtype.kind == "f"
    }
    notation = _notations({**digits, **plain}, separator)
    again = [place for place in plain if notation[place] == ","]
    marked, marks = [], set()
    for place, (texts, cells) in found.items():
        decimal = notation[place]
        scales = {cell.scale for cell in cells}
        numbers = {"None": np.nan}
        for text, cell in zip(texts, cells, strict=True):
            plain_text = cell.sign + _plain(cell.digits, decimal)
            value = float(plain_text)
            is_whole = re.fullmatch(r"[+-]?\d{1,18}", plain_text) and len(scales) == 1
            scale = _SCALES.get(cell.scale, 1.0) if len(scales) > 1 else 1.0
            numbers[text] = int(plain_text) if is_whole else value * scale
        values = frame.iloc[:, place]
        read = values.astype(object).map(lambda each, known=numbers: known.get(str(each), np.nan))
        frame.isetitem(place, read.infer_objects())
        if any(cell.sign + cell.digits != text for text, cell in zip(texts, cells, strict=True)):
            marked.append(str(frame.columns[place]))
        if any("," in cell.digits for cell in cells) or decimal == ",":
            marks.add(("decimal", decimal))
            group = "." if decimal == "," else ","
            if any(group in cell.digits for cell in cells):
                marks.add(("thousands", group))
    return marked, ", ".join(f"{kind} {mark}" for kind, mark in sorted(marks)), again


def _is_note(frame: Any, texts: Iterable[int]) -> bool:
    """Whether the last row has one cell, of words, where other rows have numbers or are longer."""
    last = frame.iloc[-1]
    filled = np.flatnonzero(last.notna())
    if len(filled) != 1 or filled[0] not in texts or frame.shape[1] < 2:
        return False
    cell = str(last.iloc[filled[0]]).strip()
    if is_number(cell):
        return False
    if frame.shape[1] > 2 and _NOTE.match(cell):
        return True
    others = distinct_texts(frame.iloc[:-1, filled[0]])
    return bool(others) and all(is_number(each) for each in others if each != cell)


def _shown(row: Iterable[Any]) -> str:
    return repr(", ".join(str(each) for each in list(row)[:3]))


def _as_cells(texts: Sequence[str]) -> list[_Cell] | None:
    """Texts as numbers with marks; `None` unless all are, in one unit."""
    cells = []
    for text in texts:
        cell = _as_cell(text)
        if cell is None:
            return None
        cells.append(cell)
    units = {cell.unit for cell in cells}
    plain = [cell.digits for cell in cells if cell.unit == ""]
    # 45% beside 0.45 is one number twice, and beside 45.2 a mark that is left out.
    are_shares = "%" in units and plain and all(map(_SHARE.fullmatch, plain))
    # 5m beside 5k may be millions or metres.
    are_several = len(units - {""}) > 1 or (
        any(cell.scale for cell in cells) and any(cell.is_unit_behind for cell in cells)
    )
    return None if are_several or are_shares or not cells else cells


def _as_cell(text: str) -> _Cell | None:
    text = _GROUP.sub("", text.strip().replace("\N{MINUS SIGN}", "-"))
    match = _WITH_MARKS.fullmatch(text)
    if match is None:
        return None
    parts = {key: part or "" for key, part in match.groupdict().items()}
    if bool(parts["open"]) != bool(parts["close"]) or (parts["sign"] and parts["second"]):
        return None
    sign = "-" if parts["open"] else parts["sign"] + parts["second"]
    after = parts["after"]
    scale = after if after in _SCALES else ""
    unit = parts["before"] or ("" if scale else after)
    if parts["before"] and after and not scale:
        return None
    return _Cell(sign, parts["number"], unit, scale, bool(after and not scale))


def _notations(columns: dict[int, list[str]], separator: str) -> dict[int, str]:
    """The decimal mark of each column of numbers, by its own cells or else by other columns."""
    marks = {place: _decimal_of(digits) for place, digits in columns.items()}
    sure = set(marks.values())
    found = {}
    for place, mark in marks.items():
        has_comma = any("," in each for each in columns[place])
        if mark in (".", ","):
            found[place] = mark
        elif mark == "":
            found[place] = "."
        elif has_comma:
            found[place] = "." if "," not in sure and ("." in sure or separator == ",") else ","
        else:
            found[place] = "," if "," in sure and "." not in sure else "."
    return found


def _decimal_of(digits: Sequence[str]) -> str | None:
    """The decimal mark that fits all numbers: "" for any, "?" for none, `None` for either."""
    marked = [each for each in digits if "." in each or "," in each]
    if not marked:
        return ""
    fits = [
        mark
        for mark, pattern in ((".", _POINT), (",", _COMMA))
        if all(map(pattern.fullmatch, marked))
    ]
    if len(fits) < 2:
        return fits[0] if fits else "?"
    # Decimals are written everywhere or nowhere where their last zeros are: 950 beside 1.200.
    few = [each for each in digits if "." not in each and "," not in each]
    if few and all(len(each) <= 3 for each in few) and any(each[-1] == "0" for each in marked):
        return "." if "," in marked[0] else ","
    return None


def _plain(digits: str, decimal: str) -> str:
    """Digits with a point before decimals and without groups."""
    if decimal == ",":
        return digits.replace(".", "").replace(",", ".")
    return digits.replace(",", "")
