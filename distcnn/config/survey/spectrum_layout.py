"""The layout of files of spectra, as data: where their arrays stand and what the numbers mean.

What a file says of itself (units, medium, frame, kind of error) is read from its own keywords;
what it does not say has to stand here or in ``ingest.grid``, for nothing is guessed.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from distcnn.config.base import Frozen

Place = int | str
"""Where a quantity stands: a column's name, a row's number or an HDU, by ``shape``."""
ARM, STAR, ROW = "{arm}", "{star}", "{row}"
"""Stand in texts of a layout for the arm, the star and the number of the row."""


def _one_or_several(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else (value,)


class ValuePlaceConfig(Frozen):
    """Where one value of each spectrum stands: in a column, a header or the file's name."""

    column: str | None = None
    """Column of the table ``hdu``, one row per spectrum."""
    header: str | None = None
    """Keyword of the header of ``hdu``, or of the primary one, in files of one spectrum; with
    ``{row}`` (``APID{row}`` of IRAF) a keyword for each row, from 1 on."""
    file_name: str | None = None
    """Regular expression that fits the file's name whole; its first group is the value."""
    hdu: int | str | None = None
    """HDU of that column or keyword; null = the table of the spectra, or the primary header and,
    where that is silent, the one of the spectra."""
    times: float = 1.0
    """What a number is multiplied by: 299792.458 makes a velocity [km/s] of a redshift."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        given = [v for v in (self.column, self.header, self.file_name) if v is not None]
        if len(given) != 1:
            raise ValueError("one of column, header and file_name")
        if self.file_name is not None:
            try:
                groups = re.compile(self.file_name).groups
            except re.error as error:
                raise ValueError(f"a regular expression; {self.file_name!r}: {error}") from None
            if groups < 1 or self.hdu is not None:
                raise ValueError("file_name with a group in parentheses, and without hdu")
        return self

    def __str__(self) -> str:
        where = f" of HDU {self.hdu}" if self.hdu is not None else ""
        if self.file_name is not None:
            return f"the file name, as {self.file_name!r}"
        return f"column {self.column!r}{where}" if self.column else f"{self.header}{where}"


class KeepConfig(ValuePlaceConfig):
    """Rows that are stars: those with one of some values. Others are left out, and told."""

    equals: Annotated[tuple[int | float | str, ...], BeforeValidator(_one_or_several)]
    """The value, or several of which each will do."""


class PixelMaskConfig(Frozen):
    """A bit mask of pixels, and the bits that make a pixel missing."""

    place: Place
    """Column, row or HDU of the mask, as for ``flux``."""
    drop: tuple[int | str, ...] | Literal["any"] = "any"
    """Bits (0 = lowest), by number or by their name in ``bits``; any = a value other than 0."""
    bits: dict[str, int] = Field(default_factory=dict)
    """Name -> number of bits."""

    @model_validator(mode="after")
    def _knows_its_bits(self) -> Self:
        for bit in self.drop if self.drop != "any" else ():
            if isinstance(bit, str) and bit not in self.bits:
                known = ", ".join(self.bits) or "none"
                raise ValueError(f"bits by number, or by a name of 'bits' ({known}); {bit!r}")
        if any(not 0 <= number < 63 for number in self.numbers):
            raise ValueError("numbers of bits from 0 to 62")
        return self

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of the bits to drop; none if any value other than 0 is dropped."""
        if self.drop == "any":
            return ()
        return tuple(self.bits[bit] if isinstance(bit, str) else bit for bit in self.drop)


class MissingPixelsConfig(Frozen):
    """Values that stand for a missing pixel. NaN, an inverse variance of 0, a variance or sigma
    that is not positive and wavelengths of 0 behind shorter rows always do.
    """

    flux: tuple[float, ...] = ()
    """Fluxes that mean missing (0 where files are padded with zeros)."""
    error: tuple[float, ...] = ()
    """Errors that mean missing, as they stand in the file."""
    error_above: float | None = None
    """Errors above it, as they stand in the file, mean missing (1e10 and the like)."""


class SpectrumLayoutConfig(Frozen):
    """How files of spectra are laid out, for ``reader: described``. ``{arm}`` in a text stands
    for the arm; an arm is a part of the spectrum in an HDU, image row or file of its own.
    """

    shape: Literal["row_per_star", "row_per_pixel", "image_rows", "image_per_quantity"]
    """``row_per_star``: a table whose cells hold arrays, of one row or many; ``row_per_pixel``: a
    table of one spectrum, or of several, one below the other; ``image_rows``: an image whose rows
    are flux, error, ...; ``image_per_quantity``: an image HDU for each, one row per star."""
    hdu: Place | tuple[Place, ...] | None = None
    """HDU of the table or of the image of rows, by number or name; several: their rows one after
    the other, any of which may be absent or empty. null = the only table, or the primary image."""
    flux: Place
    """Column, image row (0 = first) or image HDU of the flux."""
    error: Place | None = None
    """The same of its error; null = the files have none."""
    error_kind: Literal["sigma", "variance", "ivar", "relative", "snr"] | None = None
    """``relative``: sigma over flux; ``snr``: flux over sigma; ``ivar``: inverse variance. null =
    as the file says, by its name (``IVAR``) or unit."""
    wavelength: Place | None = None
    """The same of the wavelengths; null = by the header (CRVAL1, COEFF0, ...)."""
    spacing: Literal["linear", "log", "ln"] | None = None
    """Whether wavelengths are given as logarithms, decimal (log) or natural (ln); null = as the
    file says (``loglam``, ``ln_wave``, COEFF0, CTYPE1 LOG-LINEAR, DC-FLAG)."""
    continuum: Place | None = None
    """The same of a continuum that flux and error are divided by; null = not."""
    normalised: bool | None = None
    """Whether the fluxes are normalised to their continuum; null = as the file says."""
    masks: tuple[PixelMaskConfig, ...] = ()
    """Bit masks of pixels."""
    missing: MissingPixelsConfig = MissingPixelsConfig()
    """Values that stand for a missing pixel."""
    row: int | str | None = None
    """Row of the images that holds the spectrum (``{arm}``: the arm's); null = a star per row.
    With ``image_rows`` the quantities are then planes of a cube: orders of an echelle of IRAF."""
    arms: tuple[Place, ...] = ()
    """Names or numbers of the arms to join, those preferred first. Pixels of NaN fill the gaps."""
    arm_files: str = ""
    """File name, with ``{star}`` and ``{arm}``, where each arm is a file: ``{star}{arm}.fits``."""
    join_files: bool = False
    """Whether files of one folder that name the same star (``id``: header or file_name) are its
    arms, whatever they are called: the setups of an instrument. Every worker looks at all files
    of the folder once."""
    minimum_arms: int | None = Field(None, ge=1)
    """Least arms a spectrum must have; null = all of ``arms``."""
    overlap: Literal["middle", "first", "last", "refuse"] = "middle"
    """Which pixels are kept where arms overlap: of both up to the middle, of the arm named first
    or last; or such files are refused."""
    text_columns: tuple[str, ...] = ()
    """Names of the columns of text tables that have no first line of names."""
    id: Annotated[tuple[ValuePlaceConfig, ...], BeforeValidator(_one_or_several)]
    """Where the star's identifier stands, a text or a number; of several places the first that a
    file has. Texts are hashed to a number and kept as the star's name."""
    values: dict[
        Literal["ra", "dec", "snr", "velocity", "velocity_error", "barycentric_correction"],
        Annotated[tuple[ValuePlaceConfig, ...], BeforeValidator(_one_or_several)],
    ] = Field(default_factory=dict)
    """Further numbers: ra, dec [deg], snr, and for ``prepare.rest_frame`` velocity, velocity_error
    and barycentric_correction in its unit; of several places the first that a file has. Where it
    has none they are missing, and that is told."""
    keep: tuple[KeepConfig, ...] = ()
    """What a row must say to be taken; sky and broken fibres are left out by it."""

    @model_validator(mode="after")
    def _fits_its_shape(self) -> Self:
        table = self.shape in ("row_per_star", "row_per_pixel")
        names = [self.flux, self.error, self.wavelength, self.continuum]
        names += [mask.place for mask in self.masks]
        if table and any(isinstance(name, int) for name in names):
            raise ValueError(f"names of columns with shape {self.shape}; there is a number")
        if self.shape == "image_rows" and any(isinstance(name, str) for name in names):
            raise ValueError("numbers of rows with shape image_rows; there is a text")
        if self.shape == "image_per_quantity" and self.hdu is not None:
            raise ValueError("no hdu with shape image_per_quantity: flux and the others name it")
        if self.row is not None and table:
            raise ValueError("row with shape image_per_quantity or image_rows only")
        if isinstance(self.hdu, tuple) and self.shape != "row_per_star":
            raise ValueError("several of hdu with shape row_per_star only")
        if self.error is None and self.error_kind is not None:
            raise ValueError("error_kind together with error")
        return self

    @model_validator(mode="after")
    def _names_its_arms(self) -> Self:
        texts = [self.flux, self.hdu, self.row, self.arm_files]
        told = any(ARM in str(text) for text in texts)
        if bool(self.arms) != told:
            raise ValueError(
                f"arms together with {ARM} in hdu, flux, row or arm_files, which tells them apart"
            )
        if self.arm_files and not (STAR in self.arm_files and ARM in self.arm_files):
            raise ValueError(f"arm_files with {STAR} and {ARM}")
        if len(set(map(str, self.arms))) < len(self.arms):
            raise ValueError("every arm once")
        if not (self.arms or self.join_files) and self.minimum_arms is not None:
            raise ValueError("minimum_arms together with arms or join_files")
        if self.arms and (self.minimum_arms or 1) > len(self.arms):
            raise ValueError(f"minimum_arms of {len(self.arms)} or less")
        if self.join_files and (self.arms or any(place.column for place in self.id)):
            raise ValueError("join_files without arms, with id in the header or the file's name")
        return self

    @property
    def hdus(self) -> tuple[Place | None, ...]:
        """``hdu`` as a tuple."""
        return self.hdu if isinstance(self.hdu, tuple) else (self.hdu,)
