"""Benchmarks of time and memory against peers."""
