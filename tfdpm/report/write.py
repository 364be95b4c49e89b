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
from tfdpm.report import charts, sentences, tree
from tfdpm.report.facts import Facts, gather_facts
from tfdpm.report.page import (
    card,
    chart,
    grid,
    make_sprite,
    page,
    paragraphs,
    switch,
    table,
    thumbnails,
    tiles,
)
from tfdpm.viz.clusters import ORDERS, list_members
from tfdpm.viz.colors import cluster_colors
from tfdpm.viz.maps import cluster_map
from tfdpm.viz.samples import PointSample

_MAP_POINTS, _MAP_IMAGES = 8_000, 2_500  # points on the map, without and with images
_MAP_PIXELS, _MEMBER_PIXELS = 32, 64  # longest sides of thumbnails
_MEMBERS, _MEMBER_CLUSTERS = 10, 40  # images of each cluster, clusters with images
_MEMBER_ROWS, _ROW_VALUES = 3, 6  # rows of each cluster and values of each row, without images
_OUTLIERS = 20


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
    """Writes one self-contained HTML page about a fit; arguments as for `DeepDPM.report`.

    Points may be a `PointSample`, but for a model with an encoder, which needs the raw points.
    """
    if isinstance(x, PointSample):
        if model.encoder is not None:
            checks.fail("x", "None, of a model with an encoder inside", "the points of the fit")
        x = x.inputs
    script = checks.import_optional("plotly.offline", "report", "viz").get_plotlyjs()
    facts = gather_facts(model, x, y, images, seed)
    figures: dict[str, Any] = {}
    sheets: dict[str, Any] = {}
    sections = [
        ("overview", "Overview", _build_overview(model, facts, figures, seconds)),
        ("map", "Map", _build_map(model, facts, figures, sheets, seed)),
        ("members", "Members", _build_members(facts, sheets)),
        ("doubt", "Doubt", _build_doubt(model, facts, figures)),
    ]
    if facts.confusion is not None:
        sections.append(("labels", "Known labels", _build_labels(facts, figures)))
    made = _build_made(model, facts, figures, command, seconds)
    sections.append(("made", "How it was made", made))
    text = page(title, sections, figures, sheets, script)
    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def _build_overview(model: Any, facts: Facts, figures: dict, seconds: float | None) -> str:
    numbers = [
        ("clusters", f"{model.n_clusters:,}"),
        ("components", f"{model.n_components:,}"),
        ("points", f"{facts.sample.num_points:,}"),
        ("features", f"{facts.sample.features.shape[1]:,}"),
    ]
    if facts.history.get("n_clusters"):
        numbers.append(("epochs", f"{len(facts.history['n_clusters']):,}"))
    if seconds is not None:
        numbers.append(("of fitting", f"{seconds:.1f} s"))
    figures["sizes"] = charts.draw_sizes(facts)
    figures.update(charts.draw_history(facts))
    cards = [
        card("Sizes", chart("sizes"), wide=model.n_clusters > 30),
        card("Scores", _score_table(facts.scores)),
    ]
    counts = tree.count_clusters_by_step(model.tree_.nodes)
    if len(counts) > 1:
        figures["search"] = charts.draw_search(counts)
        note = "On a sample, before the first epoch: only moves that made the mixture better."
        note = paragraphs(note, soft=True)
        cards.append(card("Number of clusters, move by move", note, chart("search")))
    if "k" in figures:
        moves = paragraphs(sentences.describe_moves(model), soft=True)
        cards.append(card("Number of clusters, epoch by epoch", chart("k"), moves))
    else:
        none = "This model was loaded: how it was trained is not kept in its file."
        cards.append(card("Epochs", paragraphs(none)))
    for name, title in (("losses", "Losses"), ("scores", "Agreement with known labels")):
        if name in figures:
            cards.append(card(title, chart(name)))
    return tiles(numbers) + grid(cards)


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
        f"{plane.title}. Ellipses are the components of each cluster, and reach two standard "
        "deviations. Point at a dot to see " + ("its image." if has_images else "its row.")
    ]
    body = chart("map")
    if "LDA" in plane.title:
        figures["map-pca"] = charts.draw_map(cluster_map(model, few, "pca"), few, has_images)
        notes.append(
            "Discriminants show the clusters as far apart as a plane can: distances between them "
            "are exaggerated. Principal axes show where the data spread most."
        )
        other = ("by-pca", "principal axes", chart("map-pca"))
        body = switch([("by-lda", "discriminants", body), other])
    return card("Map", paragraphs(*notes, soft=True), body)


def _build_members(facts: Facts, sheets: dict) -> str:
    order = facts.order[:_MEMBER_CLUSTERS]
    note = "Typical members lie where their cluster is densest; doubtful ones have the least "
    note += "responsibility, and so are nearly in another cluster."
    if len(facts.order) > len(order):
        note += f" The {len(order)} largest of {len(facts.order)} clusters are shown."
    show = _show_rows if facts.images is None else _show_images
    count = _MEMBER_ROWS if facts.images is None else _MEMBERS
    members = {
        kind: list_members(facts.sample.responsibilities, facts.log_density, count, kind)
        for kind in ORDERS
    }
    cards = [card("Members", paragraphs(note, soft=True), show(facts, order, members, sheets))]
    if facts.images is None and facts.sample.inputs.ndim == 2:
        cards.append(card("Means of the columns", _show_means(facts, order)))
    return "".join(cards)


def _name_columns(facts: Facts) -> list[str]:
    """Names of the first numbers of a point."""
    size = facts.sample.inputs[0].size
    names = facts.columns if len(facts.columns) == size else [f"column {i}" for i in range(size)]
    return list(names[:_ROW_VALUES])


def _show_means(facts: Facts, order: np.ndarray) -> str:
    """Returns a table with the mean and standard deviation of each column in each cluster."""
    inputs, labels = facts.sample.inputs[:, :_ROW_VALUES], facts.sample.labels
    rows = []
    for k in order:
        own = inputs[labels == k]
        if len(own) > 0:
            moments = zip(own.mean(axis=0), own.std(axis=0), strict=True)
            rows.append([k, *(f"{mean:.4g} ± {spread:.2g}" for mean, spread in moments)])
    return table(["cluster", *_name_columns(facts)], rows)


def _show_images(facts: Facts, order: np.ndarray, members: dict, sheets: dict) -> str:
    """Returns a grid with the images of the members of each cluster."""
    chosen = np.unique(np.concatenate([group[k] for group in members.values() for k in order]))
    sheets["members"] = make_sprite(facts.images[chosen], _MEMBER_PIXELS)
    palette = cluster_colors(len(facts.sizes))
    cells = ["<b>cluster</b><b>typical</b><b>doubtful</b>"]
    for k in order:
        name = f'<span class="dot" style="background:{palette[k]}"></span>{k}'
        cells.append(f'<div>{name}<br><span class="soft">{facts.sizes[k]:,}</span></div>')
        for group in members.values():
            indices = np.searchsorted(chosen, group[k])
            cells.append(thumbnails("members", indices, facts.sample.rows[group[k]]))
    return f'<div class="members">{"".join(cells)}</div>'


def _show_rows(facts: Facts, order: np.ndarray, members: dict, sheets: dict) -> str:
    """Returns a table with rows of the data for each cluster, for data without images."""
    sample, confidence = facts.sample, facts.sample.confidence
    shown = sample.inputs.reshape(len(sample.inputs), -1)[:, :_ROW_VALUES]
    rows = [
        [k, kind, sample.rows[i], f"{confidence[i]:.3f}", *(f"{value:.4g}" for value in shown[i])]
        for k in order
        for kind, groups in members.items()
        for i in groups[k]
    ]
    return table(["cluster", "", "row", "responsibility", *_name_columns(facts)], rows)


def _build_doubt(model: Any, facts: Facts, figures: dict) -> str:
    sample, outlier_p = facts.sample, facts.outlier_p
    figures["posterior"] = charts.draw_k_posterior(facts)
    figures["stability"] = charts.draw_cluster_means(facts, facts.stability, "stability")
    figures["confidence"] = charts.draw_histogram(sample.confidence, "largest responsibility")
    figures["sure"] = charts.draw_cluster_means(facts, sample.confidence, "mean responsibility")
    figures["outliers"] = charts.draw_histogram(outlier_p, "outlier p-value")
    labels = sample.labels
    rows = [
        (sample.rows[i], labels[i], f"{outlier_p[i]:.2g}", f"{facts.log_density[i]:.2f}")
        for i in np.argsort(outlier_p, kind="stable")[:_OUTLIERS]
    ]
    certainty = sentences.describe_k(model.n_clusters, facts.k_posterior)
    kept = "How much of its companions a point keeps from chain to chain."
    torn = f"{np.mean(sample.confidence < 0.9):.1%} of the points are below 0.9."
    unlikely = (
        f"{np.mean(outlier_p < 0.01):.1%} of the points are less likely under the mixture than "
        "99 % of what it would produce itself; 1 % would be nothing unusual."
    )
    worst = table(("row", "cluster", "p-value", "log density (nats)"), rows)
    return grid(
        [
            card("How many clusters could it be?", paragraphs(certainty), chart("posterior")),
            card("Stability of each cluster", paragraphs(kept), chart("stability")),
            card("Confidence of all points", paragraphs(torn), chart("confidence")),
            card("Confidence in each cluster", chart("sure")),
            card("Outliers", paragraphs(unlikely), chart("outliers")),
            card("Most unusual points", worst),
        ]
    )


def _build_labels(facts: Facts, figures: dict) -> str:
    figures["confusion"] = charts.draw_confusion(facts)
    scores = _score_table({name: facts.scores[name] for name in ("NMI", "ARI", "ACC")})
    note = "Labels were used for nothing else. Rows are known classes, columns are clusters; "
    note += "the clusters that match a class one to one come first, on the diagonal."
    note = paragraphs(note, soft=True)
    return card("Agreement with known labels", scores, note, chart("confusion"))


def _build_made(
    model: Any, facts: Facts, figures: dict, command: str | None, seconds: float | None
) -> str:
    figures["tree"] = tree.draw_tree(model.tree_.nodes, model.tree_.current)
    settings = json.dumps(dataclasses.asdict(model.config), indent=1)
    steps = [("seed", model.seed)]
    if seconds is not None:
        steps.append(("time of the fit", f"{seconds:.1f} s"))
    cards = []
    if command is not None:
        cards.append(card("Command", f"<pre>{html.escape(command)}</pre>", wide=True))
    prior = paragraphs(*sentences.describe_prior(model, int(facts.sizes.max())))
    columns = [sentences.describe_preprocessing(model, facts.sample)]
    if used := str(getattr(model, "columns", "")):
        columns.append(f"{used[0].upper()}{used[1:]}.")
    family = "Every split and merge that lasted, from the first cluster down to those of today, "
    family += "which carry their numbers. Components without a valley between them are joined last."
    family = paragraphs(family, soft=True)
    details = f"<summary>all settings</summary><pre>{html.escape(settings)}</pre>"
    cards += [
        card("The prior in plain words", prior, wide=True),
        card("Preprocessing", paragraphs(*columns, sentences.describe_moves(model))),
        card("Versions", table(("", ""), [*steps, *facts.versions.items()])),
        card("Genealogy", family, chart("tree"), wide=True),
        card("Configuration", f"<details>{details}</details>", wide=True),
    ]
    return grid(cards)


def _score_table(scores: dict[str, float]) -> str:
    return table(("score", "value"), [(name, f"{value:.3f}") for name, value in scores.items()])
