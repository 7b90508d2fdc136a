"""Spectra: from labels to line strengths, to light on the detector, to samples of a release.

    linelist + atmosphere -> lines -> synthesis (noiseless) -> instrument (noise, continuum)

and ``xp`` beside them, for the low-resolution spectra. No star is drawn here: what a star is
comes from ``galaxy``, which knows of this folder only labels and exposures.
"""

from distcnn.simulate.spectrum.instrument import REGIME_SWITCH, Exposure
from distcnn.simulate.spectrum.lines import TrueLabels
from distcnn.simulate.spectrum.synthesis import jacobian, noiseless

__all__ = ["REGIME_SWITCH", "Exposure", "TrueLabels", "jacobian", "noiseless"]
