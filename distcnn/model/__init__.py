"""Networks, ensembles and the packages that carry them; all of it on torch."""

from distcnn.model.ensemble import (
    Ensemble,
    Prediction,
    fixture_stars,
    predict_each,
    predict_members,
)
from distcnn.model.inputs import Batch, InputSpec, StarInputs, grid_digest, star_inputs
from distcnn.model.networks.hybrid import Hybrid, Network, build_network, fit_scaling
from distcnn.model.package.package import Package, write_evaluation, write_package

__all__ = [
    "Batch",
    "Ensemble",
    "Hybrid",
    "InputSpec",
    "Network",
    "Package",
    "Prediction",
    "StarInputs",
    "build_network",
    "fit_scaling",
    "fixture_stars",
    "grid_digest",
    "predict_each",
    "predict_members",
    "star_inputs",
    "write_evaluation",
    "write_package",
]
