"""The published runs' optimiser LARS and their learning rate: a warm-up, then a cosine."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from tfdpm import checks
from tfdpm.swav.config import TrainingConfig

RULES = ("all", "matrices")


def lars_directions(
    variables: tf.Tensor,
    gradients: tf.Tensor,
    *,
    trust_coefficient: float,
    weight_decay: float,
    adapt: bool = True,
) -> tf.Tensor:
    """Returns decayed gradients `[N, ...]`, scaled to the size of N variables, [LARS] equation 6.

    Where a variable or its gradient has norm zero, the gradient is neither decayed nor scaled.
    Without `adapt`, gradients are only decayed.
    """
    if not adapt:
        return gradients + weight_decay * variables
    # trust |w| / (|g| + decay |w| + 1e-8) (g + decay w)
    variable_norms, gradient_norms = _norms(variables), _norms(gradients)
    denominators = gradient_norms + weight_decay * variable_norms + 1e-8
    ratios = trust_coefficient * variable_norms / denominators
    is_regular = tf.logical_and(variable_norms > 0.0, gradient_norms > 0.0)
    # Which of the two applies is told by N scalars, not by a choice for every element.
    decays = tf.where(is_regular, weight_decay * tf.ones_like(ratios), tf.zeros_like(ratios))
    scales = tf.where(is_regular, ratios, tf.ones_like(ratios))
    return scales * (gradients + decays * variables)


def _norms(values: tf.Tensor) -> tf.Tensor:
    """Euclidean norms over all axes but the first, `[N, 1, ...]`."""
    axes = list(range(1, values.shape.rank))
    return tf.sqrt(tf.reduce_sum(tf.square(values), axes, keepdims=True))


@keras.saving.register_keras_serializable(package="tfdpm")
class LARS(keras.optimizers.Optimizer):
    """Layer-wise adaptive rate scaling of SGD with momentum, [LARS].

    A step sets `buffer = momentum * buffer + lars_direction(w, g)`, then subtracts
    `learning_rate * buffer` from the weights. The defaults are those of the published runs.

    Args:
        learning_rate: number or schedule, >= 0.
        momentum: share of the buffer that a step keeps, in [0, 1).
        trust_coefficient: ratio of the direction's norm to the variable's, > 0.
        weight_decay: L2 coefficient, >= 0, which enters the gradient.
        decay_rule, adapt_rule: variables that are decayed and scaled. "all" includes the scales
            of batch norm and biases, "matrices" leaves variables with fewer than two axes out.
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
        # The weight decay of Keras is decoupled from the gradient; LARS needs the coupled form.
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum = checks.number(momentum, "momentum", minimum=0.0, maximum=1.0)
        self.trust_coefficient = checks.number(trust_coefficient, "trust_coefficient", above=0.0)
        self.coupled_decay = checks.number(weight_decay, "weight_decay", minimum=0.0)
        self.decay_rule = checks.one_of(decay_rule, "decay_rule", RULES)
        self.adapt_rule = checks.one_of(adapt_rule, "adapt_rule", RULES)

    def build(self, variables):
        """Makes a buffer for each variable."""
        if self.built:
            return
        super().build(variables)
        self.momentums = self.add_optimizer_variables(variables, "momentum")

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        if tf.distribute.has_strategy():  # where each replica updates its own copy of a variable
            super()._backend_update_step(grads, trainable_variables, learning_rate)
            return
        groups: dict[Any, list[tuple[tf.Tensor, Any]]] = {}
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            if isinstance(variable, keras.Variable):
                variable = variable.value
            key = tuple(variable.shape), variable.dtype
            groups.setdefault(key, []).append((gradient, variable))
        for pairs in groups.values():
            self._update_group(*zip(*pairs, strict=True), learning_rate)

    def update_step(self, gradient, variable, learning_rate):
        """Moves a variable against its gradient, once its buffer has taken that up."""
        self._update_group([gradient], [variable], learning_rate)

    def _update_group(self, gradients, variables, learning_rate):
        """Moves variables of the same shape, whose directions are found together."""
        values = tf.stack([tf.convert_to_tensor(variable) for variable in variables])
        is_matrix = values.shape.rank > 2
        directions = lars_directions(
            values,
            tf.cast(tf.stack(gradients), values.dtype),
            trust_coefficient=self.trust_coefficient,
            weight_decay=self.coupled_decay if is_matrix or self.decay_rule == "all" else 0.0,
            adapt=is_matrix or self.adapt_rule == "all",
        )
        rate = tf.cast(learning_rate, values.dtype)
        momentum = tf.cast(self.momentum, values.dtype)
        for variable, direction in zip(variables, tf.unstack(directions), strict=True):
            buffer = self.momentums[self._get_variable_index(variable)]
            # The rest of the step, in one operation that Keras would write as five.
            tf.raw_ops.ResourceApplyMomentum(
                var=variable.handle,
                accum=buffer.value.handle,
                lr=rate,
                grad=direction,
                momentum=momentum,
            )

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {
            "momentum": self.momentum,
            "trust_coefficient": self.trust_coefficient,
            "weight_decay": self.coupled_decay,
            "decay_rule": self.decay_rule,
            "adapt_rule": self.adapt_rule,
        }


@keras.saving.register_keras_serializable(package="tfdpm")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate of the published runs: a linear warm-up, then half a cosine.

    `keras.optimizers.schedules.CosineDecay` differs by a step: there the warm-up ends after
    `warmup_steps`, here its last step is at the peak.

    Args:
        peak, final, start: learning rates after the warm-up, at the end and at the start, >= 0.
        total_steps: number of steps with the warm-up, >= 1; later steps stay at `final`.
        warmup_steps: number of steps of the warm-up, >= 0 and below `total_steps`.
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
        # start + (peak - start) t / (W - 1), whose last step is the peak; then, with t from there,
        # final + (peak - final) (1 + cos(pi t / T)) / 2.
        ramp = step / max(self.warmup_steps - 1, 1)
        warmup = self.start + (self.peak - self.start) * ramp
        length = self.total_steps - self.warmup_steps
        progress = tf.clip_by_value((step - self.warmup_steps) / length, 0.0, 1.0)
        cosine = self.final + 0.5 * (self.peak - self.final) * (1 + tf.cos(math.pi * progress))
        return tf.where(step < self.warmup_steps, warmup, cosine)

    def get_config(self):
        """Constructor arguments."""
        return dict(vars(self))  # which are the arguments


def optimizer_for(training: TrainingConfig) -> keras.optimizers.Optimizer:
    """Makes the optimiser of the settings with its schedule."""
    steps = training.steps_per_epoch
    if steps is None:
        wanted = "the size of the training set in `config.training`, which sets the schedule; "
        checks.fail("num_images", None, wanted + "or pass `compile` an optimizer")
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
