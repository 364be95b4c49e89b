"""Settings are checked, explained with their defaults, and those of the papers are theirs."""

from __future__ import annotations

import dataclasses
import re

import pytest

from tfdpm.config import DeepDPMConfig, as_config


@pytest.mark.parametrize("name", ["default", "paper", "official"])
def test_named_configurations_are_the_presets(name):
    preset = {"default": DeepDPMConfig, "paper": DeepDPMConfig.paper}.get(
        name, DeepDPMConfig.official
    )
    assert DeepDPMConfig.named(name) == preset()


def test_presets_of_features_have_the_published_values() -> None:
    stl10, imagenet = DeepDPMConfig.named("stl10"), DeepDPMConfig.named("imagenet")
    changed = {"prior_scale": 0.05, "prior_points": None, "initial_clusters": 3}
    assert stl10 == DeepDPMConfig.paper(**changed)
    assert (imagenet.prior_scale, imagenet.initial_clusters, imagenet.epochs) == (0.001, 150, 200)
    assert DeepDPMConfig.imagenet(initial_clusters=200).initial_clusters == 200


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="`config`: got 'best', wanted one of 'default', 'paper'"):
        DeepDPMConfig.named("best")


def test_the_papers_printed_numbers_stand_in_its_preset():
    paper = DeepDPMConfig.paper()
    assert (paper.hidden_units, paper.batch_size, paper.num_neighbours) == (50, 128, 3)
    assert (paper.learning_rate, paper.subcluster_learning_rate) == (5e-4, 5e-3)
    assert (paper.prior, paper.prior_scale, paper.scale_times_df) == ("identity", 0.005, True)
    assert paper.kl_direction == "network_to_target" and paper.stochastic_acceptance
    # Shifts change no mixture, and a network that sees a common offset saturates.
    assert paper.preprocessing == "center"
    # The printed scale, in units of columns that the paper leaves open.
    assert paper.prior_points == 10_000


def test_the_authors_program_differs_from_the_paper_where_it_does():
    official, paper = DeepDPMConfig.official(), DeepDPMConfig.paper()
    differing = {
        field.name
        for field in dataclasses.fields(paper)
        if getattr(paper, field.name) != getattr(official, field.name)
    }
    assert differing == {
        "preprocessing",
        "scale_times_df",
        "prior_points",
        "map_denominator",
        "weight_rule",
        "kl_direction",
        "num_neighbours",
        "min_subcluster_points",
        "merged_networks",
        "frozen_epochs",
        "subcluster_start_epoch",
        "stable_epochs",
    }


def test_presets_take_changes():
    assert DeepDPMConfig.paper(epochs=3).epochs == 3
    assert DeepDPMConfig.official(epochs=3) == DeepDPMConfig.official().replace(epochs=3)


def test_an_unknown_setting_is_named():
    with pytest.raises(ValueError, match="`learning_rat`: got an unknown setting, wanted one of"):
        DeepDPMConfig().replace(learning_rat=0.1)
    with pytest.raises(TypeError, match="learning_rat"):
        DeepDPMConfig(learning_rat=0.1)


def test_a_configuration_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DeepDPMConfig().epochs = 3


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(DeepDPMConfig)])
def test_every_setting_is_checked_and_explained(name):
    with pytest.raises((TypeError, ValueError), match=f"`{name}`: got .*, wanted "):
        DeepDPMConfig(**{name: "False"})
    explained = re.search(rf"^ {{8}}{name}: (.*?Default `.*?`)", DeepDPMConfig.__doc__, re.M | re.S)
    default = re.search(r"Default `(.*?)`", explained.group(1)).group(1)
    assert default == repr(getattr(DeepDPMConfig(), name)).replace("'", '"')


def test_configurations_come_from_names_and_none():
    assert as_config(None) == as_config("default") == DeepDPMConfig()
    assert as_config("paper") == DeepDPMConfig.paper()
    config = DeepDPMConfig(epochs=3)
    assert as_config(config) is config
    with pytest.raises(TypeError, match="`config`: got dict, wanted a DeepDPMConfig"):
        as_config({})
    with pytest.raises(ValueError, match="`config`: got 'best'"):
        as_config("best")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("splits", "False"),
        ("merges", 1),
        ("splits", None),
        ("epochs", -1),
        ("epochs", 2.0),
        ("epochs", True),
        ("initial_clusters", 0),
        ("fixed_k", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate_decay", 1.1),
        ("learning_rate_decay", 0.0),
        ("dp_concentration", 0),
        ("dp_concentration", float("inf")),
        ("batch_size", 0),
        ("stable_epochs", 0),
        ("kl_direction", "forward"),
        ("tails", "long"),
        ("subclustering", True),
        ("df", 0.0),
        ("weight_concentration", -0.1),
    ],
)
def test_values_out_of_range_are_refused_by_name(name, value):
    with pytest.raises((TypeError, ValueError), match=f"`{name}`: got .*, wanted "):
        DeepDPMConfig(**{name: value})
    with pytest.raises((TypeError, ValueError), match=f"`{name}`"):
        DeepDPMConfig().replace(**{name: value})


def test_a_fixed_number_of_clusters_turns_moves_off():
    config = DeepDPMConfig(fixed_k=4, initial_clusters=2)
    assert config.start_clusters == 4
    assert not config.proposes_splits and not config.proposes_merges
    free = DeepDPMConfig(initial_clusters=2)
    assert free.start_clusters == 2 and free.proposes_splits and free.proposes_merges
    assert not DeepDPMConfig(splits=False).proposes_splits
    assert not DeepDPMConfig(merges=False).proposes_merges
