"""Settings of ingest: which grid, how a spectrum is prepared, how it is stored, and all of it."""

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from distcnn.config.base import Frozen, Names
from distcnn.config.survey.files import FilesConfig, SentinelsConfig, SpectraFilesConfig
from distcnn.config.survey.label_table import CrosswalkConfig, LabelsConfig
from distcnn.config.survey.rest_frame import REST, RestFrameConfig
from distcnn.config.survey.snr import SnrConfig
from distcnn.config.survey.units import wavelength_unit


class GridConfig(Frozen):
    """The wavelength grid of the input spectra. Metadata of the dataset, never constants."""

    start: float | None = None
    """First wavelength; None = taken from the files, which must then all agree."""
    step: float | None = None
    """Step between pixels, in ``unit`` (or in log10 for ``spacing: log``, in ln for ``ln``)."""
    size: int | None = None
    """Number of pixels."""
    spacing: Literal["linear", "log", "ln"] = "linear"
    """Linear in wavelength, or in its decimal (log) or natural (ln) logarithm."""
    unit: Annotated[str, AfterValidator(wavelength_unit)] = "nm"
    """Unit of wavelength: nm, Angstrom, um, ... in any usual spelling; kept as in VOUnit."""
    medium: Literal["vacuum", "air"] = "vacuum"
    """Medium of the wavelengths."""
    frame: str = "stellar rest"
    """Frame of the wavelengths: ``stellar rest``, ``barycentric``, ``topocentric``."""

    @model_validator(mode="after")
    def _whole_or_from_the_files(self) -> Self:
        given = {"start": self.start, "step": self.step, "size": self.size}
        missing = [name for name, value in given.items() if value is None]
        if 0 < len(missing) < len(given):
            raise ValueError(
                "start, step and size together, or none of them for the grid of the files; "
                f"{' and '.join(missing)} missing"
            )
        return self


class PrepareConfig(Frozen):
    """What is done to every spectrum before it is stored."""

    normalisation: Literal["none", "median", "running_quantile"] = "none"
    """``none`` keeps the archive's continuum; ``median`` divides by the median flux;
    ``running_quantile`` divides by a running quantile of the flux."""
    continuum_window: int = Field(301, ge=3)
    """Width of the running quantile [input pixels]."""
    continuum_quantile: float = Field(0.9, gt=0, lt=1)
    """The quantile taken as continuum."""
    trim: tuple[int, int] = (0, 0)
    """Input pixels dropped at the blue and at the red end."""
    rebin: int = Field(1, ge=1)
    """Input pixels per stored pixel when no ``target`` grid is given; flux and error are
    conserved. Pixels that do not fill a stored one are left over at the red end."""
    target: GridConfig | None = None
    """Common grid to rebin every spectrum onto (surveys whose files have grids of their own)."""
    windows: tuple[tuple[float, float], ...] = ()
    """Parts of ``target`` that are stored, each from and to a wavelength in its unit; () = all of
    it. Gaps between arms then take no room, in the store and in networks."""
    rest_frame: RestFrameConfig | None = None
    """Shift to the rest frame of each star, by its velocity; null = spectra stay in the frame of
    their files. Needs ``target``."""
    outlier_sigma: float | None = 8.0
    """A pixel this many of its errors above a running median is masked; None = no such test."""
    outlier_window: int = Field(15, ge=3)
    """Width of that running median [input pixels]."""
    outlier_floor: float = Field(0.15, ge=0)
    """An outlier must also stand this far above the median (normalised flux)."""
    noise_correlation: float = Field(1.0, ge=1)
    """Correlation length of the noise [input pixels]; errors of rebinned pixels grow with its
    square root (Gaia RVS: 2.45, because 0.0245 nm detector pixels are resampled to 0.01 nm)."""
    minimum_coverage: float = Field(0.5, ge=0, le=1)
    """Least fraction of a stored pixel that good input pixels must cover."""

    @model_validator(mode="after")
    def _windows_in_order(self) -> Self:
        if self.windows and self.target is None:
            raise ValueError("a target with windows, which are parts of it")
        borders = [border for window in self.windows for border in window]
        if any(low >= high for low, high in pairwise(borders)):
            raise ValueError("windows from a smaller to a larger wavelength, one after the other")
        return self

    @model_validator(mode="after")
    def _has_a_grid_at_rest(self) -> Self:
        if self.rest_frame is None:
            return self
        if self.target is None:
            raise ValueError("a target with rest_frame: the grid at rest, common to all stars")
        if self.target.frame != REST:
            raise ValueError(f"target.frame: {REST} with rest_frame, not {self.target.frame}")
        return self


class StoreConfig(Frozen):
    """How the survey lies on disk (Zarr v3, sharded, crc32c on every chunk)."""

    chunk_stars: int = Field(2048, ge=1)
    """Stars in one inner chunk, the least that can be read."""
    shard_stars: int = Field(16384, ge=1)
    """Stars in one shard file, the least that can be written; a multiple of chunk_stars."""
    flux_encoding: Literal["int16", "float16", "float32"] = "int16"
    """int16 holds (flux - 1) / flux_step; the largest error is half a step."""
    flux_step: float = Field(1e-4, gt=0)
    """Step of the int16 encoding in units of normalised flux."""
    keep_flux_error: bool = True
    """Store flux_error too: float16, or float32 where float16 would round errors to 0 or inf."""

    @model_validator(mode="after")
    def _has_whole_shards(self) -> Self:
        if self.shard_stars % self.chunk_stars:
            raise ValueError(
                f"shard_stars = {self.shard_stars} as a multiple of chunk_stars = "
                f"{self.chunk_stars}"
            )
        return self


class IngestConfig(Frozen):
    """From archive files to one survey store. The defaults are Gaia DR3, stated here alone:
    ``conf/gaia_rvs_dr3.yaml`` names only what differs.
    """

    survey: str = "gaia_rvs"
    """Name of the dataset, kept as metadata."""
    release: str = "DR3"
    """Data release, kept as metadata; packages are tagged with it."""
    spectra: SpectraFilesConfig | None = SpectraFilesConfig(
        reader="gaia_rvs", files="RvsMeanSpectrum_*.csv.gz"
    )
    """The spectra; None for a survey of photometry alone, whose rows then come from ``source``."""
    source: FilesConfig | None = FilesConfig(reader="gaia_source", files="GaiaSource_*.csv.gz")
    """Positions, magnitudes, parallax."""
    source_required: bool = True
    """Whether a spectrum without a row in ``source`` is quarantined (else inputs are missing)."""
    xp: FilesConfig | None = FilesConfig(
        reader="gaia_xp", files="XpContinuousMeanSpectrum_*.csv.gz"
    )
    """XP coefficients."""
    labels: LabelsConfig | None = LabelsConfig(reader="apogee", files="allStar*.fits")
    """Reference labels."""
    crosswalk: CrosswalkConfig | None = None
    """From the identifiers of the label table to those of the spectra; null = they are the same."""
    bands: Names = (
        "phot_g_mean_mag",
        "phot_bp_mean_mag",
        "phot_rp_mean_mag",
    )
    """Magnitudes to take from ``source``; the first is the reference band of the colours."""
    repeats: Literal["best", "first", "coadd", "each"] = "best"
    """What becomes of several spectra of one star: ``best``: that of the best S/N is kept, the
    others are quarantined; ``first``: the first in order of files and rows; ``coadd``: their mean,
    weighted by the inverse variance, is the star's spectrum; ``each``: every spectrum is a row of
    its own, with the source_id of its star, which splits and groups go by, and a spectrum_id."""
    grid: GridConfig = GridConfig(start=846.0, step=0.01, size=2401)
    """Grid of the input spectra."""
    override: tuple[Literal["unit", "medium", "frame", "flux_unit", "error"], ...] = ()
    """What files say of these is not believed: the configuration alone counts. Of a name of which
    no file says anything ingest warns."""
    prepare: PrepareConfig = PrepareConfig()
    """Preparation of every spectrum."""
    snr: SnrConfig = SnrConfig()
    """What the signal to noise in the survey is per."""
    store: StoreConfig = StoreConfig()
    """Layout on disk."""
    sentinels: SentinelsConfig = SentinelsConfig()
    """Numbers that stand for a missing value, in every kind of file and role."""
    block_rows: int = Field(256, ge=1)
    """Rows parsed at a time; bounds the memory of a worker."""

    @property
    def velocity_files(self) -> Literal["spectra", "source", "labels"] | None:
        """Kind of file that gives the velocities of the shift to rest; None without one."""
        shift = self.prepare.rest_frame if self.spectra is not None else None
        return shift.velocity if shift is not None else None

    @model_validator(mode="after")
    def _velocities_have_files(self) -> Self:
        kind = self.velocity_files
        if kind is None:
            return self
        files: FilesConfig | None = getattr(self, kind)
        if files is None:
            raise ValueError(f"ingest.{kind}, from which prepare.rest_frame takes velocities")
        if kind == "source" and "velocity" not in files.columns:
            raise ValueError(
                "velocity in ingest.source.columns, from which prepare.rest_frame takes it"
            )
        return self

    @field_validator("spectra", mode="before")
    @classmethod
    def _as_spectra(cls, value: Any) -> Any:
        if isinstance(value, FilesConfig) and not isinstance(value, SpectraFilesConfig):
            return SpectraFilesConfig(**dict(value))
        return value
