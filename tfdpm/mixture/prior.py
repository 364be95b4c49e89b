"""The smallest scale of the automatic prior."""

from __future__ import annotations

from tfdpm import checks

# Tuned on UMAP embeddings of USPS, MNIST and Fashion-MNIST, with their labels in view. On up to
# 20,000 of their points a search finds K = 8, 10 and 9; half the scale gives 8, 10 and 11, twice
# the scale 8, 9 and 8. Accuracies change by about a hundredth on average.
_SCALE_PER_POINT = 2e-5
_MANY_POINTS = 20_000.0
_MANY_COMPONENTS = 20.0
# Of a single feature. Thirty Gaussians on a line became 13 with twenty.
_MANY_ON_A_LINE = 4.0
# So many have few points each, of which a prior that is worth more would leave nothing to see:
# 1,000 Gaussians in a plane became 13. From fewer on, heavy tails of one cluster become several.
_COMPONENTS_OF_FEW_POINTS = 100.0


def automatic_scale(num_points: float, num_components: int, feature_dim: int) -> float:
    """Smallest scale of the automatic prior, as a multiple of the mean feature variance.

    Real clusters are not Gaussian, and with enough points more Gaussians describe any shape better.
    A scale that grows with N keeps the share of the prior in each component's covariance, and with
    it K, independent of N. Below 20,000 points it falls with `N^(2/3)` only, since fewer points
    tell less of a shape. With more than 20 components, or 4 of a single feature, the volume of one,
    and with it the scale, shrinks as `K^(-2/D)`. With more than 100, the scale shrinks as their
    points do, `1 / K`, too.
    """
    num_points = checks.number(num_points, "num_points", above=0.0)
    many = _MANY_ON_A_LINE if feature_dim == 1 else _MANY_COMPONENTS
    shrinkage = min(1.0, (num_components / many) ** (-2.0 / feature_dim))
    shrinkage *= min(1.0, _COMPONENTS_OF_FEW_POINTS / num_components)
    few = max(1.0, (_MANY_POINTS / num_points) ** (1.0 / 3.0))
    return float(_SCALE_PER_POINT * num_points * few * shrinkage)
