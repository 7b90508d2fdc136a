"""With what a prediction may be trusted: numpy only, fitted at training, shipped in the package."""

from distcnn.quality.calibration import (
    CELLS,
    Calibration,
    bin_name,
    cells,
    coverage_table,
    snr_bins,
)
from distcnn.quality.flags import Quality
from distcnn.quality.limits import Limits
from distcnn.quality.novelty import Novelty

__all__ = [
    "CELLS",
    "Calibration",
    "Limits",
    "Novelty",
    "Quality",
    "bin_name",
    "cells",
    "coverage_table",
    "snr_bins",
]
