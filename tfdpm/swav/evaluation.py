"""Accuracy of features: nearest neighbours, a linear probe, and fine-tuning on few labels."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfdpm import checks

_BLOCK = 1024


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Accuracies on test samples, in [0, 1].

    Attributes:
        top1: share of samples whose likeliest label is right, after the last epoch.
        top5: share of samples whose label is among the five likeliest, after the last epoch.
        best_top1: largest `top1` of all epochs.
    """

    top1: float
    top5: float
    best_top1: float


def knn_accuracy(
    train_x, train_y, test_x, test_y, k: int = 20, *, temperature: float | None = None
) -> float:
    """Returns the share of test samples whose nearest training samples vote for their label.

    Neighbours are those of the largest cosine similarity. Ties go to the smaller label.

    Args:
        train_x, test_x: features, `[N, D]` and `[M, D]`; further axes are flattened.
        train_y, test_y: labels, `[N]` and `[M]`, integers or strings.
        k: number of neighbours, 1 to N.
        temperature: temperature of votes weighted by `exp(similarity / temperature)`, > 0. By
            default, all votes weigh the same.
    Returns:
        Accuracy in [0, 1].
    Raises:
        ValueError: if sizes do not fit, values are not finite, or `k` is out of range.
    """
    train_x, train_y, test_x, test_y = _checked(train_x, train_y, test_x, test_y)
    k = checks.integer(k, "k", minimum=1, maximum=len(train_x))
    if temperature is not None:
        temperature = checks.number(temperature, "temperature", above=0.0)
    classes, codes = np.unique(train_y, return_inverse=True)
    votes_of = np.eye(len(classes), dtype=np.float32)[codes]
    # scikit-learn's classifier votes alike, but its cosine distances take 3.5 times as long (5,000
    # and 2,000 points), and Euclidean ones of unit rows have zero rows for near.
    train_x, test_x = (
        x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (train_x, test_x)
    )
    correct = 0
    for start in range(0, len(test_x), _BLOCK):
        similarity = test_x[start : start + _BLOCK] @ train_x.T
        nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
        weights = np.ones(nearest.shape, np.float32)
        if temperature is not None:
            closeness = np.take_along_axis(similarity, nearest, axis=1)
            weights = np.exp((closeness - closeness.max(1, keepdims=True)) / temperature)
        votes = np.einsum("mk,mkc->mc", weights, votes_of[nearest])
        predicted = classes[votes.argmax(1)]
        correct += int((predicted == test_y[start : start + _BLOCK]).sum())
    return correct / len(test_x)


def linear_probe(
    train_x,
    train_y,
    test_x,
    test_y,
    *,
    epochs: int = 100,
    batch_size: int = 256,
    learning_rate: float = 0.3,
    weight_decay: float = 1e-6,
    standardize: bool = True,
    seed: int = 0,
) -> Accuracy:
    """Returns the accuracy of a linear softmax classifier on frozen features.

    The classifier is trained as published, [SwAV]: SGD with momentum 0.9, a cosine schedule to
    zero, weights from N(0, 0.01).

    Args:
        train_x, test_x: features, `[N, D]` and `[M, D]`; further axes are flattened.
        train_y, test_y: labels, `[N]` and `[M]`.
        epochs: number of passes over the training set, >= 1.
        batch_size: number of samples per step; the last step of an epoch takes the remainder.
        learning_rate: initial learning rate, > 0.
        weight_decay: L2 coefficient, >= 0.
        standardize: whether columns get the training set's mean 0 and variance 1, so that the
            published learning rate suits any features. The published protocol does not.
        seed: random seed; the same seed gives the same weights and order.
    Returns:
        `Accuracy`; the published numbers are those of the best epoch.
    """
    train_x, train_y, test_x, test_y = _checked(train_x, train_y, test_x, test_y)
    epochs = checks.integer(epochs, "epochs", minimum=1)
    batch_size = min(checks.integer(batch_size, "batch_size", minimum=1), len(train_x))
    if standardize:
        mean, deviation = train_x.mean(0), train_x.std(0)
        # Dividing a constant feature by its rounding noise would amplify the noise.
        scale = 1.0 / np.where(deviation > 1e-6 * np.abs(mean) + 1e-12, deviation, np.inf)
        train_x, test_x = (train_x - mean) * scale, (test_x - mean) * scale
    classes, train_codes = np.unique(train_y, return_inverse=True)
    test_codes = _codes_of(classes, test_y)
    # scikit-learn's SGDClassifier has neither the momentum nor the schedule of the protocol.
    rng = np.random.default_rng(seed)
    first = rng.normal(0.0, 0.01, (train_x.shape[1], len(classes))).astype(np.float32)
    variables = kernel, bias = tf.Variable(first), tf.Variable(tf.zeros([len(classes)]))
    buffers = [tf.Variable(tf.zeros_like(value)) for value in variables]
    data, codes = tf.constant(train_x), tf.constant(train_codes, tf.int32)

    # An epoch is one graph, which has less overhead than a graph for each step.
    @tf.function
    def train(order, rate):
        for start in tf.range(0, tf.shape(order)[0], batch_size):
            batch = order[start : start + batch_size]
            inputs, wanted = tf.gather(data, batch), tf.gather(codes, batch)
            predicted = tf.nn.softmax(tf.matmul(inputs, kernel) + bias)
            error = predicted - tf.one_hot(wanted, len(classes))
            error /= tf.cast(tf.shape(batch)[0], tf.float32)
            gradients = (tf.matmul(inputs, error, transpose_a=True), tf.reduce_sum(error, axis=0))
            for variable, buffer, gradient in zip(variables, buffers, gradients, strict=True):
                buffer.assign(0.9 * buffer + gradient + weight_decay * variable)
                variable.assign_sub(rate * buffer)

    scores = []
    for epoch in range(epochs):
        rate = 0.5 * learning_rate * (1 + np.cos(np.pi * epoch / epochs))
        order = rng.permutation(len(train_x))
        train(tf.constant(order, tf.int32), tf.constant(rate, tf.float32))
        scores.append(_top_accuracies(test_x @ kernel.numpy() + bias.numpy(), test_codes))
    return _accuracy(scores)


def semi_supervised(
    encoder: keras.Model,
    train_images,
    train_y,
    test_images,
    test_y,
    *,
    fraction: float = 0.1,
    epochs: int = 20,
    batch_size: int = 256,
    backbone_learning_rate: float | None = None,
    head_learning_rate: float | None = None,
    mirror: bool = True,
    seed: int = 0,
) -> Accuracy:
    """Returns the accuracy after fine-tuning a copy of the encoder on a share of the labels.

    Training is as published, [SwAV]: 20 epochs of SGD with momentum 0.9 and no decay. Learning
    rates fall to a fifth at 60 % and at 80 % of the epochs.

    Args:
        encoder: Keras model from images to features, such as `SwAV(...).encoder`; it stays
            unchanged.
        train_images, test_images: images that the encoder takes, `[N, H, W, C]`.
        train_y, test_y: labels of the images.
        fraction: share of labels used in each class, in (0, 1]; at least one label per class.
        epochs: number of passes over the labelled share, >= 1.
        batch_size: number of images per step.
        backbone_learning_rate, head_learning_rate: initial learning rates of encoder and
            classifier; by default, 0.02 and 5 for at most 1 % of the labels, 0.01 and 0.2 for more.
        mirror: whether training images are mirrored at random, as digits and letters must not be.
        seed: random seed; the same seed gives the same labels, weights, order and mirror images.
    Returns:
        `Accuracy` of the fine-tuned copy.
    """
    fraction = checks.number(fraction, "fraction", above=0.0, maximum=1.0)
    epochs = checks.integer(epochs, "epochs", minimum=1)
    train_images, test_images = np.asarray(train_images), np.asarray(test_images)
    train_y, test_y = np.asarray(train_y), np.asarray(test_y)
    if len(train_images) != len(train_y) or len(test_images) != len(test_y):
        checks.fail("train_y, test_y", (len(train_y), len(test_y)), "as many labels as images")
    rng = np.random.default_rng(seed)
    classes = np.unique(train_y)
    members = [np.flatnonzero(train_y == label) for label in classes]
    drawn = [rng.choice(m, max(round(fraction * len(m)), 1), replace=False) for m in members]
    chosen = np.sort(np.concatenate(drawn))
    images, codes = train_images[chosen], _codes_of(classes, train_y[chosen])
    batch_size = min(batch_size, len(images))
    few = fraction <= 0.01
    rates = (
        backbone_learning_rate or (0.02 if few else 0.01),
        head_learning_rate or (5.0 if few else 0.2),
    )
    copy = keras.models.clone_model(encoder)
    copy(images[:1])
    copy.set_weights(encoder.get_weights())
    head = keras.layers.Dense(
        len(classes),
        kernel_initializer=keras.initializers.RandomNormal(0.0, 0.01, seed=seed),
        dtype="float32",
    )
    head.build((None, copy(images[:1]).shape[-1]))
    optimizers = [keras.optimizers.SGD(rate, momentum=0.9) for rate in rates]
    groups = (copy.trainable_variables, head.trainable_variables)
    for optimizer, variables in zip(optimizers, groups, strict=True):
        optimizer.build(variables)

    @tf.function
    def train(pixels, codes):
        with tf.GradientTape() as tape:
            logits = head(copy(pixels, training=True))
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(codes, logits)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, groups)
        for optimizer, values, variables in zip(optimizers, gradients, groups, strict=True):
            optimizer.apply_gradients(zip(values, variables, strict=True))

    scores = []
    for epoch in range(epochs):
        factor = 0.2 ** ((epoch >= 0.6 * epochs) + (epoch >= 0.8 * epochs))
        for optimizer, rate in zip(optimizers, rates, strict=True):
            optimizer.learning_rate.assign(rate * factor)
        order = rng.permutation(len(images))
        for start in range(0, len(images) - batch_size + 1, batch_size):
            batch = order[start : start + batch_size]
            pixels = images[batch]
            if mirror:
                flipped = rng.random(len(batch)) < 0.5
                pixels = np.where(flipped[:, None, None, None], pixels[:, :, ::-1], pixels)
            train(tf.constant(pixels), tf.constant(codes[batch], tf.int32))
        logits = head(copy.predict(test_images, batch_size=batch_size, verbose=0)).numpy()
        scores.append(_top_accuracies(logits, _codes_of(classes, test_y)))
    return _accuracy(scores)


def _codes_of(classes, labels) -> np.ndarray:
    """Returns the position of each label among `classes`, and -1 for other labels."""
    places = np.clip(np.searchsorted(classes, labels), 0, len(classes) - 1)
    return np.where(classes[places] == labels, places, -1)


def _top_accuracies(logits, codes) -> tuple[float, float]:
    order = np.argsort(-logits, axis=1)[:, :5]
    hits = order == codes[:, np.newaxis]
    return float(hits[:, 0].mean()), float(hits.any(1).mean())


def _accuracy(scores: list[tuple[float, float]]) -> Accuracy:
    """Returns the accuracy of a run from the top-1 and top-5 accuracies of its epochs."""
    return Accuracy(top1=scores[-1][0], top5=scores[-1][1], best_top1=max(scores)[0])


def _checked(*data) -> list[np.ndarray]:
    """Returns features `[N, D]` float32 and labels `[N]` for training and for test."""
    checked = []
    for name, x, y in zip(("train", "test"), data[::2], data[1::2], strict=True):
        x, y = np.asarray(x), np.asarray(y)
        if x.ndim < 2 or len(x) == 0:
            checks.fail(f"{name}_x", f"shape {x.shape}", "features [N, D] with N >= 1")
        x = x.reshape(len(x), -1).astype(np.float32)
        if y.shape != (len(x),):
            checks.fail(f"{name}_y", f"shape {y.shape}", f"[{len(x)}], one label per sample")
        if not np.isfinite(x).all():
            checks.fail(f"{name}_x", "NaN or infinity", "finite features")
        checked += [x, y]
    wanted, width = checked[0].shape[1], checked[2].shape[1]
    if width != wanted:
        checks.fail("test_x", f"{width} features", f"{wanted}, as `train_x`")
    return checked
