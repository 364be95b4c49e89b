"""Presets say what the published scripts say, and refuse what cannot work."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tfdpm.data.images.view_config import ViewConfig
from tfdpm.features import DeepCluster, SeLa, SimCLR, method_of
from tfdpm.swav.config import PRESETS, SwAVConfig, preset, small_config

METHODS_OF = {"simclr": SimCLR, "deepclusterv2": DeepCluster, "selav2": SeLa}


@pytest.mark.parametrize(
    ("name", "batch", "epochs", "queue", "crops"),
    [
        ("100ep", 4096, 100, 0, 8),
        ("200ep", 4096, 200, 0, 8),
        ("400ep", 4096, 400, 0, 8),
        ("800ep", 4096, 800, 0, 8),
        ("200ep_bs256", 256, 200, 3840, 8),
        ("400ep_bs256", 256, 400, 3840, 8),
        ("400ep_2x224", 4096, 400, 0, 2),
        ("200ep_bs256_2x160_4x96", 256, 200, 3840, 6),
        ("RN50w4_400ep", 2560, 400, 2560, 6),
    ],
)
def test_published_runs(name, batch, epochs, queue, crops):
    config = preset(name)
    assert (config.training.batch_size, config.training.epochs) == (batch, epochs)
    assert (config.queue_length, config.views.num_crops) == (queue, crops)
    assert (config.num_prototypes, config.sinkhorn_epsilon, config.temperature) == (3000, 0.05, 0.1)


def test_small_batch_run_starts_its_queue_at_epoch_15():
    config = preset("200ep_bs256")
    assert config.queue_start_steps == 15 * config.training.steps_per_epoch == 15 * 5004
    assert config.freeze_prototypes_steps == 5005


@pytest.mark.parametrize(("images", "batch"), [(500, 20), (8000, 128), (50_000, 256)])
def test_small_settings_have_samples_for_their_prototypes(images, batch):
    config = small_config(image_size=32, channels=3, num_images=images, batch_size=batch, epochs=10)
    assert config.queue_length % batch == 0
    assert 2 * (config.queue_length + batch) >= config.num_prototypes
    assert config.queue_length <= images / 4


@pytest.mark.parametrize("name", list(PRESETS))
def test_settings_survive_json(name):
    config = PRESETS[name]
    assert type(config)(**json.loads(json.dumps(dataclasses.asdict(config)))) == config


@pytest.mark.parametrize("method", ["simclr", "deepclusterv2", "selav2"])
def test_other_methods_share_the_run_of_swav(method):
    for name, ours in ((f"{method}_400ep", "400ep_2x160_4x96"), (f"{method}_400ep_2x224",) * 2):
        config, swav = preset(name), preset(ours.removeprefix(f"{method}_"))
        assert (config.views, config.training) == (swav.views, swav.training)
        assert config.views.num_crops == (2 if "2x224" in name else 6)
    assert METHODS_OF[method] is method_of(config)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"sinkhorn_epsilon": 0.0}, "sinkhorn_epsilon"),
        ({"num_assigning_crops": 3}, "num_assigning_crops"),
        ({"views": {"crop_counts": (2,)}}, "crop_counts"),
        ({"training": {"num_images": 10, "batch_size": 20}}, "num_images"),
    ],
)
def test_impossible_settings_are_named(options, error):
    with pytest.raises(ValueError, match=error):
        SwAVConfig(**options)


def test_one_view_is_not_enough():
    with pytest.raises(ValueError, match="two views"):
        SwAVConfig(
            num_assigning_crops=1,
            views=ViewConfig(crop_sizes=(8,), crop_counts=(1,), crop_scales=((0.1, 1.0),)),
        )


def test_unknown_run_lists_the_known():
    with pytest.raises(ValueError, match="200ep_bs256"):
        preset("300ep")
