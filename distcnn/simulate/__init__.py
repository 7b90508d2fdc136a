"""A survey with known truth, in the archive's own file layout.

Textbook line formation, a simple Galaxy, photon noise on native pixels, and trouble on purpose.
"""

from distcnn.simulate.archive import write_archive
from distcnn.simulate.spectrum.synthesis import WAVELENGTH, jacobian, noiseless

__all__ = ["WAVELENGTH", "jacobian", "noiseless", "write_archive"]
