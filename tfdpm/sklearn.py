"""`DeepDPMClusterer`: the model as a scikit-learn estimator, for pipelines and grid searches."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from tfdpm.config import DeepDPMConfig
from tfdpm.deepdpm import DeepDPM

__all__ = ["DeepDPMClusterer"]

# Parameters of the estimator that replace a setting of its configuration where they are not None.
_SETTINGS = ("initial_clusters", "fixed_k", "prior_scale", "dp_concentration", "epochs")


class DeepDPMClusterer(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator
):
    """Clustering that finds the number of clusters: `tfdpm.DeepDPM` with scikit-learn's manners.

    Where it stands before the end of a pipeline, its responsibilities are the features of what
    follows; `set_output(transform="pandas")` gives them as a frame.

    Args:
        config: a `DeepDPMConfig`, a preset's name, or `None` for the defaults.
        initial_clusters: K at the start; `None` for the configuration's, as in all below.
        fixed_k: K for good, where it is known.
        prior_scale: multiplies the prior's scale matrix; larger gives fewer clusters.
        dp_concentration: alpha of the Dirichlet process.
        epochs: most epochs of a fit.
        reject_below: `predict` gives -1 to points whose p-value is less; `labels_` has no -1.
        random_state: seed; an integer gives the same result at every fit.
        verbose: as in `DeepDPM.fit`.

    Attributes:
        model_: the fitted `tfdpm.DeepDPM`.
        labels_: `[N]` int64 clusters of the training points.
        n_clusters_: int, K.
        n_features_in_: int, columns seen in `fit`.
        feature_names_in_: their names, where `fit` saw a frame with names.
        n_iter_: int, epochs made.
    """

    def __init__(
        self,
        config: DeepDPMConfig | str | None = None,
        *,
        initial_clusters: int | None = None,
        fixed_k: int | None = None,
        prior_scale: float | None = None,
        dp_concentration: float | None = None,
        epochs: int | None = None,
        reject_below: float | None = None,
        random_state: int | np.random.RandomState | None = 0,
        verbose: int = 0,
    ):
        self.config = config
        self.initial_clusters = initial_clusters
        self.fixed_k = fixed_k
        self.prior_scale = prior_scale
        self.dp_concentration = dp_concentration
        self.epochs = epochs
        self.reject_below = reject_below
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y=None) -> DeepDPMClusterer:
        """Finds K and trains, from the start at every call.

        Args:
            X: `[N, D]` array-like or frame of finite numbers, N >= 2.
            y: ignored.
        """
        points = self._points(X, reset=True, ensure_min_samples=2)
        seed = self.random_state
        if not isinstance(seed, (int, np.integer)):
            seed = check_random_state(seed).randint(2**31 - 1)
        self.model_ = DeepDPM(self._config(), seed=int(seed))
        self.model_.fit(points, verbose=self.verbose)
        self.labels_ = self.model_.labels_
        self.n_clusters_ = self.model_.n_clusters
        self.n_iter_ = len(self.model_.history.epoch)
        return self

    def predict(self, X) -> np.ndarray:
        """Most probable cluster of each point, `[N]` int64; -1 if rejected."""
        points = self._points(X)
        return self.model_.predict_labels(points, reject_below=self.reject_below)

    def predict_proba(self, X) -> np.ndarray:
        """Responsibilities `[N, K]` float32, rows sum to one."""
        points = self._points(X)
        return self.model_.predict(points)

    def transform(self, X) -> np.ndarray:
        """Responsibilities `[N, K]` float32, as `predict_proba`; a frame after `set_output`."""
        return self.predict_proba(X)

    @property
    def _n_features_out(self) -> int:
        """How many columns `transform` gives, for their names."""
        return self.n_clusters_

    def __sklearn_tags__(self):
        """What scikit-learn may expect: responsibilities are float32 whatever the points are."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    def score_samples(self, X) -> np.ndarray:
        """Log posterior predictive density of each point, `[N]` float64, nats."""
        points = self._points(X)
        return self.model_.score_samples(points)

    def score(self, X, y=None) -> float:
        """Mean log posterior predictive density of the points, nats; larger is better.

        Args:
            X: `[N, D]` points.
            y: ignored.
        """
        return float(np.mean(self.score_samples(X)))

    def _config(self) -> DeepDPMConfig:
        config = DeepDPM(self.config).config
        given = {name: getattr(self, name) for name in _SETTINGS}
        changes = {name: value for name, value in given.items() if value is not None}
        return config.replace(**changes)

    def _points(self, X, *, reset: bool = False, **checks: Any) -> np.ndarray:
        """Checked points `[N, D]` float32 or float64, with scikit-learn's own errors."""
        if not reset:
            check_is_fitted(self)
        dtypes = [np.float64, np.float32]
        return validate_data(self, X, reset=reset, dtype=dtypes, **checks)
