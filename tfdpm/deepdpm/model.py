"""`DeepDPM`, the Keras model: fits, learns batch by batch, and shows what it found."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.data.columns import Columns
from tfdpm.data.inputs import as_features
from tfdpm.data.sequences import first_batches
from tfdpm.data.streams import reading
from tfdpm.deepdpm.fitting import (
    EndlessStream,
    describe_given,
    fit_config,
    fit_endless,
    linked_rows,
    name_clusters,
    naming_lost_workers,
    table_of,
    train,
)
from tfdpm.deepdpm.garbage_collection import freeing_models
from tfdpm.deepdpm.inference import FittedModel
from tfdpm.deepdpm.strategy_scope import out_of_scope
from tfdpm.deepdpm.summary import summary_lines
from tfdpm.deepdpm.validation import as_validation, split_off
from tfdpm.features.apply_encoder import as_rows, check_point_shape, encode_inputs, takes_text
from tfdpm.interpret.edits import merge_clusters, split_cluster
from tfdpm.interpret.fitted import Fitted, slices
from tfdpm.interpret.identity import Reference, check_reference
from tfdpm.mixture.categories import draw_points
from tfdpm.progress.display import ending_displays
from tfdpm.training.online import learn_batch
from tfdpm.training.sources import source_of
from tfdpm.training.trainer import Trainer


@keras.saving.register_keras_serializable(package="tfdpm")
class DeepDPM(FittedModel):
    """Clustering network and subclustering networks under a Dirichlet-process Gaussian mixture.

    [DeepDPM]. `fit` finds the number of clusters; `predict` gives probabilities of new points.
    A cluster is one component of the mixture, or several without a valley of density between
    them, unless `config.shape` is "gaussian".

    Attributes:
        columns: `tfdpm.data.Columns` of the frame of the fit: `columns.features` names the numbers
            of a point, as which arrays and exported models take categories.
        history: Keras `History`: loss, subcluster_loss, n_clusters, n_components, proposed and
            accepted moves, and nmi, ari, acc where labels were given. Components are joined when
            the fit ends: of clusters the last epoch tells, the others of components.
        trainer: what the present fit needs; `None` outside of fits.
        stream: how far the present fit on a stream without an end is; `None` outside of such fits.

    Args:
        config: a `DeepDPMConfig`, one of the names "default", "paper", "official", or `None`.
        seed: random seed; the same seed on the same machine gives the same model.
        encoder: Keras model from raw points to the rows that are clustered; it is applied, saved
            and exported, not trained. `None` where points are rows already.
        features: how points become rows, in words, for `features_` and the summary.

    Examples:
        >>> model = tfdpm.DeepDPM(seed=0)
        >>> model.fit(x)
        >>> labels = model.predict_labels(new_x)
    """

    trainer: Trainer | None = None
    stream: EndlessStream | None = None

    @freeing_models()
    @out_of_scope()
    def fit(
        self,
        x,
        y=None,
        batch_size: int | None = None,
        epochs: int | None = None,
        verbose: str | int = "auto",
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: None = None,
        sample_weight=None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
        *,
        must_link: Any = None,
        cannot_link: Any = None,
        reference: Reference | None = None,
        forgetting: float = 0.0,
    ) -> keras.callbacks.History:
        """Finds K and trains; a fitted or loaded model goes on from where it is.

        Args:
            x: `[N, D]` array-like, tensor, `(x, y)` or `(x, y, weights)`; a `tf.data.Dataset`,
                `PyDataset`, `DataLoader` or generator of these; or a frame, whose columns of text
                and their categories the model keeps, see `columns`. A stream of few values is read
                once and held in memory.
            y: `[N]` labels, only for the scores in the history.
            batch_size: overrides the configuration's; ignored for streams that are not held, which
                have their own.
            epochs: most epochs, overrides the configuration's. As everywhere in Keras, counted
                from `initial_epoch` 0.
            verbose: 0 silent, 1 or `"auto"` a progress bar, 2 a line per epoch.
            callbacks: any Keras callbacks; they see continuous epochs.
            validation_split: share of the points, the last ones, that is kept apart as
                `validation_data`; `labels_` are of the others.
            validation_data: points, or `(x, y)`, that are only scored, as `evaluate` does, after
                each epoch: `val_log_density`, `val_nmi`, `val_ari` and `val_acc` in the logs.
            shuffle: accepted as everywhere in Keras: steps learn from the points of an array in
                random order, and `labels_` are in the order of `x`, whatever it says.
            class_weight: `None`; there are no classes.
            sample_weight: `[N]` non-negative weights of the points, unless `x` brings them. K is
                sought among those that have any; where they are more than `max_start_points`, heavy
                ones rather than light.
            initial_epoch: number of the first epoch.
            steps_per_epoch: batches of a `tf.data.Dataset`, `PyDataset` or generator that make up
                an epoch. It may have no end then, and every batch is a `partial_fit`.
            validation_steps: batches of `validation_data` that are scored; `None` for all.
            validation_batch_size: points scored at once; chosen when `None`.
            validation_freq: number of epochs between two scores of `validation_data`.
            must_link: `[M, 2]` pairs of rows of `x`, in memory, in one cluster when the fit
                ends; `None` for none. K is sought without them. Then components that hold linked
                rows are joined, whatever lies between them.
            cannot_link: `[M, 2]` pairs of rows that are then in two clusters: components that hold
                both are split between them. `labels_` respect every pair, or an error names those
                that cannot be respected.
            reference: an older model of data like these, whose clusters' names are kept:
                `ids_` holds them, `identity_` what was born, died, split or merged.
            forgetting: see `partial_fit`; only with `steps_per_epoch`.

        Returns:
            The Keras `History`, also kept as `model.history`.

        Raises:
            ValueError, TypeError: naming the argument, what came and what was wanted.
        """
        self._check_trainable()
        checks.boolean(shuffle, "shuffle")
        if class_weight is not None:
            got = "weights of classes, which clusters do not know"
            checks.fail("class_weight", got, "None; points have a `sample_weight`")
        known = self._known_columns(reference)
        validation, pace = None, (validation_freq, validation_batch_size)
        if validation_data is not None:
            given = first_batches(validation_data, validation_steps, "validation_steps")
            validation = as_validation(given, *pace, known, self.encoder)
        if steps_per_epoch is not None:
            given = {"sample_weight": sample_weight, "reference": reference}
            given["validation_split"] = validation_split or None
            for name, value in given.items():
                if value is not None:
                    wanted = "None with steps_per_epoch, where every batch is a `partial_fit`"
                    checks.fail(name, f"a {type(value).__name__}", wanted)
            linked_rows(must_link, cannot_link, None, self.config)
            epochs = self.config.epochs if epochs is None else epochs
            numbers = steps_per_epoch, range(initial_epoch, epochs), forgetting
            try:
                with ending_displays():
                    return fit_endless(self, x, *numbers, callbacks, verbose, validation)
            finally:
                self.stream = None
        raw = as_features(x, y, columns=known, takes_text=takes_text(self.encoder)).in_memory()
        raw.warn_of_order()
        if validation_split and validation is None:
            raw, validation, sample_weight = split_off(raw, validation_split, *pace, sample_weight)
        inputs = encode_inputs(raw, self.encoder)
        if reference is not None:
            check_reference(reference, self)
        given = {"batch_size": batch_size, "epochs": epochs}
        config = fit_config(self.config, inputs.num_points, **given)
        first = checks.integer(initial_epoch, "initial_epoch", minimum=0)
        source = source_of(inputs, sample_weight)
        self.trainer = Trainer(
            source, config, self.seed, table_of(inputs, self.encoder, inputs.columns)
        )
        num_points = None if inputs.array is None else len(inputs.array)
        linked = linked_rows(must_link, cannot_link, num_points, config)
        self.trainer.linked = linked
        self.trainer.start = inputs.start
        self.trainer.given = describe_given(config, sample_weight, reference, linked)
        self.memory = None
        try:
            with naming_lost_workers(self), reading(), ending_displays():
                train(self, inputs, callbacks, verbose, first, validation)
        finally:
            self.trainer = None
        if reference is not None:
            self.adopt(name_clusters(self, reference, raw))
        return self.history

    def _check_trainable(self) -> None:
        if not self.trainable:
            checks.fail("trainable", False, "True: a fit changes the networks")

    def _known_columns(self, reference: Any = None) -> Columns | None:
        """Columns by which frames are read: its own, or those of the reference of a first fit."""
        if self.parts is not None or self.memory is not None:
            return self.columns
        found = getattr(reference, "columns", Columns())
        return found if found.names else None

    @freeing_models()
    @out_of_scope()
    def partial_fit(self, x, y=None, *, forgetting: float = 0.0) -> DeepDPM:
        """Takes one more batch into account; the first two points make a fit.

        1. Past statistics are multiplied by `1 - forgetting`, the batch's, weighted by its
           responsibilities under the mixture, are added, and the mixture is estimated anew. With
           `forgetting` 0 all points count alike; otherwise the statistics remember about
           `1 / forgetting` batches. Points that no cluster would produce once in a thousand times
           wait.
        2. A sample of the points is remembered, of at most `max_start_points`, in which forgotten
           points become as rare as in the statistics. K is that of a fit of this sample. It is
           fitted anew when as many points came as it stood for at the last fit, when more points
           wait than there should be, or when points vary in directions that the features do not
           show, such as a column that was constant. So a first batch need not show anything yet.
           A sample as large as at the last fit is only fitted anew where moves change its clusters.
        3. Clusters that are forgotten, down to fewer than D + 2 points, die.
        4. Where the networks no longer know the mixture to `settled_loss`, they learn from the
           batch and from remembered points, so that clusters which it does not show stay.

        Clusters that are the same keep their names in `ids_`; `identity_` says what the last fit
        of the sample made of them, and `tree_` is that of this fit. A saved model holds the sample,
        and goes on as if never saved. A model that was fitted by `fit` remembers points drawn from
        its mixture instead, and keeps its features.

        Args:
            x: `[B, D]` points, as for `fit`, any number of them; each batch of a `tf.data.Dataset`
                counts as one. Where the first calls bring fewer than two points (or than
                `config.start_clusters`), these are held back, and the model is not fitted yet. The
                first frame must show all categories.
            y: accepted as everywhere in scikit-learn; not used.
            forgetting: share of the past that each batch replaces, in [0, 1).

        Returns:
            The model itself; `labels_` are the last batch's.
        """
        self._check_trainable()
        forgetting = checks.number(forgetting, "forgetting", minimum=0.0)
        if forgetting >= 1.0:
            checks.fail("forgetting", forgetting, "less than 1")
        given = {"minimum_points": 1, "takes_text": takes_text(self.encoder)}
        raw = as_features(x, y, columns=self._known_columns(), **given)
        if raw.weights is not None or raw.weighted_dataset is not None:
            checks.fail("x", "points with weights", "points alone, which count alike")
        if raw.array is None:
            for batch in raw.dataset:
                self.partial_fit(batch.numpy(), forgetting=forgetting)
            return self
        inputs = encode_inputs(raw, self.encoder)
        if self.parts is not None:
            self.check_points(inputs.feature_shape)
        elif self.memory is not None:
            check_point_shape(inputs.feature_shape, int(np.prod(self.point_shape)))
        else:
            self.point_shape, self.columns = inputs.feature_shape, inputs.columns
        if not self.compiled:
            self.compile()
        given = (as_rows(inputs.array), forgetting, self.create_networks, self.config, self.seed)
        table = table_of(inputs, self.encoder, self.columns)
        parts, self.memory = learn_batch(self.parts, self.memory, *given, table=table)
        if parts is not None:
            self.adopt(parts)
        return self

    def merge(self, first: int, second: int, *others: int, x: Any = None) -> int:
        """Makes one cluster of two or more, whatever the valleys between them.

        Components stay as they are, so `predict` adds up the probabilities of the old clusters. The
        larger one's name stays in `ids_`, and `tree_` tells of the merge. A further `fit`, and a
        search of `partial_fit`, find clusters anew.

        Args:
            first, second, *others: numbers of different clusters, in `[0, n_clusters)`.
            x: points of the fit, as for `predict`, for `labels_` that equal `predict_labels(x)`.
                With `None` they are the old ones, merged: another cluster's points at its border
                with both may now be likelier members.

        Returns:
            The number of the new cluster; clusters are numbered by their first components.
        """
        most = self.fitted.num_clusters - 1
        chosen = [
            checks.integer(each, "clusters", minimum=0, maximum=most)
            for each in (first, second, *others)
        ]
        if len(set(chosen)) < len(chosen):
            checks.fail("clusters", chosen, "different ones")
        component = int(np.flatnonzero(self.fitted.clusters == chosen[0])[0])
        self._edit(merge_clusters(self.fitted, chosen), None if x is None else self.embed(x))
        return int(self.fitted.clusters[component])

    def split(self, k: int, x: Any = None) -> tuple[int, int]:
        """Makes two clusters of one; names and `tree_` follow, as after `merge`.

        Components part along the deepest valley between them. A single component is split into
        the two Gaussians that fit its points best, and the clustering network begins anew.

        Args:
            k: number of the cluster, in `[0, n_clusters)`.
            x: points of the fit, as for `predict`, for `labels_` that equal `predict_labels(x)`.
                With `None` a component is split by what the model knows of them (a sample, or its
                halves after loading), and leaves `labels_` unknown.

        Returns:
            The numbers of the two clusters.
        """
        k = checks.integer(k, "k", minimum=0, maximum=self.fitted.num_clusters - 1)
        features = None if x is None else self.embed(x)
        known = self._remembered() if features is None else features
        edited, numbers = split_cluster(self.fitted, k, known, self.config, self.seed)
        self._edit(edited, features)
        return numbers

    def _remembered(self) -> np.ndarray:
        """Features `[n, D]` of the sample of the fit, or else points of the mixture."""
        search = self.fitted.result.search
        if search is not None:
            return np.asarray(search.features, np.float32)
        generator = np.random.default_rng([self.seed, self.n_components])
        return draw_points(
            self.mixture_,
            self.config.max_start_points,
            generator,
            self.fitted.state.categories,
        )

    def _edit(self, edited: Fitted, features: np.ndarray | None) -> None:
        """Takes over edited clusters, with labels of the points of the fit if they are given."""
        if features is not None:
            edited = edited.replace(labels=edited.labels_of(slices(features)))
        self.adopt(edited)

    def summary(self, *args, print_fn: Callable[[str], Any] | None = None, **kwargs) -> None:
        """Writes Keras's summary, then K, sizes, prior and moves.

        Args:
            *args: as for `keras.Model.summary`.
            print_fn: called with each line; `None` for standard output.
            **kwargs: as for `keras.Model.summary`.
        """
        super().summary(*args, print_fn=print_fn, **kwargs)
        write = print_fn or (lambda line: sys.stdout.write(line + "\n"))
        for line in summary_lines(self):
            write(line)

    def plot(
        self,
        x: Any = None,
        *,
        projection: str = "auto",
        decision_regions: bool = True,
        max_points: int = 5_000,
        seed: int = 0,
        ax: Any = None,
    ) -> Any:
        """Draws points, the ellipses of the components and the regions of the clusters.

        Args:
            x: points, as for `predict`; `None` for (a sample of) those of the fit, which a loaded
                model no longer has.
            projection: of points with more than two columns: "pca" for the principal axes of the
                model's features, "lda" for the linear discriminants in whose plane clusters
                overlap least, "umap" for a layout by nearest neighbours; "auto" for the plane
                that keeps clusters apart, or the layout where none does.
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

        options = {"projection": projection, "decision_regions": decision_regions, "seed": seed}
        return viz.plot(self, self._shown(x), max_points=max_points, ax=ax, **options)

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
        options = {"per_cluster": per_cluster, "order": order, "max_clusters": max_clusters}
        scores = (self.predict(points), self.score_samples(points))
        return viz.plot_clusters(images, *scores, **options)

    def plot_history(self) -> Any:
        """Draws how K was found, move by move and epoch by epoch, losses, and scores if labelled.

        Returns:
            `[panels]` matplotlib axes.

        Raises:
            RuntimeError: if the model was not trained since it was made or loaded.
            ImportError: without matplotlib, naming the extra that brings it.
        """
        from tfdpm import viz

        return viz.plot_history(self)

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
            config: of the filmed fit. `None`: see `tfdpm.viz.animation_config`: the networks search
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

        return viz.animate(self, path, self._shown(x), config=config, epochs=epochs, **options)

    def report(
        self,
        path: str | os.PathLike[str] = "report.html",
        x: Any = None,
        y: Any = None,
        images: Any = None,
        *,
        texts: Sequence[str] | None = None,
        names: Mapping[int, str] | Sequence[str] | None = None,
        title: str = "Clusters",
        command: str | None = None,
        seconds: float | None = None,
        seed: int = 0,
        verbose: str | int = "auto",
    ) -> Path:
        """Writes one HTML page about the fit that works without a network.

        Args:
            path: of the page.
            x: points, as for `predict`; `None` for (a sample of) those of the fit.
            y: `[N]` known labels, which only score; unless `x` brings them.
            images: `[N, H, W]`, `[N, H, W, C]` or `[N, side * side]`, one for each point: shown
                where the map is pointed at, and as typical and doubtful members.
            texts: `[N]` strings, one for each point: shown as members, with the words that tell
                their cluster apart. `None` where the points are texts already, or have none.
            names: of clusters, such as `{3: "shoes"}` or one for each; they stand on the page, in
                its tables and in the labels that it offers for download.
            title: heading of the page.
            command: what made the model, to stand on the page.
            seconds: that the fit took, to stand on the page.
            seed: of the samples.
            verbose: 0 silent, else a bar in a terminal or a notebook.

        Returns:
            The path.

        Raises:
            ImportError: without plotly, naming the extra that brings it.
        """
        from tfdpm import report

        options = {"title": title, "command": command, "seconds": seconds, "seed": seed}
        options |= {"texts": texts, "names": names, "verbose": verbose}
        return report.write_report(self, path, self._shown(x), y, images, **options)

    def _shown(self, x: Any) -> Any:
        """`x`, or the sample of the fit; its inputs are rows as they left the encoder, if any."""
        if x is not None:
            return x
        from tfdpm import viz

        search = self.fitted.result.search
        if search is None:
            checks.fail("x", "None, of a model without the points of its fit", "points")
        features = np.asarray(search.features)
        responsibilities, _ = self.fitted.respond(tf.constant(features, tf.float32))
        shape = self.point_shape if self.encoder is None else None
        return viz.PointSample.from_features(features, responsibilities, self.preprocessing_, shape)
