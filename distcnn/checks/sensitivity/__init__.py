"""Sensitivity: where in the spectrum labels come from, by the gradients of the networks."""
