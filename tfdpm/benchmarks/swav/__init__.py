"""Benchmarks of SwAV features."""
