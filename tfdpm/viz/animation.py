"""Animations of a fit as GIF files: decision regions and ellipses, epoch by epoch."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfdpm import checks
from tfdpm.config import DeepDPMConfig
from tfdpm.progress.files import local_path
from tfdpm.viz.maps import cluster_map
from tfdpm.viz.plots import draw_map
from tfdpm.viz.samples import PointSample, sample_points

_MAX_POINTS = 3_000
_LAST_FRAME_MS = 2_000
_GRID = 120  # grid points of decision regions along each axis


class Animation(keras.callbacks.Callback):
    """Draws a frame after each epoch of a fit and writes a GIF when training ends.

    Points with two columns are shown as they are. Others are shown on the principal axes (PCA) of
    their features, with the limits of the first frame in all frames.

    Args:
        path: path of the file, which ends in `.gif`.
        x: points to draw, as for `fit`; of more than 3,000 a random sample is drawn.
        every_epochs: number of epochs between two frames, at least 1.
        frames_per_second: speed, above 0.
        inches: width and height of a frame, at 100 dots per inch.

    Raises:
        ImportError: when training begins without matplotlib; the error names the extra.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        x: Any,
        *,
        every_epochs: int = 1,
        frames_per_second: float = 4.0,
        inches: float = 5.0,
    ):
        super().__init__()
        self.path = local_path(path)
        if self.path.suffix != ".gif":
            checks.fail("path", repr(str(path)), "a name that ends in .gif")
        self.x = x
        self.every_epochs = checks.integer(every_epochs, "every_epochs", minimum=1)
        self.frames_per_second = checks.number(frames_per_second, "frames_per_second", above=0.0)
        self.inches = checks.number(inches, "inches", above=0.0)
        self._frames: list[Any] = []
        self._limits: np.ndarray | None = None

    def on_train_begin(self, logs=None):
        """Starts anew, and checks that the libraries for drawing are installed."""
        for module in ("matplotlib.figure", "PIL.Image"):
            checks.import_optional(module, "Animation", "viz")
        self._frames, self._limits = [], None
        self._add_frame("start")

    def on_epoch_end(self, epoch, logs=None):
        """Adds a frame after every `every_epochs` epochs."""
        if (epoch + 1) % self.every_epochs == 0:
            self._add_frame(f"epoch {epoch + 1}")

    def on_train_end(self, logs=None):
        """Adds the last frame, which is shown for two seconds, and writes the file."""
        self._add_frame("end")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        duration = int(1000 / self.frames_per_second)
        self._frames[0].save(
            self.path,
            save_all=True,
            append_images=self._frames[1:],
            duration=[duration] * (len(self._frames) - 1) + [_LAST_FRAME_MS],
            loop=0,
        )

    def _add_frame(self, moment: str) -> None:
        from matplotlib.figure import Figure
        from PIL import Image

        sample = sample_points(self.model, self.x, max_points=_MAX_POINTS)
        plane = cluster_map(self.model, sample, projection="pca")
        if self._limits is None:
            self._limits = plane.limits
        # Not by pyplot, which would hold every figure in memory.
        figure = Figure(figsize=(self.inches, self.inches), layout="constrained")
        axes = figure.add_subplot()
        draw_map(self.model, plane, axes, self._limits, resolution=_GRID)
        count = len(plane.heaviest)
        axes.set_title(f"{moment}: {count} cluster{'s' if count > 1 else ''}", fontsize=10)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100)
        frame = Image.open(buffer).convert("P", palette=Image.Palette.ADAPTIVE, colors=128)
        self._frames.append(frame)


def animate(
    model: Any,
    path: str | os.PathLike[str],
    x: Any,
    *,
    config: DeepDPMConfig | str | None = None,
    epochs: int | None = None,
    **options: Any,
) -> Path:
    """Trains a second model with the class and seed of `model` on `x` and writes it as a GIF.

    Args:
        model: a `tfdpm.DeepDPM`, which stays as it is.
        x: points, as for `fit`, or a `PointSample`, of which at most 3,000 points are used.

    Other arguments, value and errors are those of `DeepDPM.animate`.
    """
    if isinstance(x, PointSample):
        x = x.inputs[:: -(-len(x.inputs) // _MAX_POINTS)]
    animation = Animation(path, x, **options)
    config = animation_config(model.config) if config is None else config
    type(model)(config, seed=model.seed).fit(x, epochs=epochs, callbacks=[animation], verbose=0)
    return animation.path


def animation_config(config: DeepDPMConfig) -> DeepDPMConfig:
    """Returns a configuration under which K changes from epoch to epoch.

    The default configuration finds its mixture before the first epoch, so that no move would be
    seen. Here the networks start from three clusters of K-means with the paper's prior scale
    ([DeepDPM] supplement 7.1). K at the end may differ from that of the given configuration.
    """
    if config.start == "kmeans":
        return config
    return config.replace(
        start="kmeans",
        initial_clusters=3,
        prior="identity",
        prior_scale=0.005,
        stable_epochs=6,
        learning_rate_decay=1.0,
    )
