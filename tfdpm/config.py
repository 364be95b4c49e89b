"""Every setting of a fit, with its unit, its default and where it comes from.

One frozen dataclass and three named configurations; nothing here computes.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from tfdpm import checks

PREPROCESSING = ("auto", "center", "standardize", "normalize", "none")
PRIORS = ("auto", "identity", "std")
COVARIANCES = ("auto", "full", "diagonal", "spherical")
STARTS = ("mixture", "kmeans")
TAILS = ("t", "gaussian")
SPLIT_STARTS = ("network", "principal_axis", "two_means")
CLUSTER_LOSSES = ("kl", "isotropic")
KL_DIRECTIONS = ("network_to_target", "target_to_network")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepDPMConfig:
    """Settings of `tfdpm.DeepDPM`. The defaults need no tuning; each paper's choice has a preset.

    Presets: `DeepDPMConfig()` (what measures best), `DeepDPMConfig.paper()` ([DeepDPM] to the
    letter, typing errors mended), `DeepDPMConfig.official()` (the authors' program).

    Data
        preprocessing: `"auto"` centres, brings columns of wildly different units to one, and
            projects to principal axes; `"center"`; `"standardize"` each column; `"normalize"`
            rows to unit length (the authors' program); `"none"`.

    Prior (Normal-inverse-Wishart)
        prior: `"auto"` from the data; `"identity"`: scale matrix `prior_scale * I`; `"std"`:
            `prior_scale * diag(standard deviations)`.
        prior_scale: multiplies the scale matrix; dimensionless for `"auto"` (1 = as found), else
            in squared feature units. [DeepDPM] supplement 7.1: 0.005.
        scale_times_df: whether the scale matrix is multiplied by `df` (the paper's nu * Psi).
        mean_precision: kappa, pseudo-observations behind the prior mean.
        df: nu; `None` for D + 2.
        map_denominator: `"joint_mode"` (nu* + D + 2) or `"paper"` (nu* - D + 1).
        covariance: structure of the components' covariances: `"full"`, `"diagonal"` (a
            Normal-inverse-Gamma per feature), `"spherical"`, or `"auto"`, which is full unless
            points are scarce for it and another structure has more evidence.
        prior_in_m_step: `False` is the ablation "no prior in the M-step".
        weight_rule: `"dirichlet_map"`, or `"official"` (0.1 added to each fraction).
        weight_concentration: pseudo-points shared by all components' weights.

    Number of clusters
        initial_clusters: K at the start.
        fixed_k: K for good: no splits, no merges; overrides `initial_clusters`.
        splits, merges: whether each kind of move is proposed.
        dp_concentration: alpha of the Dirichlet process.
        stochastic_acceptance: accept with probability `min(1, ratio)` instead of `ratio > 1`.
        num_neighbours: merge candidates of each component besides itself.
        merge_order: `"best_first"` or `"sequential"`.
        min_subcluster_points: a half with no more points than this is never split off.
        first_move_epoch, move_interval_epochs: when proposals are made, 0-based.
        alternate_moves: splits and merges in turn instead of both at every proposal.
        subclustering: `"network"` (subclustering networks) or `"two_means"` (the ablation).

    Training
        start: `"mixture"`: expectation-maximisation with the same moves first, then the networks
            learn its posterior; `"kmeans"`: the networks start from K-means as in the paper.
        tails: `"t"`: the networks learn the posterior of a mixture of t distributions with the
            clusters that were found, each with the likeliest degrees of freedom, since real
            clusters have longer tails than Gaussians; only after a start from a mixture and with
            the loss `"kl"`. `"gaussian"`: the E-step of [DeepDPM] eq. 5.
        hidden_units: width of the hidden layer of each network; `None` for 50, more when K is
            large.
        cluster_loss: `"kl"`, or `"isotropic"` (the ablation).
        kl_direction: `"network_to_target"`, KL(r || rE), [DeepDPM] eq. 6;
            `"target_to_network"`, KL(rE || r), the authors' program.
        batch_size: points per step; `None` chooses by N.
        max_subcluster_batch: points of a batch that the subclustering networks learn from.
        learning_rate, subcluster_learning_rate: Adam step sizes.
        learning_rate_decay: factor per epoch on both, (0, 1].
        min_steps_per_epoch: small data are passed over several times within an epoch.
        epochs: most epochs of a fit.
        frozen_epochs: epochs at the start in which mixture parameters stay as they are.
        subcluster_start_epoch: first epoch in which subclustering networks learn.
        frozen_epochs_after_move: epochs without an M-step after an accepted move.
        stable_epochs: stop when K has not changed for this many epochs; `None`: never.
        settled_loss: after a start from a mixture, stop before `stable_epochs` (if they are not
            `None`) once proposals were made and none accepted while the networks' mean divergence
            from the E-step, nats per point, is at most this; `None`: never. At a fifth of it
            proposals do not wait for `first_move_epoch`.
        max_start_points: points (sampled) on which the start is computed.
        jit_compile: whether XLA compiles gradient steps; `"auto"`: where a fit has so many of them
            that it pays. Only for points in memory on one device.
    """

    preprocessing: str = "auto"

    prior: str = "auto"
    prior_scale: float = 1.0
    scale_times_df: bool = False
    mean_precision: float = 1e-4
    df: float | None = None
    map_denominator: str = "joint_mode"
    covariance: str = "auto"
    prior_in_m_step: bool = True
    weight_rule: str = "dirichlet_map"
    weight_concentration: float = 1.0

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
        """Checks every value, so that a mistake is named where it is made."""
        checks.one_of(self.preprocessing, "preprocessing", PREPROCESSING)
        checks.one_of(self.prior, "prior", PRIORS)
        checks.one_of(self.covariance, "covariance", COVARIANCES)
        checks.one_of(self.map_denominator, "map_denominator", ("joint_mode", "paper"))
        checks.one_of(self.weight_rule, "weight_rule", ("dirichlet_map", "official"))
        checks.one_of(self.merge_order, "merge_order", ("best_first", "sequential"))
        checks.one_of(self.subclustering, "subclustering", ("network", "two_means"))
        checks.one_of(self.start, "start", STARTS)
        checks.one_of(self.tails, "tails", TAILS)
        checks.one_of(self.cluster_loss, "cluster_loss", CLUSTER_LOSSES)
        checks.one_of(self.kl_direction, "kl_direction", KL_DIRECTIONS)
        checks.one_of(self.jit_compile, "jit_compile", ("auto", True, False))
        for name in (
            "scale_times_df",
            "prior_in_m_step",
            "splits",
            "merges",
            "stochastic_acceptance",
            "alternate_moves",
        ):
            checks.boolean(getattr(self, name), name)
        for name in (
            "prior_scale",
            "mean_precision",
            "dp_concentration",
            "learning_rate",
            "subcluster_learning_rate",
        ):
            checks.number(getattr(self, name), name, above=0.0)
        checks.number(self.learning_rate_decay, "learning_rate_decay", above=0.0, maximum=1.0)
        checks.number(self.weight_concentration, "weight_concentration", minimum=0.0)
        checks.number(self.min_subcluster_points, "min_subcluster_points", minimum=0.0)
        for name, minimum in (
            ("initial_clusters", 1),
            ("num_neighbours", 1),
            ("first_move_epoch", 0),
            ("move_interval_epochs", 1),
            ("min_steps_per_epoch", 1),
            ("max_subcluster_batch", 1),
            ("epochs", 0),
            ("frozen_epochs", 0),
            ("subcluster_start_epoch", 0),
            ("frozen_epochs_after_move", 0),
            ("max_start_points", 2),
        ):
            checks.integer(getattr(self, name), name, minimum=minimum)
        for name in ("fixed_k", "hidden_units", "batch_size", "stable_epochs"):
            if getattr(self, name) is not None:
                checks.integer(getattr(self, name), name, minimum=1)
        if self.settled_loss is not None:
            checks.number(self.settled_loss, "settled_loss", minimum=0.0)
        if self.df is not None:
            checks.number(self.df, "df", above=0.0)

    @classmethod
    def paper(cls, **changes: Any) -> DeepDPMConfig:
        """[DeepDPM] as printed (supplement 7 and 7.1), typing errors mended.

        The paper leaves the schedule of proposals open; the authors' program's is used.
        """
        settings: dict[str, Any] = dict(
            preprocessing="none",
            prior="identity",
            prior_scale=0.005,
            covariance="full",
            scale_times_df=True,
            map_denominator="paper",
            stochastic_acceptance=True,
            merge_order="sequential",
            alternate_moves=True,
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
            frozen_epochs_after_move=0,
            stable_epochs=100,
            settled_loss=None,
        )
        return cls(**{**settings, **changes})

    @classmethod
    def official(cls, **changes: Any) -> DeepDPMConfig:
        """The authors' released program with its default options (rows normalised, 500 epochs)."""
        settings: dict[str, Any] = dict(
            preprocessing="normalize",
            prior="std",
            scale_times_df=False,
            map_denominator="joint_mode",
            weight_rule="official",
            kl_direction="target_to_network",
            num_neighbours=2,
            min_subcluster_points=5.0,
            frozen_epochs=25,
            subcluster_start_epoch=45,
            frozen_epochs_after_move=5,
            stable_epochs=None,
        )
        return cls.paper(**{**settings, **changes})

    @classmethod
    def named(cls, name: str) -> DeepDPMConfig:
        """The configuration `"default"`, `"paper"` or `"official"`."""
        checks.one_of(name, "config", ("default", "paper", "official"))
        return {"default": cls, "paper": cls.paper, "official": cls.official}[name]()

    def replace(self, **changes: Any) -> DeepDPMConfig:
        """A copy with some values changed; an unknown name is an error."""
        known = {field.name for field in dataclasses.fields(self)}
        for name in changes:
            if name not in known:
                checks.fail(name, "an unknown setting", "one of " + ", ".join(sorted(known)))
        return dataclasses.replace(self, **changes)

    @property
    def start_clusters(self) -> int:
        """K at the start of a fit."""
        return self.initial_clusters if self.fixed_k is None else self.fixed_k

    @property
    def has_tails(self) -> bool:
        """Whether t distributions are what networks learn."""
        is_searched = self.start == "mixture" and self.fixed_k is None
        return self.tails == "t" and is_searched and self.cluster_loss == "kl"

    @property
    def proposes_splits(self) -> bool:
        """Whether K may grow."""
        return self.splits and self.fixed_k is None

    @property
    def proposes_merges(self) -> bool:
        """Whether K may shrink by merges."""
        return self.merges and self.fixed_k is None
