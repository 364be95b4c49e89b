"""Log joint of data and partition under the Dirichlet-process mixture, one customer at a time."""

from __future__ import annotations

import numpy as np

from tests.reference import niw


def log_joint(prior, points, labels, dp_concentration):
    """Chinese-restaurant seating probabilities times one-step predictives of the points."""
    total = 0.0
    for i, (point, label) in enumerate(zip(points, labels, strict=True)):
        together = np.flatnonzero(labels[:i] == label)
        seats = len(together) if len(together) else dp_concentration
        total += np.log(seats / (i + dp_concentration))
        total += niw.predictive(niw.posterior(prior, points[together])).logpdf(point)
    return total
