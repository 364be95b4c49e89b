"""The settings of joint training, and those of the published runs by name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np

from tfdpm import checks
from tfdpm.config import DeepDPMConfig

ENCODERS = ("dense", "convolutional")
EMBEDDINGS = ("umap", "none")

# Of `DeepDPMConfig`, since files were first kept; whatever is added there belongs here too.
_LATER_SETTINGS = ("shape", "subcluster_start", "merged_networks", "prior_points")


@dataclasses.dataclass(frozen=True, kw_only=True)
class JointConfig:
    """Settings of `tfdpm.JointClustering`; the defaults are what measures best on images.

    Attributes:
        encoder: "dense" (D-500-500-2000-L of [DeepDPM] supplement 7.3) or "convolutional".
        latent_dim: number of latents L.
        augment: whether the encoder sees images turned, scaled, sheared and shifted a little and
            the decoder has to undo that; only for points of shape `[H, W]` or `[H, W, C]`, and
            for vectors of pixels of square images.
        embedding: what DeepDPM sees. "umap" lays the latents out by their nearest neighbours, and
            a network puts new points in their places. "none" takes the latents, as in the paper.
        pretrain_epochs: number of epochs with the reconstruction loss alone.
        round_epochs: number of epochs with the clustering term, in each round after the first.
        max_rounds: number of clusterings at most, >= 1; the first is of the pretrained latents.
        stable_rounds: number of further rounds with the same K after which training stops; `None`
            never stops it.
        clustering_weight: beta, weight of half the clustering term, > 0.
        relative_losses: whether each loss is divided by the total variance of what it measures,
            that of the inputs or that of the latents at the round's start. Beta then means the
            same for all data. The paper's losses are not divided.
        learning_rate: learning rate of Adam in pretraining; it falls to a hundredth along a cosine.
        round_learning_rate: learning rate in each later round; it falls in the same way.
        batch_size: number of points per step of the autoencoder.
        clustering: settings of DeepDPM.
    """

    encoder: str = "dense"
    latent_dim: int = 10
    augment: bool = True
    embedding: str = "umap"
    pretrain_epochs: int = 40
    round_epochs: int = 6
    max_rounds: int = 3
    stable_rounds: int | None = 1
    clustering_weight: float = 4.0
    relative_losses: bool = True
    learning_rate: float = 1e-3
    round_learning_rate: float = 5e-4
    batch_size: int = 128
    clustering: DeepDPMConfig = dataclasses.field(default_factory=DeepDPMConfig)

    def __post_init__(self):
        """Checks every value, and makes a configuration of a dictionary of `clustering`."""
        if isinstance(self.clustering, dict):
            object.__setattr__(self, "clustering", DeepDPMConfig.from_saved(self.clustering))
        if not isinstance(self.clustering, DeepDPMConfig):
            got = type(self.clustering).__name__
            checks.fail("clustering", got, "a DeepDPMConfig", TypeError)
        checks.one_of(self.encoder, "encoder", ENCODERS)
        checks.one_of(self.embedding, "embedding", EMBEDDINGS)
        checks.boolean(self.augment, "augment")
        checks.boolean(self.relative_losses, "relative_losses")
        for name in ("latent_dim", "round_epochs", "max_rounds", "batch_size"):
            checks.integer(getattr(self, name), name, minimum=1)
        checks.integer(self.pretrain_epochs, "pretrain_epochs", minimum=0)
        if self.stable_rounds is not None:
            checks.integer(self.stable_rounds, "stable_rounds", minimum=1)
        for name in ("clustering_weight", "learning_rate", "round_learning_rate"):
            checks.number(getattr(self, name), name, above=0.0)

    @classmethod
    def mnist(cls, **changes: Any) -> JointConfig:
        """[DeepDPM] supplement 7.3 for MNIST: K from 3, three alternations, beta 1."""
        return cls(**{**_paper(3, 200, 3, 1.0), **changes})

    @classmethod
    def reuters10k(cls, **changes: Any) -> JointConfig:
        """[DeepDPM] supplement 7.3 for Reuters-10k: 75 latents, K from 1, three alternations."""
        return cls(**{**_paper(1, 300, 3, 0.5), "latent_dim": 75, **changes})

    @classmethod
    def imagenet50(cls, **changes: Any) -> JointConfig:
        """[DeepDPM] supplement 7.3 for 128 MoCo features of ImageNet-50: two alternations."""
        prior = {"prior": "std", "prior_scale": 1e-4}
        return cls(**{**_paper(10, 300, 2, 0.01, **prior), **changes})

    @classmethod
    def imagenet50_imbalanced(cls, **changes: Any) -> JointConfig:
        """The same for its imbalanced version: four alternations."""
        return cls.imagenet50(**{"max_rounds": 5, **changes})

    @classmethod
    def named(cls, name: str) -> JointConfig:
        """The configuration "default" or one of `PRESETS`."""
        checks.one_of(name, "config", ("default", *PRESETS))
        return cls() if name == "default" else getattr(cls, name)()

    def replace(self, **changes: Any) -> JointConfig:
        """A copy with some values changed; an unknown name is an error."""
        known = {field.name for field in dataclasses.fields(self)}
        for name in changes:
            if name not in known:
                checks.fail(name, "an unknown setting", "one of " + ", ".join(sorted(known)))
        return dataclasses.replace(self, **changes)

    def fingerprint(self, points: np.ndarray, seed: int) -> str:
        """Text that interrupted and further fits of `points [N, ...]` float32 have in common.

        Rounds may be more, so that a fit that ended can go on.
        """
        settings = dataclasses.asdict(self.replace(max_rounds=1))
        before = DeepDPMConfig.from_saved({})
        for name in _LATER_SETTINGS:
            if settings["clustering"][name] == getattr(before, name):
                del settings["clustering"][name]  # as in files from before there was a choice
        digest = hashlib.sha256(json.dumps([settings, seed, points.shape]).encode())
        digest.update(np.ascontiguousarray(points).data)
        return digest.hexdigest()


PRESETS = ("mnist", "reuters10k", "imagenet50", "imagenet50_imbalanced")


def _paper(
    initial_clusters: int, epochs: int, alternations: int, beta: float, **prior: Any
) -> dict[str, Any]:
    """Settings that the published runs share.

    The paper prints neither beta nor the epochs of the autoencoder. Beta and 100 epochs in each
    alternation are the released program's. Its weight decay, its batch norm and its other weight
    of the reconstruction are in no text and left out. An alternation there is autoencoder, then
    DeepDPM. The first needs clusters of the pretrained latents, so that rounds are one more.
    """
    counts = {"initial_clusters": initial_clusters, "epochs": epochs}
    return {
        "augment": False,
        "embedding": "none",
        "pretrain_epochs": 100,
        "round_epochs": 100,
        "max_rounds": alternations + 1,
        "stable_rounds": None,
        "clustering_weight": beta,
        "relative_losses": False,
        "learning_rate": 2e-3,
        "round_learning_rate": 2e-3,
        "clustering": DeepDPMConfig.paper(**counts, **{"prior_points": None, **prior}),
    }
