"""Public distributions of TFP's kind: the Normal-inverse-Wishart and the multivariate t."""

from tfdpm.mixture.distributions import MultivariateStudentT, NormalInverseWishart

__all__ = ["MultivariateStudentT", "NormalInverseWishart"]
