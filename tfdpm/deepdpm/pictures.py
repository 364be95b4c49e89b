"""What a fitted model shows of itself: maps, members, history, animation, report.

Thin: which points are looked at is decided here, what is drawn in `tfdpm.viz` and `tfdpm.report`.
Those are imported when they are needed, with the libraries of the extra `viz`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfdpm import checks

_MOST_PLOTTED = 5_000
_FILMED = 3_000


class PictureMethods:
    """The part of `DeepDPM` that draws. It needs the methods of `FittedModel` beside it."""

    def plot(
        self,
        x: Any = None,
        *,
        projection: str = "auto",
        decision_regions: bool = True,
        max_points: int = _MOST_PLOTTED,
        seed: int = 0,
        ax: Any = None,
    ) -> Any:
        """Draws points, the ellipses of the components and the regions of the clusters.

        Args:
            x: points, as for `predict`; `None` for (a sample of) those of the fit, which a loaded
                model no longer has.
            projection: of points with more than two columns: "pca" for the principal axes of the
                model's features, "lda" for the linear discriminants of the clusters, which show
                them as far apart as a plane can; "auto" for "lda" where there are three clusters
                or more.
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

        view = (
            self._fitted_view()
            if x is None
            else viz.look(self, x, max_points=max_points, seed=seed)
        )
        view = view.thinned(max_points, seed)
        return viz.plot(
            self, view, projection=projection, decision_regions=decision_regions, axes=ax
        )

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
        return viz.plot_clusters(
            images,
            self.predict(points),
            self.score_samples(points),
            per_cluster=per_cluster,
            order=order,
            max_clusters=max_clusters,
        )

    def plot_history(self) -> Any:
        """Draws K with its accepted moves, the losses, and scores where labels were given.

        Returns:
            `[panels]` matplotlib axes.

        Raises:
            RuntimeError: if the model was not trained since it was made or loaded.
            ImportError: without matplotlib, naming the extra that brings it.
        """
        from tfdpm import viz

        history = getattr(self, "history", None)
        if history is None:
            checks.fail("history", "a model that was not trained here", "a fit first", RuntimeError)
        return viz.plot_history(history.history)

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
            config: of the filmed fit. `None`: see `tfdpm.viz.film_config`: the networks search
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

        points = x
        if x is None:  # what an encoder made of them, where there is one: the film needs none
            points = self._fitted_view().inputs
            points = points[:: -(-len(points) // _FILMED)]
        return viz.animate(self, path, points, config=config, epochs=epochs, **options)

    def report(
        self,
        path: str | os.PathLike[str] = "report.html",
        x: Any = None,
        y: Any = None,
        images: Any = None,
        *,
        title: str = "Clusters",
        command: str | None = None,
        seconds: float | None = None,
        seed: int = 0,
    ) -> Path:
        """Writes one HTML page about the fit that works without a network.

        Args:
            path: of the page.
            x: points, as for `predict`; `None` for (a sample of) those of the fit.
            y: `[N]` known labels, which only score; unless `x` brings them.
            images: `[N, H, W]`, `[N, H, W, C]` or `[N, side * side]`, one for each point: shown
                where the map is pointed at, and as typical and doubtful members.
            title: heading of the page.
            command: what made the model, to stand on the page.
            seconds: that the fit took, to stand on the page.
            seed: of the samples.

        Returns:
            The path.

        Raises:
            ImportError: without plotly, naming the extra that brings it.
        """
        from tfdpm import report

        return report.write_report(
            self,
            path,
            self._points_to_show(x),
            y,
            images,
            title=title,
            command=command,
            seconds=seconds,
            seed=seed,
        )

    def _points_to_show(self, x: Any) -> Any:
        """`x`, or where it is `None` the sample of the fit, as raw rows."""
        if x is not None:
            return x
        if self.encoder is not None:
            checks.fail("x", "None, of a model with an encoder inside", "the points of the fit")
        rows = self._fitted_view().inputs
        return rows.reshape(len(rows), *self._feature_shape)

    def _fitted_view(self) -> Any:
        """The sample of the fit; its inputs are rows as they came out of the encoder, if any."""
        from tfdpm import viz

        self._fitted()
        if self._search is None:
            checks.fail("x", "None, of a model without the points of its fit", "points")
        sample = self._search.features
        raw = self._state.preprocessing.inverse(np.asarray(sample, np.float64))
        features = np.asarray(sample, np.float32)
        responsibilities = self._infer(tf.constant(features))
        return viz.View(np.arange(len(raw)), raw, features, responsibilities, None, int(len(raw)))
