"""All methods behind one signature."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

from tfdpm.benchmarks.peers import LEARN, NEED_K, PEERS, choose_peers
from tfdpm.benchmarks.peers.classical import knee_radius
from tfdpm.data import gaussian_mixture
from tfdpm.metrics import ari

OPTIONAL = {"evoc": "evoc", "hdbscan_contrib": "hdbscan", "fast_hdbscan": "fast_hdbscan"}
QUICK = [name for name in PEERS if name not in (*LEARN, *OPTIONAL)]


@pytest.mark.parametrize("name", QUICK)
def test_every_peer_finds_far_clusters(name: str) -> None:
    x, y = gaussian_mixture(3, 2, 300, separation=10.0, anisotropy=1.0, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the variational mixture says when it has not converged
        labels = PEERS[name](x, 3, 0)
    assert labels.shape == (300,)
    # Those that choose their own K may cut clusters up, but never join them.
    assert ari(y, labels) > (0.5 if name in ("bgmm", "dbscan") else 0.99)
    largest = {cluster: np.bincount(y[labels == cluster]).max() for cluster in np.unique(labels)}
    pure = sum(largest[cluster] for cluster in largest if cluster >= 0) / np.sum(labels >= 0)
    assert pure > 0.99


@pytest.mark.parametrize("name", QUICK)
def test_the_seed_settles_everything(name: str) -> None:
    x, _ = gaussian_mixture(4, 3, 50, separation=1.0, seed=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(PEERS[name](x, 4, 7), PEERS[name](x, 4, 7))


def test_names_are_chosen_from_a_list() -> None:
    assert {*PEERS} - {*OPTIONAL} <= {*choose_peers("all")} <= {*PEERS}
    assert choose_peers("sklearn") == ["kmeans", "gmm", "bgmm", "hdbscan", "dbscan"]
    assert {*NEED_K} == {"kmeans", "gmm", "dcn", "dec", "scan", "turtle"}
    assert choose_peers("none") == []
    assert choose_peers("hdbscan, kmeans") == ["hdbscan", "kmeans"]
    with pytest.raises(ValueError, match="--peers.*'optics'"):
        choose_peers("kmeans,optics")


def test_knee_separates_a_crowd_from_stragglers() -> None:
    crowd = np.linspace(0, 1, 101)[:, np.newaxis]  # nearest neighbours at 0.01
    stragglers = 10.0 * np.arange(1, 6)[:, np.newaxis]  # at 9 and more
    radius = knee_radius(np.vstack([crowd, stragglers]), 1)
    assert radius == pytest.approx(0.01)


def test_gaussians_bear_fewer_points_than_columns_in_float32() -> None:
    x = 16.0 * np.random.default_rng(0).normal(size=[60, 80]).astype(np.float32)
    assert len(np.unique(PEERS["gmm"](x, 3, 0))) == 3


def test_evoc_finds_bundles_of_directions() -> None:
    pytest.importorskip("evoc")
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4), 100)
    x = np.eye(16)[y] + 0.1 * rng.normal(size=[400, 16])
    labels = PEERS["evoc"](x, 0, 0)
    kept = labels >= 0
    assert kept.mean() > 0.4  # half of the points may be noise to it
    for cluster in np.unique(labels[kept]):
        assert np.bincount(y[labels == cluster]).max() > 0.9 * np.sum(labels == cluster)


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_peer_without_its_package_names_the_extra(name, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, OPTIONAL[name], None)
    match = f"`peers`: got no {OPTIONAL[name]}, .*tfdpm\\[peers\\]"
    with pytest.raises(ImportError, match=match):
        PEERS[name](np.eye(3), 0, 0)


@pytest.mark.parametrize("name", ["hdbscan_contrib", "fast_hdbscan"])
def test_other_packages_find_the_clusters_of_hdbscan(name) -> None:
    pytest.importorskip(OPTIONAL[name])
    x, _ = gaussian_mixture(3, 2, 300, separation=10.0, anisotropy=1.0, seed=1)
    assert ari(PEERS["hdbscan"](x, 3, 0), PEERS[name](x, 3, 0)) > 0.95
