"""The contents of each tab of a report, and the function that writes the page."""

from __future__ import annotations

import dataclasses
import html
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from tfdpm import checks
from tfdpm.progress.files import replace_file
from tfdpm.report import charts, page, sentences, tree
from tfdpm.report.facts import Facts, gather_facts
from tfdpm.report.thumbnails import Sprite, make_sprite
from tfdpm.viz.clusters import list_members
from tfdpm.viz.colors import cluster_colors
from tfdpm.viz.maps import cluster_map
from tfdpm.viz.samples import PointSample

__all__ = ["check_extra", "write_report"]

_MAP_POINTS, _MAP_IMAGES = 8_000, 2_500  # points on the map, without and with images
_MAP_PIXELS, _MEMBER_PIXELS = 32, 64  # longest sides of thumbnails
_MEMBERS, _MEMBER_CLUSTERS = 10, 40  # images of each cluster, clusters with images
_MEMBER_ROWS, _ROW_VALUES = 3, 6  # rows of each cluster and values of each row, without images
_OUTLIERS = 20


def check_extra() -> None:
    """Raises an `ImportError` that names the extra if plotly is not installed."""
    checks.import_optional("plotly.offline", "report", "viz")


def write_report(
    model: Any,
    path: str | os.PathLike[str],
    x: Any,
    y: Any = None,
    images: Any = None,
    *,
    title: str = "Clusters",
    command: str | None = None,
    seconds: float | None = None,
    seed: int = 0,
) -> Path:
    """Writes one self-contained HTML page about a fit.

    Args:
        model: a fitted `tfdpm.DeepDPM`.
        path: path of the page; folders are made as needed.
        x: points, as for `predict`, or a `PointSample`. At most 20,000 points, a random sample, are
            shown.
        y: known labels, `[N]`, for scores only; `None` where `x` brings them or has none.
        images: one image for each point, `[N, H, W]`, `[N, H, W, C]` or `[N, side * side]`.
        title: heading of the page, plain text.
        command: command that made the model; `None` shows none.
        seconds: duration of the fit; `None` shows none.
        seed: random seed of samples and chains; the same seed gives the same page.

    Returns:
        The path.

    Raises:
        ValueError: for a `PointSample` of a model with an encoder, which needs the raw points.
        ImportError: without plotly; the error names the extra.
    """
    if isinstance(x, PointSample):
        if model.encoder is not None:
            checks.fail("x", "None, of a model with an encoder inside", "the points of the fit")
        x = x.inputs
    script = checks.import_optional("plotly.offline", "report", "viz").get_plotlyjs()
    facts = gather_facts(model, x, y, images, seed)
    figures: dict[str, Any] = {}
    sheets: dict[str, Sprite] = {}
    sections = [
        ("overview", "Overview", _build_overview(model, facts, figures, seconds)),
        ("map", "Map", _build_map(model, facts, figures, sheets, seed)),
        ("members", "Members", _build_members(facts, sheets)),
        ("doubt", "Doubt", _build_doubt(model, facts, figures)),
    ]
    if facts.confusion is not None:
        sections.append(("labels", "Known labels", _build_labels(facts, figures)))
    sections.append(
        ("made", "How it was made", _build_made(model, facts, figures, command, seconds))
    )
    text = page.page(title, sections, figures, sheets, script)
    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def _build_overview(model: Any, facts: Facts, figures: dict, seconds: float | None) -> str:
    count, sample = model.n_clusters, facts.sample
    numbers = [
        ("clusters", f"{count:,}"),
        ("points", f"{sample.num_points:,}"),
        ("features", f"{sample.features.shape[1]:,}"),
    ]
    if facts.history.get("n_clusters"):
        numbers.append(("epochs", f"{len(facts.history['n_clusters']):,}"))
    if seconds is not None:
        numbers.append(("of fitting", f"{seconds:.1f} s"))
    figures["sizes"] = charts.draw_sizes(facts)
    figures.update(charts.draw_history(facts))
    cards = [
        page.card("Sizes", page.chart("sizes"), wide=count > 30),
        page.card("Scores", page.table(("score", "value"), _rounded(facts.scores))),
    ]
    if "k" in figures:
        cards.append(
            page.card(
                "Number of clusters, epoch by epoch",
                page.chart("k"),
                page.paragraphs(*sentences.describe_moves(model), soft=True),
            )
        )
    else:
        none = "This model was loaded: how it was trained is not kept in its file."
        cards.append(page.card("Epochs", page.paragraphs(none)))
    counts = tree.count_clusters_by_step(model.tree_.nodes)
    if len(counts) > 1:
        figures["search"] = charts.draw_search(counts)
        note = "On a sample, before the first epoch: only moves that made the mixture better."
        cards.insert(
            2,
            page.card(
                "Number of clusters, move by move",
                page.paragraphs(note, soft=True),
                page.chart("search"),
            ),
        )
    for name, title in (("losses", "Losses"), ("scores", "Agreement with known labels")):
        if name in figures:
            cards.append(page.card(title, page.chart(name)))
    return page.tiles(numbers) + f'<div class="grid">{"".join(cards)}</div>'


def _build_map(model: Any, facts: Facts, figures: dict, sheets: dict, seed: int) -> str:
    has_images = facts.images is not None
    few = facts.sample.subsample(_MAP_IMAGES if has_images else _MAP_POINTS, seed)
    if has_images:
        positions = np.searchsorted(facts.sample.rows, few.rows)
        sheets["map"] = make_sprite(facts.images[positions], _MAP_PIXELS)
    plane = cluster_map(model, few)
    figures["map"] = charts.draw_map(plane, few, has_images)
    notes = [
        f"{len(few.rows):,} of {facts.sample.num_points:,} points, coloured by cluster, on "
        f"{plane.title}. Ellipses reach two standard deviations. Point at a dot to see "
        + ("its image." if has_images else "its row.")
    ]
    body = page.chart("map")
    if "LDA" in plane.title:
        other = cluster_map(model, few, "pca")
        figures["map-pca"] = charts.draw_map(other, few, has_images)
        notes.append(
            "Discriminants show the clusters as far apart as a plane can: distances between them "
            "are exaggerated. Principal axes show where the data spread most."
        )
        body = page.switch(
            [
                ("by-lda", "discriminants", page.chart("map")),
                ("by-pca", "principal axes", page.chart("map-pca")),
            ]
        )
    return page.card("Map", page.paragraphs(*notes, soft=True), body)


def _build_members(facts: Facts, sheets: dict) -> str:
    order = facts.order[:_MEMBER_CLUSTERS]
    note = "Typical members lie where their cluster is densest; doubtful ones have the least "
    note += "responsibility, and so are nearly in another cluster."
    if len(facts.order) > len(order):
        note += f" The {len(order)} largest of {len(facts.order)} clusters are shown."
    if facts.images is None:
        return page.card("Members", page.paragraphs(note, soft=True), _member_rows(facts, order))
    own = [
        list_members(facts.sample.responsibilities, facts.log_density, _MEMBERS, kind)
        for kind in ("typical", "doubtful")
    ]
    chosen = np.unique(np.concatenate([group[k] for group in own for k in order]))
    sheets["members"] = make_sprite(facts.images[chosen], _MEMBER_PIXELS)
    palette = cluster_colors(len(facts.sizes))
    cells = ["<b>cluster</b><b>typical</b><b>doubtful</b>"]
    for k in order:
        name = f'<span class="dot" style="background:{palette[k]}"></span>{k}'
        cells.append(f'<div>{name}<br><span class="soft">{facts.sizes[k]:,}</span></div>')
        for group in own:
            indices = np.searchsorted(chosen, group[k])
            cells.append(page.thumbnails("members", indices, facts.sample.rows[group[k]]))
    grid = f'<div class="members">{"".join(cells)}</div>'
    return page.card("Members", page.paragraphs(note, soft=True), grid)


def _member_rows(facts: Facts, order: np.ndarray) -> str:
    """Returns a table with rows of the data for each cluster, for data without images."""
    sample = facts.sample
    flat = sample.inputs.reshape(len(sample.inputs), -1)
    shown = min(flat.shape[1], _ROW_VALUES)
    header = ["cluster", "", "row", "responsibility", *(f"column {i}" for i in range(shown))]
    rows, confidence = [], sample.confidence
    for kind in ("typical", "doubtful"):
        groups = list_members(sample.responsibilities, facts.log_density, _MEMBER_ROWS, kind)
        for rank, k in enumerate(order):
            for index in groups[k]:
                values = [f"{value:.4g}" for value in flat[index, :shown]]
                own = f"{confidence[index]:.3f}"
                rows.append((rank, [int(k), kind, int(sample.rows[index]), own, *values]))
    rows.sort(key=lambda item: item[0])
    return page.table(header, [cells for _, cells in rows])


def _build_doubt(model: Any, facts: Facts, figures: dict) -> str:
    sample = facts.sample
    figures["posterior"] = charts.draw_k_posterior(facts)
    figures["stability"] = charts.draw_cluster_means(facts, facts.stability, "stability")
    figures["confidence"] = charts.draw_histogram(sample.confidence, "largest responsibility")
    figures["sure"] = charts.draw_cluster_means(facts, sample.confidence, "mean responsibility")
    figures["outliers"] = charts.draw_histogram(facts.outlier_p, "outlier p-value")
    worst = np.argsort(facts.outlier_p, kind="stable")[:_OUTLIERS]
    labels = sample.labels
    rows = [
        (int(sample.rows[i]), int(labels[i]), f"{facts.outlier_p[i]:.2g}", f"{density:.2f}")
        for i, density in zip(worst, facts.log_density[worst], strict=True)
    ]
    share = float(np.mean(facts.outlier_p < 0.01))
    cards = [
        page.card(
            "How many clusters could it be?",
            page.paragraphs(sentences.describe_k(model.n_clusters, facts.k_posterior)),
            page.chart("posterior"),
        ),
        page.card(
            "Stability of each cluster",
            page.paragraphs("How much of its companions a point keeps from chain to chain."),
            page.chart("stability"),
        ),
        page.card(
            "Confidence of all points",
            page.paragraphs(f"{np.mean(sample.confidence < 0.9):.1%} of the points are below 0.9."),
            page.chart("confidence"),
        ),
        page.card("Confidence in each cluster", page.chart("sure")),
        page.card(
            "Outliers",
            page.paragraphs(
                f"{share:.1%} of the points are less likely under the mixture than 99 % of what "
                "it would produce itself; 1 % would be nothing unusual."
            ),
            page.chart("outliers"),
        ),
        page.card(
            "Most unusual points",
            page.table(("row", "cluster", "p-value", "log density (nats)"), rows),
        ),
    ]
    return f'<div class="grid">{"".join(cards)}</div>'


def _build_labels(facts: Facts, figures: dict) -> str:
    figures["confusion"] = charts.draw_confusion(facts)
    scores = {name: facts.scores[name] for name in ("NMI", "ARI", "ACC")}
    note = "Labels were used for nothing else. Rows are known classes, columns are clusters; "
    note += "the clusters that match a class one to one come first, on the diagonal."
    return page.card(
        "Agreement with known labels",
        page.table(("score", "value"), _rounded(scores)),
        page.paragraphs(note, soft=True),
        page.chart("confusion"),
    )


def _build_made(
    model: Any, facts: Facts, figures: dict, command: str | None, seconds: float | None
) -> str:
    genealogy = model.tree_
    figures["tree"] = tree.draw_tree(genealogy.nodes, genealogy.current)
    settings = json.dumps(dataclasses.asdict(model.config), indent=1)
    steps = [("seed", model.seed)]
    if seconds is not None:
        steps.append(("time of the fit", f"{seconds:.1f} s"))
    cards = [
        page.card(
            "The prior in plain words",
            page.paragraphs(*sentences.describe_prior(model, int(facts.sizes.max()))),
            wide=True,
        ),
        page.card(
            "Preprocessing",
            page.paragraphs(sentences.describe_preprocessing(model, facts.sample)),
            page.paragraphs(*sentences.describe_moves(model)),
        ),
        page.card("Versions", page.table(("", ""), [*steps, *facts.versions.items()])),
        page.card(
            "Genealogy",
            page.paragraphs(
                "Every split and merge that lasted, from the first cluster down to those of today, "
                "which carry their numbers.",
                soft=True,
            ),
            page.chart("tree"),
            wide=True,
        ),
    ]
    if command is not None:
        cards.insert(0, page.card("Command", f"<pre>{html.escape(command)}</pre>", wide=True))
    details = (
        f"<details><summary>all settings</summary><pre>{html.escape(settings)}</pre></details>"
    )
    cards.append(page.card("Configuration", details, wide=True))
    return f'<div class="grid">{"".join(cards)}</div>'


def _rounded(values: dict[str, float]) -> list[tuple[str, str]]:
    return [(name, f"{value:.3f}") for name, value in values.items()]
