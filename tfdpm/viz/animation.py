"""Training as a moving picture: decision regions and ellipses, frame by frame, as a GIF."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfdpm import checks
from tfdpm.config import DeepDPMConfig
from tfdpm.viz.extra import load
from tfdpm.viz.maps import ClusterMap, cluster_map
from tfdpm.viz.plots import draw
from tfdpm.viz.view import look

__all__ = ["Animation", "animate", "film_config"]

_MOST_POINTS = 3_000
_LAST_FRAME_MS = 2_000
_FIRST_CLUSTERS, _PAPER_PRIOR_SCALE, _STABLE_EPOCHS = 3, 0.005, 6
_GRID = 120  # places of a decision region along each axis


class Animation(keras.callbacks.Callback):
    """Films a fit of `DeepDPM` and writes it as a GIF when training ends.

    Points with two columns are shown as they are, others on the principal axes (PCA) of their
    features, the same in every frame.

    Args:
        path: of the file, which ends in `.gif`.
        x: points to draw, as for `fit`; of more than 3,000 a random sample is drawn.
        every_epochs: epochs between two frames, at least 1.
        frames_per_second: above 0.
        inches: width and height of a frame, at 100 dots to the inch.

    Raises:
        ImportError: when training begins, without matplotlib; it names the extra.
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
        self.path = Path(path)
        if self.path.suffix != ".gif":
            checks.fail("path", repr(str(path)), "a name that ends in .gif")
        self.x = x
        self.every_epochs = checks.integer(every_epochs, "every_epochs", minimum=1)
        self.frames_per_second = checks.number(frames_per_second, "frames_per_second", above=0.0)
        self.inches = checks.number(inches, "inches", above=0.0)
        self._frames: list[Any] = []
        self._limits: np.ndarray | None = None

    def on_train_begin(self, logs=None):
        """Forgets earlier fits, and sees whether pictures can be drawn."""
        load("matplotlib.figure", "Animation")
        load("PIL.Image", "Animation")
        self._frames, self._limits = [], None
        self._film("start")

    def on_epoch_end(self, epoch, logs=None):
        """Adds a frame after every `every_epochs` epochs."""
        if (epoch + 1) % self.every_epochs == 0:
            self._film(f"epoch {epoch + 1}")

    def on_train_end(self, logs=None):
        """Adds the result, which stays for two seconds, and writes the file."""
        self._film("end")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        duration = int(1000 / self.frames_per_second)
        self._frames[0].save(
            self.path,
            save_all=True,
            append_images=self._frames[1:],
            duration=[duration] * (len(self._frames) - 1) + [_LAST_FRAME_MS],
            loop=0,
        )

    def _film(self, moment: str) -> None:
        plane = cluster_map(
            self.model, look(self.model, self.x, max_points=_MOST_POINTS), projection="pca"
        )
        if self._limits is None:
            self._limits = plane.limits
        self._frames.append(self._frame(plane, moment))

    def _frame(self, plane: ClusterMap, moment: str) -> Any:
        # Without pyplot, which would keep every figure.
        figure_class = load("matplotlib.figure", "Animation").Figure
        image = load("PIL.Image", "Animation")
        figure = figure_class(figsize=(self.inches, self.inches), layout="constrained")
        axes = figure.add_subplot()
        draw(self.model, plane, axes, self._limits, resolution=_GRID)
        count = len(plane.weights)
        axes.set_title(f"{moment}: {count} cluster{'s' if count > 1 else ''}", fontsize=10)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100)
        return image.open(buffer).convert("P", palette=image.Palette.ADAPTIVE, colors=128)


def animate(
    model: Any,
    path: str | os.PathLike[str],
    x: Any,
    *,
    config: Any = None,
    epochs: int | None = None,
    **options: Any,
) -> Path:
    """Trains a model like this one once more on `x`, and films it; the model itself stays.

    Args:
        model: a `tfdpm.DeepDPM`; its class and seed are used.
        path: of the GIF.
        x: points in the form of `fit`.
        config: of the filmed fit. `None` for `film_config(model.config)`.
        epochs: most epochs; `None` for the configuration's.
        **options: of `Animation`.

    Returns:
        The path.
    """
    film = Animation(path, x, **options)
    config = film_config(model.config) if config is None else config
    type(model)(config, seed=model.seed).fit(x, epochs=epochs, callbacks=[film], verbose=0)
    return film.path


def film_config(config: DeepDPMConfig) -> DeepDPMConfig:
    """The same configuration, but one under which K moves from epoch to epoch.

    The default finds its mixture before the first epoch, where there is nothing to film yet. Here
    the networks search alone, from three clusters of K-means and under the paper's prior scale
    ([DeepDPM] supplement 7.1), so K at the end may be another than the default's.
    """
    if config.start == "kmeans":
        return config
    return config.replace(
        start="kmeans",
        initial_clusters=_FIRST_CLUSTERS,
        prior="identity",
        prior_scale=_PAPER_PRIOR_SCALE,
        stable_epochs=_STABLE_EPOCHS,
        learning_rate_decay=1.0,
    )
