"""Colours of clusters, the same in every picture of a model."""

from __future__ import annotations

import colorsys

# Readable on white and on near-black; neighbours in the list differ in hue and lightness.
_PALETTE = (
    "#4c78a8 #f58518 #54a24b #e45756 #9467bd #17a2b0 #d6a400 #e377c2 #8c6d4f #7f8fa6 "
    "#2f5fd0 #b0451c #1f9e78 #c2185b #6b4fd8 #5f9ed1 #8fae1b #ff7f6e #a05fb5 #b58b5a"
).split()


def cluster_colors(count: int) -> list[str]:
    """Returns `count` colours as `#rrggbb`: 20 fixed ones, then hues by the golden angle."""
    more = []
    for index in range(len(_PALETTE), count):
        lightness = (0.42, 0.55, 0.66)[index % 3]
        levels = colorsys.hls_to_rgb((index * 0.61803398875) % 1.0, lightness, 0.6)
        more.append("#" + bytes(round(255 * level) for level in levels).hex())
    return [*_PALETTE[:count], *more]
