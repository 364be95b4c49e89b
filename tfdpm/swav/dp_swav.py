"""SwAV that does not force its prototypes to be equally popular: shares are inferred.

[SwAV] spreads every batch evenly over the prototypes, which is wrong where classes are not equally
frequent. Here the shares are the posterior mean of mixture weights under a Dirichlet prior.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfdpm import checks
from tfdpm.swav.config import SwAVConfig
from tfdpm.swav.model import SwAV

__all__ = ["DPSwAV"]


@keras.saving.register_keras_serializable(package="tfdpm")
class DPSwAV(SwAV):
    """`SwAV` whose Sinkhorn marginals are inferred weights of the prototypes, not uniform ones.

    The prototypes are taken as components of a mixture: sample i belongs to prototype p by
    `r_ip ~ w_p exp(score_ip / epsilon)`. Under a symmetric Dirichlet prior of total concentration
    a, whose limit for many prototypes is a Dirichlet process, the weights given the expected counts
    n_p of the last M samples have the posterior mean

        w_p = (n_p + a / P) / (M + a),

    the column marginals of the codes. Counts fade exponentially. A prototype that nobody wants
    keeps the share `a / (P (M + a))`, so that not all can go to one.

    Args:
        backbone, config, seed, **options: as for `SwAV`.
        concentration: a / M, > 0: pseudo-samples of the prior per sample that is counted. Large
            values give SwAV.
        memory_steps: steps after which counts have faded to 1 / e, >= 1.
        uniform_steps: steps at the start with uniform shares, while prototypes mean nothing yet;
            `None`: as long again as they are frozen.
    """

    def __init__(
        self,
        backbone: keras.Model,
        config: SwAVConfig | None = None,
        *,
        concentration: float = 1.0,
        memory_steps: int = 100,
        uniform_steps: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(backbone, config, **kwargs)
        self.concentration = checks.number(concentration, "concentration", above=0.0)
        self.memory_steps = checks.integer(memory_steps, "memory_steps", minimum=1)
        if uniform_steps is None:
            uniform_steps = 2 * self.config.freeze_prototypes_steps
        self.uniform_steps = checks.integer(uniform_steps, "uniform_steps", minimum=0)
        count = self.config.num_prototypes
        self._usage = self.add_weight(
            name="prototype_usage",
            shape=(count,),
            initializer=keras.initializers.Constant(1.0 / count),
            trainable=False,
            aggregation="mean",
            autocast=False,
        )

    def prototype_weights(self) -> tf.Tensor:
        """Shares `[P]` float32, summing to one: uniform at first, then the posterior mean."""
        count = self.config.num_prototypes
        usage = tf.convert_to_tensor(self._usage)
        inferred = (usage + self.concentration / count) / (1.0 + self.concentration)
        is_inferred = tf.convert_to_tensor(self._step) >= self.uniform_steps
        return tf.where(is_inferred, inferred, tf.fill([count], 1.0 / count))

    def assign_codes(self, scores: tf.Tensor, *, use_queue: bool = True) -> tf.Tensor:
        """Codes as `SwAV` gives them; in training (`use_queue`), usage is counted as well."""
        codes = super().assign_codes(scores, use_queue=use_queue)
        if use_queue:
            self._count(scores[:, : self.config.num_assigning_crops])
        return codes

    def _count(self, scores: tf.Tensor) -> None:
        """Moves the usage towards that of a batch under the weights of now."""
        logits = tf.cast(scores, tf.float32) / self.config.sinkhorn_epsilon
        logits += tf.math.log(self.prototype_weights())
        usage = tf.reduce_mean(tf.nn.softmax(logits), axis=[0, 1])
        step = 1.0 - tf.exp(-1.0 / self.memory_steps)
        self._usage.assign(self._usage + step * (usage - self._usage))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return super().get_config() | {
            "concentration": self.concentration,
            "memory_steps": self.memory_steps,
            "uniform_steps": self.uniform_steps,
        }
