"""Settings of ingest: which files, which grid, how a spectrum is prepared, how it is stored."""

import re
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from distcnn.config.base import Frozen, Names
from distcnn.config.survey.rest_frame import REST, RestFrameConfig
from distcnn.config.survey.snr import SnrConfig
from distcnn.config.survey.spectrum_layout import SpectrumLayoutConfig
from distcnn.config.survey.units import wavelength_unit
from distcnn.schema import DEFAULT_LABELS, PREDICTION_VARIABLES, label_columns


class FilesConfig(Frozen):
    """Files of one kind in the archive folder and the reader that knows their format."""

    reader: str
    """Name of a reader; one that does not exist, such as ``?``, is answered with all that do."""
    files: str | tuple[str, ...]
    """File name pattern(s) below the archive folder."""
    columns: dict[str, str | tuple[str, ...]] = Field(default_factory=dict)
    """Variable -> column(s) of the file where they differ from the reader's own: source_id, flux,
    snr, photometry. A scalar of the survey that only its column's name brings in, too."""
    hdu: int | str = 1
    """Number or name of the table extension of FITS files, or of the TABLE of VOTables; where it
    is not set, the only table of a file, wherever it stands."""
    delimiter: str = ""
    """For text tables: what parts the columns, one character or ``whitespace``; empty: a comma,
    or what ECSV declares, or the only one of tab, semicolon and bar in the header, or blanks."""
    decimal: Literal[".", ","] = "."
    """For text tables: what stands before the fraction of a number; spreadsheets of half the
    world write a comma, and part the columns by semicolons."""
    members: str | tuple[str, ...] = ()
    """Name pattern(s) of the members to read of zip archives (``*RVS*``); () = those of the
    reader's own DataLink product, or all tables."""

    @property
    def member_patterns(self) -> tuple[str, ...]:
        """``members`` as a tuple."""
        return (self.members,) if isinstance(self.members, str) else self.members

    @field_validator("files")
    @classmethod
    def _below_the_folder(cls, files: str | tuple[str, ...]) -> str | tuple[str, ...]:
        patterns = (files,) if isinstance(files, str) else files
        if not patterns or not all(pattern.strip() for pattern in patterns):
            raise ValueError("a pattern of names, such as '*.fits'; null if there are no files")
        for pattern in patterns:
            if "://" in pattern:
                raise ValueError(
                    f"names below the archive folder, such as '*.fits'; {pattern} is on "
                    f"{pattern.partition('://')[0]}. Fetch the files first"
                )
        below = tuple(pattern.strip().removeprefix("./") for pattern in patterns)
        return below[0] if isinstance(files, str) else below


class SpectraFilesConfig(FilesConfig):
    """Files of spectra, which the reader ``described`` has to be told the layout of."""

    layout: SpectrumLayoutConfig | None = None
    """How the files are laid out, for the reader ``described``."""


class SentinelsConfig(Frozen):
    """Numbers that stand for "no value". Nulls, NaN, infinities and empty fields always do.

    The defaults cannot be met by a real value: nothing is measured as exactly -9999.99, no label,
    parallax [mas] or signal to noise of the built-in kinds is -999 or less, and apparent
    magnitudes lie between -27, the Sun, and about 35 (in thousandths, integers, too: 99 of them
    would be the magnitude 0.099 of no more than a handful of stars).
    """

    values: tuple[float, ...] = (-9999.0, -9999.9, -9999.99, -9999.999, -99999.0)
    """Missing wherever they stand, also in fluxes and columns that are cut on; compared as
    float32, which the columns of many files are."""
    minimum: float | None = -999.0
    """Missing at or below it: labels, parallaxes, signal to noise, positions and further scalars,
    and their errors. null for labels that may be as small (energies, angular momenta)."""
    magnitudes: tuple[float, ...] = (
        *(99.0, 99.9, 99.99, 99.999, 99.9999),
        *(-99.0, -99.9, -99.99, -99.999, -99.9999),
    )
    """Missing among magnitudes, besides ``values``."""


class CutConfig(Frozen):
    """One quality cut on the label table: a star that fails it gets no label.

    A missing value fails every cut.
    """

    column: str
    """Column of the label table."""
    minimum: float | None = None
    """Smallest value kept."""
    maximum: float | None = None
    """Largest value kept."""
    forbidden_bits: tuple[int, ...] = ()
    """Bits (0 = lowest) none of which may be set."""

    @model_validator(mode="after")
    def _cuts_something(self) -> Self:
        low, high = self.minimum, self.maximum
        if low is None and high is None and not self.forbidden_bits:
            raise ValueError("minimum, maximum or forbidden_bits; without them it cuts nothing")
        if low is not None and high is not None and low > high:
            raise ValueError(f"minimum = {low:g} not above maximum = {high:g}")
        return self


_LABEL_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PLAIN = re.compile(r"[ -~]{1,68}")
"""What every catalogue format can hold in a unit, UCD, symbol or sentence."""


class LabelInfoConfig(Frozen):
    """What is known of a label; null = as ``distcnn.schema`` has it, or a default."""

    unit: str | None = None
    """Unit (VOUnit), such as km/s; none by default."""
    symbol: str | None = None
    """Short text for axes and sentences; the name by default."""
    description: str | None = None
    """A sentence for the catalogue."""
    ucd: str | None = None
    """UCD1+, such as phys.veloc; from the unit by default."""

    @field_validator("unit", "symbol", "description", "ucd")
    @classmethod
    def _fits_every_catalogue(cls, text: str | None) -> str | None:
        if text is not None and (not _PLAIN.fullmatch(text) or "$" in text):
            raise ValueError("up to 68 plain (ASCII) characters, without $")
        return text


class LabelsConfig(FilesConfig):
    """The reference labels and the cuts on them."""

    labels: Names = DEFAULT_LABELS
    """Labels to take, in the order of the ``label`` dimension. Any names; beside the known ones
    (teff, logg, mh, alpham, feh, sife, alfe, mgfe, nife, ali) such as ``info`` describes."""
    info: dict[str, LabelInfoConfig] = Field(default_factory=dict)
    """Label -> its unit, symbol, description and UCD, where it is not among the known ones:
    ``{vmic: {unit: km/s, description: microturbulence}}``."""
    cuts: tuple[CutConfig, ...] = ()
    """Quality cuts; stars that fail stay in the survey without labels."""

    @field_validator("labels")
    @classmethod
    def _can_be_columns(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if not labels:
            raise ValueError("at least one label; ingest.labels=null for a survey without any")
        for name in labels:
            if not _LABEL_NAME.fullmatch(name):
                raise ValueError(
                    f"names of letters, digits and _, such as feh; for {name!r} give one, and the "
                    f"file's column in columns: {{feh: '{name}'}}"
                )
        taken = {name.lower() for name in PREDICTION_VARIABLES} | {"flag_boundary"}
        for name in label_columns(labels):
            if name.lower() in taken:
                raise ValueError(f"labels whose columns differ; {name} would be there twice")
            taken.add(name.lower())
        return labels

    @model_validator(mode="after")
    def _describes_what_there_is(self) -> Self:
        for name in self.info:
            if name not in self.labels:
                raise ValueError(f"info of {', '.join(self.labels)}; {name} is no label here")
        return self

    @property
    def own(self) -> dict[str, dict[str, str]]:
        """What ``info`` says."""
        return {name: info.model_dump(exclude_none=True) for name, info in self.info.items()}


class CrosswalkConfig(FilesConfig):
    """A table from the identifiers of the label table to those of the spectra, such as Gaia's
    dr2_neighbourhood or dr3_neighbourhood.

    ``columns`` names label_id and source_id; angular_distance and magnitude_difference are taken
    if they are there. Of several stars of one label_id the nearest counts, of equally near ones
    the most alike in brightness; where that decides nothing, none does.
    """

    reader: str = "table"
    """Name of a reader."""
    cuts: tuple[CutConfig, ...] = ()
    """Quality cuts, such as a largest angular_distance; rows that fail count for nothing."""

    @model_validator(mode="after")
    def _names_both(self) -> Self:
        missing = [name for name in ("label_id", "source_id") if name not in self.columns]
        if missing:
            raise ValueError(
                "columns with label_id, the identifier of the label table, and source_id, that of "
                f"the spectra; {' and '.join(missing)} missing"
            )
        return self


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
    """What files say of these is not believed: the configuration alone counts."""
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
