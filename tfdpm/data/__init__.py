"""What goes in: known mixtures to try things on, named data sets, files, and one form for all."""

from __future__ import annotations

from tfdpm.data.synthetic import blobs, gaussian_mixture, gaussians15

__all__ = ["blobs", "gaussian_mixture", "gaussians15"]
