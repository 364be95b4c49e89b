"""[SCAN] and [TURTLE]: linear heads that label given features in a given number of clusters.

Of SCAN it is the clustering step, without augmented images.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from sklearn.neighbors import NearestNeighbors

_NEIGHBOURS = 50
_HEADS = 10
_SCAN_EPOCHS, _SCAN_BATCH = 100, 512
_SCAN_ENTROPY = 5.0
_TURTLE_STEPS, _TURTLE_BATCH = 6000, 10_000
_INNER_STEPS = 10
_TURTLE_ENTROPY = 10.0  # gamma
_RATE = 1e-3  # Adam's in both loops of TURTLE
_TINY = 1e-8


def scan(x: np.ndarray, num_clusters: int, seed: int, *, epochs: int | None = None) -> np.ndarray:
    """Runs SCAN's clustering step with the authors' settings for 50 classes of ImageNet.

    Each point and one of its 50 nearest neighbours are to have one label, while the labels are to
    be even (weight 5). Ten linear heads learn by SGD of rate 5 and momentum 0.9 in batches of 512
    for 100 epochs; the one with the lowest loss labels the points. `epochs` shortens that.
    """
    points = _standardize(x) / np.sqrt(x.shape[1], dtype=np.float32)  # length 1 on average
    nearest = NearestNeighbors(n_neighbors=min(_NEIGHBOURS, len(points) - 1)).fit(points)
    neighbours = nearest.kneighbors(return_distance=False)
    rng = np.random.default_rng([seed, 23])
    head = keras.layers.Dense(
        _HEADS * num_clusters, kernel_initializer=keras.initializers.GlorotUniform(seed)
    )
    head.build(points.shape)
    optimizer = keras.optimizers.SGD(5.0, momentum=0.9)
    optimizer.build(head.trainable_variables)

    @tf.function(reduce_retracing=True)
    def step(anchors, partners):
        with tf.GradientTape() as tape:
            shares = (_shares(head(rows), num_clusters) for rows in (anchors, partners))
            loss = tf.reduce_sum(scan_loss(*shares, entropy_weight=_SCAN_ENTROPY))
        weights = head.trainable_variables
        optimizer.apply(tape.gradient(loss, [weight.value for weight in weights]), weights)

    for _ in range(_SCAN_EPOCHS if epochs is None else epochs):
        chosen = rng.integers(neighbours.shape[1], size=[len(points), 1])
        partners = np.take_along_axis(neighbours, chosen, axis=1)[:, 0]
        order = rng.permutation(len(points))
        for rows in np.array_split(order, -(-len(order) // _SCAN_BATCH)):
            step(tf.constant(points[rows]), tf.constant(points[partners[rows]]))
    shares = _shares(head(points), num_clusters)
    losses = scan_loss(shares, tf.gather(shares, partners), entropy_weight=_SCAN_ENTROPY)
    return np.asarray(shares)[:, int(np.argmin(losses))].argmax(axis=1)


def scan_loss(anchors: tf.Tensor, partners: tf.Tensor, *, entropy_weight: float) -> tf.Tensor:
    """Returns SCAN's loss `[H]` of shares `[N, H, K]` of points and of one neighbour each.

    `- mean log <p, p'>`, less the weighted entropy of the mean of p.
    """
    agreement = tf.reduce_sum(anchors * partners, axis=-1)
    consistency = -tf.reduce_mean(tf.math.log(tf.maximum(agreement, _TINY)), axis=0)
    return consistency - entropy_weight * _entropy(tf.reduce_mean(anchors, axis=0))


def turtle(x: np.ndarray, num_clusters: int, seed: int, *, epochs: int | None = None) -> np.ndarray:
    """Runs TURTLE on one space of features with the authors' settings.

    A linear labelling with normalised weights is sought that a linear classifier learns well in 10
    steps from a random start, while the labels are to be even (gamma 10). It takes 6,000 steps of
    10,000 points at most, both with Adam of rate 1e-3. `epochs` shortens that, a step each.
    """
    points = _standardize(x)
    rng = np.random.default_rng([seed, 29])
    dim = points.shape[1]
    bound = 1.0 / np.sqrt(dim)
    directions = rng.uniform(-bound, bound, [dim, num_clusters])
    offsets = rng.uniform(-bound, bound, num_clusters)
    start = (directions, np.linalg.norm(directions, axis=0), offsets)
    task = [keras.Variable(part, dtype="float32") for part in start]
    optimizer = keras.optimizers.Adam(_RATE)
    optimizer.build(task)
    generator = tf.random.Generator.from_seed(seed)

    @tf.function(reduce_retracing=True)
    def step(rows):
        with tf.GradientTape() as tape:
            logits = _normalized_logits(rows, *(part.value for part in task))
            labels = tf.nn.softmax(logits)
            first = generator.uniform([dim + 1, num_clusters], -bound, bound)
            answers = _learn(rows, tf.stop_gradient(labels), first)
            loss = turtle_loss(labels, answers, entropy_weight=_TURTLE_ENTROPY)
        optimizer.apply(tape.gradient(loss, [part.value for part in task]), task)

    for _ in range(_TURTLE_STEPS if epochs is None else epochs):
        rows = points
        if len(points) > _TURTLE_BATCH:
            rows = points[rng.choice(len(points), _TURTLE_BATCH, replace=False)]
        step(tf.constant(rows))
    return np.asarray(_normalized_logits(points, *task)).argmax(axis=1)


def turtle_loss(labels: tf.Tensor, answers: tf.Tensor, *, entropy_weight: float) -> tf.Tensor:
    """Returns the cross-entropy of a classifier's logits `[N, K]` from the labels, scalar.

    The weighted entropy of the labels' mean is taken off; no gradient goes through the classifier.
    """
    errors = tf.nn.softmax_cross_entropy_with_logits(labels, tf.stop_gradient(answers))
    return tf.reduce_mean(errors) - entropy_weight * _entropy(tf.reduce_mean(labels, axis=0))


def _learn(rows: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Returns the logits of a linear classifier after 10 steps of Adam from `weights`."""
    inputs = tf.concat([rows, tf.ones_like(rows[:, :1])], axis=1)
    count = tf.cast(len(rows), tf.float32)
    mean = square = tf.zeros_like(weights)
    for number in range(1, _INNER_STEPS + 1):
        error = tf.nn.softmax(inputs @ weights) - labels
        gradient = tf.matmul(inputs, error, transpose_a=True) / count
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        scale = tf.sqrt(square / (1.0 - 0.999**number)) + _TINY
        weights -= _RATE * mean / (1.0 - 0.9**number) / scale
    return inputs @ weights


def _normalized_logits(rows, directions, lengths, offsets) -> tf.Tensor:
    return rows @ (lengths * tf.math.l2_normalize(directions, axis=0)) + offsets


def _shares(logits: tf.Tensor, num_clusters: int) -> tf.Tensor:
    return tf.nn.softmax(tf.reshape(logits, [-1, _HEADS, num_clusters]))


def _entropy(shares: tf.Tensor) -> tf.Tensor:
    return -tf.reduce_sum(shares * tf.math.log(tf.maximum(shares, _TINY)), axis=-1)


def _standardize(x: np.ndarray) -> np.ndarray:
    """Returns columns of mean 0 and their spread brought to 1 on average, `[N, D]` float32."""
    centred = np.asarray(x, np.float64) - np.mean(x, axis=0, dtype=np.float64)
    return (centred / max(np.sqrt(centred.var(axis=0).mean()), 1e-12)).astype(np.float32)
