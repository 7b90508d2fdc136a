"""Stacking: regressions beside the networks of a package, and how much of a label each gives."""

from distcnn.model.stacking.features import FeatureTable, hardened, lacks_nothing
from distcnn.model.stacking.regressors import REGRESSORS, Regressor
from distcnn.model.stacking.stacking import ENSEMBLE, Parts, Stacking, hats, to_bytes

__all__ = [
    "ENSEMBLE",
    "REGRESSORS",
    "FeatureTable",
    "Parts",
    "Regressor",
    "Stacking",
    "hardened",
    "hats",
    "lacks_nothing",
    "to_bytes",
]
