"""Adam as one operation per variable."""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tfdpm")
class FusedAdam(keras.optimizers.Adam):
    """`keras.optimizers.Adam` with TensorFlow's kernel for a whole update.

    Keras writes an update as some thirty operations. Networks as small as ours spend more time on
    tracing and calling those than on arithmetic.
    """

    def apply(self, grads, trainable_variables=None):
        """One step; arguments as Keras documents them."""
        step = tf.cast(self.iterations.value, tf.float32) + 1.0
        self._powers = self.beta_1**step, self.beta_2**step
        super().apply(grads, trainable_variables)
        self._powers = None  # a tensor would keep its graph alive

    def update_step(self, gradient, variable, learning_rate):
        """One update of a variable; arguments as Keras passes them."""
        if self.amsgrad:
            return super().update_step(gradient, variable, learning_rate)
        index, dtype = self._get_variable_index(variable), variable.dtype
        powers = [tf.cast(power, dtype) for power in self._powers]
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=powers[0],
            beta2_power=powers[1],
            lr=tf.cast(learning_rate, dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, dtype),
        )
        return None
