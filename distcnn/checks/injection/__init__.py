"""Checks by injection: stars whose inputs are changed on purpose, and what their labels do."""
