"""Benchmarks of accuracy, time and memory, which `tfdpm bench` and `tfdpm reproduce` run."""
