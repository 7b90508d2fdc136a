"""The baselines: one row per method. A new one is one file, one row here, one conformance test."""

from distcnn.baselines.base import Baseline
from distcnn.baselines.photometry import PhotometryOnly
from distcnn.baselines.ridge import LinearRidge

BASELINES = (
    Baseline("ridge regression, same inputs", ("flux", "xp"), LinearRidge.fit),
    Baseline("photometry and parallax alone", ("photometry",), PhotometryOnly.fit),
)
