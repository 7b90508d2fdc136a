"""Where stars are in the Galaxy: cylindrical R and Z from position and distance.

The frame is astropy's ``Galactocentric``. It is a rotation and a shift, the same for all stars:
astropy gives both once, and a survey costs a product of matrices (a test compares star by star).
"""

from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.coordinates import CartesianRepresentation, Galactocentric, SkyCoord

from distcnn.arrays import Array


@dataclass(frozen=True)
class GalacticPlace:
    """Places of stars [N], in kpc.

    ``x, y`` : Galactocentric, the Sun at negative x. ``radius`` : distance R from the axis.
    ``height`` : Z above the plane. ``radius_error``, ``height_error`` : half the change of R and
    Z along the 68 % interval of the distance.
    """

    x: Array
    y: Array
    radius: Array
    height: Array
    radius_error: Array
    height_error: Array


@dataclass(frozen=True)
class GalacticFrame:
    """``origin`` [3]: the Sun [kpc]; ``rotation`` [3, 3]: from ICRS to Galactocentric axes."""

    origin: Array
    rotation: Array

    @classmethod
    def of(cls, sun_radius: float, sun_height: float) -> "GalacticFrame":
        """The frame with the Sun there [kpc], as astropy has it."""
        frame = Galactocentric(galcen_distance=sun_radius * u.kpc, z_sun=sun_height * u.kpc)
        corners = np.vstack([np.zeros(3), np.eye(3)]).T * u.kpc
        seen = SkyCoord(CartesianRepresentation(corners), frame="icrs").transform_to(frame)
        placed = seen.cartesian.xyz.to_value(u.kpc).T
        return cls(placed[0], (placed[1:] - placed[0]).T)

    def place(self, ra: Array, dec: Array, distance: Array) -> GalacticPlace:
        """Places from ICRS [deg] and distances: low, median, high [N, 3] in kpc."""
        a, d = np.deg2rad(ra), np.deg2rad(dec)
        toward = np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=1)
        toward = toward @ self.rotation.T
        low, middle, high = (self.origin + distance[:, [k]] * toward for k in range(3))
        radius = [np.hypot(p[:, 0], p[:, 1]) for p in (low, middle, high)]
        return GalacticPlace(
            x=middle[:, 0],
            y=middle[:, 1],
            radius=radius[1],
            height=middle[:, 2],
            radius_error=0.5 * np.abs(radius[2] - radius[0]),
            height_error=0.5 * np.abs(high[:, 2] - low[:, 2]),
        )
