"""Slow truths from the papers' formulas, with NumPy and SciPy; nothing here imports tfdpm."""
