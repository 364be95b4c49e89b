from __future__ import annotations

from types import SimpleNamespace

import pytest

from tfdpm.callbacks import StableClusters


def stopped_after(counts, **arguments):
    """The epoch after which a callback stops a training with these numbers of clusters."""
    callback = StableClusters(**arguments)
    callback.set_model(SimpleNamespace(stop_training=False))
    callback.on_train_begin()
    for epoch, count in enumerate(counts):
        callback.on_epoch_end(epoch, {"n_clusters": count})
        if callback.model.stop_training:
            return epoch
    return None


def test_training_stops_when_the_number_has_not_changed_for_as_long_as_asked():
    assert stopped_after([1, 2, 3, 3, 3, 3, 3], patience=3) == 5
    assert stopped_after([1, 2, 3, 3, 3, 2, 2], patience=3) is None


def test_epochs_before_the_start_do_not_count():
    assert stopped_after([1] * 10, patience=2) == 2
    assert stopped_after([1] * 10, patience=2, start_epoch=5) == 7


def test_logs_without_the_number_of_clusters_are_an_error():
    with pytest.raises(ValueError, match="`n_clusters`: got no such entry"):
        StableClusters().on_epoch_end(0, {"loss": 1.0})


@pytest.mark.parametrize("arguments", [{"patience": 0}, {"start_epoch": -1}])
def test_arguments_are_checked(arguments):
    with pytest.raises(ValueError, match=f"`{next(iter(arguments))}`"):
        StableClusters(**arguments)
