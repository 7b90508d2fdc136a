"""Calibration: what the errors that networks predict are worth, fitted on labelled stars."""

from distcnn.quality.calibration.calibration import (
    MISSING_MAGNITUDES,
    MISSING_MODALITIES,
    Calibration,
)
from distcnn.quality.calibration.error_deconvolution import ReferenceResiduals
from distcnn.quality.calibration.strata import LABEL_STRATA, label_strata, strata_columns

__all__ = [
    "LABEL_STRATA",
    "MISSING_MAGNITUDES",
    "MISSING_MODALITIES",
    "Calibration",
    "ReferenceResiduals",
    "label_strata",
    "strata_columns",
]
