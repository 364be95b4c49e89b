"""Public Keras callbacks, of clustering and of feature learning."""

from tfdpm.model.callbacks import StableClusters

__all__ = ["StableClusters"]
