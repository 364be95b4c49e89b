"""Cards of clusters in a report: name, size, what tells it apart, and members."""

from __future__ import annotations

import html
import textwrap
from typing import Any, NamedTuple

import numpy as np

from tfdpm.report.facts import Facts
from tfdpm.report.page import Sprite, make_sprite, table, thumbnails
from tfdpm.report.traits import explained_variance, number
from tfdpm.viz.clusters import ORDERS, list_members
from tfdpm.viz.colors import cluster_colors

_MEMBER_PIXELS = 64  # longest side of a thumbnail
_MOST_IMAGES, _MOST_TEXTS = (10, 2_400), (4, 2_000)  # members of a cluster, and of all together
_MOST_ROWS = (3, 500)
_ROW_VALUES = 6  # values of a row
_LETTERS = 180  # of a text
_FIRST_CLUSTERS, _FIRST_IMAGES = 12, 5  # of the overview


class Members(NamedTuple):
    """Positions in the sample of the members of each cluster that a report shows."""

    groups: dict[str, list[np.ndarray]]  # K arrays by order, typical and doubtful
    pictured: np.ndarray  # positions of those with an image, in the order of their sheet
    confidence: np.ndarray  # largest responsibility of each point of the sample, [n]
    columns: np.ndarray  # positions of the numbers of a point that are shown


def choose_members(facts: Facts, sheets: dict[str, Sprite]) -> Members:
    """Chooses the members that are shown; their images become the sheet "members"."""
    most = _MOST_ROWS if facts.is_table else _MOST_TEXTS
    if facts.images is not None:
        most = _MOST_IMAGES
    count = int(np.clip(most[1] // (len(ORDERS) * len(facts.sizes)), 1, most[0]))
    groups = {
        kind: list_members(facts.sample.responsibilities, facts.log_density, count, kind)
        for kind in ORDERS[: len(facts.sizes)]  # of one cluster no point is in doubt
    }
    pictured = np.unique(np.concatenate([own for group in groups.values() for own in group]))
    if facts.images is not None:
        sheets["members"] = make_sprite(facts.images[pictured], _MEMBER_PIXELS)
    columns = np.arange(0)
    if facts.is_table:  # those that tell clusters apart
        shares = explained_variance(facts.sample.inputs, facts.sample.labels)
        columns = np.argsort(-shares, kind="stable")[:_ROW_VALUES]
    return Members(groups, pictured, facts.sample.confidence, columns)


def link(facts: Facts, k: int) -> str:
    """Returns a link to the card of a cluster, with its colour."""
    color = cluster_colors(len(facts.sizes))[k]
    name = html.escape(facts.names[k] or f"cluster {k}")
    return f'<a href="#cluster-{k}"><span class="dot" style="background:{color}"></span>{name}</a>'


def first_clusters(facts: Facts, members: Members) -> str:
    """Returns the largest clusters side by side, with a few typical members of each."""
    cells = []
    for k in facts.order[:_FIRST_CLUSTERS]:
        shown = _show_members(
            facts, members, members.groups["typical"][k][:_FIRST_IMAGES], few=True
        )
        cells.append(f"<div>{link(facts, k)} {_size(facts, k)}{_traits(facts, k, 3)}{shown}</div>")
    rest = len(facts.order) - _FIRST_CLUSTERS
    more = f'<p><a href="#clusters">all {len(facts.order)} clusters</a></p>' if rest > 0 else ""
    return f'<div class="first">{"".join(cells)}</div>{more}'


def cluster_cards(facts: Facts, members: Members) -> str:
    """Returns a card for each cluster, the largest first, to which `#cluster-3` leads."""
    cards = []
    palette, labels = cluster_colors(len(facts.sizes)), facts.sample.labels
    counts = np.maximum(np.bincount(labels, minlength=len(facts.sizes)), 1)
    sure = np.bincount(labels, members.confidence, len(facts.sizes)) / counts
    for k in facts.order:
        name = html.escape(facts.names[k] or f"cluster {k}")
        own = f' <span class="soft">cluster {k}</span>' if facts.names[k] else ""
        parts = [
            f'<h3><span class="dot" style="background:{palette[k]}"></span>{name}{own}</h3>',
            f'<p class="soft">{_size(facts, k)}, mean responsibility {sure[k]:.2f}</p>',
            _traits(facts, k),
        ]
        for kind, groups in members.groups.items():
            if len(groups[k]):
                parts.append(f"<b>{kind}</b>{_show_members(facts, members, groups[k])}")
        inside = "".join(parts)
        cards.append(f'<article class="card" id="cluster-{k}" tabindex="-1">{inside}</article>')
    return f'<div class="cards">{"".join(cards)}</div>'


def unusual_points(facts: Facts, count: int, sheets: dict[str, Sprite]) -> str:
    """Returns the points of smallest p-value, with their images or texts."""
    chosen = np.argsort(facts.outlier_p, kind="stable")[:count]
    if facts.images is not None:
        sheets["outliers"] = make_sprite(facts.images[chosen], _MEMBER_PIXELS)
    labels = facts.sample.labels
    rows = []
    for place, i in enumerate(chosen):
        seen = ""
        if facts.images is not None:
            seen = thumbnails("outliers", [place], [facts.sample.rows[i]])
        elif facts.texts is not None:
            seen = html.escape(_shorten(facts.texts[i]))
        numbers = [f"{facts.outlier_p[i]:.2g}", f"{facts.log_density[i]:.2f}"]
        row = [seen or str(facts.sample.rows[i]), link(facts, labels[i]), *numbers]
        rows.append(row if not seen else [row[0], str(facts.sample.rows[i]), *row[1:]])
    header = ["row", "cluster", "p-value", "log density (nats)"]
    if facts.images is not None or facts.texts is not None:
        header.insert(0, "")
    return table(header, rows, is_html=True)


def _size(facts: Facts, k: int) -> str:
    size = int(facts.sizes[k])
    share = size / max(int(facts.sizes.sum()), 1)
    return f'<span class="soft">{size:,} point{"s" * (size != 1)}, {share:.1%}</span>'


def _traits(facts: Facts, k: int, count: int | None = None) -> str:
    found = "".join(f"<span>{html.escape(each)}</span>" for each in facts.traits[k][:count])
    return f'<div class="traits">{found}</div>' if found else ""


def _show_members(facts: Facts, members: Members, chosen: np.ndarray, few: bool = False) -> str:
    """Returns images, texts or rows of points at positions of the sample."""
    parts = []
    if facts.images is not None:
        indices = np.searchsorted(members.pictured, chosen)
        parts.append(thumbnails("members", indices, facts.sample.rows[chosen]))
    if facts.texts is not None:
        shown = chosen[:2] if few else chosen
        items = (f"<li>{html.escape(_shorten(facts.texts[i]))}</li>" for i in shown)
        parts.append(f"<ul>{''.join(items)}</ul>")
    if not parts and not few:
        parts.append(_show_rows(facts, members, chosen))
    return "".join(parts)


def _show_rows(facts: Facts, members: Members, chosen: np.ndarray) -> str:
    rows = [
        [
            facts.sample.rows[i],
            f"{members.confidence[i]:.2f}",
            *(number(value, 4) for value in facts.sample.inputs[i, members.columns]),
        ]
        for i in chosen
    ]
    names = [facts.column_names[i] for i in members.columns]
    return table(["row", "resp.", *names], rows)


def _shorten(text: Any) -> str:
    return textwrap.shorten(text, _LETTERS, placeholder=" …")
