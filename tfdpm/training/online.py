"""Clustering batch by batch: statistics that fade, and searches among the points remembered.

Nothing but statistics, networks, a sample of the points and those that no cluster explains is kept
between batches.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfdpm.config import DeepDPMConfig
from tfdpm.features.preprocessing import Table
from tfdpm.interpret.fitted import Fitted, slices
from tfdpm.interpret.identity import Identity, follow
from tfdpm.interpret.stability import search_on
from tfdpm.mixture.categories import draw_points
from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.mixture.statistics import SufficientStatistics
from tfdpm.moves import transition as transitions
from tfdpm.networks.pair import NetworkPair
from tfdpm.networks.warm_start import start_from_mixture
from tfdpm.search.initialization import uses_search
from tfdpm.search.points.sample import Sample
from tfdpm.search.state import MixtureState, estimate_mixture, subcomponent_start, whole_first
from tfdpm.shapes.groups import ComponentGroups
from tfdpm.training.batch import divergence, is_unexplained
from tfdpm.training.memory import Memory
from tfdpm.training.sources import ArraySource
from tfdpm.training.trainer import Trainer

_NOVEL = 1e-3  # p-value under the predictive below which no cluster explains a point
_MOST_WAITING = 4096
_FEWEST_POINTS = 2  # that a fit takes
_FEWEST_STEPS = 20  # of gradient steps on a batch
_REPLAYED = 1024  # fewest remembered points that the networks are reminded of
# Points of a batch, and remembered ones, that tell whether the networks know the mixture. Of 1,024
# rows with five clusters NumPy takes half of TensorFlow's time to ask the networks.
_MOST_ASKED, _FEWEST_RECALLED = 4096, 256
_FEWEST_JUDGED = 256  # of those of a batch whose divergence is known
_MOST_SPARE = 4  # times the slots and hidden units that are needed, which are used again
_MOST_PAIRS = 6  # of networks, of several sizes, that are kept to be used again
# Times the points of the last search up to which a sample counts as being as large as that was.
_MOST_GROWN = 1.25
_SURPRISE = 4.0  # standard deviations by which novel points must be more than expected

_CreateNetworks = Callable[[int, int, int], NetworkPair]


def learn_batch(
    fitted: Fitted | None,
    memory: Memory | None,
    rows: np.ndarray,
    forgetting: float,
    create_networks: _CreateNetworks,
    config: DeepDPMConfig,
    seed: int,
    table: Table,
) -> tuple[Fitted | None, Memory]:
    """The parts, whose labels are the batch's, and the memory after one more batch.

    See `DeepDPM.partial_fit`. The first fit waits for two points, or as many as it starts
    with clusters.

    Args:
        fitted, memory: parts and memory so far; `None` where there are none.
        rows: `[B, D_in]` the batch.
        forgetting: share of the past that the batch replaces.
        create_networks: makes networks for D features, H hidden units and C slots.
        config, seed: of the model.
        table: what is known of the columns of the points.
    """
    if memory is None:
        memory = _recall(fitted, config, seed) if fitted else Memory(rows[:0])
    if fitted is not None and memory.is_recalled:
        preprocessing = fitted.state.preprocessing
        rows = preprocessing.raw_points(preprocessing.transform(rows))
    memory = memory.after(rows, forgetting, config.max_start_points, seed)
    has_enough = len(memory.rows) >= max(_FEWEST_POINTS, config.start_clusters)
    if fitted is None and not has_enough:
        return None, memory
    learned = features = None
    if fitted is not None:
        features = fitted.state.preprocessing.transform(rows)
        learned = _learn_known(fitted, features, forgetting, config)
    if learned is not None and has_enough:
        if _is_surprised(learned, memory, rows):
            learned = None
        elif memory.is_due:
            learned, memory = _confirm(learned, memory, config, seed)
    if learned is None:
        fitted, memory = _search(fitted, memory, create_networks, config, seed, table)
        found = _respond(fitted, fitted.state.preprocessing.transform(rows))
    else:
        learned, has_removed = _remove_forgotten(learned, forgetting, config, seed)
        known = memory.rows if len(memory.rows) else rows
        fitted, found = _train_networks(learned, known, features, has_removed, config, seed)
    return fitted.replace(labels=fitted.likeliest(found)), memory


def _respond(fitted: Fitted, features: np.ndarray) -> np.ndarray:
    """Responsibilities `[B, K]` of the components for features `[B, D]`."""
    networks, count = fitted.networks, fitted.state.num_components
    if len(features) <= _MOST_ASKED:
        return networks.responsibilities(features, count, _MOST_ASKED)
    return np.concatenate([networks.responsibilities(each, count) for each in slices(features)])


def _recall(fitted: Fitted, config: DeepDPMConfig, seed: int) -> Memory:
    """What stands for the points of a model that was fitted elsewhere: points of its mixture."""
    state = fitted.state
    total = float(np.sum(state.soft.counts))
    count = int(min(np.ceil(total), config.max_start_points))
    generator = np.random.default_rng([seed, state.epoch, 8])
    drawn = draw_points(state.parameters, count, generator, state.categories)
    return Memory(
        state.preprocessing.raw_points(drawn),
        num_points=total,
        share=min(1.0, count / max(total, 1.0)),
        num_searched=total,
        novel_share=_NOVEL,
        is_recalled=True,
    )


def _confirm(
    fitted: Fitted, memory: Memory, config: DeepDPMConfig, seed: int
) -> tuple[Fitted | None, Memory]:
    """Parts and memory as after a search, where moves from the present clusters lead back to them.

    No parts, where they lead elsewhere, or where the sample is larger than at the last search, so
    that it may tell more.
    """
    is_larger = min(memory.num_points, config.max_start_points) > _MOST_GROWN * memory.num_searched
    if is_larger or not uses_search(config):
        return None, memory
    state, waiting = fitted.state, fitted.result.waiting
    search = search_on(fitted, state.preprocessing.transform(memory.rows), config, seed)
    labels = fitted.labels_of(slices(search.features))
    starts = np.unique(labels, return_inverse=True)[1].ravel()
    found = search.settle(*search.run_from(starts))[0]
    shared = np.zeros((state.num_components, int(found.max()) + 1))
    np.add.at(shared, (labels, found), 1.0)
    if sorted(shared.argmax(axis=1)) != list(range(shared.shape[1])):
        return None, memory
    state = _with_points(state, waiting, 0.0, config)
    moves = fitted.result.moves + search.moves
    fitted = fitted.replace(state=state, waiting=waiting[:0], moves=moves)
    return fitted, memory.searched(state.preprocessing, _novel_share(state, memory))


def _search(
    before: Fitted | None,
    memory: Memory,
    create_networks: _CreateNetworks,
    config: DeepDPMConfig,
    seed: int,
    table: Table,
) -> tuple[Fitted, Memory]:
    """A fit of the remembered points, whose clusters are named and numbered as those before.

    Its networks are some that an earlier search has left, if they have the sizes, so that their
    passes are not traced anew.
    """
    trainer = Trainer(ArraySource(memory.rows), config, seed, table)
    if before is not None:
        create_networks = _using_again(before, create_networks, config)
    fitted = trainer.begin(create_networks)
    while fitted.state.epoch < config.epochs:
        trainer.set_learning_rates(fitted)
        fitted, info = trainer.step(fitted)
        if trainer.is_over(fitted, info):
            break
    fitted = trainer.finish(fitted)
    if before is not None and memory.is_recalled:
        fitted = _joined_as_before(before, fitted, memory.rows)
    state = _for_points(fitted.state, memory, config)
    novel_share = _novel_share(state, memory)
    if before is not None:
        shared = _shared(before, fitted, memory.rows)
        epoch = before.state.epoch + 1
        has_changed = before.state.num_components != state.num_components
        last_change = epoch if has_changed else before.state.last_change_epoch
        state = dataclasses.replace(state, epoch=epoch, last_change_epoch=last_change)
        moves = before.result.moves + fitted.result.moves
        known = *before.spares, before.networks
        spares = tuple(pair for pair in known if pair is not fitted.networks)[-_MOST_PAIRS:]
        fitted = fitted.replace(state=state, moves=moves, spares=spares)
        identity = follow(before.identity, shared)
        fitted = fitted.renamed(identity, config, seed)
    else:
        fitted = fitted.replace(state=state)
    return fitted, memory.searched(state.preprocessing, novel_share)


def _novel_share(state: MixtureState, memory: Memory) -> float:
    """The share of remembered points that no cluster explains."""
    features = state.preprocessing.transform(memory.rows)
    return max(_NOVEL, float(np.mean(is_unexplained(state, features, _NOVEL))))


def _using_again(
    before: Fitted, create_networks: _CreateNetworks, config: DeepDPMConfig
) -> _CreateNetworks:
    """Makes networks as `create_networks` does, in place of spare ones where these are as large.

    The networks in use stay as they are until the search has ended. Sizes stay or double.
    """
    used = before.networks.clustering.hidden_units, before.networks.capacity

    def create(feature_dim: int, hidden_units: int, capacity: int) -> NetworkPair:
        sizes = hidden_units, capacity
        pairs = list(zip(sizes, used, strict=True))
        if all(needed <= size <= _MOST_SPARE * needed for needed, size in pairs):
            sizes = used
        elif config.hidden_units is None and hidden_units > used[0]:
            sizes = max(hidden_units, 2 * capacity), capacity
        fresh = create_networks(feature_dim, *sizes)
        return next((pair for pair in before.spares if pair.take_values(fresh)), fresh)

    return create


def _joined_as_before(before: Fitted, after: Fitted, rows: np.ndarray) -> Fitted:
    """The fit with components joined that are mostly of one cluster of before.

    Points drawn from a mixture have valleys between its components that those of its fit had not.
    """
    groups = after.result.groups
    if groups is None:
        return after
    shared = _shared(before, after.replace(groups=None), rows)
    main = shared.argmax(axis=0)
    is_old = (shared.max(axis=0) > 0) & (main < before.num_clusters)
    main = np.where(is_old, main, -1 - np.arange(len(main)))
    is_together = main[:, np.newaxis] == main
    # However many clear valleys lie between other components of theirs.
    shallow = np.minimum(groups.valleys, -2.0 * np.log(len(main)))
    valleys = np.where(is_together, shallow, groups.valleys)
    return after.replace(groups=ComponentGroups.from_valleys(valleys))


def _for_points(state: MixtureState, memory: Memory, config: DeepDPMConfig) -> MixtureState:
    """The state of a sample's fit with statistics and prior for all points that it stands for."""
    multiple = memory.num_points / len(memory.rows)
    halves = state.halves.scaled(multiple)
    state = _with_prior_of(multiple, state, config)
    state = _with_statistics(state, state.soft.scaled(multiple), config)
    return dataclasses.replace(state, halves=halves)


def _with_prior_of(multiple: float, state: MixtureState, config: DeepDPMConfig) -> MixtureState:
    """The state with a prior for so many times the points; see `automatic_scale`."""
    if config.prior != "auto":
        return state
    scale = np.asarray(state.prior.scale) * multiple
    if state.categories is not None:
        scale = state.categories.with_shifts(scale)
    prior = state.prior._replace(scale=tf.convert_to_tensor(scale))
    return dataclasses.replace(state, prior=prior)


def _shared(before: Fitted, after: Fitted, rows: np.ndarray) -> np.ndarray:
    """Numbers of points that old clusters and new ones share; the last row counts novel points."""
    num_before = before.num_clusters
    features = before.state.preprocessing.transform(rows)
    old = before.clusters_of(slices(features))
    old = np.where(is_unexplained(before.state, features, _NOVEL), num_before, old)
    new = after.clusters_of(slices(after.state.preprocessing.transform(rows)))
    shared = np.zeros((num_before + 1, after.num_clusters))
    np.add.at(shared, (old, new), 1.0)
    return shared


def _is_surprised(fitted: Fitted, memory: Memory, rows: np.ndarray) -> bool:
    """Whether the last search knew fewer directions, or fewer clusters."""
    if memory.is_beyond(fitted.state.preprocessing, rows):
        return True
    expected = memory.novel_share * memory.num_new
    usual = expected + _SURPRISE * np.sqrt(expected)
    return len(fitted.result.waiting) > usual + fitted.state.preprocessing.feature_dim + 2


def _learn_known(
    fitted: Fitted, features: np.ndarray, forgetting: float, config: DeepDPMConfig
) -> Fitted:
    """Past statistics fade, the batch's known points come in, the others wait."""
    # What the search and the chains know of the past is out of date.
    fitted = fitted.replace(search=None, k_posterior=None, proposals=())
    state, waiting = fitted.state, fitted.result.waiting
    is_novel = is_unexplained(state, features, _NOVEL)
    pieces = [features[is_novel]] if waiting is None else [waiting, features[is_novel]]
    waiting = np.concatenate(pieces)
    released = max(0, len(waiting) - _MOST_WAITING)
    known = np.concatenate([features[~is_novel], waiting[:released]])
    state = _with_points(state, known, forgetting, config)
    return fitted.replace(state=state, waiting=waiting[released:])


def _with_points(
    state: MixtureState, points: np.ndarray, forgetting: float, config: DeepDPMConfig
) -> MixtureState:
    """The state after features `[n, D]` of more points, which replace a share of the past."""
    soft, before = state.soft.map(np.asarray), float(np.sum(state.soft.counts))
    soft = soft.map(lambda part: (1.0 - forgetting) * part)
    if len(points):
        parameters = MixtureParameters(*map(np.asarray, state.parameters))
        sample = Sample(points, state.preprocessing.rounding, state.categories)
        soft = soft.plus(sample.soft_statistics(parameters))
    state = _with_statistics(state, soft, config)
    if before > 0:
        state = _with_prior_of(float(np.sum(soft.counts)) / before, state, config)
    return state


def _with_statistics(
    state: MixtureState, soft: SufficientStatistics, config: DeepDPMConfig
) -> MixtureState:
    """The state with these statistics `[K]` and the mixture that follows from them."""
    return dataclasses.replace(
        state,
        parameters=estimate_mixture(soft, state.prior, state.covariance, config),
        soft=soft,
        halves=whole_first(soft),
        t_mixture=None,
    )


def _remove_forgotten(
    fitted: Fitted, forgetting: float, config: DeepDPMConfig, seed: int
) -> tuple[Fitted, bool]:
    """Components that are forgotten, down to fewer than D + 2 points, go; and whether any did.

    A cluster dies with the last of its components.
    """
    counts = np.asarray(fitted.state.soft.counts)
    fewest = fitted.state.preprocessing.feature_dim + 2
    is_kept = (counts >= fewest) | (counts == counts.max())
    if forgetting == 0 or config.fixed_k is not None or is_kept.all():
        return fitted, False
    before, kept = fitted, np.flatnonzero(is_kept)
    fitted = fitted.apply(transitions.of_removals(len(counts), is_kept), (), config, seed)
    if before.result.groups is not None:
        fitted = fitted.replace(groups=before.result.groups.chosen(kept))
    # Each cluster's first component tells which of the old clusters it is.
    first = np.unique(fitted.clusters, return_index=True)[1]
    ids = np.array(before.identity.ids)
    names = ids[before.clusters[kept[first]]]
    identity = Identity(
        tuple(names.tolist()),
        kept=tuple(sorted(names.tolist())),
        deaths=tuple(np.setdiff1d(ids, names).tolist()),
        next_id=before.identity.next_id,
    )
    state = _with_statistics(fitted.state, fitted.state.soft, config)
    return fitted.replace(state=state, identity=identity), True


def _train_networks(
    fitted: Fitted,
    known: np.ndarray,
    features: np.ndarray,
    has_removed: bool,
    config: DeepDPMConfig,
    seed: int,
) -> tuple[Fitted, np.ndarray]:
    """The networks learn from the batch and from raw rows that are known.

    They need not where they know the mixture: by as much as a fit leaves them to learn. Returns
    the batch's responsibilities `[B, K]`, too.
    """
    state = fitted.state
    generator = np.random.default_rng([seed, state.epoch, 8])
    # As many each time, so that batches of one size share a trace.
    chosen = generator.integers(len(known), size=max(_REPLAYED, len(features)))
    if not has_removed:
        found = _recognize(fitted, features, known, chosen, config)
        if found is not None:
            state = dataclasses.replace(state, epoch=state.epoch + 1)
            return fitted.replace(state=state), found
    points = np.concatenate([features, state.preprocessing.transform(known[chosen])])
    if has_removed:
        parameters = state.parameters
        start_from_mixture(fitted.networks.clustering, parameters, points, seed, state.targets)
        fresh = subcomponent_start(parameters.means, parameters.covariances)
        names = ("sub_weights", "sub_means", "sub_covariances")
        state = dataclasses.replace(state, **dict(zip(names, fresh, strict=True)))
    losses = ArraySource.of_features(points).train(
        fitted.networks.passes,
        state,
        config.replace(min_steps_per_epoch=_FEWEST_STEPS),
        seed,
        config.subclustering == "network",
    )
    fitted.networks.check_convergence(losses, None)
    epoch = state.epoch + 1
    last_change = epoch if has_removed else state.last_change_epoch
    state = dataclasses.replace(state, epoch=epoch, last_change_epoch=last_change)
    fitted = fitted.replace(state=state)
    return fitted, _respond(fitted, features)


def _recognize(
    fitted: Fitted,
    features: np.ndarray,
    known: np.ndarray,
    chosen: np.ndarray,
    config: DeepDPMConfig,
) -> np.ndarray | None:
    """The networks' responsibilities `[B, K]` for the batch, if they are those of the mixture.

    They must be so for the chosen ones of raw rows that are known, too; `None` where they are not.
    """
    if config.settled_loss is None or config.cluster_loss != "kl":
        return None
    some = features[:: -(-len(features) // _MOST_ASKED)]
    recalled = known[chosen[: max(_FEWEST_RECALLED, _REPLAYED - len(some))]]
    asked = np.concatenate([some, fitted.state.preprocessing.transform(recalled)])
    found = _respond(fitted, asked)
    judged = np.arange(len(asked))
    judged = np.concatenate(
        [judged[: len(some) : max(1, len(some) // _FEWEST_JUDGED)], judged[len(some) :]]
    )
    if divergence(fitted.state.targets, asked[judged], found[judged], config) > config.settled_loss:
        return None
    return found[: len(some)] if len(some) == len(features) else _respond(fitted, features)
