"""tfdpm: clustering that finds the number of clusters, and the features to cluster.

Names are imported on first use, so that what needs no TensorFlow does not wait for it. Keras knows
the classes of this package from the start: `keras.models.load_model` needs no more than
`import tfdpm`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tfdpm import startup

if TYPE_CHECKING:
    from tfdpm import callbacks, config, data, distributions, export, features, metrics, sklearn
    from tfdpm.config import DeepDPMConfig
    from tfdpm.deepdpm import DeepDPM
    from tfdpm.export import load
    from tfdpm.features import DeepCluster, SeLa, SimCLR, SwAV
    from tfdpm.joint.config import JointConfig
    from tfdpm.joint.model import JointClustering
    from tfdpm.pipeline import fit

__version__ = "0.1.0"

__all__ = [
    "DeepCluster",
    "DeepDPM",
    "DeepDPMConfig",
    "JointClustering",
    "JointConfig",
    "SeLa",
    "SimCLR",
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

# Where names come from that are not modules themselves.
_HOMES = {
    "DeepCluster": "features",
    "DeepDPM": "deepdpm",
    "DeepDPMConfig": "config",
    "JointClustering": "joint.model",
    "JointConfig": "joint.config",
    "SeLa": "features",
    "SimCLR": "features",
    "SwAV": "features",
    "fit": "pipeline",
    "load": "export",
}
# What `register_keras_serializable` is called for.
_SERIALIZABLE = (
    "ApplicationPreprocessing Autoencoder BatchNorm ClusteringNetwork ComponentHead Conv2D "
    "DeepCluster DeepDPM Detector Encoder FeatureQueue FusedAdam ImageStandardization "
    "JointClustering LARS "
    "MemoryBank ProjectionHead Prototypes RowNorm Scaling Scattering SeLa SimCLR "
    "SubclusteringNetworks SwAV Tokens WarmupCosine"
).split()

startup.watch_imports()
startup.after_import(
    "keras",
    lambda: startup.register_unloaded(
        (f"tfdpm>{name}" for name in _SERIALIZABLE), "tfdpm.joint.model"
    ),
)


def __getattr__(name: str) -> Any:
    """A public name or module, imported now."""
    if not name.startswith("_"):
        home = f"tfdpm.{_HOMES.get(name, name)}"
        try:
            module = importlib.import_module(home)
        except ModuleNotFoundError as error:
            if error.name != home:
                raise
        else:
            value = getattr(module, name) if name in _HOMES else module
            globals()[name] = value
            return value
    raise AttributeError(f"module 'tfdpm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
