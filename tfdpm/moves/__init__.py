"""Splits and merges: their Hastings ratios, their acceptance, and the table a move leaves."""
