"""A survey with known truth, in the archive's own file layout.

Textbook line formation, a simple Galaxy, photon noise on native pixels, and defects on purpose.

    galaxy (who the stars are) -> observe (their spectra, through spectrum/ and defects)
                               -> files (text and FITS) -> archive (one task per range of sky)

``cramer_rao`` says how well their labels can be known from such data at all.
"""

from distcnn.simulate.archive import discard_unfinished, read_settings, write_archive
from distcnn.simulate.cramer_rao import StarTruth, cramer_rao_bound
from distcnn.simulate.grid import DR3_GRID, ReleaseGrid
from distcnn.simulate.spectrum import jacobian, noiseless

__all__ = [
    "DR3_GRID",
    "ReleaseGrid",
    "StarTruth",
    "cramer_rao_bound",
    "discard_unfinished",
    "jacobian",
    "noiseless",
    "read_settings",
    "write_archive",
]
