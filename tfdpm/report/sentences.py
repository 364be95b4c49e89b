"""Sentences of a report: about the prior, the preprocessing, K and the moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def describe_prior(model: Any, num_points: int) -> list[str]:
    """Describes the Normal-inverse-Wishart prior of a fitted model in plain words."""
    prior, config = model.prior_, model.config
    # Flags of categories, which come first, have no expected size.
    num_flags = sum(model.preprocessing_.category_sizes)
    scale = np.diag(np.asarray(prior.scale))[num_flags:]
    df, kappa = float(prior.df), float(prior.mean_precision)
    # The mode of an inverse Wishart distribution is scale / (df + D + 1).
    spread = np.sqrt(scale / (df + len(scale) + 1))
    source = {
        "auto": "set from the data, without labels",
        "identity": "the same in every direction, as the configuration says",
        "std": "in proportion to the columns' standard deviations, as the configuration says",
    }[config.prior]
    concentration = (
        f"New clusters appear at a rate that the concentration {config.dp_concentration:g} of the "
        "Dirichlet process sets. With many points it matters little beside the shapes."
    )
    if not len(scale):
        return [concentration]
    where = ", in its numbers," if num_flags else ""
    return [
        f"Before it sees any point, a cluster is expected to be{where} a ball with a standard "
        f"deviation of about {_range(spread)} (in the model's features, whose mean variance is one "
        f"where they were brought to one scale). This size is {source}. A far larger ball leaves "
        f"fewer clusters where they have odd shapes; where they stand apart, K hardly depends on "
        f"it.",
        f"That expectation weighs as much as {df:.4g} points on a cluster's shape, and as "
        f"{kappa:.2g} points on where its centre is. It makes up {df / (df + num_points):.1%} of "
        f"the shape of the largest cluster, which has {num_points:,} points, and half of the shape "
        f"of one of {df:.4g} points.",
        concentration,
    ]


def describe_preprocessing(model: Any, sample: Any) -> str:
    """Describes what happened to the columns before they were clustered."""
    given = int(np.prod(sample.inputs.shape[1:]))
    described = model.preprocessing_.description or "nothing"
    if model.encoder is not None:
        chosen = f" ({model.features_})" if model.features_ else ""
        described = f"an encoder inside the model{chosen}, then {described}"
    came = f"with {given:,} number{'s' if given != 1 else ''}"
    if sample.inputs.dtype == object:
        came = "as a text"
    count = sample.features.shape[1]
    return (
        f"Each point came {came}; the mixture sees {count} feature{'s' if count != 1 else ''}. "
        f"Done to them: {described}."
    )


def describe_k(count: int, posterior: Mapping[int, float]) -> str:
    """Describes in one sentence how certain K is."""
    share = posterior.get(count, 0.0)
    likeliest = max(posterior, key=lambda k: (posterior[k], -abs(k - count)))
    if share >= 0.75:
        return f"{share:.0%} of the chains of moves end with this K: it is firm."
    lowest, highest = min(posterior), max(posterior)
    between = f"{lowest}" if lowest == highest else f"between {lowest} and {highest}"
    return (
        f"Chains of moves from here end with K {between}, most often {likeliest}: "
        "neighbouring values explain the data about as well."
    )


def describe_moves(model: Any) -> str:
    """Describes in one sentence how many moves were proposed and made."""
    made = model.moves_
    return (
        f"{made.accepted_splits:,} of {made.proposed_splits:,} proposed splits and "
        f"{made.accepted_merges:,} of {made.proposed_merges:,} proposed merges were made, "
        "those before the first epoch included."
    )


def _range(values: np.ndarray) -> str:
    low, high = f"{values.min():.3g}", f"{values.max():.3g}"
    return low if low == high else f"{low} to {high}"
