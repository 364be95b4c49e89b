"""The queue against a Python list."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from tfdpm.swav.queue import FeatureQueue


def test_queue_keeps_the_newest_in_order():
    queue, kept = FeatureQueue(2, 5, 3), [[], []]
    rng = np.random.default_rng(0)
    for pushed, size in enumerate([2, 2, 2, 3, 7]):
        batch = rng.normal(size=(2, size, 3)).astype(np.float32)
        queue.push(tf.constant(batch))
        kept = [(lane + list(new))[-5:] for lane, new in zip(kept, batch, strict=True)]
        if pushed >= 2:
            np.testing.assert_array_equal(queue.storage.numpy(), kept)


def test_queue_is_full_only_when_every_slot_was_pushed():
    queue = FeatureQueue(1, 4, 2)
    fullness = []
    for _ in range(3):
        queue.push(tf.zeros([1, 2, 2]))  # zeros count: fullness is counted, not guessed
        fullness.append(bool(queue.is_full()))
    assert fullness == [False, True, True]
    assert not bool(FeatureQueue(1, 0, 2).is_full())


def test_replicas_push_everything_and_share_without_overlap(two_replicas):
    strategy = two_replicas
    with strategy.scope():
        queue = FeatureQueue(1, 5, 1)

    @tf.function
    def step():
        def run():
            rank = tf.distribute.get_replica_context().replica_id_in_sync_group
            batch = tf.reshape(tf.range(4.0), [1, 4, 1])
            queue.push(tf.cast(rank, tf.float32) * 10 + batch)
            return queue.share()

        return strategy.run(run)

    shares = strategy.experimental_local_results(step())
    joined = np.concatenate([share.numpy() for share in shares], axis=1).ravel()
    np.testing.assert_array_equal(joined, [3.0, 10.0, 11.0, 12.0, 13.0])
    np.testing.assert_array_equal(queue.storage.numpy().ravel(), joined)


def test_queue_survives_saving(tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    model.queue = FeatureQueue(1, 4, 3)
    model.queue.push(tf.ones([1, 3, 3]))
    model.save_weights(tmp_path / "q.weights.h5")
    other = keras.models.clone_model(model)
    other.queue = FeatureQueue(1, 4, 3)
    other.load_weights(tmp_path / "q.weights.h5")
    np.testing.assert_array_equal(other.queue.storage.numpy(), model.queue.storage.numpy())
    assert int(other.queue.filled.numpy()) == 3
