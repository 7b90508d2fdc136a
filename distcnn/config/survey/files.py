"""Settings of the files of an archive: where they are, how they are read, which rows count."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from distcnn.config.base import Frozen
from distcnn.config.survey.spectrum_layout import SpectrumLayoutConfig


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
