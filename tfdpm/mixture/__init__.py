"""The Gaussian mixture: statistics, Normal-inverse-Wishart arithmetic, parameters, starts."""
