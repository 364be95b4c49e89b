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
from tfdpm.progress.display import ProgressDisplay, as_verbose, ending_displays
from tfdpm.progress.files import replace_file
from tfdpm.report import charts, sentences, tree
from tfdpm.report.clusters import (
    Members,
    choose_members,
    cluster_cards,
    first_clusters,
    unusual_points,
)
from tfdpm.report.facts import Facts, gather_facts
from tfdpm.report.page import card, chart, grid, make_sprite, page, paragraphs, switch, table, tiles
from tfdpm.report.traits import cluster_moments, explained_variance, number
from tfdpm.viz.history import trace_search
from tfdpm.viz.maps import ClusterMap, cluster_map
from tfdpm.viz.samples import PointSample

_MAP_POINTS, _MAP_IMAGES = 8_000, 2_500  # points on the map, without and with images
_MAP_PIXELS = 32  # longest side of thumbnails on the map
_MOST_SWITCHED = 60  # clusters up to which a second map is held
_COLUMNS, _COLUMN_CLUSTERS = 24, 12  # columns that the page of columns shows, and clusters
_OUTLIERS = 20


@ending_displays()
def write_report(
    model: Any,
    path: str | os.PathLike[str],
    x: Any,
    y: Any = None,
    images: Any = None,
    *,
    texts: Any = None,
    names: Any = None,
    title: str = "Clusters",
    command: str | None = None,
    seconds: float | None = None,
    seed: int = 0,
    verbose: str | int = "auto",
) -> Path:
    """Writes one self-contained HTML page about a fit; arguments as for `DeepDPM.report`.

    Points may be a `PointSample`, but for a model with an encoder, which needs the raw points.
    """
    if isinstance(x, PointSample):
        if model.encoder is not None:
            checks.fail("x", "None, of a model with an encoder inside", "the points of the fit")
        x = x.inputs
    script = checks.import_optional("plotly.offline", "report", "viz").get_plotlyjs()
    verbose = as_verbose(verbose)
    display = ProgressDisplay(4, 1 if verbose == "auto" else int(verbose), unit="part")
    display.name_stage("report: scores and stability")
    facts = gather_facts(model, x, y, images, seed, texts, names)
    display.step()
    display.name_stage("report: map")
    figures: dict[str, Any] = {}
    sheets: dict[str, Any] = {}
    few = facts.sample.subsample(_MAP_POINTS if facts.images is None else _MAP_IMAGES, seed)
    plane = cluster_map(model, few)
    display.step()
    display.name_stage("report: clusters")
    members = choose_members(facts, sheets)
    first = _build_overview(model, facts, figures, members, plane, seconds)
    sections = [
        ("overview", "Overview", first),
        ("map", "Map", _build_map(model, facts, figures, sheets, few, plane)),
        ("clusters", "Clusters", _build_clusters(facts, members)),
    ]
    if facts.is_table:
        sections.append(("columns", "Columns", _build_columns(facts, figures)))
    sections.append(("doubt", "Doubt", _build_doubt(facts, figures, sheets)))
    if facts.confusion is not None:
        sections.append(("labels", "Known labels", _build_labels(facts, figures)))
    made = _build_made(model, facts, figures, command, seconds)
    sections.append(("made", "How it was made", made))
    display.step()
    display.name_stage("report: file")
    is_all = len(facts.labels) == facts.sample.num_points
    labels = {
        "rows": None if is_all else facts.sample.rows.tolist(),
        "labels": facts.labels.tolist(),
        "names": facts.names,
    }
    text = page(title, sections, figures, sheets, script, labels)
    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    display.step()
    display.close()
    return Path(path)


def _build_overview(
    model: Any,
    facts: Facts,
    figures: dict,
    members: Members,
    plane: ClusterMap,
    seconds: float | None,
) -> str:
    amounts = {
        "cluster": model.n_clusters,
        "component": model.n_components,
        "point": facts.sample.num_points,
        "feature": facts.sample.features.shape[1],
    }
    if facts.history.get("n_clusters"):
        amounts["epoch"] = len(facts.history["n_clusters"])
    numbers = [(f"{name}{'s' * (count != 1)}", f"{count:,}") for name, count in amounts.items()]
    if seconds is not None:
        numbers.append(("of fitting", f"{seconds:.1f} s"))
    figures["small"] = charts.draw_small_map(plane, facts)
    figures["sizes"] = charts.draw_sizes(facts)
    figures.update(charts.draw_history(facts))
    count = len(facts.labels)
    of_sample = "" if count == facts.sample.num_points else f" of {count:,} points drawn at random"
    download = f'<p><button id="download">Download the labels{of_sample} (CSV)</button></p>'
    large = paragraphs(f"On {plane.title}.", soft=True)
    cards = [
        card("Clusters", first_clusters(facts, members), download, wide=True),
        card("Map", large, chart("small"), '<p><a href="#map">large map</a></p>'),
    ]
    counts, gains = trace_search(model.tree_.nodes)
    if len(counts) > 1:
        figures["search"] = charts.draw_search(counts, gains)
        note = (
            "On a sample, before the first epoch. Evidence is counted by the prior that the search "
        )
        note += "ended with, by which a move may lose what it gained at the time."
        note = paragraphs(note, soft=True)
        cards.append(card("Number of clusters, move by move", note, chart("search")))
    cards.append(card("Sizes", chart("sizes"), wide=model.n_clusters > 30))
    if "k" in figures:
        moves = paragraphs(sentences.describe_moves(model), soft=True)
        cards.append(card("Number of clusters, epoch by epoch", moves, chart("k")))
    else:
        none = "This model was loaded: how it was trained is not kept in its file."
        cards.append(card("Epochs", paragraphs(none)))
    cards.append(card("Scores", _score_table(facts.scores)))
    for name, title in (("losses", "Losses"), ("scores", "Agreement with known labels")):
        if name in figures:
            cards.append(card(title, chart(name)))
    return tiles(numbers) + grid(cards)


def _build_map(
    model: Any, facts: Facts, figures: dict, sheets: dict, few: PointSample, plane: ClusterMap
) -> str:
    has_images = facts.images is not None
    if has_images:
        positions = np.searchsorted(facts.sample.rows, few.rows)
        sheets["map"] = make_sprite(facts.images[positions], _MAP_PIXELS)
    figures["map"] = charts.draw_map(plane, few, facts)
    notes = [
        f"{len(few.rows):,} of {facts.sample.num_points:,} points, coloured by cluster, on "
        f"{plane.title}. Ellipses reach two standard deviations. Point at a dot to see "
        + ("its image. " if has_images else "its row. ")
        + "Drag to zoom, double-click to go back; the field above finds clusters here."
    ]
    body = chart("map")
    if plane.kind in ("lda", "umap"):
        if plane.kind == "lda":
            notes.append("In this plane pairs of clusters overlap least.")
        else:
            notes.append("Neighbours lie together; distances between clusters mean little.")
        if model.n_clusters <= _MOST_SWITCHED:
            notes.append("Principal axes show where the data spread most.")
            figures["map-pca"] = charts.draw_map(cluster_map(model, few, "pca"), few, facts)
            other = ("by-pca", "principal axes", chart("map-pca"))
            kind = "discriminants" if plane.kind == "lda" else "neighbours"
            body = switch([("by-auto", kind, body), other])
    return card("Map", paragraphs(*notes, soft=True), body)


def _build_clusters(facts: Facts, members: Members) -> str:
    note = "Typical members lie where their cluster is densest"
    if len(facts.sizes) > 1:
        note += "; doubtful ones have the least responsibility, and are in doubt if it is below 0.9"
    note += "."
    if facts.texts is not None:
        note += " Words are those that tell the cluster apart, by class-wise tf-idf."
    if facts.is_table:
        note += " Means are named where they are far from that of all points."
    return paragraphs(note, soft=True) + cluster_cards(facts, members)


def _build_columns(facts: Facts, figures: dict) -> str:
    inputs, labels = facts.sample.inputs, facts.sample.labels
    shares = explained_variance(inputs, labels)
    means, spreads = cluster_moments(inputs, labels, len(facts.sizes))
    chosen = np.argsort(-shares, kind="stable")[:_COLUMNS]
    names, clusters = facts.column_names, facts.order[:_COLUMN_CLUSTERS]
    figures["columns"] = charts.draw_columns(facts, means, chosen)
    header = ["column", "between clusters", *(facts.ticks[k] for k in clusters)]
    rows = [
        [
            names[i],
            f"{shares[i]:.0%}",
            *(f"{number(means[k, i], 4)} ± {number(spreads[k, i], 2)}" for k in clusters),
        ]
        for i in chosen
    ]
    title, note = "Columns", "There is one cluster, and so no column tells clusters apart."
    if len(facts.sizes) > 1:
        title = "Which columns tell clusters apart"
        note = "Columns that tell clusters apart come first: those of whose variance most lies "
        note += "between clusters. Colours are differences from the mean of all points in standard "
        note += "deviations; numbers are means in the units of the column."
    told = paragraphs(note, soft=True)
    if len(chosen) < len(names):
        told += paragraphs(f"{len(chosen)} of {len(names)} columns are shown.", soft=True)
    return card(title, told, chart("columns")) + card(
        "Means and standard deviations", table(header, rows)
    )


def _build_doubt(facts: Facts, figures: dict, sheets: dict) -> str:
    sample, outlier_p = facts.sample, facts.outlier_p
    cards = []
    if facts.stability is None:
        cards.append(
            card(
                "How many clusters could it be?",
                paragraphs(
                    "Chains of moves would take longer than the fit here, and were left out. "
                    "model.stability(x) runs them."
                ),
            )
        )
    else:
        figures["posterior"] = charts.draw_k_posterior(facts)
        figures["stability"] = charts.draw_cluster_means(facts, facts.stability, "stability")
        certainty = sentences.describe_k(len(facts.sizes), facts.k_posterior)
        kept = "How much of its companions a point keeps from chain to chain."
        cards += [
            card("How many clusters could it be?", paragraphs(certainty), chart("posterior")),
            card("Stability of each cluster", paragraphs(kept), chart("stability")),
        ]
    figures["confidence"] = charts.draw_histogram(sample.confidence, "largest responsibility")
    figures["sure"] = charts.draw_cluster_means(facts, sample.confidence, "mean responsibility")
    figures["outliers"] = charts.draw_histogram(outlier_p, "outlier p-value")
    torn = f"{np.mean(sample.confidence < 0.9):.1%} of the points are below 0.9."
    unlikely = (
        f"{np.mean(outlier_p < 0.01):.1%} of the points are less likely under the mixture than "
        "99 % of what it would produce itself; 1 % would be nothing unusual."
    )
    cards += [
        card("Confidence of all points", paragraphs(torn), chart("confidence")),
        card("Confidence in each cluster", chart("sure")),
        card("Outliers", paragraphs(unlikely), chart("outliers")),
        card("Most unusual points", unusual_points(facts, _OUTLIERS, sheets)),
    ]
    return grid(cards)


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
