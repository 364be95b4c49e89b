"""Points held in memory for the search: their groups, densities and reductions."""
