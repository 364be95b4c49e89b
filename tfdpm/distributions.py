"""Public TFP distributions: the Normal-inverse-Wishart prior and the multivariate t."""

from tfdpm.mixture.distributions import MultivariateStudentT, NormalInverseWishart

__all__ = ["MultivariateStudentT", "NormalInverseWishart"]
