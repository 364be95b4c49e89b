"""LARS and the warm-up cosine schedule of the published runs, and what the settings ask for.

The update rule is a pure function; the Keras class only holds its momentum.
"""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from tfdpm import checks
from tfdpm.swav.config import TrainingConfig

RULES = ("all", "matrices")


def lars_direction(
    variable: tf.Tensor,
    gradient: tf.Tensor,
    *,
    trust_coefficient: float,
    weight_decay: float,
    adapt: bool = True,
    epsilon: float = 1e-8,
) -> tf.Tensor:
    """The gradient, decayed and scaled to the size of the variable, [LARS] equation 6.

    `trust * |w| / (|g| + decay |w| + eps) * (g + decay w)`. A variable or gradient of norm zero is
    neither decayed nor scaled, so that a frozen or newly zeroed variable behaves as under SGD.

    Args:
        variable: weights, any shape, floating.
        gradient: of the same shape.
        trust_coefficient: > 0.
        weight_decay: >= 0, added to the gradient before scaling.
        adapt: whether to scale; without it, this is plain decayed SGD.
        epsilon: added to the denominator.
    Returns:
        The direction, same shape and dtype as `variable`.
    """
    decayed = gradient + weight_decay * variable
    if not adapt:
        return decayed
    variable_norm = tf.norm(variable)
    gradient_norm = tf.norm(gradient)
    ratio = (
        trust_coefficient * variable_norm / (gradient_norm + weight_decay * variable_norm + epsilon)
    )
    is_regular = tf.logical_and(variable_norm > 0.0, gradient_norm > 0.0)
    return tf.where(is_regular, ratio * decayed, gradient)


@keras.saving.register_keras_serializable(package="tfdpm")
class LARS(keras.optimizers.Optimizer):
    """Layer-wise adaptive rate scaling around SGD with momentum.

    `buffer = momentum * buffer + lars_direction(w, g)`, then `w -= learning_rate * buffer`.
    The defaults are the published runs': decay and scaling apply to every variable, batch-norm
    scales and biases included. `"matrices"` spares variables with fewer than two axes, as later
    programs do.

    Args:
        learning_rate: number or schedule, >= 0.
        momentum: in [0, 1).
        trust_coefficient: > 0.
        weight_decay: L2 coefficient, >= 0, coupled (it enters the gradient).
        decay_rule, adapt_rule: "all" or "matrices": which variables are decayed, scaled.
    """

    def __init__(
        self,
        learning_rate=0.6,
        momentum: float = 0.9,
        trust_coefficient: float = 1e-3,
        weight_decay: float = 1e-6,
        decay_rule: str = "all",
        adapt_rule: str = "all",
        name: str = "lars",
        **kwargs,
    ):
        # Keras's own weight decay is decoupled from the gradient: LARS needs the coupled form.
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum = checks.number(momentum, "momentum", minimum=0.0, maximum=1.0)
        self.trust_coefficient = checks.number(trust_coefficient, "trust_coefficient", above=0.0)
        self.coupled_decay = checks.number(weight_decay, "weight_decay", minimum=0.0)
        self.decay_rule = checks.one_of(decay_rule, "decay_rule", RULES)
        self.adapt_rule = checks.one_of(adapt_rule, "adapt_rule", RULES)

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.momentums = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient, variable, learning_rate):
        buffer = self.momentums[self._get_variable_index(variable)]
        is_matrix = variable.shape.rank > 1
        value = tf.convert_to_tensor(variable)
        direction = lars_direction(
            value,
            tf.cast(gradient, value.dtype),
            trust_coefficient=self.trust_coefficient,
            weight_decay=self.coupled_decay if is_matrix or self.decay_rule == "all" else 0.0,
            adapt=is_matrix or self.adapt_rule == "all",
        )
        self.assign(buffer, self.momentum * tf.convert_to_tensor(buffer) + direction)
        self.assign_sub(variable, tf.cast(learning_rate, value.dtype) * buffer)

    def get_config(self):
        return super().get_config() | {
            "momentum": self.momentum,
            "trust_coefficient": self.trust_coefficient,
            "weight_decay": self.coupled_decay,
            "decay_rule": self.decay_rule,
            "adapt_rule": self.adapt_rule,
        }


@keras.saving.register_keras_serializable(package="tfdpm")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then half a cosine, as in the published runs.

    Steps 0 to `warmup_steps - 1` go evenly from `start` to `peak`; from there
    `final + (peak - final) (1 + cos(pi t / T)) / 2`; after `total_steps` it stays at `final`.

    Args:
        peak, final, start: learning rates, >= 0.
        total_steps: >= 1, warm-up included.
        warmup_steps: >= 0 and below `total_steps`.
    """

    def __init__(
        self,
        peak: float,
        total_steps: int,
        *,
        final: float = 0.0,
        warmup_steps: int = 0,
        start: float = 0.0,
        name: str = "warmup_cosine",
    ):
        self.peak = checks.number(peak, "peak", minimum=0.0)
        self.final = checks.number(final, "final", minimum=0.0)
        self.start = checks.number(start, "start", minimum=0.0)
        self.total_steps = checks.integer(total_steps, "total_steps", minimum=1)
        self.warmup_steps = checks.integer(
            warmup_steps, "warmup_steps", minimum=0, maximum=self.total_steps - 1
        )
        self.name = name

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        # The published list of warm-up rates includes both ends.
        ramp = step / max(self.warmup_steps - 1, 1)
        warmup = self.start + (self.peak - self.start) * ramp
        length = self.total_steps - self.warmup_steps
        progress = tf.clip_by_value((step - self.warmup_steps) / length, 0.0, 1.0)
        cosine = self.final + 0.5 * (self.peak - self.final) * (1 + tf.cos(math.pi * progress))
        return tf.where(step < self.warmup_steps, warmup, cosine)

    def get_config(self):
        return {
            "peak": self.peak,
            "total_steps": self.total_steps,
            "final": self.final,
            "warmup_steps": self.warmup_steps,
            "start": self.start,
            "name": self.name,
        }


def optimizer_for(training: TrainingConfig) -> keras.optimizers.Optimizer:
    """The optimiser of the settings with their warm-up and cosine.

    Raises:
        ValueError: if `training.num_images` is unknown, so that the schedule has no end.
    """
    steps = training.steps_per_epoch
    if steps is None:
        checks.fail(
            "num_images",
            None,
            "the size of the training set in `config.training`, "
            "which sets the schedule; or pass `compile` an optimizer",
        )
    schedule = WarmupCosine(
        training.peak_learning_rate,
        training.epochs * steps,
        final=training.final_learning_rate,
        warmup_steps=min(training.warmup_epochs * steps, training.epochs * steps - 1),
        start=training.start_learning_rate,
    )
    if training.optimizer == "adam":
        return keras.optimizers.Adam(schedule)
    return LARS(schedule, training.momentum, training.trust_coefficient, training.weight_decay)
