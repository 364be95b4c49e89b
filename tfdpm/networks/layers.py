"""The clustering network and the stacked subclustering networks, as Keras layers.

Both hold spare capacity: component k lives in slot k, and slots from K on are masked.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from tfdpm.mixture.statistics import has_accelerator

# Logit of a slot without a component: its softmax is exactly zero in float32, also for points that
# are so far out that all other logits are large and negative.
MASKED_LOGIT = -1e30
# Up to this many networks, a point of a gradient step meets all of them in one product, with zeros
# for what goes into the others; of more, the kernels are gathered for every point.
_MOST_SIDE_BY_SIDE = 64
# In a pass over many points each network meets its own in turn, unless they are more than this and
# their hidden layers have no more weights than that: then, too, the kernels are gathered. Where
# there is no graph, turns take longer than one product with up to so many inputs; an accelerator
# would wait for the points of each turn.
_MOST_INPUTS = 256
_FEW_NETWORKS = 64
_MOST_GATHERED = 1024


def leading_corner(values, shape: tuple[int, ...]) -> tf.Tensor:
    """`values` cut or padded with zeros at the end of each axis to `shape`."""
    values = tf.convert_to_tensor(values)[tuple(slice(size) for size in shape)]
    paddings = [[0, size - before] for size, before in zip(shape, values.shape, strict=True)]
    return tf.pad(values, paddings)


class _Slots(keras.layers.Layer):
    """A layer with slots, whose variables can be exchanged for larger ones after it was built.

    Its dtype is float32 whatever the policy of the program is: networks are small, and rounding
    decides between neighbouring clusters.

    Attributes:
        arguments: names of constructor arguments, which are attributes, too.
    """

    arguments = ("hidden_units", "capacity", "seed")

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})

    def get_config(self):
        """Constructor arguments."""
        return {**super().get_config(), **{name: getattr(self, name) for name in self.arguments}}

    def grow_weight(self, name: str, shape: tuple[int, ...]) -> None:
        """Replaces a weight by one of `shape`; what both have room for keeps its values."""
        old = getattr(self, name)
        self._tracker.unlock()
        self._untrack_variable(old)
        new = self.add_weight(name=name, shape=shape, initializer="zeros")
        new.assign(leading_corner(old, shape))
        setattr(self, name, new)
        self._tracker.lock()


@keras.saving.register_keras_serializable(package="tfdpm")
class ComponentHead(_Slots):
    """Output layer with one unit per component and spare units.

    Args:
        capacity: number of slots, C >= K.
        seed: seed of the initial weights.
    """

    arguments = ("capacity", "seed")

    def __init__(self, capacity: int, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.capacity = capacity
        self.seed = seed

    def build(self, input_shape):
        """Creates `kernel [H, C]` and `bias [C]`."""
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.capacity),
            initializer=keras.initializers.GlorotUniform(self.seed),
        )
        self.bias = self.add_weight(name="bias", shape=(self.capacity,), initializer="zeros")

    def call(self, hidden, num_components):
        """Logits `[B, C]`; slots from `num_components` on get `MASKED_LOGIT`."""
        logits = tf.linalg.matmul(hidden, self.kernel) + self.bias
        is_active = tf.range(self.capacity) < num_components
        return tf.where(is_active, logits, tf.cast(MASKED_LOGIT, logits.dtype))

    def grow(self, capacity: int) -> None:
        """Adds spare units until there are `capacity` slots."""
        self.grow_weight("kernel", (self.kernel.shape[0], capacity))
        self.grow_weight("bias", (capacity,))
        self.capacity = capacity


@keras.saving.register_keras_serializable(package="tfdpm")
class ClusteringNetwork(_Slots):
    """`f_cl`: one hidden layer, then one unit per component ([DeepDPM] eq. 3).

    Args:
        hidden_units: width H of the hidden layer ([DeepDPM] supplement 7: 50).
        capacity: number of component slots, C.
        seed: seed of the initial weights.
    """

    def __init__(self, hidden_units: int, capacity: int, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.hidden_units = hidden_units
        self.seed = seed
        self.hidden = keras.layers.Dense(
            hidden_units,
            activation="relu",
            kernel_initializer=keras.initializers.GlorotUniform(seed),
            dtype="float32",
            name="hidden",
        )
        self.head = ComponentHead(capacity, seed + 1, name="head")

    @property
    def capacity(self) -> int:
        """Number of component slots."""
        return self.head.capacity

    def build(self, input_shape):
        """Creates the weights for inputs `[B, D]`."""
        self.hidden.build(input_shape)
        self.head.build((input_shape[0], self.hidden_units))

    def call(self, features, num_components):
        """Logits `[B, C]` of `features [B, D]`."""
        return self.head(self.hidden(features), num_components=num_components)

    def respond_to_few(self, features: np.ndarray, num_components: int) -> np.ndarray:
        """Responsibilities `[B, K]` of a few `features [B, D]`, by NumPy.

        TensorFlow takes longer to start than to compute them.
        """
        variables = self.hidden.kernel, self.hidden.bias, self.head.kernel, self.head.bias
        # Straight from the variables: their own method takes as long as all the rest.
        first, first_bias, last, last_bias = (
            tf.raw_ops.ReadVariableOp(resource=each.handle, dtype=each.dtype).numpy()
            for each in (variable.value for variable in variables)
        )
        # In place, and over long axes: arrays so short take longer to be made than to be filled.
        hidden = features @ first
        hidden += first_bias
        np.maximum(hidden, 0.0, out=hidden)
        shares = np.ascontiguousarray((hidden @ last[:, :num_components]).T)
        shares += last_bias[:num_components, np.newaxis]
        shares -= shares.max(axis=0)
        np.exp(shares, out=shares)
        shares /= shares.sum(axis=0)
        return shares.T


@keras.saving.register_keras_serializable(package="tfdpm")
class SubclusteringNetworks(_Slots):
    """`f_sub`: K small networks of two outputs each, stacked on a leading axis ([DeepDPM] eq. 4).

    A point only ever meets the network of its own component: kernels are gathered by assignment,
    or what goes into the others is zero, so no cross-talk is possible.

    Args:
        hidden_units: width H of each hidden layer ([DeepDPM] supplement 7: 50).
        capacity: number of component slots, C.
        seed: seed of the initial weights.
    """

    def __init__(self, hidden_units: int, capacity: int, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.hidden_units = hidden_units
        self.capacity = capacity
        self.seed = seed

    def build(self, input_shape):
        """Creates the stacked kernels and biases for inputs `[B, D]`."""
        feature_dim = input_shape[-1]
        for name, value in self.fresh_weights(feature_dim, self.capacity, self.seed).items():
            weight = self.add_weight(name=name, shape=value.shape, initializer="zeros")
            weight.assign(value)
            setattr(self, name, weight)

    def shapes(self, feature_dim: int, capacity: int) -> dict[str, tuple[int, ...]]:
        """Shape of each weight, slots first."""
        return {
            "hidden_kernel": (capacity, feature_dim, self.hidden_units),
            "hidden_bias": (capacity, self.hidden_units),
            "kernel": (capacity, self.hidden_units, 2),
            "bias": (capacity, 2),
        }

    def fresh_weights(self, feature_dim: int, count: int, seed: int) -> dict[str, tf.Tensor]:
        """Glorot-uniform weights of `count` untrained networks."""
        weights = {name: tf.zeros(shape) for name, shape in self.shapes(feature_dim, count).items()}
        for name, stream in (("hidden_kernel", 0), ("kernel", 2)):
            shape = weights[name].shape
            limit = (6.0 / (shape[1] + shape[2])) ** 0.5
            weights[name] = tf.random.stateless_uniform(shape, (seed, stream), -limit, limit)
        return weights

    def call(self, features, assignments, by_xla: bool = False):
        """Logits `[B, 2]` of `features [B, D]`, each from the network of `assignments [B]`.

        With `by_xla`, XLA compiles the call, which gathers small kernels faster than it multiplies
        by zeros.
        """
        gathers = by_xla and self._kernel_size <= _MOST_GATHERED
        if self.capacity <= _MOST_SIDE_BY_SIDE and not gathers:
            return self._side_by_side(features, assignments)
        hidden = tf.einsum("bd,bdh->bh", features, tf.gather(self.hidden_kernel, assignments))
        hidden = tf.nn.relu(hidden + tf.gather(self.hidden_bias, assignments))
        logits = tf.einsum("bh,bhj->bj", hidden, tf.gather(self.kernel, assignments))
        return logits + tf.gather(self.bias, assignments)

    @property
    def _kernel_size(self) -> int:
        return self.hidden_kernel.shape[1] * self.hidden_units

    @property
    def are_light(self) -> bool:
        """Whether so few and small that many points may meet all of them at once."""
        return self.capacity * (1 + self.hidden_kernel.shape[1]) <= _MOST_INPUTS

    def _side_by_side(self, features, assignments) -> tf.Tensor:
        """As `call`, by two products with the weights of all networks."""
        is_own = tf.one_hot(assignments, self.capacity, dtype=features.dtype)
        inputs = is_own[:, :, tf.newaxis] * features[:, tf.newaxis, :]
        width = self.capacity * self.hidden_kernel.shape[1]
        hidden = tf.linalg.matmul(
            tf.reshape(inputs, [-1, width]),
            tf.reshape(self.hidden_kernel, [width, self.hidden_units]),
        )
        hidden = tf.nn.relu(hidden + tf.linalg.matmul(is_own, self.hidden_bias))
        kernel = tf.reshape(tf.transpose(self.kernel, [1, 0, 2]), [self.hidden_units, -1])
        logits = tf.reshape(tf.linalg.matmul(hidden, kernel), [-1, self.capacity, 2])
        own_logits = tf.reduce_sum(is_own[:, :, tf.newaxis] * logits, axis=1)
        return own_logits + tf.linalg.matmul(is_own, self.bias)

    def in_groups(self, features, assignments) -> tf.Tensor:
        """The same logits without gradients, in memory that does not grow with the networks.

        Where `call` gathers the kernels of every single point, each network's points are gathered
        instead, unless there are many small networks.
        """
        are_many = self.capacity >= _FEW_NETWORKS and self._kernel_size <= _MOST_GATHERED
        if are_many or (self.are_light and (tf.executing_eagerly() or has_accelerator())):
            return self(features, assignments=assignments)

        def body(slot, logits, rows):
            own = tf.where(assignments == tf.cast(slot, assignments.dtype))
            points = tf.gather_nd(features, own)
            hidden = tf.linalg.matmul(points, self.hidden_kernel[slot]) + self.hidden_bias[slot]
            out = tf.linalg.matmul(tf.nn.relu(hidden), self.kernel[slot]) + self.bias[slot]
            return slot + 1, logits.write(slot, out), rows.write(slot, own)

        logits = tf.TensorArray(
            features.dtype, self.capacity, infer_shape=False, element_shape=[None, 2]
        )
        rows = tf.TensorArray(tf.int64, self.capacity, infer_shape=False, element_shape=[None, 1])
        _, logits, rows = tf.while_loop(
            lambda slot, *_: slot < self.capacity, body, (0, logits, rows), parallel_iterations=1
        )
        shape = tf.cast(tf.stack([tf.shape(features)[0], 2]), tf.int64)
        return tf.scatter_nd(rows.concat(), logits.concat(), shape)

    def grow(self, capacity: int) -> None:
        """Adds spare networks until there are `capacity` slots."""
        for name, shape in self.shapes(self.hidden_kernel.shape[1], capacity).items():
            self.grow_weight(name, shape)
        self.capacity = capacity
