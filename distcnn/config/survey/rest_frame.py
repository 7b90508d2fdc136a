"""Settings of the shift to the rest frame: where velocities come from, and what they refer to."""

from typing import Literal

from pydantic import Field

from distcnn.config.base import Frozen

REST = "stellar rest"
"""Name of the frame in which a star's own lines lie at their laboratory wavelengths."""


class RestFrameConfig(Frozen):
    """Every spectrum is shifted to the rest frame of its star, onto ``target``.

    Wavelengths in vacuum are divided by 1 + v/c, which is how surveys define the radial velocity
    that they publish (v = c z; Lindegren & Dravins 2003, A&A 401, 1185); those in air are brought
    to vacuum before and back after. The survey keeps velocity and velocity_error [km/s].
    """

    velocity: Literal["spectra", "source", "labels"]
    """Kind of file that gives the velocities: variables velocity and velocity_error in its
    ``columns`` (of one spectrum per file a keyword of the header, too). Best one that new stars
    have as well as labelled ones."""
    unit: Literal["km/s", "m/s", "redshift"] = "km/s"
    """Unit of velocity and velocity_error in these files; ``redshift`` is v/c."""
    frame: Literal["barycentric", "topocentric"] = "barycentric"
    """Frame that the velocities refer to. Wavelengths must be in the same one; topocentric ones
    go with barycentric velocities where ``spectra.columns`` names barycentric_correction, the
    velocity that was added to the observed one [same unit]."""
    missing: Literal["quarantine", "keep"] = "quarantine"
    """A star without velocity: its spectrum is quarantined, or kept as it is, in the frame of its
    file, with a velocity of NaN."""
    maximum_error: float | None = Field(None, gt=0)
    """Largest velocity_error [km/s]; a velocity of a larger one, or an unknown one, counts as
    missing. null = whatever the error."""
