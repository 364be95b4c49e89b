"""The way out of the scope of a `tf.distribute.Strategy`, in which variables would be mirrored."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.python.distribute import distribute_lib
from tensorflow.python.ops import variables


@contextlib.contextmanager
def out_of_scope() -> Iterator[None]:
    """Runs a block, or a function as its decorator, as if no scope of a strategy were open.

    Our passes share out points and exchange sums, see `networks.replicas`: their variables must be
    those of one device, but users open a scope around whole programs.
    """
    if not tf.distribute.has_strategy():
        yield
        return

    def plain(_, **arguments):
        return variables.default_variable_creator_v2(**arguments)

    # TensorFlow has no public way out.
    distribute_lib._push_per_thread_mode(distribute_lib._get_default_replica_mode())
    try:
        with tf.variable_creator_scope(plain):
            yield
    finally:
        distribute_lib._pop_per_thread_mode()
