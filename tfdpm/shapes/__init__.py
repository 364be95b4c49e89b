"""Clusters of any shape: groups of a mixture's components with no valley of density between."""

from __future__ import annotations

from tfdpm.shapes.groups import ComponentGroups
from tfdpm.shapes.valleys import group_components

__all__ = ["ComponentGroups", "group_components"]
