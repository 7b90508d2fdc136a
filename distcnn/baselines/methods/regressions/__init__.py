"""Regressions from the inputs of a star to its labels."""
