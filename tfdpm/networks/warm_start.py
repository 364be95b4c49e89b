"""First weights of the clustering network from a mixture that is known already.

Gradient descent from random weights needs many epochs to find a hundred small clusters; boundaries
between neighbouring components are better told to it.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfdpm.mixture.density import LogJoint
from tfdpm.mixture.parameters import MixtureParameters, TMixtureParameters
from tfdpm.networks.layers import ClusteringNetwork
from tfdpm.networks.pair import MOST_AT_FULL_RATE

# Log responsibilities below this are all "not this component" to the least-squares fit.
_LOWEST_TARGET = -20.0
_RIDGE = 1e-3
# Points are taken in slices, whose hidden units and targets are about so many numbers.
_SLICE_ELEMENTS = 2**24
# A step of Adam changes every weight by its learning rate, and so a logit by up to the rate times
# the sum of the hidden activations. Hundreds of clusters in a plane are so narrow that this sum is
# 19,000 and one step undoes what was found; digits have 900, and keep their units.
_MOST_ACTIVATION = 1400.0


def start_from_mixture(
    network: ClusteringNetwork,
    parameters: MixtureParameters,
    features: np.ndarray,
    seed: int,
    targets: MixtureParameters | TMixtureParameters | None = None,
) -> None:
    """Sets the weights so that the network's logits are near the mixture's log joint.

    Each hidden unit bends where the linear discriminant of two neighbouring components is zero
    ([Fisher 1936]: direction `S^-1 (mu_a - mu_b)` through the middle, S their mean covariance);
    the output units are the ridge regression of clipped log responsibilities on hidden units.

    Args:
        network: built; its first K output units are set.
        parameters: the mixture, K components. With one component nothing is to be learned.
        features: `[n, D]` points to fit the output units on.
        seed: of the directions of hidden units beyond the number of pairs.
        targets: the mixture whose log joint is meant, if it is another one.
    """
    num_components = parameters.num_components
    if num_components == 1:
        return
    directions, offsets = _hidden_units(parameters, network.hidden_units, seed)
    width, activation = network.hidden_units + 1, 0.0
    gram, products = np.zeros((width, width)), np.zeros((width, num_components))
    density = LogJoint(targets or parameters)
    rows = max(256, _SLICE_ELEMENTS // (width + num_components))
    for start in range(0, len(features), rows):
        points = features[start : start + rows]
        hidden = np.maximum(points @ directions + offsets, 0.0)
        activation += hidden.sum() / len(features)
        design = np.concatenate([hidden, np.ones((len(hidden), 1))], axis=1)
        log_joint = density(tf.constant(points)).numpy()
        wanted = np.maximum(log_joint - log_joint.max(axis=1, keepdims=True), _LOWEST_TARGET)
        gram += design.T @ design
        products += design.T @ wanted
    solution = np.linalg.solve(gram + _RIDGE * len(features) * np.eye(width), products)
    # The same function with smaller activations, which a step of Adam changes by less.
    bound = _MOST_ACTIVATION * max(1.0, network.hidden_units / MOST_AT_FULL_RATE)
    scale = max(1.0, activation / bound)
    solution[:-1] *= scale
    network.hidden.kernel.assign(directions / scale)
    network.hidden.bias.assign(offsets / scale)
    spare = network.capacity - num_components
    network.head.kernel.assign(np.pad(solution[:-1], [(0, 0), (0, spare)]))
    network.head.bias.assign(np.pad(solution[-1], (0, spare)))


def _hidden_units(
    parameters: MixtureParameters, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Directions `[D, count]` and offsets `[count]`; unit standard deviation along each."""
    means, covariances = parameters.means.numpy(), parameters.covariances.numpy()
    pairs = _nearest_pairs(means, count)
    first, second = pairs.T
    pooled = 0.5 * (covariances[first] + covariances[second])
    difference = means[first] - means[second]
    direction = np.linalg.solve(pooled, difference[:, :, np.newaxis])[:, :, 0]
    deviation = np.sqrt(np.einsum("pa,pab,pb->p", direction, pooled, direction))
    # Signs alternate, so that units switch on from either side.
    sign = np.where(np.arange(len(pairs)) % 2, 1.0, -1.0) / np.maximum(deviation, 1e-12)
    direction = direction * sign[:, np.newaxis]
    offset = -np.einsum("pd,pd->p", direction, 0.5 * (means[first] + means[second]))
    generator = np.random.default_rng([seed, 6])
    more = generator.standard_normal((count - len(pairs), means.shape[1]))
    through = means[generator.integers(len(means), size=len(more))]
    return (
        np.concatenate([direction, more]).T,
        np.concatenate([offset, -np.einsum("pd,pd->p", more, through)]),
    )


def _nearest_pairs(means: np.ndarray, count: int) -> np.ndarray:
    """At most `count` pairs of components `[P, 2]`: first all nearest, then all second nearest."""
    num_components = len(means)
    squares = np.sum(means**2, axis=1)
    distances = squares[:, np.newaxis] + squares - 2.0 * means @ means.T
    np.fill_diagonal(distances, np.inf)
    # A pair may come twice, once from each side.
    ranks = min(num_components - 1, -(-2 * count // num_components))
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :ranks]
    ranked = np.stack([np.tile(np.arange(num_components), ranks), nearest.T.ravel()])
    ranked = np.sort(ranked.T, axis=1)
    _, where = np.unique(ranked, axis=0, return_index=True)
    return ranked[np.sort(where)][:count]
