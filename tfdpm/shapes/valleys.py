"""Depths of the valleys of density between neighbouring components of a mixture.

The density that was fitted does not tell: pieces of an even ring leave dips between them that the
points do not have. So the points of two neighbours are looked at from one centre to the other.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from tfdpm.mixture.density import LogJoint
from tfdpm.mixture.parameters import MixtureParameters, as_tensors
from tfdpm.shapes.groups import UNLIKE, ComponentGroups
from tfdpm.shapes.profiles import Profile, log_evidence_for_one


@dataclasses.dataclass(frozen=True)
class _Settings:
    """How pairs of components are looked at.

    Tuned on 39 public sets with their labels in view, where the mean adjusted Rand index was .851.
    In brackets what half and twice a value gave.

    Attributes:
        most_points: larger components count as one of so many points.
        most_drawn: points that are drawn of a component: the evidence is scaled down to fewer, so
            that more of them only make it less a matter of chance (.850; .851).
        most_looked_up: points in all whose next best components are looked up.
        largest_separation: pairs with centres farther apart, in standard deviations, are not
            compared; those of pieces of a shape are at most 6 apart.
        fewest_links: points of two components that must have one another's as the next best.
        largest_step: distances between points that differ by exp(1.25) = 3.5 are those of a shape
            and of noise (.829; .842).
        largest_bridge: nor is a component of one shape with two groups of points that are twice as
            near to one another (.831; .835, with dense groups joined by noise).
        largest_gain: arcs meet at an angle, but a straight line that sees a gap of more nats is not
            to go around it (.850, but a sphere is cut; .839).
        partner_log_odds: what a certain partner of each component adds; of two without any, neither
            is favoured (.837; .801).
    """

    most_points: int = 400
    most_drawn: int = 1_200
    most_looked_up: int = 20_000
    largest_separation: float = 8.0
    fewest_links: int = 3
    largest_step: float = 1.25
    largest_bridge: float = 0.7
    largest_gain: float = 15.0
    partner_log_odds: float = 2.5


_SETTINGS = _Settings()
_MOST_STEPS = 200


def group_components(
    features: np.ndarray, labels: np.ndarray, num_components: int, *, seed: int
) -> ComponentGroups:
    """Groups components between which the points have no valley of density.

    Args:
        features: `[N, D]` points in the space of the mixture.
        labels: `[N]` integer, component of each point; a component without points stays alone.
        num_components: K.
        seed: of the points that are drawn from large components.
    """
    features, labels = np.asarray(features, np.float64), np.asarray(labels)
    valleys = np.full((num_components, num_components), np.inf)
    np.fill_diagonal(valleys, 0.0)
    if features.shape[1] == 1:
        first, second, depths = _valleys_on_line(features[:, 0], labels)
        valleys[first, second] = valleys[second, first] = depths
        return ComponentGroups.from_valleys(valleys)
    pieces, counts = _pieces(features, labels, num_components, np.random.default_rng(seed))
    members = np.flatnonzero(counts > 1)
    if len(members) > 1:
        pairs, depths = _valleys([pieces[k] for k in members], counts[members])
        first, second = members[pairs].T
        valleys[first, second] = valleys[second, first] = depths
    return ComponentGroups.from_valleys(valleys)


def _valleys_on_line(
    places: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neighbours on a line, `[P]` and `[P]`, and depths `[P]` of the valleys between them.

    Components become intervals of as many points each, in the order of their means: a wide one may
    lie on both sides of a narrow one, which hides what is between them. Those without a valley are
    joined, the smallest first, and looked at together from then on: small pieces of a valley have
    none themselves. There are no bent ways, and intervals are as certain of partners as can be. Of
    many pairs, some have a valley by chance [Dunn 1961].
    """
    counts = np.bincount(labels)
    means = np.bincount(labels, places) / np.maximum(counts, 1)
    order = np.argsort(means)
    order = order[counts[order] > 0]
    borders = np.cumsum(counts[order])[:-1].tolist()
    places, edges, changed = _spread(places), [0, *borders, len(places)], borders
    depths: dict[int, float] = {}
    log_odds = 2.0 * _SETTINGS.partner_log_odds + np.log(max(len(borders), 1))
    while changed:
        profiles = [_about(places, edges, edge) for edge in changed]
        evidence = log_evidence_for_one(profiles, may_step=True, may_fall=True)
        depths.update(zip(changed, -(evidence + log_odds), strict=True))
        is_open = [at for at, edge in enumerate(edges) if depths.get(edge, np.inf) <= 0.0]
        if not is_open:
            break
        at = min(is_open, key=lambda at: edges[at + 1] - edges[at - 1])
        del edges[at]
        changed = [edge for edge in edges[at - 1 : at + 1] if 0 < edge < len(places)]
    return order[:-1], order[1:], np.array([depths[edge] for edge in borders])


def _spread(places: np.ndarray) -> np.ndarray:
    """Sorted places, equal ones spread evenly over what is nearest to them: they are rounded.

    Only two values are no rounded numbers, and nothing lies between them.
    """
    values, counts = np.unique(places, return_counts=True)
    if len(values) == 2:
        return np.sort(places)
    middles = 0.5 * (values[:-1] + values[1:])
    lows, highs = np.append(values[:1], middles), np.append(middles, values[-1:])
    lows, highs = np.where(counts > 1, (lows, highs), values)
    within = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts) + 0.5
    return np.repeat(lows, counts) + within * np.repeat((highs - lows) / counts, counts)


def _about(places: np.ndarray, edges: list[int], edge: int) -> Profile:
    """Places on both sides of an edge, at most twice as many as the smaller group has.

    A small group is not to be the tail of a large one. Of the large one, the nearest points count:
    a part of all would leave a step of density where there is none.
    """
    at = edges.index(edge)
    low, high = edges[at - 1], edges[at + 1]
    reach = 2 * min(edge - low, high - edge)
    return places[max(low, edge - reach) : edge], places[edge : min(high, edge + reach)]


def _pieces(
    features: np.ndarray, labels: np.ndarray, num_components: int, rng: np.random.Generator
) -> tuple[list[np.ndarray], np.ndarray]:
    """Points of each component, at most so many and in random order, and counts `[K]` of all."""
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels, minlength=num_components)
    rows = np.split(order, np.cumsum(counts)[:-1])
    return [features[rng.permutation(own)[: _SETTINGS.most_drawn]] for own in rows], counts


def _valleys(pieces: list[np.ndarray], counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs `[P, 2]` of neighbours, and depths `[P]` of the valleys between them."""
    means, covariances = _moments(pieces, counts)
    pairs = _neighbours(pieces, means, covariances, counts)
    # Log inverse distances between the points of each component.
    dim = means.shape[1]
    level = (np.log(counts) - 0.5 * np.linalg.slogdet(covariances)[1]) / dim
    is_alike = np.abs(np.diff(level[pairs], axis=1)[:, 0]) < _SETTINGS.largest_step
    depths = np.full(len(pairs), UNLIKE)
    profiles = []
    for place in np.flatnonzero(is_alike):
        i, j = pairs[place]
        profile = _profiles(pieces[i], pieces[j], means[[i, j]], covariances[[i, j]])
        is_alike[place] = profile is not None
        if profile is not None:
            profiles.append(profile)
    if not profiles:
        return pairs, depths
    lines, paths = zip(*profiles, strict=True)
    straight = log_evidence_for_one(lines, may_step=True)
    bent = log_evidence_for_one(paths, may_step=False)
    gain = np.maximum(bent - straight, 0.0)
    gain[gain > _SETTINGS.largest_gain] = 0.0
    depths[is_alike] = -_log_odds(pairs[is_alike], straight, gain, len(pieces))
    # If they filled a ball: a straight piece of a thin line is then no denser than a bent one.
    variance = np.trace(covariances, axis1=1, axis2=2) / dim
    level = np.log(counts) / dim - 0.5 * np.log(variance)
    return pairs, _with_bridges(pairs, depths, level, counts)


def _moments(pieces: list[np.ndarray], counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and covariances; one more point has the average shape in the component's size."""
    means = np.array([piece.mean(axis=0) for piece in pieces])
    sizes = np.array([len(piece) for piece in pieces], float)[:, np.newaxis, np.newaxis]
    scatters = np.array([(p - m).T @ (p - m) for p, m in zip(pieces, means, strict=True)])
    shape = np.tensordot(counts / counts.sum(), scatters / sizes, 1)
    total, dim = np.trace(shape), means.shape[1]
    traces = np.trace(scatters / sizes, axis1=1, axis2=2)[:, np.newaxis, np.newaxis]
    covariances = (scatters + shape * traces / max(total, 1e-300)) / (sizes + 1.0)
    return means, covariances + (1e-9 * total / dim + 1e-300) * np.eye(dim)


def _neighbours(
    pieces: list[np.ndarray], means: np.ndarray, covariances: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Pairs `[P, 2]` whose points have one another's component as the next best."""
    most = max(_SETTINGS.most_looked_up // len(pieces), 10)
    points = np.concatenate([piece[:most] for piece in pieces])
    own = np.repeat(np.arange(len(pieces)), [min(len(piece), most) for piece in pieces])
    mixture = as_tensors(MixtureParameters(counts / counts.sum(), means, covariances))
    log_joint = LogJoint(mixture)(tf.constant(points)).numpy()
    log_joint[np.arange(len(points)), own] = -np.inf
    links = np.zeros((len(pieces), len(pieces)), int)
    np.add.at(links, (own, log_joint.argmax(axis=1)), 1)
    return np.argwhere(np.triu(links + links.T, 1) >= _SETTINGS.fewest_links)


def _profiles(
    first: np.ndarray, second: np.ndarray, means: np.ndarray, covariances: np.ndarray
) -> tuple[Profile, Profile] | None:
    """Places of both components' points along the line of centres, and along a bent path.

    Returns:
        `None` for components that are too far apart.
    """
    root = np.linalg.inv(np.linalg.cholesky(covariances.mean(axis=0)))
    centre = root @ (means[1] - means[0])
    if centre @ centre > _SETTINGS.largest_separation**2:
        return None
    # At most twice as many of one: a small component is not to be the tail of a large one.
    sizes = np.minimum([len(first), len(second)], _SETTINGS.most_points)
    sizes = np.minimum(sizes, 2 * sizes.min())
    sizes = (sizes * min(len(first) / sizes[0], len(second) / sizes[1])).astype(int)
    # Coordinates in which the components are round on average; the line of centres is then
    # their discriminant.
    x, y = ((piece - means[0]) @ root.T for piece in (first, second))
    line = _unit(centre)
    straight = _thinned((x @ line, y @ line), sizes)
    # The border lies amid the tenth of each component's points that are most like the other's.
    nearest = []
    for piece, places, sign in zip((first, second), (x, y), (1.0, -1.0), strict=True):
        distances = [
            ((piece - mean) @ np.linalg.inv(covariance) * (piece - mean)).sum(axis=1)
            for mean, covariance in zip(means, covariances, strict=True)
        ]
        order = np.argsort(sign * (distances[0] - distances[1]), kind="stable")
        nearest.append(places[order[-max(3, len(piece) // 10) :]].mean(axis=0))
    border = 0.5 * (nearest[0] + nearest[1])
    to, away = _unit(border), _unit(centre - border)
    if to @ away < 0.0:
        return straight, straight
    return straight, _thinned(((x - border) @ to, (y - border) @ away), sizes)


def _thinned(profile: Profile, sizes: np.ndarray) -> Profile:
    """So many places of each component, evenly spaced among its sorted ones."""
    first, second = (
        np.sort(places)[np.linspace(0, len(places) - 1, size).round().astype(int)]
        for places, size in zip(profile, sizes, strict=True)
    )
    return first, second


def _unit(vector: np.ndarray) -> np.ndarray:
    direction: np.ndarray = vector / max(float(np.linalg.norm(vector)), 1e-300)
    return direction


def _log_odds(
    pairs: np.ndarray, straight: np.ndarray, gain: np.ndarray, num_components: int
) -> np.ndarray:
    """Log odds `[P]` of no valley: a fixed point in which partners speak for further partners.

    A component that is a piece of a shape has further pieces beside it, and a blob has none. Where
    either component has another partner, the path may be bent.

    Args:
        pairs: `[P, 2]`.
        straight: `[P]` evidence along the line of centres.
        gain: `[P]` further evidence along the bent path.
        num_components: K.
    """
    first, second = pairs.T
    partner = np.zeros((2, len(pairs)))
    odds: np.ndarray
    for _ in range(_MOST_STEPS):
        odds = (
            straight + partner.max(axis=0) * gain + _SETTINGS.partner_log_odds * partner.sum(axis=0)
        )
        chance = 1.0 / (1.0 + np.exp(-np.clip(odds, -50.0, 50.0)))
        # The largest chance of each end with others than this pair.
        table = np.zeros((num_components, num_components))
        table[first, second] = table[second, first] = chance
        two = np.sort(table, axis=1)[:, -2:]
        others = np.array(
            [np.where(chance >= two[end, 1], two[end, 0], two[end, 1]) for end in (first, second)]
        )
        if np.abs(others - partner).max() < 1e-6:
            break
        partner = 0.5 * (partner + others)
    return odds


def _with_bridges(
    pairs: np.ndarray, depths: np.ndarray, level: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Depths `[P]` where diffuse components are valleys between the denser groups beside them.

    Pairs are joined from dense to diffuse, and a pair that would join two groups with denser
    peaks gets a depth above zero, as in the persistence of peaks [Chazal et al. 2013].
    """
    saddle = level[pairs].min(axis=1)
    group, peak = np.arange(len(level)), level.copy()
    for place in np.lexsort((depths, -saddle)):
        first, second = group[pairs[place]]
        is_joined = depths[place] <= 0.0 and first != second
        if is_joined and min(peak[first], peak[second]) - saddle[place] <= _SETTINGS.largest_bridge:
            group[group == second] = first
            peak[first] = max(peak[first], peak[second])
    # Over a bridge, each of its points speaks for the lower density.
    first, second = group[pairs].T
    rise = np.minimum(peak[first], peak[second]) - saddle
    is_bridge = (depths <= 0.0) & (first != second)
    return np.where(is_bridge, counts[pairs].min(axis=1) * rise, depths)
