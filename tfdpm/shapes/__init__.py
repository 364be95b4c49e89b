"""Clusters of any shape: groups of components with no valley of density between them."""
