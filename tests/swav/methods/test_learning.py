"""Each method learns features that tell patterns apart, although brightness hides them at first."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdpm.data.images.view_config import ViewConfig
from tfdpm.features import DeepCluster, SeLa, SimCLR, knn_accuracy
from tfdpm.swav.config import TrainingConfig

VIEWS = ViewConfig(
    crop_sizes=(8,), crop_counts=(4,), crop_scales=((0.5, 1.0),), mean=(0.5,), std=(0.25,)
)
LABELS = np.arange(64) % 4


def noisy_patterns():
    """Four views of each of 64 images: its class's pattern, noise, and a brightness of its own."""
    rng = np.random.default_rng(0)
    patterns = np.random.default_rng(9).normal(size=(4, 1, 8, 8))
    views = patterns[LABELS] + rng.normal(size=(64, 4, 8, 8)) + 2 * rng.normal(size=(64, 4, 1, 1))
    return views.astype(np.float32)[..., np.newaxis]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (SimCLR, {}),
        (DeepCluster, {"num_prototypes": 4, "num_heads": 2}),
        (SeLa, {"num_prototypes": 4, "num_heads": 2, "freeze_prototypes_steps": 0}),
    ],
)
def test_features_become_better_than_at_the_start(method, options):
    images = keras.Input((None, None, 1))
    rows = keras.layers.Reshape((64,))(images)
    kernel = keras.initializers.GlorotUniform(0)
    backbone = keras.Model(images, keras.layers.Dense(8, kernel_initializer=kernel)(rows))
    training = TrainingConfig(optimizer="adam", num_images=64, batch_size=64, warmup_epochs=0)
    model = method(
        backbone,
        **{"embedding_dim": 4, "hidden_units": 0, "views": VIEWS, "training": training} | options,
        seed=1,
    )
    model.compile(keras.optimizers.Adam(0.01))
    views = noisy_patterns()

    def accuracy():
        first, second = (backbone(views[:, view]).numpy() for view in (0, 1))
        return knn_accuracy(first, LABELS, second, LABELS, 5)

    before = accuracy()
    data = tf.data.Dataset.from_tensor_slices(((views,), np.arange(64, dtype=np.int32)))
    # Crops alone, without indices, are enough for a validation.
    held_out = tf.data.Dataset.from_tensors(((views[:32],),))
    history = model.fit(
        data.batch(64).repeat(4), epochs=12, validation_data=held_out, verbose=0
    ).history
    assert history["loss"][-1] < 0.6 * history["loss"][0]
    assert history["loss"][-1] < 0.9 * model.collapsed_loss()
    assert np.isfinite(history["val_loss"]).all()
    assert before < 0.75 and accuracy() > 0.9
