"""`ClusterBoard`, which shows a fit in TensorBoard: scalars, histograms and the projector."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.callbacks.sample import thinned_points
from tfdpm.progress.files import local_path

_PROJECTOR = """embeddings {
  tensor_name: "features"
  tensor_path: "features.tsv"
  metadata_path: "metadata.tsv"
}
"""


class ClusterBoard(keras.callbacks.Callback):
    """Writes what `tensorboard --logdir DIR` shows of a `DeepDPM` while it is fitted.

    Scalars are all entries of the epochs' logs. Histograms show clusters' sizes (as the statistics
    count them), mixture weights, and weights of both networks. The projector shows features of
    points, coloured by cluster, largest responsibility or known label. The step is the epoch.

    Args:
        log_dir: folder of the run; made if needed.
        x: points for the projector, as for `fit`, in memory; of more than 5,000 every n-th is
            shown. `None` shows none.
        y: `[N]` known labels of `x`; `None` for none.
        every_epochs: number of epochs between two sets of histograms, >= 1.

    Raises:
        ImportError: when training begins, if there is no tensorboard.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str],
        x: Any = None,
        y: Any = None,
        *,
        every_epochs: int = 1,
    ):
        super().__init__()
        self.log_dir = local_path(log_dir, "log_dir")
        self.x, self.y = (None, None) if x is None else thinned_points(x, y)
        self.every_epochs = checks.integer(every_epochs, "every_epochs", minimum=1)
        self._writer: tf.summary.SummaryWriter | None = None

    def on_train_begin(self, logs=None):
        """Opens a file of events."""
        if importlib.util.find_spec("tensorboard") is None:
            checks.fail("ClusterBoard", "no tensorboard", "pip install tensorboard", ImportError)
        self.log_dir.mkdir(parents=True, exist_ok=True)
        self._writer = tf.summary.create_file_writer(str(self.log_dir))

    def on_epoch_end(self, epoch, logs=None):
        """Writes the epoch's scalars, and histograms after every `every_epochs` epochs."""
        with self._writer.as_default(step=epoch):
            for name, value in (logs or {}).items():
                tf.summary.scalar(f"epoch/{name}", value)
            if (epoch + 1) % self.every_epochs == 0:
                self._write_histograms()
        self._writer.flush()

    def on_train_end(self, logs=None):
        """Writes the projector's files, and closes the file of events."""
        self._writer.close()
        self._writer = None
        if self.x is not None:
            self._write_projector()

    def _write_histograms(self) -> None:
        state = self.model.fitted.state
        tf.summary.histogram("clusters/mixture_weights", state.parameters.mixture_weights)
        tf.summary.histogram("clusters/sizes", np.asarray(state.halves.counts).sum(axis=1))
        for network in (self.model.clustering, self.model.subclustering):
            for weight in network.weights:
                tf.summary.histogram(f"{network.name}/{weight.name}", weight)

    def _write_projector(self) -> None:
        responsibilities = self.model.predict(self.x)
        columns = {
            "cluster": responsibilities.argmax(axis=1),
            "responsibility": np.round(responsibilities.max(axis=1), 4),
        }
        if self.y is not None:
            columns["label"] = self.y
        rows = zip(*columns.values(), strict=True)
        lines = ["\t".join(columns), *("\t".join(map(str, row)) for row in rows)]
        (self.log_dir / "metadata.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        features = self.model.embed(self.x)
        np.savetxt(self.log_dir / "features.tsv", features, fmt="%.6g", delimiter="\t")
        (self.log_dir / "projector_config.pbtxt").write_text(_PROJECTOR, encoding="utf-8")
