"""tfdpm: clustering that finds the number of clusters, and the features to cluster.

Everything is imported at once, not on first use: `keras.models.load_model` finds the classes of
this package only if importing it has registered them. Optional packages are imported by the few
functions that need them.
"""

from __future__ import annotations

from tfdpm import startup

startup.import_tensorflow()  # before any import below, so that `import tfdpm` prints nothing

from tfdpm import callbacks, config, data, distributions, export, features, metrics, sklearn  # noqa: E402
from tfdpm.config import DeepDPMConfig  # noqa: E402
from tfdpm.deepdpm import DeepDPM  # noqa: E402
from tfdpm.export import load  # noqa: E402
from tfdpm.features import SwAV  # noqa: E402
from tfdpm.joint.config import JointConfig  # noqa: E402
from tfdpm.joint.model import JointClustering  # noqa: E402
from tfdpm.pipeline import fit  # noqa: E402

__version__ = "0.1.0"

__all__ = [
    "DeepDPM",
    "DeepDPMConfig",
    "JointClustering",
    "JointConfig",
    "SwAV",
    "callbacks",
    "config",
    "data",
    "distributions",
    "export",
    "features",
    "fit",
    "load",
    "metrics",
    "sklearn",
]
