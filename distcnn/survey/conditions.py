"""Conditions of a survey's spectra: what their pixels mean, beyond the wavelengths themselves.

Two surveys may stand on the same grid and still not be of the same kind: lines of an air survey
lie elsewhere than those of a vacuum one, and a continuum that was divided out is gone. A network
learns all of that, so its package keeps these words of its training survey.
"""

from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.survey.store import Store

SNR_INTERVAL = "snr_interval"
"""Attribute of surveys and predictions: the wavelength interval that their S/N is per, with unit;
absent = one pixel of the archive's spectra."""
KEPT_FRAME = "frame_without_velocity"
"""Attribute of wavelengths at rest: the frame of spectra that were kept for want of a velocity."""
CONDITIONS = ("medium", "frame", "normalisation", "flux_unit", SNR_INTERVAL, "release")
"""Conditions that a package keeps of its training survey; ``release`` concerns every survey, the
others those with spectra."""


def spectra_conditions(survey: Store) -> dict[str, str]:
    """The conditions that a survey states, by name; those that it does not are absent."""
    found: dict[str, Any] = {"release": survey.attrs.get("release")}
    if "flux" in survey.variables:
        attrs = survey.coordinate_attrs("wavelength")
        found |= {name: attrs.get(name) for name in ("medium", "frame", "normalisation")}
        found["flux_unit"] = survey.variable_attrs("flux").get("units")
        found[SNR_INTERVAL] = survey.attrs.get(SNR_INTERVAL)
    return {name: str(value) for name, value in found.items() if value}


def not_at_rest(survey: Store, velocity: Array | None) -> Array | None:
    """Which stars [N] were not shifted to rest as the others of the survey; None if all were.

    ``velocity`` [N] km/s, those that the spectra were shifted by, NaN of spectra kept as they were.
    """
    kept = "flux" in survey.variables and KEPT_FRAME in survey.coordinate_attrs("wavelength")
    return np.isnan(velocity) if kept and velocity is not None else None


def snr_sentence(interval: str | None) -> str:
    """What an S/N is, as stores and catalogues say it; ``interval``: as ``SNR_INTERVAL``."""
    return f"signal to noise per {interval or 'pixel'} of the archive's spectrum"
