"""The sample of a fit, as the points that pictures show when none are given."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.deepdpm.inference import FittedModel

__all__ = ["points_to_show", "sample_view"]


def points_to_show(model: FittedModel, x: Any) -> Any:
    """`x`, or where it is `None` the sample of the fit, as raw points."""
    if x is not None:
        return x
    if model.encoder is not None:
        checks.fail("x", "None, of a model with an encoder inside", "the points of the fit")
    rows = sample_view(model).inputs
    return rows.reshape(len(rows), *model.point_shape)


def sample_view(model: FittedModel) -> Any:
    """The sample of the fit; its inputs are rows as they came out of the encoder, if any."""
    from tfdpm import viz

    search = model.fitted.result.search
    if search is None:
        checks.fail("x", "None, of a model without the points of its fit", "points")
    raw = model.preprocessing_.inverse(np.asarray(search.features, np.float64))
    features = np.asarray(search.features, np.float32)
    responsibilities = model.fitted.networks.responsibilities(
        tf.constant(features), model.n_clusters
    )
    return viz.View(np.arange(len(raw)), raw, features, responsibilities, None, int(len(raw)))
