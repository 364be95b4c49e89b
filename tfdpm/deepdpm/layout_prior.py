"""The scale of the prior for points that were laid out by their neighbours.

A layout pulls points together wherever a few are close, and so makes clusters of chance. A wider
prior joins them, and a much wider one joins classes as well. The graph of neighbours before the
layout tells them apart: many of its edges go between clusters of chance, and few between classes.
"""

from __future__ import annotations

import numpy as np

from tfdpm.config import DeepDPMConfig
from tfdpm.features import umap
from tfdpm.features.preprocessing import feature_moments, fit_preprocessing
from tfdpm.search.initialization import initialize_mixture, uses_search
from tfdpm.search.sample import Sample

# Multiples of the automatic scale that are tried. Digits want four: one leaves twelve clusters.
_SCALES = (1.0, 4.0, 16.0, 64.0)
_IMAGE_SCALES = _SCALES[1:]
# Clusters are joined if more edges go between them than this share of what chance gives. Tuned on
# digits, MNIST and snippets of the web with their labels in view: half of it joins two digits, and
# one and a half leaves pieces of the subjects of half the snippets.
_RESOLUTION = 0.7


def fit_layout_scale(
    places: np.ndarray,
    neighbours: np.ndarray,
    config: DeepDPMConfig,
    num_points: int,
    seed: int,
    *,
    are_images: bool,
) -> float:
    """Returns the scale whose clusters have the largest modularity before the layout.

    Without a search by `config` it is the smallest of those that are tried.

    Args:
        places: `[n, D]` of a sample of `num_points`, in the layout.
        neighbours: `[n, k]` indices of each point's neighbours before the layout.
        config, seed: of the fit, whose `prior_scale` is replaced.
        are_images: whether points are images or vectors of pixels.
    """
    scales = _IMAGE_SCALES if are_images else _SCALES
    if not uses_search(config):
        return scales[0]
    moments = feature_moments(places)._replace(num_points=num_points)
    preprocessing = fit_preprocessing(moments, config.preprocessing)

    def quality(scale: float) -> float:
        scaled = config.replace(prior_scale=scale)
        found = initialize_mixture(places, moments, preprocessing, scaled, seed, takes_logs=False)
        features = found.preprocessing.transform(places).astype(np.float64)
        mixture = found.t_mixture or found.parameters
        labels = Sample(features).labels(type(mixture)(*(np.asarray(part) for part in mixture)))
        return umap.modularity(neighbours, labels, _RESOLUTION)

    # From the widest prior, whose few clusters are found soonest, until narrower ones cut classes.
    best, largest = scales[-1], -np.inf
    for scale in reversed(scales):
        found = quality(scale)
        if found < largest:
            break
        best, largest = scale, found
    return best
