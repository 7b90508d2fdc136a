"""Fitting of the regressions and weights that ``model.stacking`` evaluates."""

from distcnn.training.stacking.fit import FittedStacking, OutOfFoldStars, fit_stacking

__all__ = ["FittedStacking", "OutOfFoldStars", "fit_stacking"]
