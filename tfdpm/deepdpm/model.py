"""`DeepDPM`, the Keras model: fits, learns batch by batch, and shows what it found."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks, metrics
from tfdpm.config import DeepDPMConfig
from tfdpm.data.inputs import Inputs, as_features
from tfdpm.data.streams import as_batches
from tfdpm.deepdpm.inference import FittedModel
from tfdpm.deepdpm.summary import summarize
from tfdpm.features.apply_encoder import as_rows, encode_inputs
from tfdpm.interpret.identity import Reference, check_reference, follow, identity_of, overlap
from tfdpm.moves.transition import WHOLE, Transition
from tfdpm.training.online import learn_batch
from tfdpm.training.progress_bar import callback_list
from tfdpm.training.sources import source_of
from tfdpm.training.trainer import EpochInfo, Trainer

__all__ = ["DeepDPM"]

_MOST_PLOTTED = 5_000
_FILMED = 3_000


@keras.saving.register_keras_serializable(package="tfdpm")
class DeepDPM(FittedModel):
    """Clustering network and subclustering networks under a Dirichlet-process Gaussian mixture.

    [DeepDPM]. `fit` finds the number of clusters; `predict` gives responsibilities of new points.

    Attributes (after `fit`):
        n_clusters: int, K.
        labels_: `[N]` int64, clusters of the training points; equal to `predict_labels(x)`.
        cluster_sizes_: `[K]` int64.
        means_: `[K, D]` and covariances_: `[K, D, D]` in raw units; weights_: `[K]`.
        history: Keras `History`: loss, subcluster_loss, n_clusters, proposed and accepted moves,
            and nmi, ari, acc where labels were given.
        trainer: what the present fit needs; `None` outside of fits.

    Args:
        config: a `DeepDPMConfig`, one of the names "default", "paper", "official", or `None`.
        seed: random seed; the same seed on the same machine gives the same model.
        encoder: Keras model from raw points to the rows that are clustered; it is applied, saved
            and exported, not trained. `None` where points are rows already.
        features: how points become rows, in words, for `features_` and the summary.

    Example:
        >>> model = tfdpm.DeepDPM(seed=0)
        >>> model.fit(x)
        >>> labels = model.predict_labels(new_x)
    """

    trainer: Trainer | None = None

    def fit(
        self,
        x,
        y=None,
        *,
        batch_size: int | None = None,
        epochs: int | None = None,
        verbose: str | int = "auto",
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        initial_epoch: int = 0,
        sample_weight=None,
        reference: Reference | None = None,
        steps_per_epoch: int | None = None,
        forgetting: float = 0.0,
    ) -> keras.callbacks.History:
        """Finds K and trains; a fitted or loaded model goes on from where it is.

        Args:
            x: `[N, D]` array-like, frame, tensor, `(x, y)` pair, or `tf.data.Dataset`.
            y: `[N]` labels, only for the scores in the history.
            batch_size: overrides the configuration's; ignored for streams, which have their own.
            epochs: most epochs, overrides the configuration's. As everywhere in Keras, counted
                from `initial_epoch` 0.
            verbose: 0 silent, 1 or `"auto"` a progress bar, 2 a line per epoch.
            callbacks: any Keras callbacks; they see continuous epochs.
            initial_epoch: number of the first epoch.
            sample_weight: `[N]` non-negative weights of the points. K is sought among those that
                have any; where they are more than `max_start_points`, heavy ones rather than light.
            reference: an older model of data like these, whose clusters' names are kept:
                `ids_` holds them, `identity_` what was born, died, split or merged.
            steps_per_epoch: batches of a `tf.data.Dataset` that make up an epoch. It may have no
                end then, and every batch is a `partial_fit`.
            forgetting: see `partial_fit`; only with `steps_per_epoch`.

        Returns:
            The Keras `History`, also kept as `model.history`.

        Raises:
            ValueError, TypeError: naming the argument, what came and what was wanted.
        """
        if steps_per_epoch is not None:
            return self._fit_endless(
                x,
                steps_per_epoch=steps_per_epoch,
                forgetting=forgetting,
                epochs=epochs,
                callbacks=callbacks,
                verbose=verbose,
                first=initial_epoch,
            )
        raw = as_features(x, y)
        inputs = encode_inputs(raw, self.encoder)
        if reference is not None:
            check_reference(reference, self)
        config = self._fit_config(inputs, batch_size, epochs)
        first = checks.integer(initial_epoch, "initial_epoch", minimum=0)
        self.trainer = Trainer(source_of(inputs, sample_weight), config, self.seed)
        try:
            self._train(self.trainer, inputs, callbacks, verbose, first)
        finally:
            self.trainer = None
        if reference is not None:
            self._identify(reference, raw)
        return self.history

    def _fit_config(self, inputs: Inputs, batch_size, epochs) -> DeepDPMConfig:
        given = {"batch_size": batch_size, "epochs": epochs}
        changes = {name: value for name, value in given.items() if value is not None}
        config = self.config.replace(**changes)
        if inputs.num_points is not None and config.start_clusters > inputs.num_points:
            name = "initial_clusters" if config.fixed_k is None else "fixed_k"
            checks.fail(name, config.start_clusters, f"at most the {inputs.num_points} points")
        return config

    def _train(
        self, trainer: Trainer, inputs: Inputs, callbacks, verbose: str | int, first: int
    ) -> None:
        """Epochs with their callbacks, until K is stable or someone stops the training."""
        if not self.compiled:
            self.compile()
        if self.parts is None:
            self.point_shape = inputs.feature_shape
            self.adopt(trainer.begin(self.create_networks))
        else:
            self.check_points(inputs.feature_shape)
            self.adopt(trainer.resume(self.parts, is_same_fit=first > 0))
        trainer.start_epoch = self.fitted.state.epoch
        most = trainer.config.epochs
        listeners = callback_list(self, callbacks, verbose, most)
        for callback in listeners.callbacks:
            if hasattr(callback, "accompany"):
                callback.accompany(listeners.callbacks)
        listeners.on_train_begin()
        # Keras's BackupAndRestore asks for its epoch through this attribute.
        first = trainer.begin_epochs(self._initial_epoch or first)
        self.stop_training = False
        logs: dict[str, float] = {}
        for epoch in range(first, most):
            trainer.set_learning_rates(self.fitted)
            listeners.on_epoch_begin(epoch)
            listeners.on_train_batch_begin(0)
            parts, info = trainer.step(self.fitted)
            self.adopt(parts)
            logs = {**_logs(info, self.n_clusters), **self._scores(inputs, trainer)}
            listeners.on_train_batch_end(0, logs)
            listeners.on_epoch_end(epoch, logs)
            if self.stop_training or trainer.is_over(self.fitted, info):
                break
        self.adopt(trainer.finish(self.fitted))
        listeners.on_train_end(logs)
        if self.fitted.result.labels is None:  # a callback put earlier weights back
            self.adopt(trainer.finish(self.fitted))

    def _scores(self, inputs: Inputs, trainer: Trainer) -> dict[str, float]:
        """Agreement with known labels, where there are any."""
        if inputs.labels is not None:
            known, labels = inputs.labels, trainer.label_points(self.fitted)
        elif inputs.labelled_dataset is not None:
            # One pass for both: the next one might come in another order.
            pairs = [(y.numpy(), self.predict_labels(x)) for x, y in inputs.labelled_dataset]
            known, labels = (np.concatenate(part) for part in zip(*pairs, strict=True))
        else:
            return {}
        return {
            "nmi": metrics.nmi(known, labels),
            "ari": metrics.ari(known, labels),
            "acc": metrics.clustering_accuracy(known, labels),
        }

    def _identify(self, reference: Reference, inputs: Inputs) -> None:
        """Names the clusters after those of a reference, and numbers them by their names.

        Where every cluster has kept its name, labels then mean what they meant.
        """
        batches = [inputs.array] if inputs.array is not None else inputs.dataset
        shared = overlap(reference, self, batches, self.n_clusters)
        identity = follow(identity_of(reference), shared)
        order = np.argsort(identity.ids)
        transition = Transition(np.stack([order, order], axis=1), np.full(len(order), WHOLE))
        parts = self.fitted.apply(transition, (), self.config, self.seed)
        identity = dataclasses.replace(identity, ids=tuple(sorted(identity.ids)))
        labels = np.argsort(order)[parts.result.labels]
        self.adopt(parts.replace(identity=identity, labels=labels))

    def partial_fit(self, x, y=None, *, forgetting: float = 0.0) -> DeepDPM:
        """Takes one more batch into account; the first call is a `fit`.

        1. Past statistics are multiplied by `1 - forgetting`, the batch's, weighted by its
           responsibilities under the mixture, are added, and the mixture is estimated anew. With
           `forgetting` 0 all points count alike; otherwise the statistics remember about
           `1 / forgetting` batches.
        2. Points that no cluster would produce once in a thousand times wait, for at most 8
           batches and at most 4,096 of them. A group of them becomes a cluster where the Hastings
           ratio of splitting it off ([DeepDPM] eq. 2) says so; those that waited longest go to
           their nearest cluster.
        3. Neighbours merge by the same ratio, and clusters that are forgotten, down to fewer than
           D + 2 points, die.
        4. The networks learn from the batch, and from points drawn from the mixture, so that
           clusters which the batch does not show are not unlearned.

        Args:
            x: `[B, D]` points, as for `fit`; at least 2 in the first call, any number later.
            y: accepted as everywhere in scikit-learn; not used.
            forgetting: share of the past that each batch replaces, in [0, 1).

        Returns:
            The model itself; `labels_` are the batch's.
        """
        forgetting = checks.number(forgetting, "forgetting", minimum=0.0)
        if forgetting >= 1.0:
            checks.fail("forgetting", forgetting, "less than 1")
        if self.parts is None:
            self.fit(x, y, verbose=0)
            return self
        inputs = encode_inputs(as_features(x, y, minimum_points=1), self.encoder)
        if inputs.array is None:
            checks.fail("x", "a stream", "one batch in memory; or fit(..., steps_per_epoch=n)")
        self.check_points(inputs.feature_shape)
        if not self.compiled:
            self.compile()
        features = self.preprocessing_.transform(as_rows(inputs.array))
        self.adopt(learn_batch(self.fitted, features, forgetting, self.config, self.seed))
        return self

    def _fit_endless(
        self, x, *, steps_per_epoch: int, forgetting: float, epochs, callbacks, verbose, first: int
    ):
        """`fit` on a stream that may have no end: `steps_per_epoch` calls of `partial_fit` each."""
        steps = checks.integer(steps_per_epoch, "steps_per_epoch", minimum=1)
        if not isinstance(x, tf.data.Dataset):
            checks.fail("x", type(x).__name__, "a tf.data.Dataset where steps_per_epoch is given")
        epochs = self.config.epochs if epochs is None else epochs
        batches = iter(as_batches(x.take(steps * (epochs - first) + 1)).batches)
        listeners = callback_list(self, callbacks, verbose, epochs)
        listeners.on_train_begin()
        self.stop_training = False
        logs: dict[str, float] = {}
        for epoch in range(first, epochs):
            listeners.on_epoch_begin(epoch)
            listeners.on_train_batch_begin(0)
            if self.parts is None:
                # The first mixture is found on a whole epoch, as far as a start looks at points.
                self.partial_fit(_first_points(batches, steps, self.config.max_start_points))
            else:
                for batch in _at_most(batches, steps):
                    self.partial_fit(batch.numpy(), forgetting=forgetting)
            remembered = float(np.sum(self.fitted.state.soft.counts))
            logs = {"n_clusters": self.n_clusters, "remembered_points": remembered}
            listeners.on_train_batch_end(0, logs)
            listeners.on_epoch_end(epoch, logs)
            if self.stop_training:
                break
        listeners.on_train_end(logs)
        return self.history

    def summary(self, *args, print_fn: Callable[[str], Any] | None = None, **kwargs) -> None:
        """Writes Keras's summary, then K, sizes, prior and moves.

        Args:
            *args: as for `keras.Model.summary`.
            print_fn: called with each line; `None` for standard output.
            **kwargs: as for `keras.Model.summary`.
        """
        super().summary(*args, print_fn=print_fn, **kwargs)
        write = print_fn or (lambda line: sys.stdout.write(line + "\n"))
        for line in summarize(self.parts, self.features_):
            write(line)

    def plot(
        self,
        x: Any = None,
        *,
        projection: str = "auto",
        decision_regions: bool = True,
        max_points: int = _MOST_PLOTTED,
        seed: int = 0,
        ax: Any = None,
    ) -> Any:
        """Draws points, the ellipses of the components and the regions of the clusters.

        Args:
            x: points, as for `predict`; `None` for (a sample of) those of the fit, which a loaded
                model no longer has.
            projection: of points with more than two columns: "pca" for the principal axes of the
                model's features, "lda" for the linear discriminants of the clusters, which show
                them as far apart as a plane can; "auto" for "lda" where there are three clusters
                or more.
            decision_regions: whether to colour the background: by the clustering network for two
                columns, else by the mixture as seen in the plane.
            max_points: most points drawn.
            seed: of the sample.
            ax: matplotlib axes; new ones if `None`.

        Returns:
            The matplotlib axes.

        Raises:
            ImportError: without matplotlib, naming the extra that brings it.
        """
        from tfdpm import viz

        view = (
            self._fitted_view()
            if x is None
            else viz.look(self, x, max_points=max_points, seed=seed)
        )
        view = view.thinned(max_points, seed)
        return viz.plot(
            self, view, projection=projection, decision_regions=decision_regions, axes=ax
        )

    def plot_clusters(
        self,
        images: Any,
        x: Any = None,
        *,
        per_cluster: int = 10,
        order: str = "typical",
        max_clusters: int = 40,
    ) -> Any:
        """Draws members of each cluster in a row, the largest cluster first.

        Args:
            images: `[N, H, W]`, `[N, H, W, C]`, or `[N, side * side]` grey levels.
            x: `[N, ...]` the same points as the model takes them; `None` where those are the
                images.
            per_cluster: images in a row.
            order: "typical": the densest part of the cluster; "doubtful": members whose
                responsibility is smallest.
            max_clusters: most rows.

        Returns:
            `[rows, per_cluster]` matplotlib axes.

        Raises:
            ImportError: without matplotlib, naming the extra that brings it.
        """
        from tfdpm import viz

        points = images if x is None else x
        return viz.plot_clusters(
            images,
            self.predict(points),
            self.score_samples(points),
            per_cluster=per_cluster,
            order=order,
            max_clusters=max_clusters,
        )

    def plot_history(self) -> Any:
        """Draws K with its accepted moves, the losses, and scores where labels were given.

        Returns:
            `[panels]` matplotlib axes.

        Raises:
            RuntimeError: if the model was not trained since it was made or loaded.
            ImportError: without matplotlib, naming the extra that brings it.
        """
        from tfdpm import viz

        history = getattr(self, "history", None)
        if history is None:
            checks.fail("history", "a model that was not trained here", "a fit first", RuntimeError)
        return viz.plot_history(history.history)

    def animate(
        self,
        path: str | os.PathLike[str],
        x: Any = None,
        *,
        config: Any = None,
        epochs: int | None = None,
        **options: Any,
    ) -> Path:
        """Fits a model like this one once more and writes how it went as a GIF.

        Decision regions, points and ellipses, a frame per epoch. The model itself stays as it is.
        To film the very fit that makes a model, give it `tfdpm.callbacks.Animation`.

        Args:
            path: of the file, ending in `.gif`.
            x: points, as for `fit`; `None` for a sample of those of the fit.
            config: of the filmed fit. `None`: see `tfdpm.viz.film_config`: the networks search
                alone, from three clusters, because the default finds K before the first epoch,
                where there would be nothing to see.
            epochs: most epochs.
            **options: of `tfdpm.callbacks.Animation`: `every_epochs`, `frames_per_second`,
                `inches`.

        Returns:
            The path.

        Raises:
            ImportError: without matplotlib, naming the extra that brings it.
        """
        from tfdpm import viz

        points = x
        if x is None:  # what an encoder made of them, where there is one: the film needs none
            points = self._fitted_view().inputs
            points = points[:: -(-len(points) // _FILMED)]
        return viz.animate(self, path, points, config=config, epochs=epochs, **options)

    def report(
        self,
        path: str | os.PathLike[str] = "report.html",
        x: Any = None,
        y: Any = None,
        images: Any = None,
        *,
        title: str = "Clusters",
        command: str | None = None,
        seconds: float | None = None,
        seed: int = 0,
    ) -> Path:
        """Writes one HTML page about the fit that works without a network.

        Args:
            path: of the page.
            x: points, as for `predict`; `None` for (a sample of) those of the fit.
            y: `[N]` known labels, which only score; unless `x` brings them.
            images: `[N, H, W]`, `[N, H, W, C]` or `[N, side * side]`, one for each point: shown
                where the map is pointed at, and as typical and doubtful members.
            title: heading of the page.
            command: what made the model, to stand on the page.
            seconds: that the fit took, to stand on the page.
            seed: of the samples.

        Returns:
            The path.

        Raises:
            ImportError: without plotly, naming the extra that brings it.
        """
        from tfdpm import report

        return report.write_report(
            self,
            path,
            self._points_to_show(x),
            y,
            images,
            title=title,
            command=command,
            seconds=seconds,
            seed=seed,
        )

    def _points_to_show(self, x: Any) -> Any:
        """`x`, or where it is `None` the sample of the fit, as raw rows."""
        if x is not None:
            return x
        if self.encoder is not None:
            checks.fail("x", "None, of a model with an encoder inside", "the points of the fit")
        rows = self._fitted_view().inputs
        return rows.reshape(len(rows), *self.point_shape)

    def _fitted_view(self) -> Any:
        """The sample of the fit; its inputs are rows as they came out of the encoder, if any."""
        from tfdpm import viz

        search = self.fitted.result.search
        if search is None:
            checks.fail("x", "None, of a model without the points of its fit", "points")
        raw = self.preprocessing_.inverse(np.asarray(search.features, np.float64))
        features = np.asarray(search.features, np.float32)
        responsibilities = self.fitted.networks.responsibilities(
            tf.constant(features), self.n_clusters
        )
        return viz.View(np.arange(len(raw)), raw, features, responsibilities, None, int(len(raw)))


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
