"""What all tests share: a quiet TensorFlow with two CPU devices, and seeds set before each test."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tfdpm import startup  # noqa: E402

startup.watch_imports()

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


@functools.cache
def crashes_on_bfloat16() -> bool:
    """Whether TensorFlow crashes on products of bfloat16 numbers.

    It does on a processor that has instructions for them while oneDNN is held to older ones.
    """
    if "ONEDNN_MAX_CPU_ISA" not in os.environ:
        return False
    product = "import tensorflow as tf; a = tf.ones([8, 8], tf.bfloat16); tf.linalg.matmul(a, a)"
    return subprocess.run([sys.executable, "-c", product], capture_output=True).returncode != 0


@pytest.fixture(autouse=True)
def _skips_what_crashes(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("bfloat16") and crashes_on_bfloat16():
        pytest.skip("TensorFlow crashes on bfloat16 products under this ONEDNN_MAX_CPU_ISA")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """No test depends on the tests that ran before it."""
    keras.utils.set_random_seed(0)
