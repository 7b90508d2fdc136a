"""Settings of the simulator."""

from typing import Self

from pydantic import Field, model_validator

from distcnn.config.base import Frozen
from distcnn.schema import DEFAULT_LABELS


class DefectConfig(Frozen):
    """Fraction of stars that have each kind of injected defect."""

    nan_pixels: float = Field(0.10, ge=0, le=1)
    """Stars with runs of missing pixels, mostly at the edges."""
    cosmic: float = Field(0.02, ge=0, le=1)
    """Stars with one to three unremoved cosmic hits."""
    no_xp: float = Field(0.03, ge=0, le=1)
    """Stars without XP coefficients."""
    no_parallax: float = Field(0.02, ge=0, le=1)
    """Stars without a parallax."""
    negative_parallax: float = Field(0.005, ge=0, le=1)
    """Stars with bad astrometry: a large error and a negative parallax."""
    hot: float = Field(0.01, ge=0, le=1)
    """Stars of 8,000-14,000 K, outside the labelled range."""
    binary: float = Field(0.015, ge=0, le=1)
    """Double-lined binaries."""
    wrong_rv: float = Field(0.01, ge=0, le=1)
    """Spectra shifted to the wrong rest frame (20-200 km/s)."""
    duplicate: float = Field(0.002, ge=0, le=1)
    """Stars whose row stands twice in the archive's spectrum table."""
    emission: float = Field(0.0, ge=0, le=1)
    """Stars with the Ca II triplet in emission, from filled cores to lines above the continuum."""
    carbon: float = Field(0.0, ge=0, le=1)
    """Stars with CN enhanced by 1 to 2 dex, as carbon stars have it."""
    continuum: float = Field(0.0, ge=0, le=1)
    """Stars normalised as those of the other side of G_RVS = 12 are."""
    other_grid: float = Field(0.0, ge=0, le=1)
    """Spectra of another instrument, of a resolving power of 5,000 to 8,000 and coarser samples,
    interpolated to the grid."""
    sky: float = Field(0.0, ge=0, le=1)
    """Spectra with residuals of night-sky lines, of either sign."""
    blend: float = Field(0.0, ge=0, le=1)
    """Spectra to which another star of the survey gives 10 to 50 % of the light."""


SIMULATED_RANGE_NM = (846.0, 870.0)
"""The simulator knows the lines of this range, vacuum: that of the RVS."""
MIN_GRID_WIDTH_NM = 5.0
"""Gaps of up to 1.3 nm must fit, and a parabola of continuum needs more than one line."""


class ReleaseGridConfig(Frozen):
    """Wavelengths on which the simulated release gives its spectra: vacuum, rest frame.

    Gaia DR3 by default. DR4 as announced: ``{start: 846.0, step: 0.025, size: 961}``.
    """

    start: float = 846.0
    """First wavelength [nm]; 846 or more."""
    step: float = Field(0.01, ge=0.001)
    """Step between samples [nm]."""
    size: int = Field(2401, ge=100)
    """Number of samples; the last one may not lie beyond 870 nm."""

    @model_validator(mode="after")
    def _within_known_lines(self) -> Self:
        first, last = SIMULATED_RANGE_NM
        stop = self.start + self.step * (self.size - 1)
        if self.start < first - 1e-9 or stop > last + 1e-9:
            raise ValueError(f"a grid within {first:g} and {last:g} nm; this one ends at {stop:g}")
        if stop - self.start < MIN_GRID_WIDTH_NM:
            raise ValueError(
                f"a grid at least {MIN_GRID_WIDTH_NM:g} nm wide; its step x size is less"
            )
        return self


class SimulateConfig(Frozen):
    """A survey with known truth, written in the archive's own file layout."""

    release: str = "DR3"
    """Data release that stands in the stars' designations."""
    grid: ReleaseGridConfig = ReleaseGridConfig()
    """Wavelength grid of the spectra; the section ``ingest.grid`` must say the same."""
    minimum_snr: float = Field(15.0, gt=0, lt=600)
    """Smallest signal to noise per detector pixel that the release publishes (Gaia DR3: 15).
    With 0.5, 6 % of the stars lie above 15 and 16 % above 5, as is expected of DR4."""
    transits: int = Field(18, ge=3)
    """Median number of transits that a spectrum is the mean of (Gaia DR3: 18; DR4: about 35)."""
    ranges: int | None = Field(None, ge=1)
    """Ranges of the sky that are written, the first of all; null = all."""
    visit: int = Field(0, ge=0)
    """Number of the observation: with the same seed the same stars, labels and source table, and
    other noise in RVS and XP spectra; for ``distcnn check repeats``."""
    stars_per_file: int = Field(1000, ge=1)
    """Stars in one archive file (Gaia DR3: about 300 spectra a file)."""
    labelled_fraction: float = Field(0.7, ge=0, le=1)
    """Fraction of the stars of 3,500-7,500 K that the APOGEE-like table gives labels for."""
    labelled_snr: tuple[float, float] | None = None
    """Smallest S/N of labelled stars, and the power with which their number falls with it, where it
    is another than that of all stars (0.794): surveys that give labels are brighter than DR4.
    null = the same."""
    label_error: tuple[float, ...] = Field(
        (25.0, 0.04, 0.02, 0.015, 0.02),
        min_length=len(DEFAULT_LABELS),
        max_length=len(DEFAULT_LABELS),
    )
    """Standard errors of those labels: teff [K], logg, mh, alpham, feh [dex]."""
    repeat_fraction: float = Field(0.02, ge=0, le=1)
    """Labelled stars that stand twice in the table, the second time from a poorer spectrum."""
    bad_fraction: float = Field(0.015, ge=0, le=1)
    """Labelled stars whose labels are wrong, with the quality bits that say so."""
    element_scatter: float = Field(0.02, ge=0)
    """Scatter of single elements about what the labels imply, dex."""
    xp_systematic: float = Field(0.02, ge=0)
    """Relative size of the colour-dependent wiggles in XP spectra."""
    spectrumless: float = Field(0.03, ge=0)
    """Sources without RVS spectrum in the source table, relative to those with one."""
    trouble: DefectConfig = DefectConfig()
    """Injected defects."""
