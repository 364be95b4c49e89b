"""Clustering methods beside which tfdpm is measured, with one default for all data sets.

A method is a function of points `[N, D]`, K and a seed that returns clusters `[N]`; -1 is noise.
Those in `NEED_K` are given K, the others find their own. Those in `LEARN` train networks and take
the argument `epochs`, which shortens their training.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial

import numpy as np

from tfdpm import checks
from tfdpm.benchmarks.peers.classical import (
    bayesian_gaussian_mixture,
    dbscan,
    evoc,
    gaussian_mixture,
    hdbscan,
    k_means,
    package_hdbscan,
)
from tfdpm.benchmarks.peers.embedded import dcn, dec
from tfdpm.benchmarks.peers.heads import scan, turtle
from tfdpm.benchmarks.peers.memoized import memoized
from tfdpm.benchmarks.peers.subcluster_sampler import sample_best

__all__ = ["LEARN", "NEED_K", "PEERS", "choose_peers"]

PEERS: dict[str, Callable[..., np.ndarray]] = {
    "kmeans": k_means,
    "gmm": gaussian_mixture,
    "bgmm": bayesian_gaussian_mixture,
    "hdbscan": hdbscan,
    "dbscan": dbscan,
    "movb": memoized,
    "sampler": sample_best,
    "evoc": evoc,
    "hdbscan_contrib": partial(package_hdbscan, package="hdbscan"),
    "fast_hdbscan": partial(package_hdbscan, package="fast_hdbscan"),
    "dcn": dcn,
    "dec": dec,
    "scan": scan,
    "turtle": turtle,
}
LEARN = ("dcn", "dec", "scan", "turtle")
NEED_K = ("kmeans", "gmm", *LEARN)

# The packages of the methods that `tfdpm[peers]` installs.
_PACKAGES = {"evoc": "evoc", "hdbscan_contrib": "hdbscan", "fast_hdbscan": "fast_hdbscan"}
_SCIKIT_LEARN = ("kmeans", "gmm", "bgmm", "hdbscan", "dbscan")


def choose_peers(text: str) -> list[str]:
    """Returns the names in a text with commas.

    "sklearn" stands for those of scikit-learn, "all" for all whose package is installed, "none"
    for no peer.
    """
    groups = {
        "sklearn": list(_SCIKIT_LEARN),
        "all": [
            name
            for name in PEERS
            if name not in _PACKAGES or importlib.util.find_spec(_PACKAGES[name])
        ],
        "none": [],
    }
    if text in groups:
        return groups[text]
    names = [name.strip() for name in text.split(",")]
    return [checks.one_of(name, "--peers", (*PEERS, *groups)) for name in names]
