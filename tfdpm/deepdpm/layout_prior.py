"""The scale of the prior for points that were laid out by their neighbours.

A layout pulls points together wherever a few are close, and so makes clusters of chance. A wider
prior joins them, and a much wider one joins classes as well. The graph of neighbours before the
layout tells them apart: many of its edges go between clusters of chance, and few between classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfdpm.config import DeepDPMConfig
from tfdpm.features import umap
from tfdpm.features.preprocessing import feature_moments, fit_preprocessing
from tfdpm.search.initialization import (
    InitialMixture,
    initialize_mixture,
    start_search,
    uses_search,
)
from tfdpm.search.points.sample import Sample

# Multiples of the automatic scale that are tried. Digits want four: one leaves twelve clusters.
# Drawn classes of fifty points that resemble others want a quarter.
_SCALES = (1 / 16, 1 / 4, 1.0, 4.0, 16.0, 64.0)
_IMAGE_SCALES = _SCALES[3:]
# What a nat of the clusters' entropy is worth in edges between them: two are joined if more than
# 7 % of theirs go between them. Tuned on digits, snippets of the web and drawn classes with their
# labels in view: half of it joins two digits and subjects, one and a half cuts subjects to pieces.
# Modularity, by which clusters of N points must share fewer edges where there are more others,
# joined 50 drawn classes of ten kinds to 10.
_WORTH = 0.1
# Difference from which a search tells which scale is better before it is settled.
_CLEAR = 0.01


def fit_layout_scale(
    places: np.ndarray,
    neighbours: np.ndarray,
    config: DeepDPMConfig,
    num_points: int,
    seed: int,
    *,
    are_images: bool,
    least: float = 0.0,
    margin: float = 0.0,
) -> tuple[float, InitialMixture | None]:
    """Returns the scale whose clusters are best separated before the layout.

    The mixture that was found with it comes along. Without a search by `config`, the scale is the
    least that is no narrower than the data suggest, and no mixture comes. A prior that is not the
    default one keeps its scale.

    Args:
        places: `[n, D]` of a sample of `num_points`, in the layout.
        neighbours: `[n, k]` indices of each point's neighbours before the layout.
        config, seed: of the fit.
        are_images: whether points are images or vectors of pixels.
        least: narrowest scale that is tried.
        margin: separation below the best that is as good, since a sample's varies.
    """
    if (config.prior, config.prior_scale) != ("auto", 1.0):
        return config.prior_scale, None
    scales = [each for each in (_IMAGE_SCALES if are_images else _SCALES) if each >= least]
    if not uses_search(config):
        return max(scales[0], 1.0), None
    moments = feature_moments(places)._replace(num_points=num_points)
    preprocessing = fit_preprocessing(moments, config.preprocessing)

    def given(scale: float) -> tuple[Any, ...]:
        return places, moments, preprocessing, config.replace(prior_scale=scale), seed

    # From the widest prior, whose few clusters are found soonest, until narrower ones cut classes.
    started, rough = {}, {}
    for scale in reversed(scales):
        started[scale] = start_search(*given(scale))
        labels = started[scale].labels(places)
        rough[scale] = umap.separation(neighbours, labels, _WORTH)
        if rough[scale] < max(rough.values()) - max(_CLEAR, margin):
            break
    allowed = max(_CLEAR, margin)
    settled, quality = {}, {}
    for scale in (each for each in rough if rough[each] >= max(rough.values()) - allowed):
        found = initialize_mixture(*given(scale), takes_logs=False, started=started[scale])
        features = found.preprocessing.transform(places).astype(np.float64)
        targets = found.t_mixture or found.parameters
        labels = Sample(features).labels(type(targets)(*(np.asarray(part) for part in targets)))
        settled[scale], quality[scale] = found, umap.separation(neighbours, labels, _WORTH)
    # Of scales that are as good, the nearest to what the data suggest counts.
    good = [each for each in settled if quality[each] >= max(quality.values()) - margin]
    best = min(reversed(good), key=lambda each: abs(np.log(each)))
    return best, settled[best]
