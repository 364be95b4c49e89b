"""What a `DeepDPM` adds to Keras's summary: clusters, sizes, preprocessing, prior and moves."""

from __future__ import annotations

import numpy as np

from tfdpm.deepdpm.inference import FittedModel

_MOST_SIZES = 20  # that are named


def summary_lines(model: FittedModel) -> list[str]:
    """The lines below the table of layers."""
    if model.parts is None:
        return ["Not fitted yet."]
    state, moves, result = model.parts.state, model.moves_, model.parts.result
    count = model.n_components
    parts = f", of {count} component{'s' * (count != 1)}" if result.groups else ""
    lines = [f"Clusters: {model.n_clusters}{parts}"]
    if result.labels is not None:
        sizes = np.sort(model.cluster_sizes_)[::-1]
        more = f", and {len(sizes) - _MOST_SIZES} more" if len(sizes) > _MOST_SIZES else ""
        lines.append(f"Sizes: {', '.join(map(str, sizes[:_MOST_SIZES]))}{more}")
    if model.columns.names:
        lines.append(f"C{str(model.columns)[1:]}")  # "columns: ..." as a line of its own
    if model.features_:
        lines.append(f"Features: {model.features_}")
    scale = np.diag(state.prior.scale.numpy())
    return [
        *lines,
        f"Preprocessing: {state.preprocessing.description}",
        f"Prior: mean_precision {float(state.prior.mean_precision):.3g}, "
        f"df {float(state.prior.df):.6g}, scale {scale.min():.3g} to {scale.max():.3g}",
        f"Moves: {moves.accepted_splits} of {moves.proposed_splits} splits, "
        f"{moves.accepted_merges} of {moves.proposed_merges} merges accepted",
    ]
