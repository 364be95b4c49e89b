"""Pictures of a fitted model: maps, image grids, histories, animations. Needs the extra `viz`."""

from tfdpm.viz.animation import Animation, animate, animation_config
from tfdpm.viz.clusters import plot_clusters
from tfdpm.viz.drift import plot_drift
from tfdpm.viz.history import plot_history
from tfdpm.viz.maps import ClusterMap, cluster_map
from tfdpm.viz.plots import plot
from tfdpm.viz.samples import PointSample, sample_points

__all__ = [
    "Animation",
    "ClusterMap",
    "PointSample",
    "animate",
    "animation_config",
    "cluster_map",
    "plot",
    "plot_clusters",
    "plot_drift",
    "plot_history",
    "sample_points",
]
