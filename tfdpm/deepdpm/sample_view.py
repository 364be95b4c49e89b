"""The sample of a fit, as the points that pictures show when none are given."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tfdpm import checks
from tfdpm.deepdpm.inference import FittedModel

__all__ = ["sample_view"]


def sample_view(model: FittedModel) -> Any:
    """The sample of the fit; its inputs are rows as they came out of the encoder, if any."""
    from tfdpm import viz

    search = model.fitted.result.search
    if search is None:
        checks.fail("x", "None, of a model without the points of its fit", "points")
    features = np.asarray(search.features)
    responsibilities = model.fitted.networks.responsibilities(
        tf.constant(np.asarray(features, np.float32)), model.n_clusters
    )
    shape = model.point_shape if model.encoder is None else None
    return viz.PointSample.from_features(features, responsibilities, model.preprocessing_, shape)
