"""One step of a convolutional SwAV, batch norm included, against the same step in PyTorch."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.swav.methods.test_swav import convolutional_model, make_crops, make_dataset

torch = pytest.importorskip("torch")
F = torch.nn.functional


def tensors_of(model):
    """The trainable weights as float64 leaves in PyTorch, by path, in Keras's layout."""
    return {
        variable.path: torch.tensor(variable.numpy().astype(np.float64), requires_grad=True)
        for variable in model.trainable_variables
    }


def forward(tensors, crops):
    """Embeddings and scores `[B, V, .]` of the small ResNet of one stage and its head."""

    def layer(name, part):
        wanted = f"/{name}/{part}"
        (tensor,) = (value for path, value in tensors.items() if f"/{path}".endswith(wanted))
        return tensor

    def convolved(x, name):
        return F.conv2d(x, layer(name, "kernel").permute(3, 2, 0, 1), padding=1)

    def normalised(x, name):
        weight, bias = layer(name, "gamma"), layer(name, "beta")
        return F.batch_norm(x, None, None, weight, bias, training=True, eps=1e-5)

    def dense(x, name):
        return x @ layer(name, "kernel") + layer(name, "bias")

    features = []
    for views in crops:
        images = torch.tensor(views.astype(np.float64)).flatten(0, 1).permute(0, 3, 1, 2)
        stem = torch.relu(normalised(convolved(images, "conv1"), "bn1"))
        hidden = torch.relu(normalised(convolved(stem, "layer1_0_conv1"), "layer1_0_bn1"))
        hidden = normalised(convolved(hidden, "layer1_0_conv2"), "layer1_0_bn2")
        rows = torch.relu(hidden + stem).mean((2, 3))
        features.append(rows.unflatten(0, views.shape[:2]))
    features = torch.cat(features, 1)
    hidden = torch.relu(normalised(dense(features.flatten(0, 1), "hidden"), "norm"))
    embeddings = F.normalize(dense(hidden, "output"), dim=1).unflatten(0, features.shape[:2])
    return embeddings, embeddings @ layer("prototypes", "kernel")


def codes_of(scores, rows):
    """The paper's listing: alternating sums of the plan, in float64."""
    plan = torch.exp(scores / 0.05).T
    plan = plan / plan.sum()
    for _ in range(3):
        plan = plan / plan.sum(1, keepdim=True) / plan.shape[0]
        plan = plan / plan.sum(0, keepdim=True) / plan.shape[1]
    return (plan * plan.shape[1]).T[:rows]


@pytest.mark.parametrize("queue_length", [0, 32])
def test_loss_codes_and_gradients_equal_pytorch(queue_length):
    model, crops = convolutional_model(queue_length=queue_length), make_crops(16)
    model.compile(keras.optimizers.SGD(1.0))
    past = np.random.default_rng(5).normal(size=(2, 32, 5))
    past /= np.linalg.norm(past, axis=-1, keepdims=True)
    if queue_length:
        model.queue.storage.assign(past)
        model.queue.filled.assign(queue_length)
    model.prototypes.renormalize()
    tensors = tensors_of(model)
    _, scores = forward(tensors, crops)
    log_p = F.log_softmax(scores / 0.1, dim=-1)
    prototypes = next(value for path, value in tensors.items() if "prototypes" in path)
    loss, codes = 0.0, []
    for lane in range(2):
        with torch.no_grad():
            rows = [scores[:, lane], torch.tensor(past[lane]) @ prototypes]
            codes.append(codes_of(torch.cat(rows[: 1 + bool(queue_length)]), 16))
        for view in set(range(8)) - {lane}:
            loss = loss - (codes[lane] * log_p[:, view]).sum(1).mean() / (2 * 7)
    loss.backward()
    ours = model.assign_codes(model(crops, training=True)[1])
    np.testing.assert_allclose(ours, torch.stack(codes, 1), atol=1e-4)
    before = {variable.path: variable.numpy() for variable in model.trainable_variables}
    history = model.fit(make_dataset(crops), epochs=1, verbose=0).history
    assert history["loss"][0] == pytest.approx(float(loss.detach()), abs=1e-4)
    for variable in model.trainable_variables:
        gradient = before[variable.path] - variable.numpy()
        np.testing.assert_allclose(
            gradient, tensors[variable.path].grad, atol=1e-4, err_msg=variable.path
        )
