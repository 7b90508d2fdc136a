"""Baselines: other methods on the same split, as a stage with a table of its own."""

from distcnn.baselines.base import Baseline, Estimate, FittedBaseline, LabelledStars
from distcnn.baselines.registry import BASELINES, choose_baselines
from distcnn.baselines.run import compare

__all__ = [
    "BASELINES",
    "Baseline",
    "Estimate",
    "FittedBaseline",
    "LabelledStars",
    "choose_baselines",
    "compare",
]
