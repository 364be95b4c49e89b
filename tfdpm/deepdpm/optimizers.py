"""The optimizers that `DeepDPM.compile` takes, and what it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfdpm import checks
from tfdpm.config import DeepDPMConfig
from tfdpm.fused_adam import FusedAdam

# Of gradients, for Adafactor: its 1e-30 makes a product of two such means zero in float32, and so
# NaN of the weights of spare slots, whose gradients are zero. Gradients below 3e-8 do not matter.
_LEAST_SQUARE = 1e-15


def refuse_losses(given: Mapping[str, Any]) -> None:
    """Raises if arguments of `compile` have a loss or metrics."""
    for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
        if given.get(name) is not None:
            wanted = "None: losses are those of the method, and `evaluate(x, y)` has the scores"
            checks.fail(name, repr(given[name]), wanted)


def own_optimizers(
    optimizer: Any, subcluster_optimizer: Any, config: DeepDPMConfig
) -> tuple[Any, Any]:
    """Both optimizers, or their names, with Adam for "auto"; those of a strategy leave its scope.

    Raises:
        ValueError: for an optimizer that scales losses, or one object for both.
    """
    given = {"optimizer": optimizer, "subcluster_optimizer": subcluster_optimizer}
    rates = (config.learning_rate, config.subcluster_learning_rate)
    if optimizer is subcluster_optimizer and not isinstance(optimizer, str | None):
        checks.fail("subcluster_optimizer", "the object that is `optimizer`", "one of its own")
    for (name, each), rate in zip(given.items(), rates, strict=True):
        if isinstance(each, keras.optimizers.LossScaleOptimizer):
            wanted = "the optimizer within it: the losses of the method are float32"
            checks.fail(name, "a LossScaleOptimizer", wanted)
        if isinstance(each, str) and each == "auto":
            # The same names in all models: TensorFlow keeps a kernel for ever for each new name of
            # a variable.
            given[name] = FusedAdam(rate, name=name)
        elif isinstance(
            getattr(getattr(each, "learning_rate", None), "value", None),
            tf.distribute.DistributedValues,
        ):
            given[name] = type(each).from_config(each.get_config())
    return given["optimizer"], given["subcluster_optimizer"]


def keep_finite(optimizers: tuple[keras.optimizers.Optimizer, ...]) -> None:
    """Lets no optimizer divide by squares of gradients that float32 cannot multiply."""
    for each in optimizers:
        if isinstance(each, keras.optimizers.Adafactor):
            each.epsilon_1 = max(each.epsilon_1, _LEAST_SQUARE)
