"""Public Keras callbacks, of clustering and of feature learning."""

from tfdpm.features.callbacks import CollapseWatchdog, NearestNeighbours, TrainingState
from tfdpm.model.board import ClusterBoard
from tfdpm.model.callbacks import ClusterPlot, MoveLedger, StableClusters
from tfdpm.model.checkpoint import Checkpoint
from tfdpm.model.cluster_features import ClusterFeatures
from tfdpm.viz.animation import Animation

__all__ = [
    "Animation",
    "Checkpoint",
    "ClusterBoard",
    "ClusterFeatures",
    "ClusterPlot",
    "CollapseWatchdog",
    "MoveLedger",
    "NearestNeighbours",
    "StableClusters",
    "TrainingState",
]
