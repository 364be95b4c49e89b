"""`ClusterFeatures`, which clusters the outputs of a layer of any Keras model while it trains."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tfdpm import checks, metrics
from tfdpm.callbacks.sample import thinned_points
from tfdpm.config import DeepDPMConfig
from tfdpm.deepdpm.model import DeepDPM


class ClusterFeatures(keras.callbacks.Callback):
    """Clusters the outputs of a layer during the training of any Keras model.

    Adds entries to each epoch's logs, and so to the model's history. `feature_clusters` is the
    number of clusters. `largest_cluster` is the share of points in the largest one, which is near
    one where features collapse. `feature_change` is one minus the NMI with the clusters before.
    `feature_nmi` is the NMI with known labels, where they are given.

    Args:
        layer: layer, or its name. Outputs of more than one axis are flattened.
        x: `[N, ...]` inputs of the model, in memory; of more than 5,000 every n-th is used.
        y: `[N]` labels to compare with; `None` for none.
        every_epochs: number of epochs between two clusterings, >= 1; logs of the epochs between
            lack these entries.
        config: settings of the clustering, or the name of a preset; `None` for the default.
        seed: random seed; the same seed gives the same clusters.
        batch_size: number of inputs that pass the model at once.

    Attributes:
        records: list of dictionaries with `epoch`, the entries above and `sizes`, largest first.
        clusterer: the last fitted `DeepDPM`, or `None`.

    Examples:
        >>> seen = tfdpm.callbacks.ClusterFeatures("dense_1", x_test, y_test)
        >>> classifier.fit(x, y, epochs=10, callbacks=[seen])
        >>> seen.records[-1]["sizes"]
    """

    def __init__(
        self,
        layer: str | keras.layers.Layer,
        x: Any,
        y: Any = None,
        *,
        every_epochs: int = 1,
        config: DeepDPMConfig | str | None = None,
        seed: int = 0,
        batch_size: int = 256,
    ):
        super().__init__()
        if not isinstance(layer, (str, keras.layers.Layer)):
            checks.fail("layer", repr(layer), "a layer or its name", TypeError)
        self.layer = layer
        self.x, self.y = thinned_points(x, y)
        self.every_epochs = checks.integer(every_epochs, "every_epochs", minimum=1)
        self.config = DeepDPM(config).config
        self.seed = checks.integer(seed, "seed", minimum=0)
        self.batch_size = checks.integer(batch_size, "batch_size", minimum=1)
        self.records: list[dict[str, Any]] = []
        self.clusterer: DeepDPM | None = None
        self._labels: np.ndarray | None = None
        self._features: keras.Model | None = None

    def on_train_begin(self, logs=None):
        """Forgets earlier fits.

        Raises:
            ValueError: if the model has no such layer.
        """
        self.records, self._labels, self._features = [], None, None
        if getattr(self.model, "inputs", None) is not None and self.model.built:
            self._features = self._feature_model()

    def on_epoch_end(self, epoch, logs=None):
        """Clusters the layer's outputs after every `every_epochs` epochs."""
        if (epoch + 1) % self.every_epochs:
            return
        if self._features is None:  # models that Keras builds when it sees the first batch
            self._features = self._feature_model()
        features = self._features.predict(self.x, batch_size=self.batch_size, verbose=0)
        features = np.asarray(features, np.float32).reshape(len(features), -1)
        self.clusterer = DeepDPM(self.config, seed=self.seed)
        self.clusterer.fit(features, verbose=0)
        before, self._labels = self._labels, self.clusterer.labels_
        sizes = np.sort(self.clusterer.cluster_sizes_)[::-1]
        entries = {
            "feature_clusters": self.clusterer.n_clusters,
            "largest_cluster": float(sizes[0] / sizes.sum()),
        }
        if before is not None:
            entries["feature_change"] = 1.0 - metrics.nmi(before, self._labels)
        if self.y is not None:
            entries["feature_nmi"] = metrics.nmi(self.y, self._labels)
        self.records = [*self.records, {"epoch": epoch, **entries, "sizes": sizes.tolist()}]
        if logs is not None:
            logs.update(entries)

    def _feature_model(self) -> keras.Model:
        """The model from its inputs to the layer's outputs; it shares all weights."""
        layer = self.layer
        if isinstance(layer, str):
            names = [each.name for each in self.model.layers]
            layer = self.model.get_layer(checks.one_of(layer, "layer", names))
        if getattr(self.model, "inputs", None) is None:
            got = f"a layer of {type(self.model).__name__}, whose inputs Keras does not know"
            checks.fail("layer", got, "a layer of a functional or sequential model")
        return keras.Model(self.model.inputs, layer.output)
