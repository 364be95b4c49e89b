"""The scale of the prior after a layout: clumps of chance are joined, and classes are not."""

from __future__ import annotations

import numpy as np

from tfdpm import DeepDPMConfig
from tfdpm.deepdpm import layout_prior as module
from tfdpm.features import umap


def found_for(x, *, clumped, config=None, are_images=False, margin=0.0):
    """Scale and mixture of points `[N, 8]`, whose first two columns a layout keeps or clumps."""
    places = x[:, :2] + (0.45 * np.sin(2.0 * x[:, :2]) if clumped else 0.0)
    neighbours, _ = umap.neighbours(x, 15)
    config = config or DeepDPMConfig()
    options = {"are_images": are_images, "margin": margin}
    return module.fit_layout_scale(
        places.astype(np.float32), neighbours, config, len(x), 0, **options
    )


def scale_for(x, **options) -> float:
    return found_for(x, **options)[0]


def clouds(centres, per_cloud=300):
    generator = np.random.default_rng(0)
    points = 1.5 * generator.normal(size=(len(centres) * per_cloud, 8))
    points[:, :2] += np.repeat(centres, per_cloud, axis=0)
    return points.astype(np.float32)


GRID = [(15.0 * i, 15.0 * j) for i in range(4) for j in range(4)]


def test_clumps_of_chance_have_a_wider_prior_than_the_same_points_without_them():
    x = clouds([(0, 0), (20, 0)])
    assert scale_for(x, clumped=True) >= 4.0
    assert scale_for(x, clumped=False) == 1.0


def test_scales_within_a_margin_of_the_best_give_way_to_what_the_data_suggest():
    x = clouds([(0, 0), (20, 0)])
    assert scale_for(x, clumped=True, margin=0.01) >= 4.0
    assert scale_for(x, clumped=True, margin=2.0) == 1.0


def test_many_small_classes_keep_the_prior_that_the_data_suggest():
    assert scale_for(clouds(GRID, 60), clumped=False) == 1.0


def test_images_and_fits_without_a_search_have_their_least_scale():
    x = clouds([(0, 0), (20, 0)])
    assert scale_for(x, clumped=False, are_images=True) == 4.0
    assert scale_for(x, clumped=True, config=DeepDPMConfig(start="kmeans")) == 1.0


def test_the_mixture_is_that_of_the_scale_and_there_is_none_without_a_search():
    x = clouds(GRID, 60)
    scale, mixture = found_for(x, clumped=False)
    assert mixture.parameters.num_components == len(GRID)
    assert mixture.search.settings.config.prior_scale == scale
    assert found_for(x, clumped=False, config=DeepDPMConfig(start="kmeans"))[1] is None
