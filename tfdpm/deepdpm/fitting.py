"""The epochs of a `DeepDPM`'s fit with their callbacks, over data with an end and without."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks, metrics
from tfdpm.data.inputs import Inputs
from tfdpm.data.streams import as_batches
from tfdpm.deepdpm.inference import FittedModel
from tfdpm.interpret.fitted import Fitted
from tfdpm.interpret.identity import Reference, follow, identity_of, overlap
from tfdpm.moves.transition import WHOLE, Transition
from tfdpm.training.progress_bar import callback_list
from tfdpm.training.trainer import EpochInfo, Trainer

__all__ = ["StreamPace", "fit_endless", "name_clusters", "train"]


def train(model: Any, inputs: Inputs, callbacks: Any, verbose: str | int, first: int) -> None:
    """Epochs with their callbacks, until K is stable or someone stops the training.

    Args:
        model: the `DeepDPM`, whose `trainer` is that of this fit.
        inputs: encoded points.
        callbacks: Keras callbacks.
        verbose: as for `DeepDPM.fit`.
        first: number of the first epoch.
    """
    trainer = model.trainer
    if not model.compiled:
        model.compile()
    if model.parts is None:
        model.point_shape = inputs.feature_shape
        model.adopt(trainer.begin(model.create_networks))
    else:
        model.check_points(inputs.feature_shape)
        model.adopt(trainer.resume(model.parts, is_same_fit=first > 0))
    trainer.start_epoch = model.fitted.state.epoch
    most = trainer.config.epochs
    listeners = callback_list(model, callbacks, verbose, most)
    for callback in listeners.callbacks:
        if hasattr(callback, "accompany"):
            callback.accompany(listeners.callbacks)
    listeners.on_train_begin()
    first = trainer.begin_epochs(model.resumed_epoch or first)
    model.stop_training = False
    logs: dict[str, float] = {}
    for epoch in range(first, most):
        trainer.set_learning_rates(model.fitted)
        listeners.on_epoch_begin(epoch)
        listeners.on_train_batch_begin(0)
        parts, info = trainer.step(model.fitted)
        model.adopt(parts)
        logs = {**_logs(info, model.n_clusters), **_scores(model, inputs, trainer)}
        listeners.on_train_batch_end(0, logs)
        listeners.on_epoch_end(epoch, logs)
        if model.stop_training or trainer.is_over(model.fitted, info):
            break
    model.adopt(trainer.finish(model.fitted))
    listeners.on_train_end(logs)
    if model.fitted.result.labels is None:  # a callback put earlier weights back
        model.adopt(trainer.finish(model.fitted))


def _logs(info: EpochInfo, num_clusters: int) -> dict[str, float]:
    """An epoch's logs, but for scores."""
    return {
        "loss": info.loss,
        "subcluster_loss": info.subcluster_loss,
        "n_clusters": num_clusters,
        "accepted_splits": info.counts.accepted_splits,
        "accepted_merges": info.counts.accepted_merges,
        "proposed_splits": info.counts.proposed_splits,
        "proposed_merges": info.counts.proposed_merges,
    }


def _scores(model: FittedModel, inputs: Inputs, trainer: Trainer) -> dict[str, float]:
    """Agreement with known labels, where there are any."""
    if inputs.labels is not None:
        known, labels = inputs.labels, trainer.label_points(model.fitted)
    elif inputs.labelled_dataset is not None:
        # One pass for both: the next one might come in another order.
        pairs = [(y.numpy(), model.predict_labels(x)) for x, y in inputs.labelled_dataset]
        known, labels = (np.concatenate(part) for part in zip(*pairs, strict=True))
    else:
        return {}
    return metrics.score_labels(known, labels)


def name_clusters(model: FittedModel, reference: Reference, inputs: Inputs) -> Fitted:
    """The parts of a model whose clusters are named after, and numbered as, a reference's.

    Where every cluster has kept its name, labels then mean what they meant.

    Args:
        model: that was just fitted.
        reference: an older model.
        inputs: raw points of the fit.
    """
    batches = [inputs.array] if inputs.array is not None else inputs.dataset
    shared = overlap(reference, model, batches, model.n_clusters)
    identity = follow(identity_of(reference), shared)
    order = np.argsort(identity.ids)
    transition = Transition(np.stack([order, order], axis=1), np.full(len(order), WHOLE))
    parts = model.fitted.apply(transition, (), model.config, model.seed)
    identity = dataclasses.replace(identity, ids=tuple(sorted(identity.ids)))
    return parts.replace(identity=identity, labels=np.argsort(order)[parts.result.labels])


class StreamPace(NamedTuple):
    """How a stream without an end is followed.

    Attributes:
        steps_per_epoch: batches that make up an epoch.
        epochs: numbers of the epochs.
        forgetting: see `DeepDPM.partial_fit`.
    """

    steps_per_epoch: int
    epochs: range
    forgetting: float


def fit_endless(
    model: Any, x: Any, pace: StreamPace, callbacks: Any, verbose: str | int
) -> keras.callbacks.History:
    """`DeepDPM.fit` on a stream that may have no end, every batch a `partial_fit`.

    Args:
        model: the `DeepDPM`.
        x: `tf.data.Dataset` of points.
        pace: epochs and steps.
        callbacks: Keras callbacks.
        verbose: as for `DeepDPM.fit`.
    """
    steps = checks.integer(pace.steps_per_epoch, "steps_per_epoch", minimum=1)
    if not isinstance(x, tf.data.Dataset):
        checks.fail("x", type(x).__name__, "a tf.data.Dataset where steps_per_epoch is given")
    batches = iter(as_batches(x.take(steps * len(pace.epochs) + 1)).batches)
    listeners = callback_list(model, callbacks, verbose, pace.epochs.stop)
    listeners.on_train_begin()
    model.stop_training = False
    logs: dict[str, float] = {}
    for epoch in pace.epochs:
        listeners.on_epoch_begin(epoch)
        listeners.on_train_batch_begin(0)
        if model.parts is None:
            # The first mixture is found on a whole epoch, as far as a start looks at points.
            model.partial_fit(_first_points(batches, steps, model.config.max_start_points))
        else:
            for batch in _at_most(batches, steps):
                model.partial_fit(batch.numpy(), forgetting=pace.forgetting)
        remembered = float(np.sum(model.fitted.state.soft.counts))
        logs = {"n_clusters": model.n_clusters, "remembered_points": remembered}
        listeners.on_train_batch_end(0, logs)
        listeners.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    listeners.on_train_end(logs)
    return model.history


def _first_points(batches, steps: int, most: int) -> np.ndarray:
    pieces, total = [], 0
    for batch in _at_most(batches, steps):
        pieces.append(batch.numpy())
        total += len(pieces[-1])
        if total >= most:
            break
    return np.concatenate(pieces)


def _at_most(batches, steps: int) -> Iterable[Any]:
    for _, batch in zip(range(steps), batches, strict=False):
        yield batch
