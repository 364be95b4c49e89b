"""Raw images in one call, and new ones through the saved model: `tfdpm bench images`."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import sklearn.datasets
from sklearn.neighbors import KNeighborsClassifier

import tfdpm
from tfdpm import checks
from tfdpm.benchmarks.labelled import LabelledData, fewer
from tfdpm.benchmarks.peers import PEERS, chosen_peers
from tfdpm.benchmarks.quality.accuracy import show_scores
from tfdpm.benchmarks.records import fit_record, measured, scores, show, spread, summarised, write
from tfdpm.features import encoders
from tfdpm.features.apply_encoder import encode
from tfdpm.features.choice import choose

__all__ = ["held_out", "read_images", "run"]

_HELD_OUT_SHARE = 0.1
_NEIGHBOURS = 15
_QUICK_POINTS = 300
_AGREEMENTS = ("nearest_cluster", "neighbours", "nmi", "acc")


def run(
    data: Sequence[str | Path] = (),
    *,
    out: str | Path = "bench_images.json",
    seed: int = 0,
    seeds: int = 3,
    peers: str = "kmeans",
    features: str = "auto",
    max_points: int | None = None,
    quick: bool = False,
) -> dict[str, Any]:
    """Clusters scikit-learn's digits and every file's images as they are, beside peers on pixels.

    Each seed fits twice: all images, for the scores, and nine tenths of them, for `held_out`.
    Features that are asked for by name may be slow to learn: the files alone, and one fit each.

    Args:
        data: .npz files with images `x` `[N, H, W]`, `[N, H, W, C]` or pixels `[N, D]`, and `y`.
        out: JSON file, written anew after every seed.
        seed: the first seed; the others follow it.
        seeds: how many.
        peers: names from `peers.PEERS` with commas between them, "all" or "none".
        features: as of `tfdpm.fit`.
        max_points: thins each data set to so many images; `None` for all of them.
        quick: 300 images of each data set and one seed.
    Returns:
        What was written: `records` and `summary` as of `quality.run`, and `held_out`.
    """
    checks.integer(seeds, "--seeds", minimum=1)
    names = chosen_peers(peers)
    if quick:
        max_points, seeds = _QUICK_POINTS, 1
    is_default = features == "auto"
    if not (data or is_default):
        checks.fail("--data", "no file", "at least one .npz file where --features is given")
    sets = [_digits()] * is_default + [read_images(path) for path in data]
    sets = [fewer(each, max_points, seed) for each in sets]
    results: dict[str, Any] = {"benchmark": "images", "records": [], "held_out": []}
    for each in sets:
        pixels = each._replace(x=each.x.reshape(len(each.x), -1).astype(np.float32))
        for number in range(seed, seed + seeds):
            results["records"].append(fit_record(each, number, features=features))
            for name in names:
                results["records"].append(_peer_record(pixels, name, number))
            if is_default:
                results["held_out"].append(held_out(each, number))
            results["summary"] = summarised(results["records"], "data", "method")
            write(out, results)
    _show(results)
    return results


def _digits() -> LabelledData:
    return LabelledData("digits", *sklearn.datasets.load_digits(return_X_y=True))


def held_out(data: LabelledData, seed: int) -> dict[str, Any]:
    """What the saved model of nine tenths of the images says of the last tenth.

    Args:
        data: images, and classes for the scores.
        seed: of the partition and of the fit.
    Returns:
        Record with shares of the held-out images in [0, 1]: `nearest_cluster`, whose label is that
        of the nearest mean among the clusters of the training images, in the space that was
        clustered; `neighbours`, whose label is that of most of the 15 nearest training images as
        they are before any network. `nmi`, `ari`, `acc` and `clusters` of the held-out images, and
        `count`, how many they are.
    """
    order = np.random.default_rng([seed, 15]).permutation(len(data.x))
    cut = round(_HELD_OUT_SHARE * len(order))
    new, old = order[:cut], order[cut:]
    model = tfdpm.fit(data.x[old], seed=seed, verbose=0)
    training_labels = model.labels_
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        loaded = keras.models.load_model(path)
    labels = loaded.predict_labels(data.x[new])
    nearest = _of_nearest_mean(
        loaded.embed(data.x[old]), training_labels, loaded.embed(data.x[new])
    )
    front = _front(data.x)
    vote = KNeighborsClassifier(min(_NEIGHBOURS, len(old)), algorithm="brute")
    vote.fit(encode(front, data.x[old]), training_labels)
    record = {"data": data.name, "seed": seed, "count": cut, **scores(data.y[new], labels)}
    return {
        **record,
        "nearest_cluster": float(np.mean(labels == nearest)),
        "neighbours": float(np.mean(labels == vote.predict(encode(front, data.x[new])))),
    }


def read_images(path: str | Path) -> LabelledData:
    """Images in their own shape, and labels, of a .npz file.

    Raises:
        ValueError: if an array is missing or of another length.
    """
    with np.load(path) as arrays:
        for name in ("x", "y"):
            if name not in arrays:
                checks.fail("--data", f"{path} with {', '.join(arrays)}", "arrays x and y")
        x, y = arrays["x"], arrays["y"]
    if y.shape != (len(x),) or x.ndim < 2:
        checks.fail("--data", f"x {x.shape} and y {y.shape} in {path}", "x [N, ...] and y [N]")
    return LabelledData(Path(path).stem, x, y)


def _front(x: np.ndarray) -> keras.Model:
    """What `tfdpm.fit` computes of such images before anything is learnt."""
    choice = choose("auto", x)
    return encoders.front(
        x.shape[1:], image_shape=choice.image_shape, uses_angles=choice.uses_angles
    )


def _of_nearest_mean(rows: np.ndarray, labels: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Label `[M]` of the nearest mean for each row of `new`."""
    found = np.unique(labels)
    means = np.stack([rows[labels == label].mean(axis=0) for label in found])
    squared = ((new[:, np.newaxis] - means) ** 2).sum(axis=-1)
    return found[np.argmin(squared, axis=1)]


def _peer_record(pixels: LabelledData, name: str, seed: int) -> dict[str, Any]:
    method = f"{name} on pixels"
    return measured(pixels, method, seed, lambda: PEERS[name](pixels.x, pixels.true_k, seed))


def _show(results: dict[str, Any]) -> None:
    show_scores("Raw images, mean ± standard deviation over seeds", results["summary"])
    rows = []
    for row in results["summary"]:
        own = [
            record
            for record in results["records"]
            if (record["data"], record["method"]) == (row["data"], row["method"])
        ]
        each = (" ".join(f"{record[name]:.3f}" for record in own) for name in ("nmi", "acc"))
        rows.append((row["data"], row["method"], *each, spread(row["cpu_seconds"], 1)))
    show(
        "Each seed, and seconds of processor time", ("data", "method", "NMI", "ACC", "CPU s"), rows
    )
    if not results["held_out"]:
        return
    rows = [
        (row["data"], row["seed"], row["count"], *(f"{row[name]:.3f}" for name in _AGREEMENTS))
        for row in results["held_out"]
    ]
    columns = ("data", "seed", "held out", "as nearest cluster", "as 15 neighbours", "NMI", "ACC")
    show("New images through the saved model", columns, rows)
