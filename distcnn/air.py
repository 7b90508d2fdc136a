"""Air: wavelengths in it and in vacuum, by the dispersion of dry air."""

import numpy as np

from distcnn.arrays import Array


def refractivity(vacuum_nm: Array) -> Array:
    """N - 1 of dry air at 15 C, 101325 Pa, 450 ppm CO2 (Ciddor 1996, Appl. Opt. 35, 1566, eq. 1).

    Valid 230-1690 nm.
    """
    s2 = (1e3 / np.asarray(vacuum_nm, float)) ** 2
    n: Array = 1e-8 * (5792105.0 / (238.0185 - s2) + 167917.0 / (57.362 - s2))
    return n


def to_air(vacuum_nm: Array) -> Array:
    """Air wavelength [nm] of a vacuum wavelength [nm]."""
    air: Array = vacuum_nm / (1.0 + refractivity(vacuum_nm))
    return air


def to_vacuum(air_nm: Array) -> Array:
    """Vacuum wavelength [nm] of an air wavelength [nm], the inverse of ``to_air``."""
    vacuum = np.asarray(air_nm, float)
    for _ in range(3):  # converges by a factor of 1e5 each time
        vacuum = air_nm * (1.0 + refractivity(vacuum))
    return vacuum
