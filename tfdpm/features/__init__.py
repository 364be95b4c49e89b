"""Features of images without labels: SwAV, its parts, and what measures them."""

from __future__ import annotations

from tfdpm.features.sinkhorn import sinkhorn
from tfdpm.features.swav import SwAV

__all__ = ["SwAV", "sinkhorn"]
