"""Public Keras callbacks, of clustering and of feature learning."""

from tfdpm.model.callbacks import ClusterPlot, MoveLedger, StableClusters
from tfdpm.model.checkpoint import Checkpoint

__all__ = ["Checkpoint", "ClusterPlot", "MoveLedger", "StableClusters"]
