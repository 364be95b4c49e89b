"""A training step of SwAV in plain PyTorch, with which the Keras step is compared.

Only this module needs `torch`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfdpm.swav.backbones import RESNET50_BLOCKS
from tfdpm.swav.config import SwAVConfig


def has_pytorch() -> bool:
    """Returns whether `torch` can be imported."""
    return importlib.util.find_spec("torch") is not None


def make_pytorch_network(config: SwAVConfig, *, small: bool = False, seed: int = 0):
    """Makes backbone, head and prototypes, in this order, as a `torch.nn.Sequential`.

    Args:
        config: settings, of which the sizes of head and prototypes count.
        small: whether the backbone is that of `SwAV.small` for colour images, not ResNet-50.
        seed: random seed of the weights.
    """
    import torch
    from torch import nn

    torch.manual_seed(seed)
    backbone, width = _make_small_resnet(nn) if small else _make_resnet50(nn)
    head = nn.Sequential(
        nn.Linear(width, config.hidden_units),
        nn.BatchNorm1d(config.hidden_units),
        nn.ReLU(inplace=True),
        nn.Linear(config.hidden_units, config.embedding_dim),
    )
    prototypes = nn.Linear(config.embedding_dim, config.num_prototypes, bias=False)
    return nn.Sequential(backbone, head, prototypes)


def make_pytorch_step(
    network: Any,
    config: SwAVConfig,
    crops: tuple[np.ndarray, ...],
    *,
    channels_last: bool = False,
    autocast: bool = False,
    threads: int = 1,
) -> Callable[[], float]:
    """Returns a function that takes one step on the crops and returns the loss.

    The backbone runs once for each resolution. Two views give codes. There is no queue.

    Args:
        network: what `make_pytorch_network` returned.
        config: settings of loss and optimiser. "adam" is Adam, others are SGD with momentum.
        crops: `[B, V, S, S, 3]` float32 for each resolution; the first has two views.
        channels_last: whether pixels precede channels in memory, as they do in TensorFlow.
        autocast: whether PyTorch computes the network in bfloat16 where it supports that.
        threads: threads that PyTorch may use in the whole process.
    """
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    backbone, head, prototypes = network.to(memory_format=layout).train()
    if config.training.optimizer == "adam":
        rate = config.training.start_learning_rate
        optimizer = torch.optim.Adam(network.parameters(), lr=rate, eps=1e-7)
    else:
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    # The views come first, as in the published program; channels precede pixels.
    images = [
        torch.from_numpy(np.ascontiguousarray(views.transpose(1, 0, 4, 2, 3)))
        .flatten(0, 1)
        .contiguous(memory_format=layout)
        for views in crops
    ]
    batch = crops[0].shape[0]
    num_views = sum(views.shape[1] for views in crops)

    def step() -> float:
        with torch.no_grad():
            prototypes.weight.copy_(functional.normalize(prototypes.weight))
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            features = torch.cat([backbone(views) for views in images])
            scores = prototypes(functional.normalize(head(features))).float()
        logits = scores / config.temperature
        log_p = functional.log_softmax(logits, dim=1).view(num_views, batch, -1)
        loss = 0.0
        for view in range(2):
            with torch.no_grad():
                rows = scores[view * batch : (view + 1) * batch].detach()
                codes = _compute_codes(torch, rows, config)
            others = [other for other in range(num_views) if other != view]
            loss = loss - sum((codes * log_p[other]).sum(1).mean() for other in others)
        loss = loss / (2 * (num_views - 1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if config.freeze_prototypes_steps:
            prototypes.weight.grad.zero_()
        optimizer.step()
        return float(loss.detach())

    return step


def _compute_codes(torch, scores, config: SwAVConfig):
    """Returns codes `[B, P]` by Sinkhorn's iteration, as in the listing of [SwAV].

    Q = exp(scores^T / epsilon) / sum, then rows to 1 / P and columns to 1 / B in turn.
    """
    plan = torch.exp((scores - scores.max()) / config.sinkhorn_epsilon).T
    plan /= plan.sum()
    rows, columns = plan.shape
    for _ in range(config.sinkhorn_iterations):
        plan /= plan.sum(1, keepdim=True) * rows
        plan /= plan.sum(0, keepdim=True) * columns
    return (plan * columns).T


def _make_resnet50(nn):
    """Makes a ResNet-50 with the stride on the 3x3 convolutions; returns it and its width."""
    layers = [*_convolve(nn, 3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    shapes = []
    for stage, blocks in enumerate(RESNET50_BLOCKS):
        width = 64 * 2**stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            shapes.append(((width, 1, 1), (width, 3, stride), (4 * width, 1, 1)))
    return _add_blocks(nn, layers, 64, shapes)


def _make_small_resnet(nn):
    """Makes the backbone of `SwAV.small`; returns it and the number of its features."""
    layers = [*_convolve(nn, 3, 32, 3, 2), nn.ReLU(inplace=True)]
    shapes = [((32 * stride, 3, min(stride, 2)), (32 * stride, 3, 1)) for stride in (1, 2, 4)]
    return _add_blocks(nn, layers, 32, shapes)


def _convolve(nn, entering: int, filters: int, size: int, stride: int) -> list[Any]:
    convolution = nn.Conv2d(entering, filters, size, stride, size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(filters)]


def _add_blocks(
    nn, layers: list[Any], width: int, blocks: Sequence[Sequence[tuple[int, int, int]]]
):
    """Adds to the stem a block for each `(filters, size, stride)` of convolutions, and pools."""

    class Block(nn.Module):
        def __init__(self, entering: int, shapes: Sequence[tuple[int, int, int]]):
            super().__init__()
            body, width, stride = [], entering, 1
            for filters, size, step in shapes:
                body += [*_convolve(nn, width, filters, size, step), nn.ReLU(inplace=True)]
                width, stride = filters, max(stride, step)
            self.body = nn.Sequential(*body[:-1])
            self.shortcut = nn.Identity()
            if stride > 1 or entering != width:
                self.shortcut = nn.Sequential(*_convolve(nn, entering, width, 1, stride))

        def forward(self, x):
            return (self.body(x) + self.shortcut(x)).relu_()

    for shapes in blocks:
        layers.append(Block(width, shapes))
        width = shapes[-1][0]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), width
