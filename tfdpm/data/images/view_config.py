"""Settings of the views of an image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tfdpm import checks

# Constants of the published training runs. Their deviation of red is .228, where most other
# programs have .229; published weights expect it.
PUBLISHED_MEAN = (0.485, 0.456, 0.406)
PUBLISHED_STD = (0.228, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """Settings of the views that `tfdpm.data.multicrop` makes of an image.

    The defaults are those of the published multi-crop runs, 2 crops of 224 pixels and 6 of 96.

    Attributes:
        crop_sizes: side of the crops in pixels, one per resolution.
        crop_counts: number of crops per image, one per resolution.
        crop_scales: smallest and largest share of the image's area, one pair per resolution.
        flip_prob: share of the views that are mirrored.
        jitter_prob: share of the views whose colours change.
        jitter: strength of the changes in brightness, contrast, saturation (half widths around 1)
            and hue (turns of the colour circle).
        gray_prob: share of the views that lose their colours.
        blur_prob: share of the views that are blurred.
        blur_sigma: smallest and largest standard deviation of the blur in pixels.
        mean, std: constants of each channel; images in [0, 1] are standardised with them. Their
            number is the number of channels that views have.
    """

    crop_sizes: tuple[int, ...] = (224, 96)
    crop_counts: tuple[int, ...] = (2, 6)
    crop_scales: tuple[tuple[float, float], ...] = ((0.14, 1.0), (0.05, 0.14))
    flip_prob: float = 0.5
    jitter_prob: float = 0.8
    jitter: tuple[float, float, float, float] = (0.8, 0.8, 0.8, 0.2)
    gray_prob: float = 0.2
    blur_prob: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    mean: tuple[float, ...] = PUBLISHED_MEAN
    std: tuple[float, ...] = PUBLISHED_STD

    def __post_init__(self):
        # JSON knows lists only; settings that are read back must equal those written.
        for name in ("crop_sizes", "crop_counts", "jitter", "blur_sigma", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "crop_scales", tuple(tuple(pair) for pair in self.crop_scales))
        for name in ("crop_sizes", "crop_counts"):
            for value in getattr(self, name):
                checks.integer(value, name, minimum=1)
        if not len(self.crop_sizes) == len(self.crop_counts) == len(self.crop_scales) > 0:
            got = f"{len(self.crop_counts)} and {len(self.crop_scales)} values"
            wanted = f"one per crop size, {len(self.crop_sizes)}"
            checks.fail("crop_counts, crop_scales", got, wanted)
        for low, high in self.crop_scales:
            if not 0.0 < low <= high <= 1.0:
                checks.fail("crop_scales", (low, high), "0 < low <= high <= 1")
        for name in ("flip_prob", "jitter_prob", "gray_prob", "blur_prob"):
            checks.number(getattr(self, name), name, minimum=0.0, maximum=1.0)
        if len(self.jitter) != 4 or min(self.jitter) < 0 or self.jitter[3] > 0.5:
            checks.fail("jitter", self.jitter, "four numbers of at least 0, the last at most 0.5")
        if not 0.0 < self.blur_sigma[0] <= self.blur_sigma[1]:
            checks.fail("blur_sigma", self.blur_sigma, "0 < low <= high")
        if not len(self.mean) == len(self.std) > 0 or min(self.std) <= 0:
            checks.fail("std", self.std, f"{len(self.mean)} positive numbers, as many as `mean`")

    @property
    def num_crops(self) -> int:
        """Number of views per image."""
        return sum(self.crop_counts)

    def resolutions(self) -> Iterator[tuple[int, int, tuple[float, float]]]:
        """Yields size, number and scales of the crops of each resolution."""
        return zip(self.crop_sizes, self.crop_counts, self.crop_scales, strict=True)
