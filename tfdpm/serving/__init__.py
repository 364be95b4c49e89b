"""Fitted models as graphs that need neither Python nor this package."""
