"""Benchmarks of SwAV: time of training and accuracy of the features."""
