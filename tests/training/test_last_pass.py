from __future__ import annotations

import keras
import numpy as np

from tfdpm.training.last_pass import LastPass


class Networks(keras.layers.Dense):
    """Stands for a pair of networks."""

    def copy_weights(self):
        return [np.array(weight) for weight in self.get_weights()]


def built_layer():
    layer = Networks(2)
    layer.build((None, 3))
    return layer


def test_what_was_kept_is_recalled_while_weights_stay():
    layer, last_pass = built_layer(), LastPass()
    assert last_pass.recall(layer) is None
    statistics = object()
    last_pass.keep(layer, statistics)
    assert last_pass.recall(layer) is statistics


def test_nothing_is_recalled_after_a_weight_changed_and_again_after_it_was_put_back():
    layer, last_pass = built_layer(), LastPass()
    statistics, before = object(), layer.get_weights()
    last_pass.keep(layer, statistics)
    layer.bias.assign([0.0, 1e-6])
    assert last_pass.recall(layer) is None
    layer.set_weights(before)
    assert last_pass.recall(layer) is statistics


def test_nothing_is_recalled_after_it_was_forgotten():
    layer, last_pass = built_layer(), LastPass()
    last_pass.keep(layer, object())
    last_pass.forget()
    assert last_pass.recall(layer) is None
