"""Measurements: how good, how fast, how robust. `tfdpm bench NAME` runs the module of that name."""
