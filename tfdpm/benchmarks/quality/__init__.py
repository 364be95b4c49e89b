"""Benchmarks of clusters against known classes."""
