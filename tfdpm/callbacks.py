"""Public Keras callbacks, of clustering and of feature learning."""

from tfdpm.features.callbacks import CollapseWatchdog, NearestNeighbours, TrainingState
from tfdpm.model.callbacks import ClusterPlot, MoveLedger, StableClusters
from tfdpm.model.checkpoint import Checkpoint
from tfdpm.viz.animation import Animation

__all__ = [
    "Animation",
    "Checkpoint",
    "ClusterPlot",
    "CollapseWatchdog",
    "MoveLedger",
    "NearestNeighbours",
    "StableClusters",
    "TrainingState",
]
