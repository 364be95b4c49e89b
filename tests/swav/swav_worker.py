"""One worker of a cluster on this machine, as its own process: trains, and the chief writes.

`TF_CONFIG` says which worker this is; run as `python -m tests.swav.swav_worker OUT.npz`.
"""

from __future__ import annotations

import sys

import keras
import numpy as np
import tensorflow as tf

from tfdpm.data.images.multicrop import multicrop
from tfdpm.data.images.view_config import ViewConfig
from tfdpm.features import SwAV
from tfdpm.swav.backbones import small_resnet
from tfdpm.swav.config import SwAVConfig

VIEWS = ViewConfig(crop_sizes=(8, 6), crop_counts=(2, 2), blur_prob=0.0, mean=(0.5,), std=(0.25,))
BATCH = 16


def trained_model() -> tuple[SwAV, list[float]]:
    """A small model after two epochs of two steps, in the current strategy; and its losses."""
    config = SwAVConfig(
        num_prototypes=10,
        embedding_dim=5,
        hidden_units=8,
        freeze_prototypes_steps=1,
        queue_length=16,
        views=VIEWS,
    )
    model = SwAV(small_resnet(channels=1, widths=(4,), seed=3), config, seed=1)
    model.compile(keras.optimizers.SGD(0.05))
    images = np.random.default_rng(0).integers(0, 256, size=(40, 12, 12, 1), dtype=np.uint8)
    views = multicrop(images, **(model.view_options() | {"batch_size": BATCH}))
    return model, model.fit(views, epochs=2, verbose=0).history["loss"]


def main(out: str) -> None:
    """Trains in the cluster; the first worker writes losses and weights to `out`."""
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        model, losses = trained_model()
    if strategy.cluster_resolver.task_id == 0:
        weights = {f"weight_{i}": value.numpy() for i, value in enumerate(model.weights)}
        np.savez(out, losses=losses, replicas=strategy.num_replicas_in_sync, **weights)


if __name__ == "__main__":
    main(sys.argv[1])
