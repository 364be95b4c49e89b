"""A trained backbone for users: images as they hold them in, features out.

How the backbone is trained does not matter here.
"""

from __future__ import annotations

import keras

from tfdpm.swav.normalization import PUBLISHED_MEAN, PUBLISHED_STD, ImageStandardization


@keras.saving.register_keras_serializable(package="tfdpm")
class Encoder(keras.Model):
    """Images as users hold them (uint8, or floats in [0, 1]) to features `[B, D]`.

    Args:
        backbone: Keras model from standardised images to features.
        mean, std: per channel, in units of [0, 1]; the published runs' by default.
    """

    def __init__(self, backbone: keras.Model, mean=None, std=None, **kwargs):
        super().__init__(**kwargs)
        self.backbone = backbone
        self.standardize = ImageStandardization(
            PUBLISHED_MEAN if mean is None else mean,
            PUBLISHED_STD if std is None else std,
            name="standardize",
            dtype=backbone.dtype_policy,
        )
        self.standardize.build((None, None, None, len(self.standardize.mean)))
        self.built = True

    def call(self, images, training=False):
        return self.backbone(self.standardize(images), training=training)

    def get_config(self):
        return super().get_config() | {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "mean": self.standardize.mean,
            "std": self.standardize.std,
        }

    @classmethod
    def from_config(cls, config):
        backbone = keras.saving.deserialize_keras_object(config.pop("backbone"))
        return cls(backbone, **config)
