"""Conditions of a survey's spectra: what their pixels mean, beyond the wavelengths themselves.

Two surveys may stand on the same grid and still not be of the same kind: lines of an air survey
lie elsewhere than those of a vacuum one, and a continuum that was divided out is gone. A network
learns all of that, so its package keeps these words of its training survey.
"""

from typing import Any

from distcnn.survey.store import Store

CONDITIONS = ("medium", "frame", "normalisation", "flux_unit", "release")
"""Conditions that a package keeps of its training survey; ``release`` concerns every survey, the
others those with spectra."""


def spectra_conditions(survey: Store) -> dict[str, str]:
    """The conditions that a survey states, by name; those that it does not are absent."""
    found: dict[str, Any] = {"release": survey.attrs.get("release")}
    if "flux" in survey.variables:
        attrs = survey.coordinate_attrs("wavelength")
        found |= {name: attrs.get(name) for name in ("medium", "frame", "normalisation")}
        found["flux_unit"] = survey.variable_attrs("flux").get("units")
    return {name: str(value) for name, value in found.items() if value}
