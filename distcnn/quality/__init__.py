"""With what a prediction may be trusted: numpy only, fitted at training, shipped in the package."""

from distcnn.quality.calibration import CELLS, HIDDEN, Calibration, cells, positions
from distcnn.quality.debias import Attenuation
from distcnn.quality.input_summary import Evidence
from distcnn.quality.limits import Limits
from distcnn.quality.novelty import Novelty
from distcnn.quality.quality import Quality
from distcnn.stats import bin_name, coverage_table, snr_bins, snr_groups

__all__ = [
    "CELLS",
    "HIDDEN",
    "Attenuation",
    "Calibration",
    "Evidence",
    "Limits",
    "Novelty",
    "Quality",
    "bin_name",
    "cells",
    "coverage_table",
    "positions",
    "snr_bins",
    "snr_groups",
]
