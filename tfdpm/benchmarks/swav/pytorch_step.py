"""A training step of SwAV on ResNet-50 in plain PyTorch, with which the Keras step is compared.

Only this module needs `torch`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np

from tfdpm.swav.backbones import RESNET50_BLOCKS

_EMBEDDING_DIM, _HIDDEN_UNITS, _NUM_PROTOTYPES = 128, 2048, 3000
_EPSILON, _ITERATIONS, _TEMPERATURE = 0.05, 3, 0.1


def has_pytorch() -> bool:
    """Returns whether `torch` can be imported."""
    return importlib.util.find_spec("torch") is not None


def make_pytorch_step(
    crops: tuple[np.ndarray, ...], *, autocast: bool = False, threads: int = 1, seed: int = 0
) -> Callable[[], float]:
    """Returns a function that takes one SGD step on the crops and returns the loss.

    The step has the published sizes: one pass of the backbone for each resolution, a head of 2048
    and 128 units, 3,000 prototypes, codes of the first two views, three Sinkhorn rounds, no queue.

    Args:
        crops: `[B, V, S, S, 3]` float32 for each resolution; the first has two views.
        autocast: whether PyTorch computes the network in bfloat16 where it supports that.
        threads: threads that PyTorch may use in the whole process.
        seed: random seed of the weights.
    """
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    backbone = _make_resnet50(torch, nn)
    head = nn.Sequential(
        nn.Linear(2048, _HIDDEN_UNITS),
        nn.BatchNorm1d(_HIDDEN_UNITS),
        nn.ReLU(inplace=True),
        nn.Linear(_HIDDEN_UNITS, _EMBEDDING_DIM),
    )
    prototypes = nn.Linear(_EMBEDDING_DIM, _NUM_PROTOTYPES, bias=False)
    parameters = [*backbone.parameters(), *head.parameters(), *prototypes.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
    # The views come first, as in the published program; channels precede pixels.
    images = [
        torch.from_numpy(np.ascontiguousarray(views.transpose(1, 0, 4, 2, 3))).flatten(0, 1)
        for views in crops
    ]
    batch = crops[0].shape[0]
    num_views = sum(views.shape[1] for views in crops)

    def step() -> float:
        with torch.no_grad():
            prototypes.weight.copy_(nn.functional.normalize(prototypes.weight))
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            embeddings = nn.functional.normalize(head(torch.cat([backbone(x) for x in images])))
            scores = prototypes(embeddings).float()
        log_p = nn.functional.log_softmax(scores / _TEMPERATURE, dim=1).view(num_views, batch, -1)
        loss = 0.0
        for view in range(2):
            with torch.no_grad():
                codes = _compute_codes(torch, scores[view * batch : (view + 1) * batch].detach())
            others = [other for other in range(num_views) if other != view]
            loss = loss - sum((codes * log_p[other]).sum(1).mean() for other in others)
        loss = loss / (2 * (num_views - 1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def _compute_codes(torch, scores):
    """Returns codes `[B, P]` by Sinkhorn's iteration, as in the listing of [SwAV].

    Q = exp(scores^T / epsilon) / sum, then rows to 1 / P and columns to 1 / B in turn.
    """
    plan = torch.exp((scores - scores.max()) / _EPSILON).T
    plan /= plan.sum()
    rows, columns = plan.shape
    for _ in range(_ITERATIONS):
        plan /= plan.sum(1, keepdim=True) * rows
        plan /= plan.sum(0, keepdim=True) * columns
    return (plan * columns).T


def _make_resnet50(torch, nn):
    """Makes a ResNet-50 with the stride on the 3x3 convolutions, up to the pooled features."""

    class Bottleneck(nn.Module):
        def __init__(self, entering: int, width: int, stride: int):
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(entering, width, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
                nn.Conv2d(width, width, 3, stride, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
                nn.Conv2d(width, 4 * width, 1, bias=False),
                nn.BatchNorm2d(4 * width),
            )
            self.shortcut = nn.Identity()
            if stride > 1 or entering != 4 * width:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(entering, 4 * width, 1, stride, bias=False),
                    nn.BatchNorm2d(4 * width),
                )

        def forward(self, x):
            return torch.relu_(self.body(x) + self.shortcut(x))

    layers = [
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    ]
    entering = 64
    for stage, blocks in enumerate(RESNET50_BLOCKS):
        width = 64 * 2**stage
        for block in range(blocks):
            layers.append(Bottleneck(entering, width, 2 if stage and not block else 1))
            entering = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
