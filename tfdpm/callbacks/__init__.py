"""Public Keras callbacks, of clustering and of feature learning."""

from tfdpm.callbacks.checkpoint import Checkpoint
from tfdpm.callbacks.clusters import ClusterPlot, MoveLedger, StableClusters
from tfdpm.callbacks.drift import DriftMonitor
from tfdpm.callbacks.layer_clusters import ClusterFeatures
from tfdpm.callbacks.tensorboard import ClusterBoard
from tfdpm.swav.monitoring import CollapseWatchdog, NearestNeighbours, TrainingState
from tfdpm.viz.animation import Animation

__all__ = [
    "Animation",
    "Checkpoint",
    "ClusterBoard",
    "ClusterFeatures",
    "ClusterPlot",
    "CollapseWatchdog",
    "DriftMonitor",
    "MoveLedger",
    "NearestNeighbours",
    "StableClusters",
    "TrainingState",
]
