"""The epochs of a `DeepDPM`'s fit with their callbacks, over data with an end and without."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks, metrics
from tfdpm.config import DeepDPMConfig
from tfdpm.data.columns import Columns
from tfdpm.data.inputs import Inputs, labels_or_none
from tfdpm.data.sequences import as_dataset, is_sequence
from tfdpm.data.streams import as_batches
from tfdpm.deepdpm.inference import FittedModel
from tfdpm.deepdpm.validation import Validation
from tfdpm.features.preprocessing import Table
from tfdpm.interpret.fitted import Fitted
from tfdpm.interpret.identity import Reference, follow, identity_of, overlap
from tfdpm.interpret.pairs import LinkedRows
from tfdpm.progress.stages import fingerprint
from tfdpm.training.progress_bar import callback_list
from tfdpm.training.trainer import Trainer

_COUNTED = ("accepted_splits", "accepted_merges", "proposed_splits", "proposed_merges")


class EndlessStream:
    """The batches of a fit on a stream that may have no end, and how far it is.

    Attributes:
        num_read: batches that were read; those that an interrupted fit read are skipped.
        first_epoch: number of the first epoch; greater if an interrupted fit goes on.
        latest: the batch that was read last; `None` before the first.
        has_ended: whether there was no further batch.
    """

    def __init__(self, batches: tf.data.Dataset, first_epoch: int):
        self._batches = batches
        self.num_read, self.first_epoch = 0, first_epoch
        self.latest: np.ndarray | None = None
        self.has_ended = False

    def __iter__(self) -> Iterator[tf.Tensor]:
        with contextlib.suppress(tf.errors.FailedPreconditionError):  # the end of a generator
            for batch in self._batches.skip(self.num_read):
                self.num_read += 1
                self.latest = batch.numpy()
                yield batch
        self.has_ended = True


def fit_config(config: DeepDPMConfig, num_points: int | None, **given: int | None) -> DeepDPMConfig:
    """The configuration with what `fit` was given, for so many points; `None` changes nothing."""
    config = config.replace(**{name: each for name, each in given.items() if each is not None})
    if num_points is not None and config.start_clusters > num_points:
        name = "initial_clusters" if config.fixed_k is None else "fixed_k"
        checks.fail(name, config.start_clusters, f"at most the {num_points} points")
    return config


def table_of(inputs: Inputs, encoder: keras.Model | None, columns: Columns) -> Table:
    """What is known of columns that have meanings of their own."""
    is_table = encoder is None and inputs.array is not None and len(inputs.feature_shape) == 1
    return Table(is_table, columns.variables if is_table else ())


def describe_given(
    config: DeepDPMConfig,
    sample_weight: Any,
    reference: Reference | None,
    linked: LinkedRows | None,
) -> dict[str, str]:
    """`Trainer.given` of a fit with these arguments."""
    given = {"batch_size": str(config.batch_size)}
    if linked is not None:
        parts = (linked.rows, linked.sets, linked.apart)
        given["linked"] = fingerprint(np.concatenate([part.ravel() for part in parts]))
    if sample_weight is not None:
        given["sample_weight"] = fingerprint(np.asarray(sample_weight, np.float64))
    if reference is not None:
        given["reference"] = identity_of(reference).to_json()
    return given


def linked_rows(
    must_link: Any, cannot_link: Any, num_points: int | None, config: DeepDPMConfig
) -> LinkedRows | None:
    """The pairs of rows that a fit is to respect, checked; `num_points` of a stream are `None`."""
    for name, pairs in (("must_link", must_link), ("cannot_link", cannot_link)):
        if pairs is not None and num_points is None:
            checks.fail(name, "pairs of rows of a stream", "points in memory")
        if pairs is not None and config.fixed_k is not None:
            checks.fail(name, f"pairs, and fixed_k={config.fixed_k}", "either of the two")
    return LinkedRows.of(must_link, cannot_link, num_points or 0)


@contextlib.contextmanager
def naming_lost_workers(model: FittedModel) -> Iterator[None]:
    """Raises what TensorFlow says where one of several workers is lost as an error of one line."""
    try:
        yield
    except tf.errors.OpError as error:
        if not model.has_workers:
            raise
        reason = " ".join(error.message.split())[-200:]
        wanted = "all workers alive; start each of them again"
        raise RuntimeError(f"`fit`: got a lost worker ({reason}), wanted {wanted}.") from None


def train(
    model: Any,
    inputs: Inputs,
    callbacks: Any,
    verbose: str | int,
    first: int,
    validation: Validation | None,
) -> None:
    """Epochs on encoded points, with callbacks, until K is stable or someone stops the training."""
    trainer = model.trainer
    if not model.compiled:
        model.compile()
    if model.parts is None:
        model.point_shape, model.columns = inputs.feature_shape, inputs.columns
        model.adopt(trainer.begin(model.create_networks))
    else:
        model.check_points(inputs.feature_shape)
        model.adopt(trainer.resume(model.parts, is_same_fit=first > 0))
    trainer.start_epoch, trainer.first_epoch = model.fitted.state.epoch, first
    most = trainer.config.epochs
    listeners = callback_list(model, callbacks, verbose, most)
    _introduce(listeners)
    listeners.on_train_begin()
    # A `Checkpoint` or Keras's `BackupAndRestore` may have taken up an interrupted fit.
    trainer.first_epoch = max(trainer.first_epoch, model.resumed_epoch or 0)
    model.stop_training = False
    logs: dict[str, float] = {}
    for epoch in range(trainer.first_epoch, most):
        trainer.set_learning_rates(model.fitted)
        listeners.on_epoch_begin(epoch)
        listeners.on_train_batch_begin(0)
        parts, info = trainer.step(model.fitted)
        model.adopt(parts)
        logs = {
            "loss": info.loss,
            "subcluster_loss": info.subcluster_loss,
            "n_clusters": model.n_clusters,
            "n_components": model.n_components,
            **{name: getattr(info.counts, name) for name in _COUNTED},
            **_scores(model, inputs, trainer),
            **({} if validation is None else validation.scores(model, epoch)),
        }
        listeners.on_train_batch_end(0, logs)
        listeners.on_epoch_end(epoch, logs)
        if model.stop_training or trainer.is_over(model.fitted, info):
            break
    model.adopt(trainer.finish(model.fitted))
    listeners.on_train_end(logs)
    if model.fitted.result.labels is None:  # a callback put earlier weights back
        model.adopt(trainer.finish(model.fitted))
    if model.n_clusters != model.n_components:
        # While a fit lasts, every component is a cluster.
        scores = _scores(model, inputs, trainer)
        if validation is not None:
            scores |= validation.scores(model, model.history.epoch[-1])
        _mend_history(listeners, float(model.n_clusters), scores)


def _introduce(listeners: keras.callbacks.CallbackList) -> None:
    """Names all callbacks to those that keep the others' states."""
    for callback in listeners.callbacks:
        if hasattr(callback, "accompany"):
            callback.accompany(listeners.callbacks)


def _mend_history(listeners: keras.callbacks.CallbackList, n_clusters: float, scores: dict) -> None:
    """Lets the last epoch of a fit tell of the clusters that it ended with."""
    for callback in listeners.callbacks:
        if isinstance(callback, keras.callbacks.History) and callback.epoch:
            for name, value in {"n_clusters": n_clusters, **scores}.items():
                callback.history[name][-1] = value


def _scores(model: FittedModel, inputs: Inputs, trainer: Trainer) -> dict[str, float]:
    """Agreement with known labels, where there are any."""
    if inputs.labels is not None:
        known, labels = inputs.labels, model.fitted.clusters[trainer.label_points(model.fitted)]
    elif inputs.labelled_dataset is not None:
        # One pass for both: the next one might come in another order.
        pairs = [(y.numpy(), model.predict_labels(x)) for x, y in inputs.labelled_dataset]
        known, labels = (np.concatenate(part) for part in zip(*pairs, strict=True))
        known = labels_or_none(known)
    else:
        return {}
    return {} if known is None else metrics.score_labels(known, labels)


def name_clusters(model: FittedModel, reference: Reference, inputs: Inputs) -> Fitted:
    """The parts of a model whose clusters are named after, and numbered as, a reference's.

    Where every cluster has kept its name, labels then mean what they meant. `inputs` are the raw
    points of the fit.
    """
    batches = [inputs.array] if inputs.array is not None else inputs.dataset
    shared = overlap(reference, model, batches, model.n_clusters)
    identity = follow(identity_of(reference), shared)
    return model.fitted.renamed(identity, model.config, model.seed)


def fit_endless(
    model: Any,
    x: Any,
    steps: int,
    epochs: range,
    forgetting: float,
    callbacks: Any,
    verbose: str | int,
    validation: Validation | None,
) -> keras.callbacks.History:
    """`DeepDPM.fit` on a stream that may have no end, every batch a `partial_fit`."""
    checks.integer(steps, "steps_per_epoch", minimum=1)
    if is_sequence(x):
        x = as_dataset(x, "x", endless=True)
    if not isinstance(x, tf.data.Dataset):
        wanted = "a tf.data.Dataset, PyDataset or generator where steps_per_epoch is given"
        checks.fail("x", type(x).__name__, wanted)
    taken = x.take(steps * len(epochs) + 1)
    stream = as_batches(taken)
    if stream.weighted is not None:
        checks.fail("x", "weights in a stream with steps_per_epoch", "points, which count alike")
    model.stream = EndlessStream(stream.batches, epochs.start)
    listeners = callback_list(model, callbacks, verbose, epochs.stop)
    if any(isinstance(each, keras.callbacks.BackupAndRestore) for each in listeners.callbacks):
        got = "a BackupAndRestore, which does not know how far a stream is"
        checks.fail("callbacks", got, "a tfdpm.callbacks.Checkpoint")
    _introduce(listeners)
    listeners.on_train_begin()
    model.stop_training = False
    logs: dict[str, float] = {}
    batches = iter(model.stream)
    for epoch in range(model.stream.first_epoch, epochs.stop):
        listeners.on_epoch_begin(epoch)
        listeners.on_train_batch_begin(0)
        epoch_batches = itertools.islice(batches, steps)
        if model.parts is None:
            # The first mixture is found on a whole epoch, as far as a start looks at points.
            model.partial_fit(first_points(epoch_batches, model.config.max_start_points))
        else:
            for batch in epoch_batches:
                model.partial_fit(batch.numpy(), forgetting=forgetting)
        logs = {"n_clusters": 0.0, "remembered_points": 0.0}
        if model.parts is not None:
            remembered = float(np.sum(model.fitted.state.soft.counts))
            logs = {"n_clusters": model.n_clusters, "remembered_points": remembered}
            logs |= {} if validation is None else validation.scores(model, epoch)
        listeners.on_train_batch_end(0, logs)
        listeners.on_epoch_end(epoch, logs)
        if model.stream.has_ended:
            read = f"ended after {model.stream.num_read} batches"
            warnings.warn(f"`x` {read}, and so the fit in epoch {epoch}.", stacklevel=2)
        if model.stop_training or model.stream.has_ended:
            break
    listeners.on_train_end(logs)
    return model.history


def first_points(batches: Iterable[tf.Tensor], most: int) -> np.ndarray:
    """The first batches of a stream, until there are `most` points or no more batches."""
    pieces, total = [], 0
    for batch in batches:
        pieces.append(batch.numpy())
        total += len(pieces[-1])
        if total >= most:
            break
    return np.concatenate(pieces)
