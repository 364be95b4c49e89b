"""Settings of SwAV: frozen dataclasses, the published runs by name, and those for small data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

from tfdpm import checks
from tfdpm.data.images.view_config import PUBLISHED_MEAN, PUBLISHED_STD, ViewConfig

IMAGENET_IMAGES = 1_281_167


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of optimiser and schedule; learning rates are absolute, not per 256 images."""

    optimizer: str = "lars"  # or "adam"
    num_images: int | None = None  # of the training set; sets the length of the schedule
    batch_size: int = 4096  # over all replicas
    epochs: int = 800
    peak_learning_rate: float = 4.8
    final_learning_rate: float = 0.0048
    start_learning_rate: float = 0.3
    warmup_epochs: int = 10
    weight_decay: float = 1e-6
    trust_coefficient: float = 1e-3
    momentum: float = 0.9

    def __post_init__(self):
        checks.one_of(self.optimizer, "optimizer", ("lars", "adam"))
        for name, least in (("batch_size", 1), ("epochs", 1), ("warmup_epochs", 0)):
            checks.integer(getattr(self, name), name, minimum=least)
        rates = ("peak_learning_rate", "final_learning_rate", "start_learning_rate")
        for name in (*rates, "weight_decay", "trust_coefficient", "momentum"):
            checks.number(getattr(self, name), name, minimum=0.0)
        if self.num_images is not None:
            checks.integer(self.num_images, "num_images", minimum=1)
            if self.num_images < self.batch_size:
                checks.fail("num_images", self.num_images, f"at least the batch, {self.batch_size}")

    @property
    def steps_per_epoch(self) -> int | None:
        """Number of whole batches in the training set; `None` if its size is not given."""
        return None if self.num_images is None else self.num_images // self.batch_size


@dataclass(frozen=True, kw_only=True)
class SelfSupervisedConfig:
    """Settings of network, views and training that all methods share, and all of SimCLR's."""

    embedding_dim: int = 128
    hidden_units: int = 2048  # of the projection head; 0 for a linear head
    head_batch_norm: bool = True
    temperature: float = 0.1  # of the prediction
    synchronized: bool = True  # batch statistics shared by replicas
    views: ViewConfig = field(default_factory=ViewConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self):
        if isinstance(self.views, dict):
            object.__setattr__(self, "views", ViewConfig(**self.views))
        if isinstance(self.training, dict):
            object.__setattr__(self, "training", TrainingConfig(**self.training))
        checks.integer(self.embedding_dim, "embedding_dim", minimum=1)
        checks.integer(self.hidden_units, "hidden_units", minimum=0)
        checks.number(self.temperature, "temperature", above=0.0)
        if self.views.num_crops < 2:
            checks.fail("crop_counts", self.views.crop_counts, "at least two views of an image")


@dataclass(frozen=True, kw_only=True)
class PrototypeConfig(SelfSupervisedConfig):
    """Settings that methods with prototypes share."""

    num_prototypes: int = 3000
    num_assigning_crops: int = 2  # the first crops of the first resolution give the codes

    def __post_init__(self):
        super().__post_init__()
        checks.integer(self.num_prototypes, "num_prototypes", minimum=2)
        count, most = self.num_assigning_crops, self.views.crop_counts[0]
        checks.integer(count, "num_assigning_crops", minimum=1, maximum=most)


@dataclass(frozen=True, kw_only=True)
class OfflineConfig(PrototypeConfig):
    """Settings that methods with a memory bank share."""

    num_heads: int = 3  # sets of prototypes

    def __post_init__(self):
        super().__post_init__()
        checks.integer(self.num_heads, "num_heads", minimum=1)


@dataclass(frozen=True, kw_only=True)
class DeepClusterConfig(OfflineConfig):
    """Settings of DeepCluster-v2; the defaults are those of the published runs at batch 4096."""

    kmeans_iterations: int = 10  # before each epoch

    def __post_init__(self):
        super().__post_init__()
        checks.integer(self.kmeans_iterations, "kmeans_iterations", minimum=1)


@dataclass(frozen=True, kw_only=True)
class SeLaConfig(OfflineConfig):
    """Settings of SeLa-v2; what its authors have not published has the values of SwAV."""

    sinkhorn_epsilon: float = 0.05  # of the assignment
    balancing_iterations: int = 20  # rounds of Sinkhorn over all images before each epoch
    freeze_prototypes_steps: int = 313

    def __post_init__(self):
        super().__post_init__()
        checks.number(self.sinkhorn_epsilon, "sinkhorn_epsilon", above=0.0)
        checks.integer(self.balancing_iterations, "balancing_iterations", minimum=1)
        checks.integer(self.freeze_prototypes_steps, "freeze_prototypes_steps", minimum=0)


@dataclass(frozen=True, kw_only=True)
class SwAVConfig(PrototypeConfig):
    """Settings of the method; the defaults are those of the published runs at batch 4096."""

    sinkhorn_epsilon: float = 0.05  # of the assignment; 0.03 where training collapses
    sinkhorn_iterations: int = 3
    renormalize_prototypes: bool = True  # before every step
    freeze_prototypes_steps: int = 313
    queue_length: int = 0  # embeddings per assigning crop
    queue_start_steps: int = 0  # the queue joins from this step on, once full

    def __post_init__(self):
        super().__post_init__()
        checks.number(self.sinkhorn_epsilon, "sinkhorn_epsilon", above=0.0)
        checks.integer(self.sinkhorn_iterations, "sinkhorn_iterations", minimum=1)
        checks.boolean(self.renormalize_prototypes, "renormalize_prototypes")
        for name in ("freeze_prototypes_steps", "queue_length", "queue_start_steps"):
            checks.integer(getattr(self, name), name, minimum=0)


_TWO_LARGE = ViewConfig(crop_sizes=(224,), crop_counts=(2,), crop_scales=((0.08, 1.0),))
_FOUR_SMALL = ViewConfig(crop_counts=(2, 4))
_SMALLER = ViewConfig(
    crop_sizes=(160, 96), crop_counts=(2, 4), crop_scales=((0.08, 1.0), (0.05, 0.14))
)
_LARGE_BATCH = SwAVConfig(training=TrainingConfig(num_images=IMAGENET_IMAGES))
_BATCH_256 = SwAVConfig(
    freeze_prototypes_steps=5005,
    queue_length=3840,
    queue_start_steps=15 * (IMAGENET_IMAGES // 256),
    training=TrainingConfig(
        num_images=IMAGENET_IMAGES,
        batch_size=256,
        peak_learning_rate=0.6,
        final_learning_rate=0.0006,
        start_learning_rate=0.0,
        warmup_epochs=0,
    ),
)


def convert(config: SelfSupervisedConfig, kind: type[Any]) -> Any:
    """Returns settings of another method: the fields that both have, and defaults for others."""
    shared = {entry.name for entry in fields(kind)} & {entry.name for entry in fields(config)}
    return kind(**{name: getattr(config, name) for name in shared})


def _with_epochs(config: SwAVConfig, epochs: int, **changes) -> SwAVConfig:
    return replace(config, training=replace(config.training, epochs=epochs), **changes)


# The runs of Figure 3 and of the authors' list of models that are of other methods.
_OTHERS = {
    "simclr": SelfSupervisedConfig,
    "deepclusterv2": DeepClusterConfig,
    "selav2": SeLaConfig,
}
_RUN_160 = _with_epochs(_LARGE_BATCH, 400, views=_SMALLER)
_RUN_224 = _with_epochs(_LARGE_BATCH, 400, views=_TWO_LARGE)

_WIDE = _with_epochs(_LARGE_BATCH, 400, views=_FOUR_SMALL, hidden_units=8192)

# Named after the published scripts: [SwAV] section 4 and its model list.
PRESETS: dict[str, SelfSupervisedConfig] = {
    **{f"{epochs}ep": _with_epochs(_LARGE_BATCH, epochs) for epochs in (100, 200, 400, 800)},
    **{f"{epochs}ep_bs256": _with_epochs(_BATCH_256, epochs) for epochs in (200, 400)},
    "400ep_2x224": _RUN_224,
    "400ep_2x160_4x96": _RUN_160,
    "200ep_bs256_2x160_4x96": _with_epochs(_BATCH_256, 200, views=_SMALLER),
    "RN50w2_400ep": _WIDE,
    "RN50w4_400ep": replace(
        _WIDE,
        queue_length=2560,
        views=replace(_FOUR_SMALL, crop_scales=((0.08, 1.0), (0.08, 0.14))),
        training=replace(_WIDE.training, batch_size=2560),
    ),
    "RN50w5_400ep": replace(
        _WIDE,
        hidden_units=10240,
        head_batch_norm=False,
        queue_length=1536,
        training=replace(
            _WIDE.training, batch_size=1536, final_learning_rate=0.0, start_learning_rate=0.1875
        ),
    ),
    **{f"{name}_400ep": convert(_RUN_160, kind) for name, kind in _OTHERS.items()},
    **{f"{name}_400ep_2x224": convert(_RUN_224, kind) for name, kind in _OTHERS.items()},
    "deepclusterv2_800ep": convert(_LARGE_BATCH, DeepClusterConfig),
}


def preset(name: str) -> Any:
    """Returns the settings of a published run, for the model that `method_of` tells.

    Args:
        name: name of the run, one of `PRESETS`.
    Raises:
        ValueError: if no run has that name.
    """
    return PRESETS[checks.one_of(name, "name", PRESETS)]


def small_config(
    *, image_size: int, channels: int, num_images: int, batch_size: int, epochs: int
) -> SwAVConfig:
    """Chooses settings for small images and small data.

    There is a prototype per 80 images, 30 to 3,000 in all. If these are more than two per sample
    of a batch, a queue joins in the second half of the run. Two crops have full size, two have
    0.7 of it and show at least 0.3 of a grey image or 0.15 of a colour image. There is no blur;
    colours change less, codes are harder than in the published runs, and the optimiser is Adam.
    """
    image_size = checks.integer(image_size, "image_size", minimum=8)
    channels = checks.one_of(checks.integer(channels, "channels"), "channels", (1, 3))
    num_images = checks.integer(num_images, "num_images", minimum=1)
    batch_size = checks.integer(batch_size, "batch_size", minimum=2)
    num_prototypes = min(max(num_images // 80, 30), 3000)
    # Early in a run features change so fast that past ones would mislead the assignment: the queue
    # joins late and stays short.
    queue_batches = min(math.ceil(num_prototypes / (2 * batch_size)) - 1, 8)
    steps = max(num_images // batch_size, 1)
    is_gray = channels == 1
    views = ViewConfig(
        crop_sizes=(image_size, max(round(0.35 * image_size) * 2, 6)),
        crop_counts=(2, 2),
        crop_scales=((0.5, 1.0), (0.3, 0.7)) if is_gray else ((0.3, 1.0), (0.15, 0.5)),
        flip_prob=0.0 if is_gray else 0.5,
        jitter=(0.4, 0.4, 0.0, 0.0) if is_gray else (0.4, 0.4, 0.4, 0.1),
        gray_prob=0.0 if is_gray else 0.2,
        blur_prob=0.0,
        mean=(0.0,) if is_gray else PUBLISHED_MEAN,
        std=(0.3,) if is_gray else PUBLISHED_STD,
    )
    return SwAVConfig(
        embedding_dim=32,
        hidden_units=256,
        num_prototypes=num_prototypes,
        sinkhorn_epsilon=0.03,
        freeze_prototypes_steps=steps,
        queue_length=queue_batches * batch_size,
        queue_start_steps=max(epochs // 2, 1) * steps,
        views=views,
        training=TrainingConfig(
            optimizer="adam",
            num_images=num_images,
            batch_size=batch_size,
            epochs=epochs,
            peak_learning_rate=2e-3,
            final_learning_rate=2e-5,
            start_learning_rate=1e-4,
            warmup_epochs=min(1, epochs - 1),
            weight_decay=0.0,
        ),
    )


def describe(config: SelfSupervisedConfig) -> str:
    """Describes settings in a few lines."""
    views, training = config.views, config.training
    crops = " + ".join(
        f"{count}x{size} px (area {low:g}-{high:g})"
        for size, count, (low, high) in views.resolutions()
    )
    lines = [f"crops       {crops}"]
    if isinstance(config, PrototypeConfig):
        frozen = getattr(config, "freeze_prototypes_steps", 0)
        lines.append(f"prototypes  {config.num_prototypes}, frozen for {frozen} steps")
    if isinstance(config, SwAVConfig):
        queue = "none"
        if config.queue_length:
            queue = (
                f"{config.queue_length} embeddings per crop from step {config.queue_start_steps}"
            )
        lines.append(f"queue       {queue}")
    lines += [
        f"head        {config.hidden_units} -> {config.embedding_dim}",
        f"training    {training.optimizer}, batch {training.batch_size}, {training.epochs} "
        f"epochs of {training.steps_per_epoch or 'unknown'} steps, "
        f"learning rate {training.peak_learning_rate:g}",
    ]
    return "\n".join(lines)
