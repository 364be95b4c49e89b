"""Settings of joint training: the published runs, and mistakes named where they are made."""

from __future__ import annotations

import dataclasses

import pytest

from tfdpm.config import DeepDPMConfig
from tfdpm.joint.config import PRESETS, JointConfig


@pytest.mark.parametrize(
    ("name", "latent_dim", "initial", "epochs", "alternations", "beta", "prior"),
    [
        ("mnist", 10, 3, 200, 3, 1.0, ("identity", 0.005)),
        ("reuters10k", 75, 1, 300, 3, 0.5, ("identity", 0.005)),
        ("imagenet50", 10, 10, 300, 2, 0.01, ("std", 1e-4)),
        ("imagenet50_imbalanced", 10, 10, 300, 4, 0.01, ("std", 1e-4)),
    ],
)
def test_published_runs(name, latent_dim, initial, epochs, alternations, beta, prior) -> None:
    """[DeepDPM] supplement table 4 and section 7.3; beta is the released program's."""
    config = JointConfig.named(name)
    assert (config.latent_dim, config.clustering_weight) == (latent_dim, beta)
    # One clustering of the pretrained latents, then one for each alternation.
    assert config.max_rounds == alternations + 1
    clustering = config.clustering
    assert (clustering.initial_clusters, clustering.epochs) == (initial, epochs)
    assert (clustering.prior, clustering.prior_scale) == prior
    assert (config.learning_rate, config.embedding, config.augment) == (2e-3, "none", False)
    assert clustering.start == "kmeans"


def test_names_are_all_there() -> None:
    assert JointConfig.named("default") == JointConfig()
    assert len({JointConfig.named(name) for name in PRESETS}) == len(PRESETS) == 4
    with pytest.raises(ValueError, match=r"^`config`: got 'cifar', wanted one of 'default'"):
        JointConfig.named("cifar")


def test_dictionary_round_trip() -> None:
    config = JointConfig.mnist(latent_dim=4, clustering=DeepDPMConfig(fixed_k=7))
    assert JointConfig(**dataclasses.asdict(config)) == config


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"encoder": "lstm"}, ValueError, "`encoder`: got 'lstm'"),
        ({"embedding": "tsne"}, ValueError, "`embedding`: got 'tsne'"),
        ({"latent_dim": 0}, ValueError, "`latent_dim`: got 0"),
        ({"max_rounds": 1.5}, TypeError, "`max_rounds`: got 1.5"),
        ({"clustering_weight": 0.0}, ValueError, "`clustering_weight`: got 0"),
        ({"augment": "False"}, TypeError, "`augment`: got 'False'"),
        ({"clustering": "paper"}, TypeError, "`clustering`: got str"),
        ({"beta": 1.0}, ValueError, "`beta`: got an unknown setting"),
    ],
)
def test_mistakes_are_named(changes, error, message) -> None:
    with pytest.raises(error, match=message):
        JointConfig().replace(**changes)
