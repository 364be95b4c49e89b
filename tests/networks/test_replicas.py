"""The same fit on one replica, on several, and on two machines (two processes on this one)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.networks.replica_worker import fitted, points

ROOT = Path(__file__).parents[2]


def start(path, which, cluster=None) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1"}
    environment.pop("TF_CONFIG", None)
    if cluster is not None:
        environment["TF_CONFIG"] = json.dumps(cluster)
    command = [sys.executable, "-m", "tests.networks.replica_worker", str(path), which]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()[-3000:]


def free_ports(count) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def alone():
    return fitted(None, points())


def assert_same_fit(one, other):
    np.testing.assert_array_equal(one["labels"], other["labels"])
    assert len(np.unique(one["labels"])) > 1
    for name in set(one) - {"labels"}:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-3, atol=1e-6)


def test_two_replicas_find_the_partition_of_one(alone):
    strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    assert_same_fit(alone, fitted(strategy, points()))


def test_a_step_and_a_pass_exchange_sums_once_each(monkeypatch):
    strategy, exchanges = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"]), []
    reduce = strategy.reduce
    monkeypatch.setattr(
        strategy, "reduce", lambda *given: exchanges.append(given[1]) or reduce(*given)
    )
    fitted(strategy, points())
    # Of losses and gradients of ten weights, and of three kinds of moments.
    assert len(exchanges) == 2


def test_two_replicas_share_out_the_batches_of_a_stream():
    # The last batch has one point, so that one replica has none.
    stream = tf.data.Dataset.from_tensor_slices(points()).batch(100)
    strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    assert_same_fit(fitted(None, stream), fitted(strategy, stream))


@pytest.mark.slow  # starts TensorFlow once more
def test_four_replicas_find_the_partition_of_one(alone, tmp_path):
    finish(start(tmp_path / "4.npz", "4"))
    assert_same_fit(alone, dict(np.load(tmp_path / "4.npz")))


@pytest.mark.slow  # starts TensorFlow twice more
def test_two_workers_find_the_partition_of_one_replica(alone, tmp_path):
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        cluster = {
            "cluster": {"worker": addresses},
            "task": {"type": "worker", "index": index},
        }
        processes.append(start(tmp_path / f"{index}.npz", "workers", cluster))
    for process in processes:
        finish(process)
    for index in range(2):
        assert_same_fit(alone, dict(np.load(tmp_path / f"{index}.npz")))
