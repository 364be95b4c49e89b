"""Conversion of weights in the published layout: every key finds its place, values in order."""

from __future__ import annotations

import numpy as np
import pytest

from tfdpm.features import DeepCluster, SeLa, SwAV, TrainingConfig, resnet50
from tfdpm.swav.published_weights import convert_published_weights


def published_shapes(hidden=16, embedding=8, prototypes=12):
    """Keys and shapes of a published ResNet-50 file, written down from its architecture."""
    shapes = {"conv1.weight": (64, 3, 7, 7)}

    def norm(name, size):
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (size,)
        shapes[f"{name}.num_batches_tracked"] = ()

    norm("bn1", 64)
    entering = 64
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        inner = 64 * 2 ** (stage - 1)
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            sizes = [(inner, entering, 1, 1), (inner, inner, 3, 3), (4 * inner, inner, 1, 1)]
            for index, size in enumerate(sizes, start=1):
                shapes[f"{name}.conv{index}.weight"] = size
                norm(f"{name}.bn{index}", size[0])
            if block == 0:
                shapes[f"{name}.downsample.0.weight"] = (4 * inner, entering, 1, 1)
                norm(f"{name}.downsample.1", 4 * inner)
            entering = 4 * inner
    shapes |= {"projection_head.0.weight": (hidden, 2048), "projection_head.0.bias": (hidden,)}
    norm("projection_head.1", hidden)
    shapes |= {
        "projection_head.3.weight": (embedding, hidden),
        "projection_head.3.bias": (embedding,),
        "prototypes.weight": (prototypes, embedding),
    }
    return {f"module.{key}": shape for key, shape in shapes.items()}


def make_model(num_prototypes=12):
    return SwAV(resnet50(), hidden_units=16, embedding_dim=8, num_prototypes=num_prototypes)


def test_every_variable_is_filled_and_every_key_reported():
    rng = np.random.default_rng(0)
    shapes = published_shapes()
    state = {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
    model = make_model()
    report = convert_published_weights(model, state)
    assert report.is_complete
    assert set(report.unused) == {key for key in shapes if key.endswith("num_batches_tracked")}
    assert len(report.converted) + len(report.unused) == len(shapes)
    stem = model.backbone.get_layer("conv1").kernel.numpy()
    np.testing.assert_array_equal(stem[2, 5, 1, 9], state["module.conv1.weight"][9, 1, 2, 5])
    norm = model.backbone.get_layer("layer3_0_downsample_bn")
    np.testing.assert_array_equal(
        norm.moving_variance.numpy(), state["module.layer3.0.downsample.1.running_var"]
    )
    np.testing.assert_array_equal(
        model.prototypes.kernel.numpy(), state["module.prototypes.weight"].T
    )


def test_other_shapes_are_reported_not_guessed():
    state = {key: np.ones(shape, np.float32) for key, shape in published_shapes().items()}
    model = make_model(num_prototypes=13)
    report = convert_published_weights(model, state)
    assert report.mismatched == {"module.prototypes.weight": "file (8, 12), model (8, 13)"}
    assert not report.is_complete and report.missing == ("prototypes/kernel",)
    assert "module.prototypes.weight: file (8, 12)" in str(report)


@pytest.mark.parametrize("method", [DeepCluster, SeLa])
def test_files_with_several_sets_of_prototypes_fill_theirs(method):
    shapes = published_shapes()
    del shapes["module.prototypes.weight"]
    shapes |= {f"module.prototypes.prototypes{head}.weight": (12, 8) for head in range(3)}
    rng = np.random.default_rng(0)
    state = {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
    model = method(
        resnet50(),
        hidden_units=16,
        embedding_dim=8,
        num_prototypes=12,
        training=TrainingConfig(num_images=20, batch_size=20),
    )
    report = convert_published_weights(model, state)
    assert report.is_complete
    for head in range(3):
        expected = state[f"module.prototypes.prototypes{head}.weight"].T
        np.testing.assert_array_equal(model.prototypes[head].kernel.numpy(), expected)


def test_forward_pass_equals_pytorch():
    torch = pytest.importorskip("torch")
    from torch import nn

    class Bottleneck(nn.Module):
        def __init__(self, entering, inner, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(entering, inner, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(inner)
            self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(inner)
            self.conv3 = nn.Conv2d(inner, 4 * inner, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(4 * inner)
            self.downsample = None
            if stride > 1 or entering != 4 * inner:
                self.downsample = nn.Sequential(
                    nn.Conv2d(entering, 4 * inner, 1, stride, bias=False), nn.BatchNorm2d(4 * inner)
                )

        def forward(self, x):
            shortcut = x if self.downsample is None else self.downsample(x)
            y = torch.relu(self.bn1(self.conv1(x)))
            y = torch.relu(self.bn2(self.conv2(y)))
            return torch.relu(self.bn3(self.conv3(y)) + shortcut)

    torch.manual_seed(0)
    parts = nn.ModuleDict({"conv1": nn.Conv2d(3, 64, 7, 2, 3, bias=False)})
    parts["bn1"] = nn.BatchNorm2d(64)
    entering = 64
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        inner = 64 * 2 ** (stage - 1)
        layers = []
        for block in range(blocks):
            layers.append(Bottleneck(entering, inner, 2 if stage > 1 and block == 0 else 1))
            entering = 4 * inner
        parts[f"layer{stage}"] = nn.Sequential(*layers)
    for module in parts.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    parts.eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        hidden = torch.relu(parts["bn1"](parts["conv1"](images)))
        hidden = nn.functional.max_pool2d(hidden, 3, 2, 1)
        for stage in range(1, 5):
            hidden = parts[f"layer{stage}"](hidden)
        expected = hidden.mean((2, 3)).numpy()
    model = make_model()
    state = {key: value.numpy() for key, value in parts.state_dict().items()}
    assert not convert_published_weights(model, state).mismatched
    features = model.backbone(images.numpy().transpose(0, 2, 3, 1), training=False)
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
