"""The lines that `DeepDPM.summary` adds to Keras's."""

from __future__ import annotations

import numpy as np

from tfdpm.interpret.fitted import Fitted

__all__ = ["summarize"]

_MOST_SIZES = 20


def summarize(parts: Fitted | None, features: str) -> list[str]:
    """K, sizes, preprocessing, prior and moves of a fit, a line each.

    Args:
        parts: of the model; `None` before a fit.
        features: how raw points become rows, in words; empty where nobody said.
    """
    if parts is None:
        return ["Not fitted yet."]
    state, moves, labels = parts.state, parts.result.moves, parts.result.labels
    scale = np.diag(state.prior.scale.numpy())
    lines = [f"Clusters: {state.num_components}"]
    if labels is not None:
        sizes = np.sort(np.bincount(labels, minlength=state.num_components))[::-1]
        more = f", and {len(sizes) - _MOST_SIZES} more" if len(sizes) > _MOST_SIZES else ""
        lines.append(f"Sizes: {', '.join(map(str, sizes[:_MOST_SIZES]))}{more}")
    if features:
        lines.append(f"Features: {features}")
    lines += [
        f"Preprocessing: {state.preprocessing.description}",
        f"Prior: mean_precision {float(state.prior.mean_precision):.3g}, "
        f"df {float(state.prior.df):.6g}, scale {scale.min():.3g} to {scale.max():.3g}",
        f"Moves: {moves.accepted_splits} of {moves.proposed_splits} splits, "
        f"{moves.accepted_merges} of {moves.proposed_merges} merges accepted",
    ]
    return lines + ([f"Note: {moves.advice()}"] if moves.advice() else [])
