"""The bias of Gaia's parallaxes, by magnitude, colour and ecliptic latitude.

Lindegren et al. 2021b (A&A 649, A4), equations A.3 to A.5 and Table 9: solutions with five
parameters, for which the colour is the effective wavenumber; that from BP-RP is equation 3 of
Lindegren et al. 2021a (A&A 649, A2). Equal to the authors' own code (a test has its values).
"""

import numpy as np

from distcnn.arrays import Array

_OBLIQUITY = np.deg2rad(84381.411 / 3600)
"""Of the ecliptic, as Gaia's reference frame takes it."""
# Rows: G [mag]; columns: coefficients [micro-arcsecond] of the products of the colour function
# and the latitude function whose numbers stand above.
_COLOUR_OF = (0, 0, 0, 1, 1, 2, 3, 4)
_LATITUDE_OF = (0, 1, 2, 0, 1, 0, 0, 0)
_G = np.array([6.0, 10.8, 11.2, 11.8, 12.2, 12.9, 13.1, 15.9, 16.1, 17.5, 19.0, 20.0, 21.0])
_COEFFICIENTS = np.array(
    [
        [-26.98, -9.62, 27.40, -25.1, -0.0, -1257, 0, 0],
        [-27.23, -3.07, 23.04, 35.3, 15.7, -1257, 0, 0],
        [-30.33, -9.23, 9.08, -88.4, -11.8, -1257, 0, 0],
        [-33.54, -10.08, 13.28, -126.7, 11.6, -1257, 0, 0],
        [-13.65, -0.07, 9.35, -111.4, 40.6, -1257, 0, 0],
        [-19.53, -1.64, 15.86, -66.8, 20.6, -1257, 0, 0],
        [-37.99, 2.63, 16.14, -5.7, 14.0, -1257, 107.9, 104.3],
        [-38.33, 5.61, 15.42, 0, 18.7, -1189, 243.8, 155.2],
        [-31.05, 2.83, 8.59, 0, 15.5, -1404, 105.5, 170.7],
        [-29.18, -0.09, 2.41, 0, 24.5, -1165, 189.7, 325.0],
        [-18.40, 5.98, -6.46, 0, 5.5, 0, 0, 276.6],
        [-12.65, -4.57, -7.46, 0, 97.9, 0, 0, 0],
        [-18.22, -15.24, -18.54, 0, 128.2, 0, 0, 0],
    ]
)


def parallax_bias(magnitude: Array, wavenumber: Array, sine: Array) -> Array:
    """What Gaia's parallaxes are too large by [mas], [N]; subtract it.

    Parameters
    ----------
    magnitude : [N] G [mag]; beyond 6 and 21 the value there holds.
    wavenumber : [N] effective wavenumber [1/micron], good between 1.1 and 1.9.
    sine : [N] sine of the ecliptic latitude.
    """
    from_red, from_blue = wavenumber - 1.24, wavenumber - 1.72
    colour = (
        np.ones_like(wavenumber),
        np.clip(wavenumber - 1.48, -0.24, 0.24),
        np.clip(1.48 - wavenumber, 0.0, 0.24) ** 3,
        np.minimum(from_red, 0.0),
        np.maximum(from_blue, 0.0),
    )
    latitude = (np.ones_like(sine), sine, sine**2 - 1 / 3)
    total = np.zeros(np.shape(magnitude))
    for column, (c, b) in enumerate(zip(_COLOUR_OF, _LATITUDE_OF, strict=True)):
        total += np.interp(magnitude, _G, _COEFFICIENTS[:, column]) * colour[c] * latitude[b]
    # NaN magnitudes are NaN in the result of interp as well.
    return np.asarray(1e-3 * total)


def effective_wavenumber(bp_rp: Array) -> Array:
    """[1/micron] from BP-RP [mag], both [N]."""
    return np.asarray(1.76 - 1.61 / np.pi * np.arctan(0.531 * bp_rp))


def ecliptic_sine(ra: Array, dec: Array) -> Array:
    """Sine of the ecliptic latitude [N] from ICRS [deg]."""
    a, d = np.deg2rad(ra), np.deg2rad(dec)
    tilt = np.cos(d) * np.sin(_OBLIQUITY) * np.sin(a)
    return np.asarray(np.sin(d) * np.cos(_OBLIQUITY) - tilt)
