"""`DeepDPMConfig`, the settings of a fit, with the presets of the papers."""

from __future__ import annotations

import dataclasses
from typing import Any

from tfdpm import checks

__all__ = ["PREPROCESSING", "DeepDPMConfig", "as_config"]

PREPROCESSING = ("auto", "center", "standardize", "normalize", "none")

# Allowed values of the settings that take one of a few.
_CHOICES: dict[str, tuple[Any, ...]] = {
    "preprocessing": PREPROCESSING,
    "prior": ("auto", "identity", "std"),
    "map_denominator": ("joint_mode", "paper"),
    "covariance": ("auto", "full", "diagonal", "spherical"),
    "weight_rule": ("dirichlet_map", "official"),
    "merge_order": ("best_first", "sequential"),
    "subclustering": ("network", "two_means"),
    "subcluster_start": ("gaussian", "two_means"),
    "merged_networks": ("larger", "likelier"),
    "start": ("mixture", "kmeans"),
    "tails": ("t", "gaussian"),
    "shape": ("any", "gaussian"),
    "cluster_loss": ("kl", "isotropic"),
    "kl_direction": ("network_to_target", "target_to_network"),
    "jit_compile": ("auto", True, False),
}
# Numbers that may be 0; other floats are above it, and other integers at least 1.
_MAY_BE_ZERO = (
    "weight_concentration min_subcluster_points settled_loss first_move_epoch epochs frozen_epochs "
    "subcluster_start_epoch frozen_epochs_after_move"
).split()


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepDPMConfig:
    """Settings of `tfdpm.DeepDPM`; the defaults need no tuning.

    Presets: `DeepDPMConfig()` measures best, `DeepDPMConfig.paper()` follows [DeepDPM] as printed,
    `DeepDPMConfig.official()` follows the authors' program.

    Data
        preprocessing: how columns are scaled. `"auto"` centres them, brings wildly different units
            to one and projects to principal axes; skewed positive columns of a table become
            logarithms where that gives more evidence. `"center"` only centres, `"standardize"`
            gives each column unit variance, `"normalize"` gives rows unit length (the authors'
            program), `"none"` changes nothing. Default `"auto"`.

    Prior (Normal-inverse-Wishart)
        prior: shape of the prior's scale matrix. `"auto"` finds it from the data, `"identity"` is
            `prior_scale * I`, `"std"` is `prior_scale * diag(standard deviations)`.
            Default `"auto"`.
        prior_scale: factor on the scale matrix, > 0. It is dimensionless for `"auto"`, where 1
            leaves the matrix as found, else in squared feature units. Far larger values
            give fewer clusters where shapes are odd; smaller ones give more or fewer. [DeepDPM]
            supplement 7.1 uses 0.005. Default `1.0`.
        scale_times_df: whether the scale matrix is multiplied by `df` (nu * Psi of [DeepDPM]).
            Default `False`.
        prior_points: number of points that `prior_scale` is for, >= 1; of N points the scale
            matrix is `N / prior_points` times as large, so that K does not grow with N. Not for
            `"auto"`, which follows N by itself. Default `None`, the same matrix for any N.
        mean_precision: kappa, number of pseudo-observations behind the prior mean, > 0.
            Default `0.0001`.
        df: nu, degrees of freedom of the prior, > 0. Default `None`, which is D + 2.
        map_denominator: denominator of the covariances' estimate, `"joint_mode"` (nu* + D + 2) or
            `"paper"` (nu* - D + 1). Default `"joint_mode"`.
        covariance: structure of the components' covariances, `"full"`, `"diagonal"` or
            `"spherical"`. `"auto"` is full, unless points are scarce and another structure has more
            evidence. Default `"auto"`.
        prior_in_m_step: whether the M-step uses the prior; an ablation leaves it out.
            Default `True`.
        weight_rule: estimate of the mixture weights, `"dirichlet_map"`, or `"official"`, which adds
            0.1 to each fraction. Default `"dirichlet_map"`.
        weight_concentration: number of pseudo-points that all components' weights share, >= 0.
            Default `1.0`.

    Shape of clusters
        shape: what a cluster is. `"any"` joins components of the mixture between which the points
            have no valley, when a fit ends, so that a cluster may be a ring or a chain; a
            `fixed_k` leaves every component on its own. `"gaussian"` makes every component a
            cluster. Default `"any"`.

    Number of clusters
        initial_clusters: K at the start, >= 1. Default `1`.
        fixed_k: constant K without any moves, >= 1, which replaces `initial_clusters`.
            Default `None`, which lets K change.
        splits: whether splits are proposed. Default `True`.
        merges: whether merges are proposed. Default `True`.
        dp_concentration: alpha, concentration of the Dirichlet process, > 0. Default `10.0`.
        stochastic_acceptance: whether a move is accepted with probability `min(1, ratio)` instead
            of where its ratio exceeds 1. Default `False`.
        num_neighbours: number of other components that a component may merge with, >= 1.
            Default `3`.
        merge_order: order in which merges are decided, `"best_first"` or `"sequential"`.
            Default `"best_first"`.
        min_subcluster_points: number of points that both halves of a split must exceed, >= 0.
            Default `0.0`.
        first_move_epoch: first epoch that proposes moves, from 0. Default `2`.
        move_interval_epochs: number of epochs from one proposal to the next, >= 1. Default `2`.
        alternate_moves: whether splits and merges take turns; else both are proposed every time.
            Default `False`.
        subclustering: source of the subclusters, the networks (`"network"`) or 2-means
            (`"two_means"`, an ablation). Default `"network"`.
        subcluster_start: subclusters before their network has learned, the sides of a Gaussian's
            principal axis (`"gaussian"`), or 2-means of the points from there (`"two_means"`).
            Default `"gaussian"`.
        merged_networks: what two merged components go on with. `"larger"` is the output unit of
            the larger one with a fresh subclustering network, `"likelier"` unit and network of the
            one whose points have the larger marginal likelihood (the authors' program).
            Default `"larger"`.

    Training
        start: what the networks learn from first. `"mixture"` finds a mixture by
            expectation-maximisation with the same moves, and the networks learn its posterior.
            `"kmeans"` starts the networks from K-means, as in the paper. Default `"mixture"`.
        tails: distributions whose posterior the networks learn. `"t"` gives each cluster a
            multivariate t with the likeliest degrees of freedom, since real clusters have longer
            tails than Gaussians. It needs the start `"mixture"`, a free K and the loss `"kl"`.
            `"gaussian"` is the E-step of [DeepDPM] eq. 5. Default `"t"`.
        hidden_units: width of the hidden layer of each network, >= 1. Default `None`, which is 50,
            and more where K is large.
        cluster_loss: loss of the clustering network, `"kl"`, or `"isotropic"` (an ablation).
            Default `"kl"`.
        kl_direction: direction of the divergence. `"network_to_target"` is KL(r || rE), [DeepDPM]
            eq. 6; `"target_to_network"` is KL(rE || r), the authors' program.
            Default `"target_to_network"`.
        batch_size: number of points in a gradient step, >= 1. Default `None`, which chooses 32 to
            2,048 by N and K.
        max_subcluster_batch: number of points in a batch that the subclustering networks learn
            from, >= 1. Default `128`.
        learning_rate: Adam's step size for the clustering network, > 0; above 400 hidden units
            it is in proportion less. Default `0.002`.
        subcluster_learning_rate: Adam's step size for the subclustering networks, > 0.
            Default `0.01`.
        learning_rate_decay: factor on both step sizes after each epoch, > 0 and <= 1.
            Default `0.7`.
        min_steps_per_epoch: smallest number of steps in an epoch, >= 1; small data are passed over
            several times. Default `100`.
        epochs: largest number of epochs, >= 0. Default `50`.
        frozen_epochs: number of first epochs without an M-step, >= 0. Default `1`.
        subcluster_start_epoch: first epoch in which the subclustering networks learn, from 0.
            Default `0`.
        frozen_epochs_after_move: number of epochs without an M-step after an accepted move, >= 0.
            Default `1`.
        stable_epochs: number of epochs without a change of K after which a fit stops, >= 1; `None`
            never stops it. Default `4`.
        settled_loss: divergence of the networks from the E-step, nats per point, >= 0, at which a
            fit may stop earlier. It stops once moves were proposed and none accepted, if it started
            from a mixture and `stable_epochs` is not `None`. At a fifth of this divergence
            proposals do not wait for `first_move_epoch`. `None` turns both off. Default `0.01`.
        max_start_points: number of sampled points from which the start is computed, >= 2.
            Default `20000`.
        jit_compile: whether XLA compiles gradient steps, `True` or `False`, for points in memory on
            one device. `"auto"` does so where a fit is long enough. Default `"auto"`.
    """

    preprocessing: str = "auto"

    prior: str = "auto"
    prior_scale: float = 1.0
    scale_times_df: bool = False
    prior_points: int | None = None
    mean_precision: float = 1e-4
    df: float | None = None
    map_denominator: str = "joint_mode"
    covariance: str = "auto"
    prior_in_m_step: bool = True
    weight_rule: str = "dirichlet_map"
    weight_concentration: float = 1.0

    shape: str = "any"

    initial_clusters: int = 1
    fixed_k: int | None = None
    splits: bool = True
    merges: bool = True
    dp_concentration: float = 10.0
    stochastic_acceptance: bool = False
    num_neighbours: int = 3
    merge_order: str = "best_first"
    min_subcluster_points: float = 0.0
    first_move_epoch: int = 2
    move_interval_epochs: int = 2
    alternate_moves: bool = False
    subclustering: str = "network"
    subcluster_start: str = "gaussian"
    merged_networks: str = "larger"

    start: str = "mixture"
    tails: str = "t"
    hidden_units: int | None = None
    cluster_loss: str = "kl"
    kl_direction: str = "target_to_network"
    batch_size: int | None = None
    max_subcluster_batch: int = 128
    learning_rate: float = 2e-3
    subcluster_learning_rate: float = 1e-2
    learning_rate_decay: float = 0.7
    min_steps_per_epoch: int = 100
    epochs: int = 50
    frozen_epochs: int = 1
    subcluster_start_epoch: int = 0
    frozen_epochs_after_move: int = 1
    stable_epochs: int | None = 4
    settled_loss: float | None = 0.01
    max_start_points: int = 20_000
    jit_compile: bool | str = "auto"

    def __post_init__(self):
        """Checks every value and names the first that is wrong."""
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            kinds = field.type.split(" | ")
            if value is None and "None" in kinds:
                continue
            if name in _CHOICES:
                checks.one_of(value, name, _CHOICES[name])
            elif "bool" in kinds:
                checks.boolean(value, name)
            elif "int" in kinds:
                smallest = 2 if name == "max_start_points" else int(name not in _MAY_BE_ZERO)
                checks.integer(value, name, minimum=smallest)
            else:
                bound = "minimum" if name in _MAY_BE_ZERO else "above"
                largest = 1.0 if name == "learning_rate_decay" else None
                checks.number(value, name, maximum=largest, **{bound: 0.0})

    @classmethod
    def paper(cls, **changes: Any) -> DeepDPMConfig:
        """Returns the settings of [DeepDPM] supplement 7 and 7.1, with misprints corrected.

        What the paper leaves open is as in the authors' program: the schedule of proposals, and
        2-means along the principal axis as the start of subclusters. Columns are centred, which
        changes no mixture: networks that see a common offset saturate and stop learning.

        The paper has no unit of columns, on which Psi depends. Psi stands beside sums over points,
        so it is as printed for 10,000 points of unit variance, and in proportion to N. That was
        chosen on USPS, MNIST and Fashion-MNIST with labels in view; see docs/reproduce.md.

        Args:
            **changes: settings that differ from the preset.
        """
        settings = dict(
            preprocessing="center",
            prior="identity",
            prior_scale=0.005,
            covariance="full",
            shape="gaussian",
            scale_times_df=True,
            # Half of it leaves USPS with 8 clusters, 17,500 gives Fashion-MNIST 15.
            prior_points=10_000,
            map_denominator="paper",
            stochastic_acceptance=True,
            merge_order="sequential",
            alternate_moves=True,
            subcluster_start="two_means",
            start="kmeans",
            tails="gaussian",
            hidden_units=50,
            kl_direction="network_to_target",
            batch_size=128,
            learning_rate=5e-4,
            subcluster_learning_rate=5e-3,
            learning_rate_decay=1.0,
            min_steps_per_epoch=1,
            epochs=500,
            frozen_epochs=0,
            first_move_epoch=55,
            move_interval_epochs=30,
            frozen_epochs_after_move=5,
            stable_epochs=100,
            settled_loss=None,
        )
        return cls(**settings | changes)

    @classmethod
    def official(cls, **changes: Any) -> DeepDPMConfig:
        """Returns the default options of the authors' program: rows normalised, 500 epochs.

        Args:
            **changes: settings that differ from the preset.
        """
        settings = dict(
            preprocessing="normalize",
            scale_times_df=False,
            prior_points=None,
            map_denominator="joint_mode",
            weight_rule="official",
            kl_direction="target_to_network",
            num_neighbours=2,
            min_subcluster_points=5.0,
            merged_networks="likelier",
            frozen_epochs=25,
            subcluster_start_epoch=45,
            stable_epochs=None,
        )
        return cls.paper(**settings | changes)

    @classmethod
    def stl10(cls, **changes: Any) -> DeepDPMConfig:
        """Returns the settings of [DeepDPM] supplement 7.2 for MoCo features of STL-10."""
        settings = {"prior_scale": 0.05, "prior_points": None, "initial_clusters": 3}
        return cls.paper(**settings | changes)

    @classmethod
    def imagenet(cls, **changes: Any) -> DeepDPMConfig:
        """Returns the settings of [DeepDPM] supplement 7.2 for MoCo features of ImageNet.

        K starts at 150 there and at 200 in section 5 of the paper.
        """
        prior = {"prior_scale": 0.001, "prior_points": None}
        settings = {**prior, "initial_clusters": 150, "epochs": 200}
        return cls.paper(**settings | changes)

    @classmethod
    def named(cls, name: str) -> DeepDPMConfig:
        """Returns the preset `"default"`, `"paper"`, `"official"`, `"stl10"` or `"imagenet"`."""
        presets = {
            "default": cls,
            "paper": cls.paper,
            "official": cls.official,
            "stl10": cls.stl10,
            "imagenet": cls.imagenet,
        }
        return presets[checks.one_of(name, "config", presets)]()

    @classmethod
    def from_saved(cls, settings: dict[str, Any]) -> DeepDPMConfig:
        """Returns the settings that a file holds as a dictionary.

        Files from before there were shapes are of Gaussian clusters.
        """
        return cls(**{"shape": "gaussian", **settings})

    def replace(self, **changes: Any) -> DeepDPMConfig:
        """Returns a copy with some settings changed; an unknown name is an error."""
        known = {field.name for field in dataclasses.fields(self)}
        for name in changes:
            if name not in known:
                checks.fail(name, "an unknown setting", "one of " + ", ".join(sorted(known)))
        return dataclasses.replace(self, **changes)

    @property
    def start_clusters(self) -> int:
        """K at the start of a fit: `fixed_k`, or else `initial_clusters`."""
        return self.initial_clusters if self.fixed_k is None else self.fixed_k

    @property
    def has_tails(self) -> bool:
        """Whether the networks learn the posterior of a mixture of t distributions."""
        is_searched = self.start == "mixture" and self.fixed_k is None
        return self.tails == "t" and is_searched and self.cluster_loss == "kl"

    @property
    def joins_components(self) -> bool:
        """Whether a fit ends by joining components into clusters of any shape."""
        return self.shape == "any" and self.fixed_k is None

    @property
    def proposes_splits(self) -> bool:
        """Whether splits are proposed, so that K may grow."""
        return self.splits and self.fixed_k is None

    @property
    def proposes_merges(self) -> bool:
        """Whether merges are proposed, so that K may shrink."""
        return self.merges and self.fixed_k is None


def as_config(config: DeepDPMConfig | str | None) -> DeepDPMConfig:
    """Returns a configuration.

    Args:
        config: a `DeepDPMConfig`, a preset's name, or `None` for the defaults.

    Raises:
        TypeError: for anything else.
        ValueError: for an unknown name.
    """
    if config is None:
        return DeepDPMConfig()
    if isinstance(config, str):
        return DeepDPMConfig.named(config)
    if not isinstance(config, DeepDPMConfig):
        wanted = "a DeepDPMConfig, a preset's name or None"
        checks.fail("config", type(config).__name__, wanted, TypeError)
    return config
