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
from distcnn.model import InputSpec
from distcnn.simulate.dust import redden, redden_xp
from distcnn.simulate.spectrum.xp import COEFFICIENTS
from distcnn.survey import Store, spectra_conditions
from distcnn.training.data.labelled import Labelled

COPIES_SEED = 6011
"""Of how much dust lies before which copy."""
SIMULATED = "simulation"
"""Release of surveys that were simulated; the basis of their XP is known."""


@dataclass(frozen=True)
class Reddening:
    """What makes a copy of stars.

    ``most`` : E(B-V) [mag]; of each star between 0 and that, by its identifier. ``wavelength`` of
    the pixels in vacuum [nm]. ``knows_xp`` : XP is as the simulation makes it.
    """

    most: float
    bands: tuple[str, ...]
    wavelength: Array
    knows_xp: bool

    @classmethod
    def of(cls, store: Store, spec: InputSpec, config: AugmentConfig) -> "Reddening | None":
        """As the settings say; None where they ask for no copies."""
        if not config.dust:
            return None
        simulated = (
            store.attrs.get("release") == SIMULATED and spec.coefficients == 2 * COEFFICIENTS
        )
        wavelength = _vacuum_nm(store) if spec.pixels else np.empty(0)
        return cls(config.dust, spec.bands, wavelength, simulated)

    def __call__(self, stars: Labelled) -> Labelled:
        """The copies [N] of stars [N], which keep identifiers, labels and errors."""
        inputs = stars.inputs
        given = {name: inputs[name] for name in ("flux", "photometry", "xp")}
        ebv = self.most * hashing.uniform(stars.source_id, COPIES_SEED)
        lines = self.wavelength if len(self.wavelength) else None
        changed = redden(given, ebv, bands=self.bands, wavelength=lines)
        if given["xp"].shape[1]:
            missing = {"xp": np.full_like(given["xp"], np.nan)}
            changed |= redden_xp(changed, ebv) if self.knows_xp else missing
        return replace(stars, inputs=inputs.replaced(**changed))


def _vacuum_nm(store: Store) -> Array:
    unit = str(store.coordinate_attrs("wavelength").get("unit", "nm"))
    nanometres = (
        np.asarray(store.coordinate("wavelength"), float) * NANOMETRES[wavelength_unit(unit)]
    )
    in_air = spectra_conditions(store).get("medium", "vacuum") == "air"
    return to_vacuum(nanometres) if in_air else nanometres
