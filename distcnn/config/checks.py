"""Settings of the science checks."""

from pydantic import Field

from distcnn.config.base import Frozen
from distcnn.config.catalogue import CatalogueConfig


class ChecksConfig(Frozen):
    """What the science checks read, and how much of it.

    Stars that training used are never judged.
    """

    stars: int = Field(10_000, ge=100)
    """Most stars with references that a check predicts."""
    injected_stars: int = Field(2_000, ge=100)
    """Most stars whose inputs are changed on purpose, once for every level of a change."""
    sensitivity_stars: int = Field(100_000, ge=100)
    """Most stars over which ``sensitivity`` averages the gradients of the networks."""
    scanned_stars: int = Field(5_000_000, ge=1000)
    """Most stars of the survey among which checks choose theirs, in regions evenly spread."""
    seed: int = Field(0, ge=0)
    """Seed of whatever a check draws."""
    repeated: str | None = None
    """Another survey of the same stars, or predictions of it by the same package, for ``repeats``:
    a path or an address."""
    retrained: str | None = None
    """A package trained on the same labels with other seeds and another split, for ``stability``:
    a path or an address; null = the two halves of the ensemble are compared."""
    catalogues: tuple[CatalogueConfig, ...] = ()
    """Catalogues for ``external``: ``[{preset: galah_dr4, path: galah_dr4_allstar_240705.fits}]``.
    """
