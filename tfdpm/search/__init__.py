"""The search for K on a sample: EM with split and merge moves, judged by marginal likelihood."""
