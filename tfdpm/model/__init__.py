"""The DeepDPM model: networks, losses, training, and units that are rebuilt when K changes."""

from tfdpm.model.deepdpm import DeepDPM

__all__ = ["DeepDPM"]
