"""Draws the pictures of the guides in this folder, each with the library alone.

`python docs/images/guides.py` takes some minutes; `--only drift` draws one of them.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from sklearn.cluster import HDBSCAN, KMeans

import tfdpm
from tfdpm.viz.colors import cluster_colors


def panels(count: int, width: float = 3.2, height: float = 3.0) -> tuple[Figure, Any]:
    """Returns a figure with axes side by side."""
    return plt.subplots(1, count, figsize=(width * count, height), layout="constrained")


def scatter(axes: Any, x: np.ndarray, labels: np.ndarray, title: str) -> None:
    """Draws points of the plane in the colours of their clusters, those of none in grey."""
    colors = np.array([*cluster_colors(labels.max() + 1), "#b0b6bd"])
    axes.scatter(*x.T, s=3, c=colors[labels])
    axes.set(title=title, xticks=[], yticks=[])


def draw_digits() -> Image.Image:
    """Digits in no order, and in the clusters that are found."""
    ink = "#7d8590"  # readable on white and on dark pages
    style = {"image.interpolation": "bicubic", "text.color": ink, "axes.labelcolor": ink}

    def render(axes: Any, title: str) -> np.ndarray:
        figure = axes[0, 0].figure
        figure.suptitle(title, fontsize=17)
        for first, *_ in axes:
            first.yaxis.label.set_fontsize(11)
        page = io.BytesIO()
        figure.savefig(page, dpi=64, transparent=True)
        return np.asarray(Image.open(page))

    images, _ = tfdpm.data.load("digits")
    model = tfdpm.fit("digits", verbose=0)
    rows = model.n_clusters
    mixed = np.random.default_rng(0).permutation(images)[: 9 * rows].reshape(-1, 8, 8)
    with plt.rc_context(style):
        _, axes = plt.subplots(rows, 9, figsize=(6.3, 0.75 * rows), layout="constrained")
        for cell, image in zip(axes.flat, mixed, strict=True):
            cell.imshow(image, cmap="gray")
            cell.set(xticks=[], yticks=[], frame_on=False)
        left = render(axes, "1,797 handwritten digits")
        members = model.plot_clusters(images, per_cluster=11)
        right = render(members, f"{rows} clusters, found without labels")
    gap = np.zeros((len(left), 24, 4), np.uint8)
    return Image.fromarray(np.concatenate([left, gap, right], axis=1))


def draw_features() -> Figure:
    """Digits as their pixels are clustered, and as a layout of neighbours is."""
    (images, y), kinds = tfdpm.data.load("digits"), ("none", "pca", "umap")
    found = [tfdpm.fit((images, y), features=kind, verbose=0) for kind in kinds]
    figure, axes = panels(3)
    for axis, kind, model in zip(axes, kinds, found, strict=True):
        model.plot(images, ax=axis, decision_regions=False)
        nmi = tfdpm.metrics.nmi(y, model.labels_)
        axis.set(title=f'"{kind}": K = {model.n_clusters}, NMI {nmi:.2f}', xticks=[], yticks=[])
    return figure


def draw_priors() -> Figure:
    """The same points under three sizes of the ball that a cluster is expected to be."""
    x, _ = tfdpm.data.gaussian_mixture(12, 2, 1_500, separation=3.0, seed=4)
    figure, axes = panels(3)
    for axis, scale in zip(axes, (0.1, 1.0, 100.0), strict=True):
        config = tfdpm.DeepDPMConfig(prior_scale=scale)
        model = tfdpm.fit(x, config=config, verbose=0)
        scatter(axis, x, model.labels_, f"prior_scale={scale:g}: K = {model.n_clusters}")
    return figure


def draw_drift() -> Figure:
    """New points of which a cluster has shrunk, one has moved, and one is new."""
    x, y = tfdpm.data.gaussian_mixture(5, 2, 4_000, seed=0)
    model = tfdpm.fit(x[:2_000], verbose=0)
    new = x[2_000:][(y[2_000:] != 0) | (np.arange(2_000) % 4 == 0)]
    is_moved = model.predict_labels(new) == 3
    new = np.concatenate([new + 0.6 * is_moved[:, np.newaxis], new[:150] * 0.05 + x.max(axis=0)])
    figure, axes = panels(2, 4.4, 3.2)
    model.plot(new, ax=axes[0])
    axes[0].set(title="new points, on the clusters of before", xticks=[], yticks=[])
    tfdpm.viz.plot_drift(model.drift(new), ax=axes[1])
    return figure


def draw_stream() -> Figure:
    """K while clusters come and go in a stream."""
    x, y = tfdpm.data.gaussian_mixture(6, 2, 15_000, seed=1)
    model, counts, true = tfdpm.DeepDPM(seed=0), [], []
    for step in range(60):  # two kinds, then four, then six, then the last three
        present = (range(2), range(4), range(6), range(3, 6))[min(step // 10, 3)]
        rows = np.flatnonzero(np.isin(y, present))
        batch = np.random.default_rng(step).choice(rows, 250, replace=False)
        model.partial_fit(x[batch], forgetting=0.3)
        counts.append(model.n_clusters)
        true.append(len(present))
    figure, axes = panels(1, 8.0, 2.4)
    axes.step(
        range(60), true, where="mid", color="grey", linewidth=4, alpha=0.4, label="in the stream"
    )
    axes.step(range(60), counts, where="mid", color="#d1495b", label="clusters of the model")
    axes.set(xlabel="batch", ylabel="clusters", ylim=(0, 8))
    axes.legend(frameon=False, ncols=2)
    return figure


def draw_sample() -> Figure:
    """What the search sees of many points, and the labels that all of them get."""
    x, _ = tfdpm.data.gaussian_mixture(15, 2, 200_000, seed=3)
    model = tfdpm.fit(x, verbose=0, epochs=1)
    search = model.fitted.result.search.features
    figure, axes = panels(2, 4.2, 3.2)
    few = np.random.default_rng(0).permutation(len(x))[:20_000]
    axes[0].hist2d(*x.T, bins=200, cmap="Greys", vmax=60)
    axes[0].set(title=f"{len(x):,} points, {len(search):,} of them searched", xticks=[], yticks=[])
    scatter(axes[1], x[few], model.labels_[few], f"K = {model.n_clusters}, labels of all points")
    return figure


def draw_rejection() -> Figure:
    """What an exported model answers where, and where it says -1."""
    x, _ = tfdpm.data.gaussian_mixture(6, 2, 3_000, seed=1)
    model = tfdpm.fit(x, verbose=0)
    low, high = x.min(axis=0) - 3, x.max(axis=0) + 3
    across, up = np.meshgrid(*np.linspace(low, high, 300).T.astype(np.float32))
    places = np.stack([across.ravel(), up.ravel()], axis=1)
    figure, axes = panels(3)
    for axis, level in zip(axes, (None, 0.01, 0.2), strict=True):
        scatter(axis, places, model.predict_labels(places, reject_below=level), "")
        axis.scatter(*x[::5].T, s=1, c="black")
        axis.set(title=f"reject_below={level}", xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    return figure


def draw_peers() -> Figure:
    """The same points as other libraries and tfdpm label them with what they set by default."""
    x, _ = tfdpm.data.gaussian_mixture(9, 2, 1_500, separation=3.0, seed=7)
    model = tfdpm.fit(x, verbose=0)
    found = {
        "KMeans(), which sets 8": KMeans(random_state=0).fit_predict(x),
        "HDBSCAN()": HDBSCAN(copy=True).fit_predict(x),
        "tfdpm.fit(x)": model.labels_,
    }
    figure, axes = panels(3)
    for axis, (name, labels) in zip(axes, found.items(), strict=True):
        scatter(axis, x, labels, f"{name}: K = {labels.max() + 1}")
    return figure


PICTURES: dict[str, Callable[[], Figure | Image.Image]] = {
    "digits": draw_digits,
    "features": draw_features,
    "priors": draw_priors,
    "drift": draw_drift,
    "stream": draw_stream,
    "sample": draw_sample,
    "rejection": draw_rejection,
    "peers": draw_peers,
}


def main() -> None:
    """Writes the pictures that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PICTURES, default=list(PICTURES))
    for name in parser.parse_args().only:
        path = Path(__file__).with_name(f"{name}.png")
        with plt.rc_context({"font.size": 9}):
            picture = PICTURES[name]()
        if isinstance(picture, Figure):
            picture.savefig(path, dpi=110)
            picture = Image.open(path)
        picture = picture.quantize(128, method=Image.Quantize.FASTOCTREE)
        picture.save(path, optimize=True)
        print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
