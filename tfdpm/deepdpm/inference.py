"""What a fitted model is asked: clusters, densities, outliers, summary.

Nothing here trains (`deepdpm.py`) or keeps (`saving.py`).
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.config import DeepDPMConfig
from tfdpm.data.inputs import as_features
from tfdpm.features.apply_encoder import RawPointMethods, encoding_rows
from tfdpm.features.preprocessing import Preprocessing
from tfdpm.interpret.stability import StabilityMethods
from tfdpm.mixture import niw
from tfdpm.mixture.outliers import PredictiveTails
from tfdpm.mixture.parameters import MixtureParameters
from tfdpm.moves.ledger import MoveCounts, Proposal
from tfdpm.networks.compilation import is_brief
from tfdpm.networks.layers import ClusteringNetwork, SubclusteringNetworks
from tfdpm.networks.passes import Passes, StepSettings
from tfdpm.networks.replicas import ReplicaPasses
from tfdpm.search.mixture_search import MixtureSearch
from tfdpm.search.state import ModelState
from tfdpm.serving import saved_model as serving
from tfdpm.training.last_pass import LastPass

_PREDICT_ROWS = 16_384


class FittedModel(StabilityMethods, RawPointMethods, keras.Model):
    """The part of `DeepDPM` that answers about a fitted mixture; arguments as there."""

    def __init__(
        self,
        config: DeepDPMConfig | str | None = None,
        *,
        seed: int = 0,
        encoder: keras.Model | None = None,
        features: str = "",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if encoder is not None and not isinstance(encoder, keras.Model):
            checks.fail("encoder", f"a {type(encoder).__name__}", "a Keras model", TypeError)
        self.encoder, self.features_ = encoder, str(features)
        self.config = _as_config(config)
        self.seed = checks.integer(seed, "seed", minimum=0, maximum=2**31 - 1)
        self._state: ModelState | None = None
        self._feature_shape: tuple[int, ...] = ()
        self._labels: np.ndarray | None = None  # of the smallest type that holds them
        self._search: MixtureSearch | None = None
        self._k_posterior: dict[int, float] | None = None
        self._passes: Passes | None = None
        self._last_pass = LastPass()
        self._num_traces = 0
        self._fit_start = self._first_epoch = 0
        self._moves = MoveCounts()
        self.last_proposals: tuple[Proposal, ...] = ()  # of the last epoch that made any
        self.clustering: ClusteringNetwork | None = None
        self.subclustering: SubclusteringNetworks | None = None
        self.subcluster_optimizer: keras.optimizers.Optimizer | None = None
        self._base_rates: tuple[float, float] | None = None

    def call(self, inputs):
        """Responsibilities `[B, K]` float32 of raw inputs `[B, D_in]`."""
        state = self._fitted()
        logits = self.clustering(
            state.preprocessing(self._raw_rows(inputs)),
            num_components=tf.constant(state.num_components),
        )
        return tf.nn.softmax(logits[:, : state.num_components])

    def predict(self, x, batch_size: int | None = None, verbose: int = 0, **kwargs) -> np.ndarray:
        """Responsibilities of raw points.

        Args:
            x: as for `fit`.
            batch_size: rows at once; chosen when `None`.
            verbose: accepted as Keras's `predict` does; nothing is printed.
            **kwargs: none; named here so that a misspelt argument is an error.

        Returns:
            `[N, K]` float32, rows sum to one.
        """
        if kwargs:
            checks.fail(next(iter(kwargs)), "an unknown argument", "x, batch_size, verbose")
        del verbose
        batch_size = _PREDICT_ROWS if batch_size is None else batch_size
        rows = checks.integer(batch_size, "batch_size", minimum=1)
        return np.concatenate([self._infer(piece) for piece in self._features_of(x, rows)])

    def predict_labels(self, x, *, reject_below: float | None = None) -> np.ndarray:
        """Most probable cluster of each raw point, `[N]` int64 in `[0, K)`.

        Args:
            x: as for `fit`.
            reject_below: points whose `outlier_p` is less get -1; 0.01 rejects about 1 % of the
                points that belong. `None` rejects none.
        """
        level = reject_below
        if level is not None:
            level = checks.number(level, "reject_below", minimum=0.0, maximum=1.0)
        pieces = []
        for piece in self._features_of(x):
            labels = np.argmax(self._infer(piece), axis=1)
            pieces.append(labels if level is None else self._rejected(piece, labels, level))
        return np.concatenate(pieces).astype(np.int64)

    def _rejected(self, features, labels: np.ndarray, level: float) -> np.ndarray:
        return np.where(self._tails().tails(features)[1].numpy() < level, -1, labels)

    def outlier_p(self, x) -> np.ndarray:
        """P-value of each raw point under the posterior predictive, `[N]` float64 in `[0, 1]`.

        Uniform for points of the mixture, near zero for points that belong to no cluster; see
        `tfdpm.mixture.outliers.PredictiveTails`.
        """
        tails = self._tails()
        return np.concatenate([tails.tails(piece)[1].numpy() for piece in self._features_of(x)])

    def _tails(self) -> PredictiveTails:
        state = self._fitted()
        return PredictiveTails(state.parameters.mixture_weights, state.posterior())

    def score_samples(self, x) -> np.ndarray:
        """Log posterior predictive density of raw points, `[N]` float64, nats.

        A mixture of multivariate t distributions. Where preprocessing drops axes or normalises
        rows it is the density of the features, else of the raw inputs.
        """
        state = self._fitted()
        density = self._tails()
        volume = state.preprocessing.log_volume_change
        return np.concatenate([density(piece).numpy() for piece in self._features_of(x)]) + volume

    def embed(self, x) -> np.ndarray:
        """Features `[N, D]` float32 of raw points, which the mixture sees."""
        return np.concatenate([piece.numpy() for piece in self._features_of(x)])

    def export(self, directory: str | os.PathLike[str]) -> None:
        """Writes a SavedModel that is served without this package, and its model card.

        Signature `serving_default`: `inputs` float32, any number of points of the shape seen in
        `fit`, to `labels` int64 `[B]`, `responsibilities` float32 `[B, K]`, `log_density` float32
        `[B]` (nats) and `outlier_p` float32 `[B]`. Signature `labels`: the first two of these,
        which cost little more than the network alone. Signature `embed`: `inputs` to `features`
        float32 `[B, D]`. Preprocessing is inside. `tfdpm.load` opens the folder again.

        Args:
            directory: a version that does not exist yet, such as `saved_models/name/1`.

        Raises:
            FileExistsError: if the folder exists.
        """
        state = self._fitted()
        card = {
            "n_clusters": state.num_components,
            "input_shape": list(self._feature_shape),
            "feature_dim": state.preprocessing.feature_dim,
            "features": self.features_,
            "preprocessing": state.preprocessing.description,
            "num_points": float(np.sum(state.soft.counts)),
            "epochs": state.epoch,
            "seed": self.seed,
            "config": dataclasses.asdict(self.config),
        }
        module = serving.ServingModule(state, self.clustering, self._feature_shape, self.encoder)
        serving.write(module, directory, card)

    @property
    def n_clusters(self) -> int:
        """K, as found so far."""
        return self._fitted().num_components

    @property
    def labels_(self) -> np.ndarray:
        """`[N]` int64 clusters of the training points, a new array each time."""
        self._fitted()
        if self._labels is None:
            got = "weights that were saved within a fit or set by hand"
            checks.fail("labels_", got, "a fit that ended; or use predict_labels(x)", RuntimeError)
        return self._labels.astype(np.int64)

    @property
    def cluster_sizes_(self) -> np.ndarray:
        """`[K]` int64 numbers of training points."""
        return np.bincount(self.labels_, minlength=self.n_clusters)

    @property
    def means_(self) -> np.ndarray:
        """`[K, D]` component means in raw units."""
        state = self._fitted()
        return state.preprocessing.inverse(state.parameters.means.numpy())

    @property
    def covariances_(self) -> np.ndarray:
        """`[K, D, D]` component covariances in squared raw units."""
        state = self._fitted()
        return state.preprocessing.inverse_covariance(state.parameters.covariances.numpy())

    @property
    def weights_(self) -> np.ndarray:
        """`[K]` mixture weights, summing to one."""
        return self._fitted().parameters.mixture_weights.numpy()

    @property
    def mixture_(self) -> MixtureParameters:
        """The mixture in feature space."""
        return self._fitted().parameters

    @property
    def prior_(self) -> niw.NIWParameters:
        """The Normal-inverse-Wishart prior in feature space."""
        return self._fitted().prior

    @property
    def preprocessing_(self) -> Preprocessing:
        """The affine map from raw inputs to the features that the mixture sees."""
        return self._fitted().preprocessing

    @property
    def moves_(self) -> MoveCounts:
        """Moves proposed and accepted in all fits so far, before their first epochs included."""
        return self._moves

    @property
    def num_traces(self) -> int:
        """How often a pass over the data was traced: grows with log K, not with the moves."""
        return self._current_passes().num_traces

    def summary(self, *args, print_fn: Callable[[str], Any] | None = None, **kwargs) -> None:
        """Keras's summary, then K, sizes, prior and moves."""
        super().summary(*args, print_fn=print_fn, **kwargs)
        write = print_fn or (lambda line: sys.stdout.write(line + "\n"))
        if self._state is None:
            write("Not fitted yet.")
            return
        for line in self._summary_lines():
            write(line)

    def _summary_lines(self) -> list[str]:
        state, made = self._state, self._moves
        scale = np.diag(state.prior.scale.numpy())
        lines = [
            f"Clusters: {self.n_clusters}",
            f"Preprocessing: {state.preprocessing.description}",
            f"Prior: mean_precision {float(state.prior.mean_precision):.3g}, "
            f"df {float(state.prior.df):.6g}, scale {scale.min():.3g} to {scale.max():.3g}",
            f"Moves: {made.accepted_splits} of {made.proposed_splits} splits, "
            f"{made.accepted_merges} of {made.proposed_merges} merges accepted",
        ]
        if self.features_:
            lines.insert(1, f"Features: {self.features_}")
        if made.advice():
            lines.append(f"Note: {made.advice()}")
        if self._labels is not None:
            sizes = np.sort(self.cluster_sizes_)[::-1]
            shown = ", ".join(str(size) for size in sizes[:20])
            more = f", and {len(sizes) - 20} more" if len(sizes) > 20 else ""
            lines.insert(1, f"Sizes: {shown}{more}")
        return lines

    def _fitted(self) -> ModelState:
        if self._state is None:
            checks.fail("model", "a model that was not fitted", "call fit first", RuntimeError)
        return self._state

    def _check_width(self, feature_shape: tuple[int, ...]) -> None:
        self._fitted()
        self._check_shape(feature_shape)

    def _features_of(self, x, rows: int = _PREDICT_ROWS):
        """Yields features `[B, D]` of raw points, slice by slice."""
        self._fitted()
        inputs = as_features(x, minimum_points=1)
        self._check_width(inputs.feature_shape)
        preprocessing = self._state.preprocessing
        if inputs.array is None:
            for batch in inputs.dataset:
                yield preprocessing(self._raw_rows(batch))
            return
        if self.encoder is not None:
            rows = min(rows, encoding_rows(inputs.feature_shape))
        for start in range(0, len(inputs.array), rows):
            piece = np.asarray(self._raw_rows(inputs.array[start : start + rows]))
            yield tf.constant(preprocessing.transform(piece))

    def _infer(self, features) -> np.ndarray:
        """Responsibilities `[B, K]` of features `[B, D]`."""
        count = self._state.num_components
        result = self._current_passes().infer_batch(features, tf.constant(count))
        return result.numpy()[:, :count]

    def _forget_passes(self) -> None:
        if self._passes is not None:
            self._num_traces = self._passes.num_traces
        self._passes = None

    def _current_passes(self) -> Passes:
        """The compiled passes; made anew when the networks or optimisers are."""
        if self._passes is None:
            # The strategy in whose scope the model was made, if any.
            strategy = self._distribute_strategy
            kind = Passes if strategy is None else functools.partial(ReplicaPasses, strategy)
            self._passes = kind(
                self.clustering,
                self.subclustering,
                self.optimizer if self.compiled else None,
                self.subcluster_optimizer,
                StepSettings(
                    self.config.cluster_loss,
                    self.config.kl_direction,
                    self.config.subclustering,
                    self.config.max_subcluster_batch,
                    is_brief(self.config),
                ),
                self._num_traces,
            )
        return self._passes


def _as_config(config: DeepDPMConfig | str | None) -> DeepDPMConfig:
    if config is None:
        return DeepDPMConfig()
    if isinstance(config, str):
        return DeepDPMConfig.named(config)
    if not isinstance(config, DeepDPMConfig):
        checks.fail(
            "config", type(config).__name__, "a DeepDPMConfig, a preset's name or None", TypeError
        )
    return config
