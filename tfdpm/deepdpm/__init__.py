"""The DeepDPM model: networks, losses, training, and units that are rebuilt when K changes."""

from tfdpm.deepdpm.model import DeepDPM

__all__ = ["DeepDPM"]
