"""The program of PyTorch has our network and takes our step, so that their times compare."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tests.swav.test_backbones import resnet50_parameters
from tfdpm.benchmarks.speed import everyday
from tfdpm.benchmarks.swav.pytorch_step import make_pytorch_network, make_pytorch_step
from tfdpm.features import SwAV, SwAVConfig

torch = pytest.importorskip("torch")


def weights_in_order(model):
    """Trainable weights of a small model in the layout and in the order of PyTorch."""
    names = ["conv1", "bn1"]
    for stage in (1, 2, 3):
        for part in ("conv1", "bn1", "conv2", "bn2", "downsample_conv", "downsample_bn"):
            if stage > 1 or "downsample" not in part:
                names.append(f"layer{stage}_0_{part}")
    layers = [model.backbone.get_layer(name) for name in names]
    layers += [model.head.hidden, model.head.norm, model.head.output_layer, model.prototypes]
    values = [weight.numpy() for layer in layers for weight in layer.trainable_weights]
    assert len(values) == len(model.trainable_weights)
    return [value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T for value in values]


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_small_network_and_its_steps_are_ours(channels_last) -> None:
    options = {"image_size": 32, "num_images": 1280, "batch_size": 16, "print_fn": str}
    model = SwAV.small(**options)
    assert model.config.queue_length == 0
    network = make_pytorch_network(model.config, small=True)
    ours, theirs = weights_in_order(model), list(network.parameters())
    assert [value.shape for value in ours] == [tuple(value.shape) for value in theirs]
    assert sum(value.numel() for value in theirs) == model.count_params() - sum(
        int(np.prod(weight.shape)) for weight in model.non_trainable_weights
    )
    with torch.no_grad():
        for value, weight in zip(ours, theirs, strict=True):
            weight.copy_(torch.tensor(value))
    views, rng = model.config.views, np.random.default_rng(0)
    crops = tuple(
        rng.normal(size=(16, count, side, side, 3)).astype(np.float32)
        for count, side in zip(views.crop_counts, views.crop_sizes, strict=True)
    )
    step = make_pytorch_step(network, model.config, crops, channels_last=channels_last)
    tensors = tuple(map(tf.constant, crops))
    losses = []
    for _ in range(2):  # in which the learning rate is that of the start
        model.reset_metrics()
        losses.append((float(model.train_step(tensors)["loss"]), step()))
    np.testing.assert_allclose(*losses[0], rtol=1e-5)
    np.testing.assert_allclose(*np.transpose(losses), rtol=1e-3)
    assert losses[1][1] < losses[0][1] - 0.1


def test_the_large_network_has_the_published_size() -> None:
    backbone = make_pytorch_network(SwAVConfig())[0]
    assert sum(weight.numel() for weight in backbone.parameters()) == resnet50_parameters(1)


def test_pytorch_stands_beside_a_step_in_both_layouts() -> None:
    rows = list(everyday._measure_step(1, 0, 16, 1))
    assert [row["beside"] for row in rows[1:]] == ["PyTorch, channels_last", "PyTorch, NCHW"]
