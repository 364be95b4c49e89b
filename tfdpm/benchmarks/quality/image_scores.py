"""Scores on raw images, and how well the saved model labels images it was not fitted to."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import keras
import numpy as np
import sklearn.datasets
from sklearn.neighbors import KNeighborsClassifier

import tfdpm
from tfdpm import checks
from tfdpm.benchmarks.labelled import LabelledData
from tfdpm.benchmarks.peers import choose_peers
from tfdpm.benchmarks.records import Record, measure_fit, measure_peer, score_clusters
from tfdpm.benchmarks.sweep import Sweep
from tfdpm.benchmarks.tables import format_mean, print_records, print_scores, print_table
from tfdpm.features import encoders
from tfdpm.features.apply_encoder import encode
from tfdpm.features.choice import choose

_HELD_OUT_SHARE = 0.1
_NEIGHBOURS = 15
_HELD_OUT_COLUMNS = {
    "data": "data",
    "seed": "seed",
    "count": "held out",
    "nearest_cluster": "as nearest cluster",
    "neighbours": "as 15 neighbours",
    "nmi": "NMI",
    "acc": "ACC",
}


def run(sweep: Sweep, *, peers: str, features: str) -> Record:
    """Clusters scikit-learn's digits and the images of every file, with peers on their pixels.

    With the default features, each seed is fitted twice: to all images for the scores, and to nine
    tenths of them for `measure_held_out`. Features given by name may be slow to learn, so that they
    are fitted once to each file alone. Files hold images `x` `[N, H, W]` or `[N, H, W, C]`, or
    pixels `[N, D]`. Returns `records`, their `summary` over seeds, and `held_out`, as written.
    """
    methods = [partial(measure_fit, features=features)]
    methods += [
        partial(measure_peer, peer=name, method=f"{name} on pixels") for name in choose_peers(peers)
    ]
    is_default = features == "auto"
    if not (sweep.data or is_default):
        checks.fail("--data", "no file", "at least one .npz file where --features is given")
    digits = LabelledData("digits", *sklearn.datasets.load_digits(return_X_y=True))
    sets = sweep.draw_points([digits] * is_default)
    sets += sweep.read_images() if sweep.data else []
    results: Record = {"benchmark": "images", "held_out": []}
    sweep.measure(results, sets, methods, group_by=("data", "method"))
    if is_default:
        sweep.measure(results, sets, [measure_held_out], key="held_out")
    _print_results(results)
    return results


def measure_held_out(data: LabelledData, seed: int) -> Record:
    """Fits nine tenths of the images, saves the model and lets it label the last tenth.

    The record is of the held-out images: `count`, `nmi`, `ari`, `acc`, `clusters` and two shares.
    `nearest_cluster` is the share with the label of the nearest cluster mean of the training
    images, in the space that was clustered. `neighbours` is the share with the most frequent label
    of the 15 nearest training images, in the input of the networks.
    """
    order = np.random.default_rng([seed, 15]).permutation(len(data.x))
    count = round(_HELD_OUT_SHARE * len(order))
    new, old = data.x[order[:count]], data.x[order[count:]]
    model = tfdpm.fit(old, seed=seed, verbose=0)
    training_labels = model.labels_
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        loaded = keras.models.load_model(path)
    labels = loaded.predict_labels(new)
    front = _front(data.x)
    neighbours = KNeighborsClassifier(min(_NEIGHBOURS, len(old)), algorithm="brute")
    neighbours.fit(encode(front, old), training_labels)
    return {
        "data": data.name,
        "seed": seed,
        "count": count,
        **score_clusters(data.y[order[:count]], labels),
        "nearest_cluster": float(
            np.mean(labels == _nearest_means(loaded.embed(old), training_labels, loaded.embed(new)))
        ),
        "neighbours": float(np.mean(labels == neighbours.predict(encode(front, new)))),
    }


def _front(x: np.ndarray) -> keras.Model:
    """Returns the fixed transform that `tfdpm.fit` applies to such images before it learns."""
    choice = choose("auto", x)
    return encoders.front(
        x.shape[1:], image_shape=choice.image_shape, uses_angles=choice.uses_angles
    )


def _nearest_means(rows: np.ndarray, labels: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Returns for each row of `new` the label `[M]` whose rows have the nearest mean."""
    values = np.unique(labels)
    means = np.stack([rows[labels == label].mean(axis=0) for label in values])
    return KNeighborsClassifier(1).fit(means, values).predict(new)


def _print_results(results: Record) -> None:
    print_scores("Raw images, mean ± standard deviation over seeds", results["summary"])
    rows = []
    for row in results["summary"]:
        name = (row["data"], row["method"])
        own = [each for each in results["records"] if (each["data"], each["method"]) == name]
        each_seed = (" ".join(f"{each[key]:.3f}" for each in own) for key in ("nmi", "acc"))
        rows.append((*name, *each_seed, format_mean(row["cpu_seconds"], 1)))
    columns = ("data", "method", "NMI", "ACC", "CPU s")
    print_table("Each seed, and seconds of processor time", columns, rows)
    if results["held_out"]:
        print_records("New images through the saved model", results["held_out"], _HELD_OUT_COLUMNS)
