"""Fixtures of the conformance kit; a file of tests that uses them has its own ``site``."""

from conformance.cluster_runs import finished, inputs, products

__all__ = ["finished", "inputs", "products"]
