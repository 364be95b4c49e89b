"""Two processes that train one model together, over the loopback device."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.swav.swav_worker import trained_model

ROOT = Path(__file__).parents[2]


def free_ports(count):
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.mark.slow  # starts TensorFlow twice more
def test_two_processes_equal_one(tmp_path):
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    out, workers = tmp_path / "chief.npz", []
    for index in range(2):
        role = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        environment = os.environ | {"TF_CONFIG": json.dumps(role), "CUDA_VISIBLE_DEVICES": "-1"}
        command = [sys.executable, "-m", "tests.swav.swav_worker", str(out)]
        log = open(tmp_path / f"{index}.log", "wb")  # noqa: SIM115 closed with the process
        workers.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log))
    try:
        model, losses = trained_model()
        codes = [worker.wait(timeout=300) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    logs = [(tmp_path / f"{index}.log").read_text(errors="replace")[-2000:] for index in range(2)]
    assert codes == [0, 0], "\n".join(logs)
    with np.load(out) as together:
        assert together["replicas"] == 2
        np.testing.assert_allclose(together["losses"], losses, rtol=1e-5)
        for index, weight in enumerate(model.weights):
            np.testing.assert_allclose(
                together[f"weight_{index}"], weight.numpy(), rtol=1e-5, atol=1e-5
            )
