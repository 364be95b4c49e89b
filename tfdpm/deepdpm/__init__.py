"""`DeepDPM`, the Keras model: how it is created, fitted, asked, drawn, saved and exported."""

from tfdpm.deepdpm.model import DeepDPM

__all__ = ["DeepDPM"]
