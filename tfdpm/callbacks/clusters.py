"""Keras callbacks that stop by K, record proposed moves, and draw clusters during a fit."""

from __future__ import annotations

import csv
import os
from typing import Any

import keras

from tfdpm import checks
from tfdpm.callbacks.sample import thinned_points
from tfdpm.moves.ledger import Proposal
from tfdpm.progress.files import local_path, replace_file
from tfdpm.viz.maps import cluster_map
from tfdpm.viz.plots import draw_map
from tfdpm.viz.samples import sample_points


class StableClusters(keras.callbacks.Callback):
    """Stops training when K has not changed for a number of epochs.

    [DeepDPM] supplement 7.4 trains 100 epochs beyond the last change. The model stops by its
    configuration's `stable_epochs` anyway; this is for another patience in one call of `fit`, and
    for models that log `n_clusters` themselves.

    Args:
        patience: number of epochs without a change of K, >= 1.
        start_epoch: number of the first epoch that counts; no moves are proposed before it.
    """

    def __init__(self, patience: int = 100, *, start_epoch: int = 0):
        super().__init__()
        self.patience = checks.integer(patience, "patience", minimum=1)
        self.start_epoch = checks.integer(start_epoch, "start_epoch", minimum=0)
        self._last_count: int | None = None
        self._last_change = 0

    def on_train_begin(self, logs=None):
        """Forgets earlier fits."""
        self._last_count = None

    def on_epoch_end(self, epoch, logs=None):
        """Compares K with that of the epoch before."""
        count = (logs or {}).get("n_clusters")
        if count is None:
            checks.fail("n_clusters", "no such entry in the epoch's logs", "a model that logs it")
        if count != self._last_count:
            self._last_count, self._last_change = count, epoch
        since = epoch - max(self._last_change, self.start_epoch)
        if since >= self.patience:
            self.model.stop_training = True


class MoveLedger(keras.callbacks.Callback):
    """Records every proposed move with its epoch, kind, sizes, ratio and acceptance.

    Args:
        path: .csv file that holds the records and is replaced after each epoch; `None` for none.

    Attributes:
        records: list of dictionaries with `epoch`, `kind` ("split", "merge", "removal"),
            `components` (numbered as before the move), `sizes` (points of the halves, or of the
            two components), `log_ratio` (nats) and `is_accepted`. A component that has lost its
            last point when training ends is removed in the epoch after the last.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None):
        super().__init__()
        self.path = None if path is None else local_path(path)
        self.records: list[dict[str, Any]] = []
        self._next_epoch = 0

    def on_train_begin(self, logs=None):
        """Forgets earlier fits."""
        self.records = []

    def on_epoch_end(self, epoch, logs=None):
        """Records the proposals of the epoch."""
        self._next_epoch = epoch + 1
        self._record(epoch)

    def on_train_end(self, logs=None):
        """Records the components that were removed at the end."""
        self._record(self._next_epoch)

    def _record(self, epoch: int) -> None:
        new = [{"epoch": epoch, **each._asdict()} for each in self.model.last_proposals]
        self.records = [*self.records, *new]
        if self.path is None:
            return
        # Written anew, so that epochs that are repeated after a crash do not stand there twice.
        with (
            replace_file(self.path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(["epoch", *Proposal._fields])
            for record in self.records:
                groups = (record["components"], record["sizes"])
                components, sizes = (" ".join(f"{value:g}" for value in group) for group in groups)
                row = {**record, "components": components, "sizes": sizes}
                writer.writerow(row.values())


class ClusterPlot(keras.callbacks.Callback):
    """Draws the points, their clusters and the mixture's ellipses to disk; needs matplotlib.

    Features of more than two dimensions are shown on their two principal axes, the same in every
    picture. Ellipses reach two standard deviations.

    Args:
        directory: folder of `epoch_0001.png` and so on, and `final.png`; made if needed.
        x: points to draw, as for `fit`, in memory; of more than 5,000 every n-th is drawn.
        every_epochs: number of epochs between two pictures, >= 1.

    Raises:
        ImportError: when training begins, if there is no matplotlib.
    """

    def __init__(self, directory: str | os.PathLike[str], x, *, every_epochs: int = 5):
        super().__init__()
        self.directory = local_path(directory, "directory")
        self.x, _ = thinned_points(x)
        self.every_epochs = checks.integer(every_epochs, "every_epochs", minimum=1)

    def on_train_begin(self, logs=None):
        """Makes the folder, and checks that pictures can be drawn."""
        checks.import_optional("matplotlib.figure", "ClusterPlot", "viz")
        self.directory.mkdir(parents=True, exist_ok=True)

    def on_epoch_end(self, epoch, logs=None):
        """Draws after every `every_epochs` epochs."""
        if (epoch + 1) % self.every_epochs == 0:
            self._draw(f"epoch_{epoch + 1:04d}.png", f"Epoch {epoch + 1}")

    def on_train_end(self, logs=None):
        """Draws the result."""
        self._draw("final.png", "Final")

    def _draw(self, name: str, title: str) -> None:
        # Not with pyplot, which keeps every figure and asks for a display.
        from matplotlib.figure import Figure

        plane = cluster_map(self.model, sample_points(self.model, self.x), "pca")
        figure = Figure(figsize=(6, 6), layout="constrained")
        axes = figure.add_subplot()
        draw_map(self.model, plane, axes, plane.limits, decision_regions=False)
        axes.set_title(f"{title}, {self.model.n_clusters} clusters")
        axes.set_aspect("equal", "datalim")
        figure.savefig(self.directory / name, dpi=100)
