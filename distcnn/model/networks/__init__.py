"""Layers of the networks: ours, the published ones, and the head for correlations."""
