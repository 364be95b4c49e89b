"""Backbones from images of any size to features: ResNet-50, wider and small ResNets; the encoder.

Initial weights have the distributions of the published runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from tfdpm import checks
from tfdpm.data.images.view_config import PUBLISHED_MEAN, PUBLISHED_STD
from tfdpm.swav.convolution import Conv2D
from tfdpm.swav.normalization import BatchNorm, ImageStandardization

RESNET50_BLOCKS = (3, 4, 6, 3)  # bottleneck blocks of each stage


class _Builder:
    """Builder of layers with consecutive seeds and the same normalisation."""

    def __init__(self, seed: int, synchronized: bool, dtype):
        self.seed = checks.integer(seed, "seed")
        self.synchronized = synchronized
        # By name, since Keras by itself writes down plain arguments only.
        self.options = {"dtype": dtype and keras.dtype_policies.get(dtype).name}

    def conv(self, inputs, filters: int, size: int, stride: int, name: str, norm: str):
        """Applies a convolution, padded by `size // 2` on every side, and batch norm."""
        self.seed += 1
        start = keras.initializers.VarianceScaling(
            2.0, "fan_out", "untruncated_normal", seed=self.seed
        )
        conv = Conv2D(
            filters,
            size,
            stride,
            "same",
            use_bias=False,
            kernel_initializer=start,
            name=name,
            **self.options,
        )
        return BatchNorm(synchronized=self.synchronized, name=norm, **self.options)(conv(inputs))

    def relu(self, inputs, name: str):
        return keras.layers.ReLU(name=name, **self.options)(inputs)

    def block(self, inputs, convolutions: Sequence[tuple[int, int, int]], name: str):
        """Applies convolutions of `(filters, size, stride)` and adds the shortcut."""
        hidden = inputs
        for index, shape in enumerate(convolutions, start=1):
            hidden = self.conv(hidden, *shape, f"{name}_conv{index}", f"{name}_bn{index}")
            if index < len(convolutions):
                hidden = self.relu(hidden, f"{name}_relu{index}")
        filters, stride = hidden.shape[-1], max(stride for _, _, stride in convolutions)
        if stride > 1 or inputs.shape[-1] != filters:
            names = (f"{name}_downsample_conv", f"{name}_downsample_bn")
            inputs = self.conv(inputs, filters, 1, stride, *names)
        joined = keras.layers.Add(name=f"{name}_add", **self.options)([hidden, inputs])
        return self.relu(joined, f"{name}_relu")

    def model(self, images, hidden, blocks, convolutions, name: str) -> keras.Model:
        """Applies stages of `blocks`, whose `convolutions(stage, stride)` are given, and pools."""
        for stage, count in enumerate(blocks):
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                shapes = convolutions(stage, stride)
                hidden = self.block(hidden, shapes, f"layer{stage + 1}_{block}")
        pool = keras.layers.GlobalAveragePooling2D(name="avgpool", **self.options)
        return keras.Model(images, pool(hidden), name=name)


def resnet50(
    width: int = 1,
    *,
    channels: int = 3,
    synchronized: bool = True,
    seed: int = 0,
    dtype=None,
) -> keras.Model:
    """Builds the ResNet-50 of the published SwAV runs, or its `width` times wider form.

    The 3x3 convolution of a bottleneck has the stride, and padding is symmetric. `width` widens
    every layer, the stem included; [SwAV] figure 2 uses 1, 2, 4 and 5.

    Args:
        width: multiple of the standard widths, >= 1.
        channels: number of channels of the images, >= 1.
        synchronized: whether replicas share batch statistics.
        seed: random seed; the same seed gives the same initial weights.
        dtype: Keras dtype policy; by default, the global one.
    Returns:
        Model from standardised images `[B, H, W, channels]` to features `[B, 2048 * width]`.
    """
    width = checks.integer(width, "width", minimum=1)
    channels = checks.integer(channels, "channels", minimum=1)
    build = _Builder(seed, synchronized, dtype)
    images = keras.Input((None, None, channels), name="images", dtype=dtype and "float32")
    hidden = build.relu(build.conv(images, 64 * width, 7, 2, "conv1", "bn1"), "relu1")
    # Zero padding is exact here, since no maximum after ReLU is negative.
    hidden = keras.layers.ZeroPadding2D(1, name="maxpool_pad", dtype=dtype)(hidden)
    hidden = keras.layers.MaxPooling2D(3, 2, name="maxpool", dtype=dtype)(hidden)

    def bottleneck(stage, stride):
        inner = 64 * width * 2**stage
        return (inner, 1, 1), (inner, 3, stride), (4 * inner, 1, 1)

    name = "resnet50" if width == 1 else f"resnet50w{width}"
    return build.model(images, hidden, RESNET50_BLOCKS, bottleneck, name)


def small_resnet(
    *,
    channels: int = 3,
    widths: Sequence[int] = (64, 128, 256),
    blocks: int = 1,
    stem_stride: int = 1,
    synchronized: bool = True,
    seed: int = 0,
    dtype=None,
) -> keras.Model:
    """Builds a ResNet of basic blocks for small images, with a 3x3 stem and no early pooling.

    Args:
        channels: number of channels of the images, >= 1.
        widths: number of filters of each stage; each but the first halves the resolution.
        blocks: number of basic blocks per stage, >= 1.
        stem_stride: stride of the stem; 2 quarters the cost of images of 28 pixels and more.
        synchronized: whether replicas share batch statistics.
        seed: random seed; the same seed gives the same initial weights.
        dtype: Keras dtype policy; by default, the global one.
    Returns:
        Model from standardised images `[B, H, W, channels]` to features `[B, widths[-1]]`.
    """
    channels = checks.integer(channels, "channels", minimum=1)
    blocks = checks.integer(blocks, "blocks", minimum=1)
    widths = tuple(checks.integer(width, "widths", minimum=1) for width in widths)
    if not widths:
        checks.fail("widths", "no stage", "at least one width")
    build = _Builder(seed, synchronized, dtype)
    images = keras.Input((None, None, channels), name="images", dtype=dtype and "float32")
    hidden = build.relu(build.conv(images, widths[0], 3, stem_stride, "conv1", "bn1"), "relu1")

    def basic(stage, stride):
        return (widths[stage], 3, stride), (widths[stage], 3, 1)

    return build.model(images, hidden, [blocks] * len(widths), basic, "small_resnet")


def resnet18(*, channels: int = 3, synchronized: bool = True, seed: int = 0, dtype=None):
    """Builds a ResNet-18 with a 3x3 stem for images of 32 to 64 pixels; features are `[B, 512]`.

    Arguments as for `small_resnet`.
    """
    options = {"synchronized": synchronized, "seed": seed, "dtype": dtype}
    return small_resnet(channels=channels, widths=(64, 128, 256, 512), blocks=2, **options)


@keras.saving.register_keras_serializable(package="tfdpm")
class Encoder(keras.Model):
    """Model from images, uint8 or floating in [0, 1], to features `[B, D]`.

    Args:
        backbone: Keras model from standardised images to features.
        mean, std: constants of each channel for images in [0, 1]; by default, those of the
            published runs.
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
        """Features `[B, D]` of images `[B, H, W, C]`, uint8 or floating in [0, 1]."""
        return self.backbone(self.standardize(images), training=training)

    def export(self, filepath, *args, input_signature=None, **kwargs) -> None:
        """As `keras.Model.export`, by default for images of any size, floating in [0, 1]."""
        if input_signature is None:
            shape = (None, None, None, len(self.standardize.mean))
            input_signature = [keras.InputSpec(shape=shape, dtype="float32")]
        super().export(filepath, *args, input_signature=input_signature, **kwargs)

    def get_config(self):
        """Constructor arguments, serialised."""
        return super().get_config() | {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "mean": self.standardize.mean,
            "std": self.standardize.std,
        }

    @classmethod
    def from_config(cls, config):
        """A model without weights from `get_config`'s result."""
        return cls(**keras.saving.deserialize_keras_object(config))
