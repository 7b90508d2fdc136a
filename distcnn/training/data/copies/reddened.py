"""Reddened copies: every training star once more, behind more dust on the way.

Labelled stars are near and bright, and lie behind little dust, so that networks take what dust
does for what labels do: by 0.03 mag more of it Teff falls by a quarter of its error. Copies of the
same stars, with the same labels, behind more dust tell them apart. What dust does to XP is known
of simulated surveys alone; copies of observed stars lack XP.

Legend: N star.
"""

from dataclasses import dataclass, replace

import numpy as np

from distcnn import hashing
from distcnn.air import to_vacuum
from distcnn.arrays import Array
from distcnn.config import AugmentConfig
from distcnn.config.survey.units import NANOMETRES, wavelength_unit
from distcnn.model import InputSpec, StarInputs
from distcnn.simulate.dust import redden, redden_xp
from distcnn.simulate.spectrum.xp import COEFFICIENTS
from distcnn.survey import Store, spectra_conditions
from distcnn.training.data.labelled import Labelled

COPIES_SEED = 6011
"""Of how much dust lies before which copy."""
SIMULATED = "simulation"
"""How the release of simulated surveys begins; the basis of their XP is known."""


@dataclass(frozen=True)
class DustInFront:
    """What dust does to the inputs of a survey.

    ``wavelength`` of the pixels in vacuum [nm]. ``knows_xp`` : XP is as the simulation makes it.
    """

    bands: tuple[str, ...]
    wavelength: Array
    knows_xp: bool

    @classmethod
    def of(cls, store: Store, spec: InputSpec) -> "DustInFront":
        """Of the stars of a survey."""
        release = str(store.attrs.get("release", ""))
        simulated = release.startswith(SIMULATED) and spec.coefficients == 2 * COEFFICIENTS
        wavelength = _vacuum_nm(store) if spec.pixels else np.empty(0)
        return cls(spec.bands, wavelength, simulated)

    def __call__(self, inputs: StarInputs, ebv: Array) -> StarInputs:
        """The inputs of the stars behind E(B-V) [N] mag more."""
        given = {name: inputs[name] for name in ("flux", "photometry", "xp")}
        lines = self.wavelength if len(self.wavelength) else None
        changed = redden(given, ebv, bands=self.bands, wavelength=lines)
        if given["xp"].shape[1] and self.knows_xp:
            changed |= redden_xp(changed, ebv)
        elif given["xp"].shape[1]:
            gone = np.reshape(ebv > 0, (-1, 1))
            changed |= {"xp": np.where(gone, np.float32(np.nan), given["xp"])}
        return inputs.replaced(**changed)


@dataclass(frozen=True)
class Reddening:
    """What makes a copy of stars: E(B-V) between 0 and ``most`` mag, by their identifiers."""

    most: float
    dust: DustInFront

    @classmethod
    def of(cls, store: Store, spec: InputSpec, config: AugmentConfig) -> "Reddening | None":
        """As the settings say; None where they ask for no copies."""
        return cls(config.dust, DustInFront.of(store, spec)) if config.dust else None

    def __call__(self, stars: Labelled) -> Labelled:
        """The copies [N] of stars [N], which keep identifiers, labels and errors."""
        ebv = self.most * hashing.uniform(stars.source_id, COPIES_SEED)
        return replace(stars, inputs=self.dust(stars.inputs, ebv))


def _vacuum_nm(store: Store) -> Array:
    unit = str(store.coordinate_attrs("wavelength").get("unit", "nm"))
    nanometres = (
        np.asarray(store.coordinate("wavelength"), float) * NANOMETRES[wavelength_unit(unit)]
    )
    in_air = spectra_conditions(store).get("medium", "vacuum") == "air"
    return to_vacuum(nanometres) if in_air else nanometres
