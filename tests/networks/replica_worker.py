"""Fits on one machine's replicas, or as one of several workers; run by `test_replicas.py`.

Arguments: a file for the results, and a number of replicas, or "workers" (the cluster then comes in
the environment, as `TF_CONFIG`).
"""

from __future__ import annotations

import contextlib
import sys

import numpy as np
import tensorflow as tf

import tfdpm


def points() -> np.ndarray:
    """Clusters that overlap, an odd number of points."""
    return tfdpm.data.gaussian_mixture(3, 2, 301, separation=1.5, seed=4)[0]


def fitted(strategy, data) -> dict[str, np.ndarray]:
    """What a fit under a strategy, or none, ends with."""
    with contextlib.nullcontext() if strategy is None else strategy.scope():
        model = tfdpm.DeepDPM(seed=0)
    model.fit(data, epochs=2, verbose=0)
    soft = model.fitted.state.soft
    return {
        "labels": model.labels_,
        "counts": soft.counts.numpy(),
        "products": soft.outer_products.numpy(),
        "loss": np.array(model.history.history["loss"]),
        "subcluster_loss": np.array(model.history.history["subcluster_loss"]),
    }


def main(path: str, which: str) -> None:
    """Fits and writes what `fitted` returns."""
    if which == "workers":
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    else:
        cpu = tf.config.list_physical_devices("CPU")[0]
        each = [tf.config.LogicalDeviceConfiguration()] * int(which)
        tf.config.set_logical_device_configuration(cpu, each)
        strategy = tf.distribute.MirroredStrategy([f"/cpu:{i}" for i in range(int(which))])
    np.savez(path, **fitted(strategy, points()))


if __name__ == "__main__":
    # The strategy for several workers must be made before anything else runs in TensorFlow.
    main(*sys.argv[1:])
