"""Benchmarks of accuracy against peers and known labels."""
