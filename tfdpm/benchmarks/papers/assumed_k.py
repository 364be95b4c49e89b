"""Methods that need K, run with each K that somebody might assume: [DeepDPM] Figure 1, Table 5."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tfdpm import metrics
from tfdpm.benchmarks.labelled import LabelledData
from tfdpm.benchmarks.peers import LEARN, PEERS
from tfdpm.benchmarks.records import Record, describe_clusters, measure_peer, measure_time
from tfdpm.benchmarks.sweep import Method

# [DeepDPM] supplement 1.3.
ASSUMED_K = (5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 150, 200, 250, 300, 350)
# Printed names. On features of another network DCN is DCN++, section 5.1.
PARAMETRIC = {"K-means": "kmeans", "GMM": "gmm", "DCN++": "dcn", "SCAN": "scan"}


def list_assumed(data: LabelledData, counts: Sequence[int], epochs: int | None) -> list[Method]:
    """Lists each method of `PARAMETRIC` with each K that is below the number of points."""
    return [
        partial(
            measure_peer,
            peer=peer,
            method=f"{printed} with K {count}",
            given_k=count,
            epochs=epochs,
        )
        for printed, peer in PARAMETRIC.items()
        for count in counts
        if count < len(data.x)
    ]


def measure_by_silhouette(
    data: LabelledData, seed: int, *, method: str, counts: Sequence[int], epochs: int | None
) -> Record:
    """Measures a method of `PARAMETRIC` with the K whose clusters have the highest silhouette.

    Numbers that are not below that of the points are not tried. In the record `clusters` is the
    chosen K, and `silhouettes` has the value of each.
    """
    peer = PARAMETRIC[method]
    options = {"epochs": epochs} if peer in LEARN else {}
    labels, silhouettes = {}, {}
    with measure_time() as cost:
        for count in (each for each in counts if each < len(data.x)):
            labels[count] = PEERS[peer](data.x, count, seed, **options)
            value = metrics.silhouette(data.x, labels[count], seed=seed)
            silhouettes[count] = value if value == value else -1.0  # all points in one cluster
        best = max(silhouettes, key=silhouettes.__getitem__)
    record = describe_clusters(data, method, seed, labels[best])
    return {**record, **cost, "clusters": best, "silhouettes": silhouettes}
