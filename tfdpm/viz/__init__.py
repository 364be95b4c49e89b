"""Pictures of a fitted model: maps, image grids, histories, animations. Needs the extra `viz`."""

from tfdpm.viz.animation import Animation, animate, film_config
from tfdpm.viz.clusters import plot_clusters
from tfdpm.viz.history import plot_history
from tfdpm.viz.maps import ClusterMap, cluster_map
from tfdpm.viz.plots import plot
from tfdpm.viz.view import View, look

__all__ = [
    "Animation",
    "ClusterMap",
    "View",
    "animate",
    "cluster_map",
    "film_config",
    "look",
    "plot",
    "plot_clusters",
    "plot_history",
]
