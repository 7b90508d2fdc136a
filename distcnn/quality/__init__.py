"""With what a prediction may be trusted: numpy only, fitted at training, shipped in the package."""

from distcnn.quality.attenuation import Attenuation
from distcnn.quality.bins import bin_name, snr_bins, snr_groups
from distcnn.quality.calibration import CELLS, HIDDEN, Calibration, cells, positions
from distcnn.quality.coverage import coverage_table
from distcnn.quality.evidence import Evidence
from distcnn.quality.flags import Quality
from distcnn.quality.limits import Limits
from distcnn.quality.novelty import Novelty

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
