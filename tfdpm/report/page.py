"""The HTML of a report: functions that return the page or the element of their name, and sheets."""

from __future__ import annotations

import base64
import gzip
import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf


class Sprite(NamedTuple):
    """A sheet of images of one size side by side, as a data URI."""

    uri: str
    columns: int
    height: int  # of one image, pixels
    width: int
    count: int


def make_sprite(images: np.ndarray, max_pixels: int) -> Sprite:
    """Puts all images `[n, H, W, C]` uint8, C 1 or 3, into one sheet, in order, row by row.

    Larger ones are reduced to `max_pixels`, the longest side of a thumbnail.
    """
    count, height, width, channels = images.shape
    factor = min(1.0, max_pixels / max(height, width))
    if factor < 1.0:
        height, width = max(1, round(height * factor)), max(1, round(width * factor))
        small = tf.image.resize(images.astype(np.float32), (height, width), method="area")
        images = np.uint8(np.rint(np.clip(small.numpy(), 0, 255)))
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = np.zeros((rows * columns, height, width, channels), np.uint8)
    sheet[:count] = images
    sheet = sheet.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    sheet = sheet.reshape(rows * height, columns * width, channels)
    if channels == 3:
        kind, data = "jpeg", tf.io.encode_jpeg(sheet, quality=85).numpy()
    else:
        kind, data = "png", tf.io.encode_png(sheet).numpy()
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return Sprite(uri, columns, height, width, count)


def page(
    title: str,
    sections: Sequence[tuple[str, str, str]],  # name in the page, title of the tab, HTML
    charts: Mapping[str, Any],
    sheets: Mapping[str, Sprite],
    plotly_script: str,
    labels: Mapping[str, Any],
) -> str:
    """Returns the whole page: tabs in their order, the first of which is called "overview".

    Names of charts are those given to `chart`, names of sheets those given to `thumbnails`. Labels
    are what can be downloaded. They and plotly are compressed, which halves the page.
    """
    tabs = "".join(
        f'<button role="tab" data-tab="{name}" aria-controls="{name}">{html.escape(text)}</button>'
        for name, text, _ in sections
    )
    bodies = "\n".join(
        f'<section id="{name}" role="tabpanel" aria-label="{html.escape(text)}" hidden>\n'
        f"{body}\n</section>"
        for name, text, body in sections
    )
    figures = ",".join(f"{json.dumps(name)}:{each.to_json()}" for name, each in charts.items())
    pictures = json.dumps({name: each._asdict() for name, each in sheets.items()})
    own_files = resources.files("tfdpm.report")
    style, script = (own_files.joinpath(f"page.{end}").read_text("utf-8") for end in ("css", "js"))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{style}</style>\n"
        f"</head>\n<body>\n<header><h1>{html.escape(title)}</h1>"
        f'<input id="find" type="search" placeholder="find: 3, name, word, row 12" '
        f'aria-label="find clusters"><span id="found" role="status"></span>'
        f'<button id="theme" aria-label="light or dark">light / dark</button></header>\n'
        f'<main>\n<nav role="tablist">{tabs}</nav>\n{bodies}\n</main>\n'
        f'<div id="thumb"><div></div></div>\n'
        f"{_data('charts', '{' + figures + '}')}\n{_data('sheets', pictures)}\n"
        f"{_packed('point-labels', json.dumps(labels))}\n{_packed('plotly', plotly_script)}\n"
        f"<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _data(name: str, text: str) -> str:
    """Returns JSON as an element of the page; no value of it can end the element."""
    escaped = text.replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{escaped}</script>'


def _packed(name: str, text: str) -> str:
    """Returns a text as an element of the page, compressed and in letters."""
    packed = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    return f'<script type="text/plain" id="{name}">{packed}</script>'


def chart(name: str) -> str:
    """Returns the element in which the page draws the chart of this name."""
    return f'<div data-chart="{name}"></div>'


def card(title: str, *parts: str, wide: bool = False) -> str:
    """Returns a box with a heading; the parts are HTML."""
    kind = "card wide" if wide else "card"
    return f'<div class="{kind}"><h2>{html.escape(title)}</h2>{"".join(parts)}</div>'


def grid(cards: Iterable[str]) -> str:
    """Returns cards side by side."""
    return f'<div class="grid">{"".join(cards)}</div>'


def tiles(values: Iterable[tuple[str, str]]) -> str:
    """Returns large numbers with their names; each value is a pair of name and number."""
    cells = "".join(
        f'<div class="tile"><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>'
        for name, value in values
    )
    return f'<div class="tiles">{cells}</div>'


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], *, is_html: bool = False) -> str:
    """Returns a table of texts and numbers, or of HTML; the first column is left-aligned."""

    def line(kind: str, cells: Iterable[str]) -> str:
        return f"<tr>{''.join(f'<{kind}>{cell}</{kind}>' for cell in cells)}</tr>"

    def escape(cells: Sequence[Any]) -> list[str]:
        return [html.escape(str(cell)) for cell in cells]

    body = "".join(line("td", row if is_html else escape(row)) for row in rows)
    return f'<div class="scroll"><table>{line("th", escape(header))}{body}</table></div>'


def paragraphs(*sentences: str, soft: bool = False) -> str:
    """Returns one paragraph for each sentence; soft ones in a lighter colour."""
    kind = ' class="soft"' if soft else ""
    return "".join(f"<p{kind}>{html.escape(sentence)}</p>" for sentence in sentences)


def switch(choices: Sequence[tuple[str, str, str]]) -> str:
    """Returns buttons of which each shows its part alone: name, text of the button, HTML."""
    buttons = "".join(
        f'<button data-choice="{name}" aria-pressed="{str(index == 0).lower()}">'
        f"{html.escape(text)}</button> "
        for index, (name, text, _) in enumerate(choices)
    )
    parts = "".join(
        f'<div id="{name}"{" hidden" if index else ""}>{body}</div>'
        for index, (name, _, body) in enumerate(choices)
    )
    return f"<div>{buttons}</div><div>{parts}</div>"


def thumbnails(sheet: str, indices: Iterable[int], rows: Iterable[int]) -> str:
    """Returns images of a sprite sheet side by side, each named after its row in the data."""
    cells = "".join(
        f'<div class="t" role="img" data-sheet="{sheet}" data-index="{index}" '
        f'aria-label="row {row}" title="row {row}"></div>'
        for index, row in zip(indices, rows, strict=True)
    )
    return f'<div class="row">{cells}</div>'
