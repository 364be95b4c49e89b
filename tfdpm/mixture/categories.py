"""Likelihood of categorical columns beside numbers: the location model [Olkin and Tate 1961].

Within cluster k the value of each categorical variable is drawn from a distribution theta_k, and
the numbers are Normal, linear in the flags, with one covariance:

    log p(x, k) = log pi_k + sum_c x_c log theta_kc + log N(numbers; a_k + B_k flags, S_k)

All of it follows from the moments of flags and numbers together.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
from scipy.special import chdtri, gammaincc, gammaln

from tfdpm.mixture import evidence
from tfdpm.mixture.niw import NIWParameters
from tfdpm.mixture.parameters import MixtureParameters, as_tensors
from tfdpm.mixture.statistics import SufficientStatistics

# Mass of the Dirichlet prior of a variable, divided among its values as they occur in the table.
# With a third of it, a few rows that share a rare value would gain by a cluster of their own; drawn
# tables have the same clusters either way.
_DIRICHLET_MASS = 3.0
# Deviation of the shifts of numbers by a category, in their deviation within a cluster. Far larger
# shifts are clusters: at twice of it, clusters four deviations apart were joined where a column
# names them. At half of it, drawn clusters within which categories shift numbers were cut.
_SHIFT = 0.5
# Share of a cluster's values that are as in the whole table: no value of one row rules it out.
_BACKGROUND = 0.01
_FLATTEST = 1e-3  # square root of twice the information of a value that is nearly certain
_STEP = 1.0 / 64.0  # of squared distances between which shares of components are tabulated
_LEAST_SHARE = 1e-15  # of a component's numbers that the table leaves out


@dataclasses.dataclass(frozen=True)
class Categories:
    """Which of the first F features are flags of which categorical variable.

    Attributes:
        sizes: flags of each variable: one of each of three values or more, or one of two values.
        shares: `[F]` share of the points that have each flag, between 0 and 1.
        unit: feature of a flag less that of none; of all points together its mean is zero.
    """

    sizes: tuple[int, ...]
    shares: np.ndarray
    unit: float

    @property
    def num_flags(self) -> int:
        """F."""
        return len(self.shares)

    def log_evidence(
        self, prior: NIWParameters, statistics: SufficientStatistics, covariance: str = "full"
    ) -> np.ndarray:
        """Log evidence `[...]` of values less that of the flags as Normal columns, nats.

        Added to `evidence.log_evidence` of all features, it gives that of the values and of the
        numbers given the values: `E_NIW(all) - E_NIW(flags) + E_DM(values)`. The difference is the
        matrix-normal-inverse-Wishart evidence of the numbers' regression on the flags.
        """
        num_flags = self.num_flags
        counts, sums, products = (np.asarray(part) for part in statistics)
        flags = SufficientStatistics(
            counts, sums[..., :num_flags], products[..., :num_flags, :num_flags]
        )
        counts = counts[..., np.newaxis]
        occurring = flags.sums / self.unit + counts * self.shares
        total: np.ndarray = -evidence.log_evidence(self._flag_prior(prior), flags, covariance)
        parts = zip(self._values(self.shares), self._values(occurring, counts), strict=True)
        for shares, values in parts:
            total += _log_dirichlet_evidence(shares, values)
        return total

    def given_flags(self, matrices: np.ndarray) -> np.ndarray:
        """Schur complements `[..., D - F, D - F]`, of numbers given flags, of `[..., D, D]`."""
        count = self.num_flags
        across = matrices[..., :count, count:]
        return np.asarray(
            matrices[..., count:, count:]
            - np.swapaxes(across, -1, -2) @ np.linalg.solve(matrices[..., :count, :count], across)
        )

    def with_shifts(self, scale: np.ndarray) -> np.ndarray:
        """The prior's scale matrix `[D, D]` with what it expects of shifts of numbers by flags."""
        scale[: self.num_flags, : self.num_flags] = (self.unit / _SHIFT) ** 2 * np.eye(
            self.num_flags
        )
        return scale

    def dependence(self, statistics: SufficientStatistics) -> np.ndarray:
        """What dependence of variables on one another may explain in each cluster, `[...]` nats.

        It is the sum of the log Bayes factors for it of all pairs of variables that have any. Two
        variables that depend on each other within a cluster look like two classes.
        """
        num_flags = self.num_flags
        counts, sums, products = (np.asarray(part) for part in statistics)
        occurring = sums[..., :num_flags] / self.unit + counts[..., np.newaxis] * self.shares
        # n_ab = sum x_a x_b of flags x = y / unit + share with the features y.
        cross = sums[..., :num_flags, np.newaxis] / self.unit * self.shares
        together = products[..., :num_flags, :num_flags] / self.unit**2
        together = together + np.swapaxes(cross, -1, -2) + occurring[..., np.newaxis] * self.shares
        whole = counts[..., np.newaxis]
        values = self._values(occurring, whole)
        shares, stops = self._values(self.shares), np.cumsum([0, *self.sizes])
        alone = [_log_dirichlet_evidence(*each) for each in zip(shares, values, strict=True)]
        total = np.zeros(counts.shape)
        for i, j in itertools.combinations(range(len(self.sizes)), 2):
            table = together[..., stops[i] : stops[i + 1], stops[j] : stops[j + 1]]
            if self.sizes[i] == 1:
                rest = occurring[..., np.newaxis, stops[j] : stops[j + 1]] - table
                table = np.concatenate([table, rest], axis=-2)
            if self.sizes[j] == 1:
                table = np.concatenate([table, values[i][..., np.newaxis] - table], axis=-1)
            table = table.reshape(*counts.shape, -1)
            pair = _log_dirichlet_evidence(np.outer(shares[i], shares[j]).ravel(), table)
            total += np.maximum(pair - alone[i] - alone[j], 0.0)
        return total

    def _flag_prior(self, prior: NIWParameters) -> NIWParameters:
        """The prior's marginal of the flags."""
        num_numbers = np.shape(prior.scale)[-1] - self.num_flags
        return NIWParameters(
            np.asarray(prior.loc)[: self.num_flags],
            prior.mean_precision,
            np.asarray(prior.df) - num_numbers,
            np.asarray(prior.scale)[: self.num_flags, : self.num_flags],
        )

    def probabilities(self, means: np.ndarray) -> list[np.ndarray]:
        """Probabilities `[..., C]` of each variable's values in clusters of `means [..., D]`."""
        own = np.asarray(means)[..., : self.num_flags] / self.unit + self.shares
        own = np.clip(own, 0.0, 1.0)
        own = (1.0 - _BACKGROUND) * own + _BACKGROUND * self.shares
        return [part / part.sum(axis=-1, keepdims=True) for part in self._values(own)]

    def draw_flags(self, means: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Features `[n, F]` of flags of points in clusters of `means [n, D]`, drawn at random."""
        flags = []
        for size, theta in zip(self.sizes, self.probabilities(means), strict=True):
            drawn = (generator.random((len(theta), 1)) > np.cumsum(theta, axis=1)[:, :-1]).sum(
                axis=1
            )
            flags.append(np.eye(theta.shape[1])[drawn, :size])
        return np.asarray(self.unit * (np.concatenate(flags, axis=1) - self.shares))

    def as_gaussians(self, parameters: MixtureParameters) -> MixtureParameters:
        """Gaussians whose log joint is that of the location model wherever flags are zero or one.

        Args:
            parameters: weights, and means and covariances of flags and numbers together.

        Returns:
            NumPy arrays; weights are factors that do not sum to one.
        """
        # Surprise -log theta of the value is half the square of a coordinate that is linear in the
        # flag: (b + (a - b) x)^2 / 2 with a^2 = -2 log theta_1, and b^2 = -2 log theta_0 of the
        # other of two values, or 0. So it is a Gaussian's exponent, whose norm the weights undo.
        weights, means, covariances = (np.asarray(part) for part in parameters)
        count = self.num_flags
        slopes, offsets = [], []
        for size, theta in zip(self.sizes, self.probabilities(means), strict=True):
            roots = np.sqrt(-2.0 * np.log(theta))
            at_zero = roots[:, 1:] if size == 1 else np.zeros_like(roots)
            slopes.append(-(at_zero + roots[:, :size]))
            offsets.append(at_zero)
        slope = np.concatenate(slopes, axis=1)
        slope = np.where(slope > -_FLATTEST, -_FLATTEST, slope)
        places = self.unit * (-np.concatenate(offsets, axis=1) / slope - self.shares)
        variances = (self.unit / slope) ** 2
        among = covariances[:, :count, :count]
        ridge = 1e-9 * np.trace(among, axis1=1, axis2=2)[:, np.newaxis, np.newaxis] + 1e-12
        across = covariances[:, count:, :count]
        # B = S_nf S_ff^-1
        linear = np.linalg.solve(among + ridge * np.eye(count), np.swapaxes(across, 1, 2))
        linear = np.swapaxes(linear, 1, 2)
        rest = covariances[:, count:, count:] - linear @ np.swapaxes(across, 1, 2)
        moved = np.einsum("knf,kf->kn", linear, places - means[:, :count])
        scaled = linear * variances[:, np.newaxis, :]
        new = np.empty_like(covariances)
        new[:, :count, :count] = variances[:, :, np.newaxis] * np.eye(count)
        new[:, count:, :count] = scaled
        new[:, :count, count:] = np.swapaxes(scaled, 1, 2)
        new[:, count:, count:] = rest + scaled @ np.swapaxes(linear, 1, 2)
        log_norms = 0.5 * (count * np.log(2.0 * np.pi) + np.log(variances).sum(axis=1))
        return MixtureParameters(
            weights * np.exp(log_norms),
            np.concatenate([places, means[:, count:] + moved], axis=1),
            0.5 * (new + np.swapaxes(new, 1, 2)),
        )

    def shares_beyond(self, means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What share of each component lies as far out as a row, or farther.

        Args:
            means: `[K, D]` of flags and numbers together.

        Returns:
            Squared distances `[n]` under `as_gaussians`, and shares `[K, n]`. Between them shares
            are read off a straight line, and are never less than the true ones without numbers.
        """
        # Such a distance is sum_c -2 log theta_c of the row's values, plus a chi-squared variable
        # of the numbers: P(d2 >= x) = sum_i p_i P(chi2 >= x - i h), of surprises in steps of h.
        probabilities = self.probabilities(means)
        steps = [np.ceil(-2.0 * np.log(theta) / _STEP).astype(int) for theta in probabilities]
        farthest = sum(int(each.max()) for each in steps)
        num_numbers = np.shape(means)[1] - self.num_flags
        reach = chdtri(num_numbers, _LEAST_SHARE) if num_numbers else 0.0
        count = farthest + int(reach / _STEP) + 2
        masses = np.zeros((len(means), count))
        masses[:, 0] = 1.0
        for theta, moves in zip(probabilities, steps, strict=True):
            before, masses = masses, np.zeros_like(masses)
            for k, c in np.ndindex(theta.shape):
                move = moves[k, c]
                masses[k, move:] += theta[k, c] * before[k, : count - move]
        grid = _STEP * np.arange(count)
        beyond = gammaincc(0.5 * num_numbers, 0.5 * grid)
        beyond[0] = 1.0
        spectra = np.fft.rfft(masses, 2 * count) * np.fft.rfft(beyond, 2 * count)
        shares = np.fft.irfft(spectra, 2 * count)[:, :count]
        shares += np.maximum(1.0 - np.cumsum(masses, axis=1), 0.0)
        # A line from the step before to the one after a row's own keeps the row itself.
        return grid + _STEP, np.clip(shares, 0.0, 1.0)

    def _values(self, flags: np.ndarray, whole: Any = 1.0) -> list[np.ndarray]:
        """Of `[..., F]` numbers of flags, those `[..., C]` of all values of each variable."""
        parts = np.split(flags, np.cumsum(self.sizes)[:-1], axis=-1)
        return [
            np.concatenate([part, whole - part], axis=-1) if part.shape[-1] == 1 else part
            for part in parts
        ]


def density_of(parameters: MixtureParameters, categories: Categories | None) -> MixtureParameters:
    """Gaussian components, as tensors, with the log joint of a mixture of flags and numbers.

    They are those of the mixture itself without categories; see `Categories.as_gaussians`.
    """
    return parameters if categories is None else as_tensors(categories.as_gaussians(parameters))


def draw_points(
    parameters: MixtureParameters,
    count: int,
    generator: np.random.Generator,
    categories: Categories | None = None,
) -> np.ndarray:
    """`[count, D]` float32 points of the mixture."""
    weights = np.asarray(parameters.mixture_weights)
    _, means, covariances = (np.asarray(part) for part in density_of(parameters, categories))
    chosen = generator.choice(len(weights), count, p=weights / weights.sum())
    factors = np.linalg.cholesky(covariances)
    noise = generator.standard_normal((count, means.shape[1]))
    if categories is not None:
        # Coordinates in which the flags become those that were drawn.
        num_flags = categories.num_flags
        flags = categories.draw_flags(np.asarray(parameters.means)[chosen], generator)
        deviations = np.diagonal(factors, axis1=1, axis2=2)[chosen, :num_flags]
        noise[:, :num_flags] = (flags - means[chosen, :num_flags]) / deviations
    points: np.ndarray = means[chosen]
    for k in np.unique(chosen):
        points[chosen == k] += noise[chosen == k] @ factors[k].T
    return np.asarray(points, np.float32)


def _log_dirichlet_evidence(shares: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Log evidence `[...]` of `counts [..., C]` of values under a Dirichlet prior, nats."""
    # log Gamma(A) - log Gamma(A + n) + sum_c log Gamma(a_c + n_c) - log Gamma(a_c)
    mass, counts = _DIRICHLET_MASS * shares, np.maximum(counts, 0.0)
    whole = gammaln(_DIRICHLET_MASS) - gammaln(_DIRICHLET_MASS + counts.sum(axis=-1))
    return np.asarray(whole + (gammaln(mass + counts) - gammaln(mass)).sum(axis=-1))
