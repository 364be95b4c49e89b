"""Fitted models whose components are told to be joined, without points that say so."""

from __future__ import annotations

import numpy as np

from tfdpm.shapes.groups import ComponentGroups


def join(model, *between) -> None:
    """Gives a fitted model valleys `(first, second, depth)`; all other components are apart."""
    valleys = np.full([model.n_components] * 2, np.inf)
    np.fill_diagonal(valleys, 0.0)
    for first, second, depth in between:
        valleys[first, second] = valleys[second, first] = depth
    model.adopt(model.fitted.replace(groups=ComponentGroups.from_valleys(valleys)))
