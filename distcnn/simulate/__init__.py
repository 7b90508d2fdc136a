"""A survey with known truth, in the archive's own file layout.

Textbook line formation, a simple Galaxy, photon noise on native pixels, and trouble on purpose.
"""

from distcnn.simulate.archive import write_archive
from distcnn.simulate.grid import DR3_GRID, ReleaseGrid
from distcnn.simulate.spectrum.synthesis import jacobian, noiseless

__all__ = ["DR3_GRID", "ReleaseGrid", "jacobian", "noiseless", "write_archive"]
