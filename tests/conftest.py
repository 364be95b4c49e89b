"""What all tests share: a quiet TensorFlow with two CPU devices, and seeds set before each test."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tfdpm import startup  # noqa: E402

startup.import_tensorflow()

import keras  # noqa: E402
import pytest  # noqa: E402
import tensorflow as tf  # noqa: E402

# Two replicas on any machine: must be set before anything runs on a device.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


# Folders whose tests compare floats: `-m numeric` runs these.
NUMERIC_FOLDERS = {"features", "mixture", "moves", "networks", "search", "swav"}


@pytest.hookimpl(tryfirst=True)  # before pytest selects tests by their markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(Path(__file__).parent).parts[0] in NUMERIC_FOLDERS:
            item.add_marker("numeric")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """No test depends on the tests that ran before it."""
    keras.utils.set_random_seed(0)
