"""Sizes, strides and starting weights of the encoders."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tfdpm.swav.backbones import resnet18, resnet50, small_resnet


def resnet50_parameters(width):
    """Counted from the architecture: convolutions without bias, two parameters per norm."""
    total = 7 * 7 * 3 * 64 * width + 2 * 64 * width
    entering = 64 * width
    for stage, blocks in enumerate((3, 4, 6, 3)):
        inner = 64 * width * 2**stage
        for block in range(blocks):
            total += (
                entering * inner + 9 * inner**2 + 4 * inner**2 + 2 * (inner + inner + 4 * inner)
            )
            if block == 0:
                total += entering * 4 * inner + 2 * 4 * inner
            entering = 4 * inner
    return total


def test_resnet50_has_the_published_size():
    model = resnet50()
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert trainable == resnet50_parameters(1) == 23_508_032
    # 94, 375 and 586 million parameters are printed for the wider forms.
    assert [round(resnet50_parameters(width) / 1e6) for width in (2, 4, 5)] == [94, 375, 586]


def test_images_of_any_size_give_features():
    model = small_resnet(channels=1, widths=(4, 8))
    for size in (8, 13, 32):
        assert model(np.zeros((2, size, size, 1), np.float32)).shape == (2, 8)


def test_first_weights_follow_the_seed_and_have_he_variance():
    first, same, other = (small_resnet(widths=(64,), seed=seed) for seed in (1, 1, 2))
    kernels = [model.get_layer("layer1_0_conv1").kernel.numpy() for model in (first, same, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0] - kernels[2]).max() > 0
    assert kernels[0].var() == pytest.approx(2 / (9 * 64), rel=0.05)
    again = first.get_layer("layer1_0_conv2").kernel.numpy()
    assert abs(np.corrcoef(kernels[0].ravel(), again.ravel())[0, 1]) < 0.05


def test_small_form_has_the_layers_of_resnet18():
    model = resnet18()
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(convolutions) == 1 + 16 + 3
    assert model.output_shape == (None, 512)


@pytest.mark.parametrize("options", [{"widths": ()}, {"channels": 0}, {"blocks": 0}])
def test_bad_sizes_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        small_resnet(**options)
