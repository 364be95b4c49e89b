"""What the feature tests share."""

from __future__ import annotations

import pytest
import tensorflow as tf


@pytest.fixture(scope="session")
def two_replicas():
    """Two replicas on virtual CPUs, reducing without collective ops.

    Collective keys are numbered per strategy but live in the process, so that a second strategy
    in the same process can meet the keys of the first.
    """
    return tf.distribute.MirroredStrategy(
        ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
    )
