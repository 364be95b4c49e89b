"""Methods by name, and the method of given settings."""

from __future__ import annotations

from tfdpm.swav.config import SelfSupervisedConfig
from tfdpm.swav.methods.offline import DeepCluster, SeLa
from tfdpm.swav.methods.simclr import SimCLR
from tfdpm.swav.methods.swav import SwAV
from tfdpm.swav.self_supervised import SelfSupervisedModel

METHODS: dict[str, type[SelfSupervisedModel]] = {
    "swav": SwAV,
    "simclr": SimCLR,
    "deepcluster": DeepCluster,
    "sela": SeLa,
}


def method_of(config: SelfSupervisedConfig) -> type[SelfSupervisedModel]:
    """Returns the class of models that settings, such as a preset, are of."""
    return next(kind for kind in METHODS.values() if kind.config_type is type(config))
