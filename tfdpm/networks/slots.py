"""Mixtures padded to the slots of a network, so that a pass is traced once per capacity."""

from __future__ import annotations

import tensorflow as tf

from tfdpm.mixture.density import JointTensors, LogJoint
from tfdpm.mixture.parameters import MixtureParameters, TMixtureParameters
from tfdpm.networks.layers import MASKED_LOGIT
from tfdpm.search.state import MixtureState

# Of whitened coordinates in the E-step: features are centred and of unit variance.
PRECISION = tf.float32


def padded_means(state: MixtureState, capacity: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Means `[C, D]` and subcluster means `[C, 2, D]` for the losses, float32."""
    spare = capacity - state.num_components
    means = tf.pad(tf.cast(state.parameters.means, tf.float32), [[0, spare], [0, 0]])
    sub_means = tf.pad(tf.cast(state.sub_means, tf.float32), [[0, spare], [0, 0], [0, 0]])
    return means, sub_means


def padded_density(
    parameters: MixtureParameters | TMixtureParameters, capacity: int
) -> JointTensors:
    """`LogJoint.tensors` of C slots; in spare ones the log density is `MASKED_LOGIT`."""
    spare = capacity - parameters.num_components

    def padded(tensor, value=0.0):
        paddings = [[0, 0]] * (tensor.shape.rank - 1) + [[0, spare]]
        return tf.pad(tensor, paddings, constant_values=tf.constant(value, tensor.dtype))

    tensors = LogJoint(parameters, PRECISION).tensors
    return JointTensors(
        padded(tensors.constants, MASKED_LOGIT),
        tuple(padded(part) for part in tensors.coefficients),
        tuple(padded(part, 1.0) for part in tensors.tails),
    )
