"""`DeepDPMClusterer`: the model as a scikit-learn estimator, for pipelines and grid searches."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from tfdpm import checks
from tfdpm.config import DeepDPMConfig, as_config
from tfdpm.data.inputs import as_features
from tfdpm.pipeline import fit

__all__ = ["DeepDPMClusterer"]

# Parameters of the estimator that replace a setting of its configuration where they are not None.
_SETTINGS = ("shape", "initial_clusters", "fixed_k", "prior_scale", "dp_concentration", "epochs")


class DeepDPMClusterer(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator
):
    """Clusters points and finds the number of clusters: `tfdpm.fit` for scikit-learn.

    Inside a pipeline its responsibilities are the features of the next step;
    `set_output(transform="pandas")` gives them as a frame.

    Args:
        config: a `DeepDPMConfig` or a preset's name; `None` for the defaults.
        features: how points become what is clustered, as in `tfdpm.fit`: "auto" or another name,
            or a Keras model.
        shape: what a cluster is, "any" or "gaussian"; `None` for the configuration's value, as in
            the next five.
        initial_clusters: K at the start.
        fixed_k: constant K, where it is known.
        prior_scale: factor on the prior's scale matrix; far larger values give fewer clusters.
        dp_concentration: concentration alpha of the Dirichlet process.
        epochs: largest number of epochs of a fit.
        reject_below: p-value below which `predict` gives -1 to a point; `None` rejects no point.
            `labels_` holds no -1.
        noise: p-value below which a point is noise, -1 in `labels_` and `predict` alike; about
            this share of the points that belong is lost. `None` knows no noise.
        random_state: random seed; the same integer gives the same result at every fit.
        verbose: amount of output, as in `DeepDPM.fit`; 0 prints nothing.

    Attributes:
        model_: the fitted `tfdpm.DeepDPM`.
        labels_: clusters of the training points, `[N]` int64.
        n_clusters_: number of clusters, an integer. Points far from all others may make a cluster
            of which each is noise.
        probabilities_: probability of each training point's cluster, `[N]`, 0 for noise.
        outlier_scores_: one minus the p-value of each training point, `[N]`; above `1 - noise` it
            is noise. Only where `noise` is given.
        n_features_in_: number of columns in `fit`.
        feature_names_in_: names of the columns, where `fit` was given a frame with names.
        n_iter_: number of epochs of the fit.
    """

    def __init__(
        self,
        config: DeepDPMConfig | str | None = None,
        *,
        features: str | keras.Model = "auto",
        shape: str | None = None,
        initial_clusters: int | None = None,
        fixed_k: int | None = None,
        prior_scale: float | None = None,
        dp_concentration: float | None = None,
        epochs: int | None = None,
        reject_below: float | None = None,
        noise: float | None = None,
        random_state: int | np.random.RandomState | None = 0,
        verbose: int = 0,
    ):
        self.config = config
        self.features = features
        self.shape = shape
        self.initial_clusters = initial_clusters
        self.fixed_k = fixed_k
        self.prior_scale = prior_scale
        self.dp_concentration = dp_concentration
        self.epochs = epochs
        self.reject_below = reject_below
        self.noise = noise
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y=None, sample_weight=None) -> DeepDPMClusterer:
        """Finds K and trains; every call starts anew.

        Args:
            X: array-like of finite numbers, `[N, D]`, N >= 2; or a frame, also with text.
            y: ignored.
            sample_weight: `[N]` non-negative weights of the points; `None` for one each.
        """
        if self.noise is not None:
            checks.number(self.noise, "noise", minimum=0.0, maximum=1.0)
            if self.reject_below is not None:
                checks.fail("reject_below", self.reject_below, "None where `noise` is given")
        points = self._points(X, reset=True, ensure_min_samples=2)
        seed = self.random_state
        if not isinstance(seed, (int, np.integer)):
            seed = check_random_state(seed).randint(2**31 - 1)
        self.model_ = fit(
            (points, None),  # all columns, also of a frame with one called as labels are
            features=self.features,
            config=self._config(),
            seed=int(seed),
            sample_weight=sample_weight,
            verbose=self.verbose,
        )
        self.labels_ = self.model_.labels_
        self.probabilities_ = self.model_.predict(points).max(axis=1)
        if self.noise is not None:
            p_values = self.model_.outlier_p(points)
            is_noise = p_values < self.noise
            self.outlier_scores_ = 1.0 - p_values
            self.probabilities_ = np.where(is_noise, 0.0, self.probabilities_)
            self.labels_ = np.where(is_noise, -1, self.labels_)
        self.n_clusters_ = self.model_.n_clusters
        self.n_iter_ = len(self.model_.history.epoch)
        return self

    def predict(self, X) -> np.ndarray:
        """Returns the most probable cluster of each point, `[N]` int64; -1 for what is noise."""
        points = self._points(X)
        level = self.reject_below if self.noise is None else self.noise
        return self.model_.predict_labels(points, reject_below=level)

    def predict_proba(self, X) -> np.ndarray:
        """Returns responsibilities `[N, K]` float32, whose rows sum to one."""
        points = self._points(X)
        return self.model_.predict(points)

    def transform(self, X) -> np.ndarray:
        """Returns responsibilities like `predict_proba`, as a frame after `set_output`."""
        return self.predict_proba(X)

    @property
    def _n_features_out(self) -> int:
        """Number of columns of `transform`, from which scikit-learn makes their names."""
        return self.n_clusters_

    def __sklearn_tags__(self):
        """Returns tags that say that responsibilities are float32 for points of any dtype."""
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    def score_samples(self, X) -> np.ndarray:
        """Returns the log posterior predictive density of each point, `[N]` float64, nats."""
        points = self._points(X)
        return self.model_.score_samples(points)

    def score(self, X, y=None) -> float:
        """Returns the mean log posterior predictive density, nats; larger is better.

        Args:
            X: points, `[N, D]`.
            y: ignored.
        """
        return float(np.mean(self.score_samples(X)))

    def _config(self) -> DeepDPMConfig:
        given = {name: getattr(self, name) for name in _SETTINGS}
        changes = {name: value for name, value in given.items() if value is not None}
        return as_config(self.config).replace(**changes)

    def _points(self, X, *, reset: bool = False, **wanted: Any) -> Any:
        """Returns checked points `[N, D]` float32 or float64; errors are those of scikit-learn.

        Frames with text are returned as they are: the model checks them, and knows categories.
        """
        if not reset:
            check_is_fitted(self)
        if hasattr(X, "select_dtypes"):
            text = X.select_dtypes(exclude=["number", "bool"]).columns
            if len(text) if reset else any(self.model_.columns.categories):
                validate_data(self, X, reset=reset, skip_check_array=True)
                return X
        if getattr(getattr(X, "dtype", None), "kind", "") in set("mMSU") or np.ma.is_masked(X):
            as_features(X, name="X")  # refuses what scikit-learn would turn into numbers
        dtypes = [np.float64, np.float32]
        return validate_data(self, X, reset=reset, dtype=dtypes, **wanted)
