"""With what a prediction may be trusted: numpy only, fitted at training, shipped in the package."""

from distcnn.quality.calibration import (
    LABEL_STRATA,
    MISSING_MAGNITUDES,
    MISSING_MODALITIES,
    Calibration,
    label_strata,
    strata_columns,
)
from distcnn.quality.debias import Debiasing
from distcnn.quality.fitting import usual_reference_errors
from distcnn.quality.input_summary import InputSummary, summarise
from distcnn.quality.limits import Limits
from distcnn.quality.novelty import Novelty
from distcnn.quality.quality import Quality
from distcnn.stats import bin_name, coverage_table, snr_bins, snr_groups

__all__ = [
    "LABEL_STRATA",
    "MISSING_MAGNITUDES",
    "MISSING_MODALITIES",
    "Calibration",
    "Debiasing",
    "InputSummary",
    "Limits",
    "Novelty",
    "Quality",
    "bin_name",
    "coverage_table",
    "label_strata",
    "snr_bins",
    "snr_groups",
    "strata_columns",
    "summarise",
    "usual_reference_errors",
]
