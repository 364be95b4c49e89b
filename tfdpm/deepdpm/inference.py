"""What a fitted `DeepDPM` answers: clusters, densities, outliers, and how they came about."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfdpm import checks, metrics
from tfdpm.data.inputs import Inputs, as_weights, labels_or_none
from tfdpm.data.sequences import first_batches
from tfdpm.deepdpm.reading import ROWS_AT_ONCE, read_features
from tfdpm.deepdpm.serialization import SerializableModel
from tfdpm.features.apply_encoder import check_point_shape, encode_rows, inputs_for
from tfdpm.features.preprocessing import Preprocessing
from tfdpm.interpret.cut import coarser_clusters, finer_labels
from tfdpm.interpret.drift import Drift, measure_drift
from tfdpm.interpret.evidence import Evidence, weigh_evidence
from tfdpm.interpret.genealogy import Genealogy
from tfdpm.interpret.hierarchy import Level, joined_below, list_levels
from tfdpm.interpret.identity import Identity
from tfdpm.interpret.judges import split_judge
from tfdpm.interpret.stability import Stability, k_posterior, measure_stability, run_chains
from tfdpm.mixture import niw
from tfdpm.mixture.parameters import MixtureParameters, pooled_moments
from tfdpm.moves.ledger import MoveCounts, Proposal
from tfdpm.progress.display import as_verbose
from tfdpm.shapes.groups import ComponentGroups
from tfdpm.training.progress_bar import callback_list

_K_POSTERIOR_CHAINS = 8


class FittedModel(SerializableModel):
    """A `DeepDPM` that was fitted or loaded, as a thing to ask."""

    def call(self, inputs):
        """Probabilities of the clusters `[B, n_clusters]` float32 of raw points `[B, ...]`."""
        state = self.fitted.state
        logits = self.clustering(
            state.preprocessing(encode_rows(inputs, self.encoder)),
            num_components=tf.constant(state.num_components),
        )
        of_components = tf.nn.softmax(logits[:, : state.num_components])
        if self.n_clusters == self.n_components:
            return of_components
        return tf.linalg.matmul(of_components, self.fitted.membership)

    def predict(
        self,
        x,
        batch_size: int | None = None,
        verbose: str | int = 0,
        steps: int | None = None,
        callbacks: Any = None,
    ) -> np.ndarray:
        """Probabilities of the clusters of raw points, each the sum over its components.

        Args:
            x: as for `fit`; of streams an end is not needed where `steps` are given.
            batch_size: rows at once; chosen when `None`.
            verbose: accepted as Keras's `predict` does; nothing is printed.
            steps: number of batches; `None` for all.
            callbacks: Keras callbacks, which are told of each batch.

        Returns:
            `[N, n_clusters]` float32, rows sum to one.
        """
        as_verbose(verbose)
        x = first_batches(x, steps)
        batch_size = ROWS_AT_ONCE if batch_size is None else batch_size
        rows = checks.integer(batch_size, "batch_size", minimum=1)
        listeners = callback_list(self, callbacks, 0, 1, keeps_history=False)
        found: list[np.ndarray] = []
        listeners.on_predict_begin()
        for features in itertools.islice(self._features_of(x, rows), steps):
            listeners.on_predict_batch_begin(len(found))
            found.append(self.fitted.respond(features)[0])
            listeners.on_predict_batch_end(len(found) - 1, {"outputs": found[-1]})
        listeners.on_predict_end()
        return np.concatenate(found)

    def predict_on_batch(self, x) -> np.ndarray:
        """As `predict`, of points that are one batch."""
        return self.predict(x)

    def evaluate(
        self,
        x,
        y=None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight=None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """How well points are described, and how well their clusters agree with known labels.

        Args:
            x: points, or `(x, y)`, as for `fit`.
            y: `[N]` known labels; `None` for none.
            batch_size: rows at once; chosen when `None`.
            verbose: accepted as Keras's `evaluate` does; nothing is printed.
            sample_weight: `[N]` weights of the points in the mean; `None` for equal ones.
            steps: number of batches of a stream; `None` for all.
            callbacks: Keras callbacks, which are told of the beginning and the end.
            return_dict: whether to name the scores.

        Returns:
            `log_density`, the mean of `score_samples`, and `nmi`, `ari` and `acc` where labels are
            known: a dictionary, or a list in this order, or the number where it is the only one.
        """
        as_verbose(verbose)
        x = first_batches(x, steps)
        inputs = inputs_for(self, x, y)
        rows = ROWS_AT_ONCE if batch_size is None else batch_size
        listeners = callback_list(self, callbacks, 0, 1, keeps_history=False)
        listeners.on_test_begin()
        scores = self.score_inputs(
            inputs, sample_weight, checks.integer(rows, "batch_size", minimum=1)
        )
        listeners.on_test_end(scores)
        if checks.boolean(return_dict, "return_dict"):
            return scores
        values = list(scores.values())
        return values[0] if len(values) == 1 else values

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict: bool = False) -> Any:
        """As `evaluate`, of points that are one batch."""
        return self.evaluate(x, y, sample_weight=sample_weight, return_dict=return_dict)

    def train_on_batch(self, *args, **kwargs) -> None:
        """Refused: K is found by `fit`, or from batch to batch by `partial_fit`.

        Raises:
            ValueError: always.
        """
        checks.fail("train_on_batch", "a batch", "it given to partial_fit, or all points to fit")

    def score_inputs(
        self, inputs: Inputs, sample_weight: Any = None, rows: int = ROWS_AT_ONCE
    ) -> dict[str, float]:
        """What `evaluate` returns by name, of checked points in one pass."""
        self.check_points(inputs.feature_shape)
        density = self.fitted.tails.log_density
        change = self.preprocessing_.log_volume_change
        densities, labels, known, weights = [], [], [], []
        pieces = read_features(inputs, self.encoder, self.preprocessing_, rows)
        for features, batch_labels, batch_weights in pieces:
            densities.append(density(features) + change(features))
            labels.append(self.fitted.clusters_of([features]))
            known.append(batch_labels)
            weights.append(batch_weights)
        densities = np.concatenate(densities)
        if sample_weight is None and weights[0] is not None:
            sample_weight = np.concatenate(weights)
        if sample_weight is not None:
            sample_weight = as_weights(sample_weight, len(densities))
            if not sample_weight.any():
                checks.fail("sample_weight", "weights that are all zero", "some that are not")
        scores = {"log_density": float(np.average(densities, weights=sample_weight))}
        if known[0] is not None:
            known = labels_or_none(np.concatenate(known))
            if known is not None:
                scores |= metrics.score_labels(known, np.concatenate(labels))
        return scores

    def predict_labels(self, x, *, reject_below: float | None = None) -> np.ndarray:
        """Most probable cluster of each raw point.

        Args:
            x: as for `fit`.
            reject_below: points whose `outlier_p` is less get -1; 0.01 rejects about 1 % of the
                points that belong. `None` rejects none.

        Returns:
            `[N]` int64 in `[0, n_clusters)`, or -1.
        """
        level = reject_below
        if level is not None:
            level = checks.number(level, "reject_below", minimum=0.0, maximum=1.0)
        pieces = []
        for features in self._features_of(x):
            labels = self.fitted.respond(features)[0].argmax(axis=1)
            if level is not None:
                labels = np.where(self.fitted.tails.p_values(features) < level, -1, labels)
            pieces.append(labels)
        return np.concatenate(pieces).astype(np.int64)

    def predict_components(self, x) -> np.ndarray:
        """Component of the mixture that each raw point belongs to, within its cluster.

        Args:
            x: as for `fit`.

        Returns:
            `[N]` int64 in `[0, n_components)`; `cluster_of_component_` of it is `predict_labels`.
        """
        return self.fitted.labels_of(self._features_of(x)).astype(np.int64)

    def outlier_p(self, x) -> np.ndarray:
        """P-value of each raw point under the posterior predictive distribution.

        Uniform for points of the mixture, near zero for points that belong to no cluster; see
        `tfdpm.mixture.outliers.PredictiveTails`.

        Args:
            x: as for `fit`.

        Returns:
            `[N]` float64 in `[0, 1]`.
        """
        tails = self.fitted.tails
        return np.concatenate([tails.p_values(piece) for piece in self._features_of(x)])

    def score_samples(self, x) -> np.ndarray:
        """Log posterior predictive density of raw points, a mixture of multivariate t.

        Of categories it is the log probability, and given them the numbers are Gaussian.
        Where preprocessing drops axes or normalises rows it is the density of the features, else
        of the raw points.

        Args:
            x: as for `fit`.

        Returns:
            `[N]` float64, nats.
        """
        density = self.fitted.tails.log_density
        change = self.fitted.state.preprocessing.log_volume_change
        return np.concatenate([density(piece) + change(piece) for piece in self._features_of(x)])

    def embed(self, x) -> np.ndarray:
        """Features of raw points, which the mixture sees.

        Args:
            x: as for `fit`.

        Returns:
            `[N, D]` float32.
        """
        return np.concatenate(list(self._features_of(x)))

    # -- what was found -----------------------------------------------------------------------

    @property
    def n_clusters(self) -> int:
        """Number of clusters, as found so far; within a fit that of components."""
        return self.fitted.num_clusters

    @property
    def n_components(self) -> int:
        """Number of components of the mixture, at least `n_clusters`."""
        return self.fitted.state.num_components

    @property
    def labels_(self) -> np.ndarray:
        """`[N]` int64 clusters of the training points, equal to `predict_labels(x)`."""
        return self.cluster_of_component_[self.components_]

    @property
    def components_(self) -> np.ndarray:
        """`[N]` int64 components of the training points, a new array each time."""
        labels = self.fitted.result.labels
        if labels is None:
            got = "weights that were saved within a fit or set by hand"
            checks.fail("labels_", got, "a fit that ended; or use predict_labels(x)", RuntimeError)
        return labels.astype(np.int64)

    @property
    def cluster_of_component_(self) -> np.ndarray:
        """`[n_components]` int64: the cluster that each component is part of."""
        return self.fitted.clusters.astype(np.int64)

    @property
    def cluster_sizes_(self) -> np.ndarray:
        """`[n_clusters]` int64 numbers of training points."""
        return np.bincount(self.labels_, minlength=self.n_clusters)

    @property
    def means_(self) -> np.ndarray:
        """`[n_clusters, D]` means in raw units; medians of columns that became logarithms."""
        return self.preprocessing_.inverse(self._moments().means.numpy())

    @property
    def covariances_(self) -> np.ndarray:
        """`[n_clusters, D, D]` covariances in squared raw units, to first order for logarithms."""
        moments = self._moments()
        return self.preprocessing_.inverse_covariance(
            moments.covariances.numpy(), moments.means.numpy()
        )

    @property
    def weights_(self) -> np.ndarray:
        """`[n_clusters]` weights, summing to one; `mixture_` has those of the components."""
        return self._moments().mixture_weights.numpy()

    @property
    def mixture_(self) -> MixtureParameters:
        """The Gaussian mixture of all components in feature space."""
        return self.fitted.state.parameters

    @property
    def prior_(self) -> niw.NIWParameters:
        """The Normal-inverse-Wishart prior in feature space."""
        return self.fitted.state.prior

    @property
    def preprocessing_(self) -> Preprocessing:
        """The map from raw points to the features that the mixture sees."""
        return self.fitted.state.preprocessing

    @property
    def moves_(self) -> MoveCounts:
        """Moves proposed and accepted in all fits so far, before their first epochs included."""
        return MoveCounts() if self.parts is None else self.parts.result.moves

    @property
    def last_proposals(self) -> tuple[Proposal, ...]:
        """Proposals of the last epoch that made any."""
        return () if self.parts is None else self.parts.result.proposals

    @property
    def num_traces(self) -> int:
        """How often a pass over the data was traced: grows with log K, not with the moves."""
        return self.fitted.networks.num_traces

    # -- how it came about, and how sure it is ------------------------------------------------

    @property
    def tree_(self) -> Genealogy:
        """Every split and merge that lasted, from the first cluster on; `str` draws it.

        Its last levels join components into clusters, where that was done, and tell what was
        merged and split by hand.
        """
        return self.fitted.tree

    @property
    def levels_(self) -> tuple[Level, ...]:
        """Levels of clusters from the components to one, by the valleys that separate them.

        `level.clusters[model.components_]` are the labels on each, as `cut(depth=level.depth)`
        gives them on all levels but the last, and `cut(depth=0)` is `labels_`.
        """
        return list_levels(self._groups("levels_"))

    @property
    def identity_(self) -> Identity:
        """Names of the clusters, and what became of those of the `reference` of the last fit."""
        return self.fitted.identity

    @property
    def ids_(self) -> np.ndarray:
        """`[n_clusters]` int64 names of the clusters; `ids_[labels_]` are those of the points."""
        return np.array(self.identity_.ids, np.int64)

    def cut(
        self, n_clusters: int | None = None, x: Any = None, *, depth: float | None = None
    ) -> np.ndarray:
        """Clusters at a coarser or finer level than the one that was found.

        Coarser, and finer down to the components: the shallowest valleys are joined. Where nothing
        lies between clusters, or valleys are not known, the two whose merging costs least evidence
        become one, again and again.
        Finer: the components whose split costs least evidence (or gains most) fall into the halves
        that the subclustering networks see; at most each into two.

        Args:
            n_clusters: number of clusters wanted, between 1 and twice that of components.
            x: points to label, as for `predict`; `None` for those of the fit, whose clusters are
                known but not their halves, so finer levels need `x`.
            depth: instead of a number, the depth in nats up to which valleys are joined. 0 gives
                the clusters that were found; larger values join clusters between which the
                evidence for a valley is less.

        Returns:
            `[N]` int64 in `[0, n_clusters)`. Levels are nested: a coarser cluster consists of
            whole finer ones.

        Raises:
            ValueError: if `n_clusters` is out of range, or `x` is missing for a finer level, or
                both or neither of `n_clusters` and `depth` are given.
            RuntimeError: for a depth, if no valleys are known.
        """
        if (n_clusters is None) == (depth is None):
            got = "None, as `depth`" if depth is None else f"{n_clusters!r}, and a `depth` too"
            checks.fail("n_clusters", got, "either of the two")
        if depth is not None:
            if depth != np.inf:
                depth = checks.number(depth, "depth")
            return self._labels_at(joined_below(depth, self._groups("depth")), x)
        n_clusters = checks.integer(n_clusters, "n_clusters", minimum=1)
        if n_clusters <= self.n_components:
            return self._labels_at(coarser_clusters(self.fitted, self.config, n_clusters), x)
        ratios = split_judge(self.fitted, self.config).split_ratios()
        most = self.n_components + int(np.isfinite(ratios).sum())
        checks.integer(n_clusters, "n_clusters", maximum=most)
        if x is None:
            checks.fail("x", "None for more clusters than were found", "points to label")
        return finer_labels(self.fitted, self._features_of(x), ratios, n_clusters)

    def why(
        self, k: int, other: int | None = None, *, print_fn: Callable[[str], Any] | None = None
    ) -> Evidence:
        """Writes, and returns, the evidence for keeping cluster `k` whole and apart.

        The split is that of its subclustering network or, where the points of the fit are at
        hand and it is better, that across its principal axis; the merge is that with the cluster
        that fits best. With those points, both are judged by the rule of the fit, which also knows
        heavy tails; a loaded model has statistics only. Where components were joined, the valley
        to another cluster is told too, by the components that are its two ends and by its depth.
        Of frames and tables, the columns are named in which the two are farthest apart.

        Args:
            k: the cluster, in `[0, n_clusters)`.
            other: the cluster to which the valley is told; `None` for that behind the shallowest.
            print_fn: called with each line; `None` for standard output.
        """
        k = checks.integer(k, "k", minimum=0, maximum=self.n_clusters - 1)
        if other is not None:
            other = checks.integer(other, "other", minimum=0, maximum=self.n_clusters - 1)
            if other == k:
                checks.fail("other", other, "another cluster than `k`")
        columns = self.columns.features if self.encoder is None else ()
        evidence = weigh_evidence(self.fitted, self.config, k, other, columns)
        write = print_fn or (lambda line: sys.stdout.write(line + "\n"))
        for line in str(evidence).splitlines():
            write(line)
        return evidence

    def stability(self, x, *, num_chains: int = 8, seed: int = 0) -> Stability:
        """K with error bars, and how firmly each point belongs to its cluster.

        Several chains of splits and merges start from the trained clusters, disturbed, each on
        its own random part of the data, and end where nothing changes any more.

        Args:
            x: points, as for `predict`; those of the fit, or others like them.
            num_chains: number of chains, at least 1.
            seed: random seed of the chains.
        """
        num_chains = checks.integer(num_chains, "num_chains", minimum=1)
        seed = checks.integer(seed, "seed", minimum=0)
        features = self.embed(x)
        seeds = (self.seed, seed)
        return measure_stability(self.fitted, features, self.config, seeds, num_chains)

    def drift(self, x, *, level: float = 0.01) -> Drift:
        """Which clusters grew, shrank or moved in new points, and whether unknown ones appeared.

        Only what the model keeps of the fit is needed, so a loaded model knows it too. Points are
        taken to be drawn one by one; copies and series in time count as more than they are. Weights
        of the fit count as numbers of points.

        Args:
            x: new points, as for `predict`, a hundred or more.
            level: p-value, corrected for the number of tests, below which a change counts.

        Returns:
            A `Drift`: `str` tells the changes, `table` is a frame with a row for each cluster.
        """
        level = checks.number(level, "level", minimum=0.0, maximum=1.0)
        fitted = self.fitted
        pieces = (
            (features, fitted.respond(features)[0], fitted.tails.p_values(features))
            for features in self._features_of(x)
        )
        return measure_drift(fitted.baseline, pieces, level)

    @property
    def k_posterior_(self) -> dict[int, float]:
        """Share of 8 split/merge chains on the sample of the fit by their number of clusters."""
        fitted = self.fitted
        if fitted.result.k_posterior is None:
            search = fitted.result.search
            if search is None:
                got = "a model without the points of its fit"
                wanted = "a call of stability(x).k_posterior"
                checks.fail("k_posterior_", got, wanted, AttributeError)
            chains = run_chains(fitted, search, _K_POSTERIOR_CHAINS, self.seed)
            self.adopt(fitted.replace(k_posterior=k_posterior(chains)))
        return self.fitted.result.k_posterior

    def __dir__(self) -> list[str]:
        """All names but those of the values that take long: Keras reads all of them to save."""
        return [name for name in super().__dir__() if name not in ("k_posterior_", "covariances_")]

    # -- internals ----------------------------------------------------------------------------

    def _groups(self, name: str) -> ComponentGroups:
        """How components are joined; an error names what asked."""
        groups = self.fitted.result.groups
        if groups is None:
            got = "a model whose components were not joined, so that valleys are not known"
            checks.fail(name, got, "one that was fitted with shape='any'", RuntimeError)
        return groups

    def _labels_at(self, clusters: np.ndarray, x: Any) -> np.ndarray:
        """Clusters `[N]` int64 of points, or those of the fit, where `[K]` are the components'."""
        return clusters.astype(np.int64)[
            self.components_ if x is None else self.predict_components(x)
        ]

    def _moments(self) -> MixtureParameters:
        """Weights, means and covariances of the clusters in feature space."""
        return pooled_moments(self.mixture_, self.fitted.clusters)

    def check_points(self, shape: tuple[int, ...], name: str = "x") -> None:
        """Raises ValueError unless points of this shape have as many values as those of the fit."""
        num_values = self.fitted.state.preprocessing.input_dim
        if self.encoder is not None:
            num_values = int(np.prod(self.encoder.input_shape[1:]))
        check_point_shape(shape, num_values, self.columns, name)

    def _features_of(self, x, rows: int = ROWS_AT_ONCE) -> Iterator[np.ndarray]:
        """Yields features `[B, D]` of raw points, slice by slice."""
        inputs = inputs_for(self, x)
        self.check_points(inputs.feature_shape)
        inputs.warn_of_order()
        for features, *_ in read_features(inputs, self.encoder, self.preprocessing_, rows):
            yield features
