"""Where the arrays of an arm stand, by shape of the file: read as they are, meaning nothing yet.

``n`` spectra, ``P`` pixels.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from distcnn.arrays import Array
from distcnn.config import SpectrumLayoutConfig
from distcnn.config.survey.spectrum_layout import ARM, Place
from distcnn.ingest.readers.base import RowProblem, look_for
from distcnn.ingest.readers.formats.binary_table import BinaryTable
from distcnn.ingest.readers.formats.fits.images import FitsImage
from distcnn.ingest.readers.layouts.spectrum_file import SpectrumFile
from distcnn.ingest.readers.statements.multispec import (
    is_multispec,
    lines_of_plane,
    multispec_wavelengths,
    wat_text,
)
from distcnn.ingest.readers.statements.statements import TableFacts
from distcnn.ingest.readers.values.identifiers import classify
from distcnn.ingest.readers.values.numbers import arrays
from distcnn.schema import Reason

MASK = "mask "
"""Begins the names of quantities that are masks of bits."""
_UTYPES = {
    "wavelength": "spectralaxis.value",
    "flux": "fluxaxis.value",
    "flux_error": "fluxaxis.accuracy.staterror",
}
"""Ends of the utypes of IVOA's spectral data model, by quantity."""
SHOWN_COLUMNS = 12
"""As many columns are named where one is not found."""


@dataclass
class ArmArrays:
    """Arrays of some spectra of an arm: flux, flux_error, wavelength, continuum, masks [n, P].

    ``wavelength`` [P] if all rows of the file share it; ``problems`` by row say why one has none.
    """

    arrays: dict[str, Array]
    problems: dict[int, RowProblem]


class ArmReader(Protocol):
    """Reads an arm of one shape."""

    @property
    def facts(self) -> TableFacts:
        """What the file says of the arm besides its arrays."""

    @property
    def columns(self) -> Mapping[str, list[str]]:
        """Quantity -> names by which ``facts`` knows units."""

    @property
    def count(self) -> int:
        """Spectra in the file."""

    def read(self, start: int, stop: int) -> ArmArrays:
        """The arrays of spectra [start, stop)."""
        ...


def places_of(layout: SpectrumLayoutConfig, arm: Place | None) -> dict[str, Place]:
    """Quantity -> its place, of an arm."""
    given = {
        "flux": layout.flux,
        "flux_error": layout.error,
        "wavelength": layout.wavelength,
        "continuum": layout.continuum,
    }
    given |= {f"{MASK}{n}": mask.place for n, mask in enumerate(layout.masks)}
    return {name: of_arm(place, arm) for name, place in given.items() if place is not None}


def of_arm(place: Place, arm: Place | None) -> Place:
    """A place with the arm in it; digits become a number."""
    if not isinstance(place, str) or ARM not in place:
        return place
    text = place.replace(ARM, str(arm))
    return int(text) if text.isdigit() else text


def arm_reader(
    file: SpectrumFile, layout: SpectrumLayoutConfig, hdu: Place | None, arm: Place | None
) -> ArmReader | None:
    """The reader of an arm in an HDU of a file; None if that is not there, or empty.

    Raises
    ------
    InputError : it is laid out otherwise.
    """
    places = places_of(layout, arm)
    if layout.shape == "image_per_quantity":
        return _image_per_quantity(file, places, layout, arm)
    hdu = None if hdu is None else of_arm(hdu, arm)
    if layout.shape == "image_rows":
        image = file.image(0 if hdu is None else hdu)
        row = None if layout.row is None else int(of_arm(layout.row, arm))
        return None if image is None else ImageRows(file, image, places, row)
    table = file.table(hdu)
    if table is None:
        return None
    names = {name: _column(file, table, name, str(place)) for name, place in places.items()}
    if layout.shape == "row_per_star":
        return TableCells(table, names)
    return _pixel_rows(file, table, names, layout)


def _column(file: SpectrumFile, table: BinaryTable, quantity: str, name: str) -> str:
    found = look_for(table.columns, name) or _by_utype(table, quantity)
    if found is None:
        there = ", ".join(table.columns[:SHOWN_COLUMNS])
        raise file.missing(f"column {name!r} beside {there}", setting_of(quantity))
    return found


def _by_utype(table: BinaryTable, quantity: str) -> str | None:
    """The column that a table says holds a quantity (``TUTYP``), as those of ESO do.

    Of several the one whose UCD says ``meta.main`` (ESO Science Data Products standard).
    """
    wanted = _UTYPES.get(quantity)
    numbers = [key for key in table.header if re.fullmatch(r"TUTYP\d+", key)] if wanted else []
    found = {}
    for key in numbers:
        if str(table.header[key]).lower().rpartition("data.")[2] == wanted:
            name = str(table.header.get(key.replace("TUTYP", "TTYPE"), "")).strip()
            found[name] = str(table.header.get(key.replace("TUTYP", "TUCD"), "")).lower()
    main = [name for name, ucd in found.items() if "meta.main" in ucd]
    several = main or list(found)
    return several[0] if len(several) == 1 else None


def setting_of(quantity: str) -> str:
    """The key of the layout that names the place of a quantity."""
    if quantity.startswith(MASK):
        return "masks"
    return "error" if quantity == "flux_error" else quantity


class TableCells:
    """``row_per_star``: every cell holds an array."""

    def __init__(self, table: BinaryTable, names: Mapping[str, str]) -> None:
        self.table, self.names = table, names
        self.facts, self.count = table.facts, table.length
        self.columns = {name: [column] for name, column in names.items()}

    def read(self, start: int, stop: int) -> ArmArrays:
        """Arrays padded with NaN to the longest; rows whose arrays differ in length have none."""
        values = self.table.read(start, stop, list(self.names.values()))
        size = max((_length(values[column]) for column in self.names.values()), default=0)
        out: dict[str, Array] = {}
        problems: dict[int, RowProblem] = {}
        lengths = None
        for name, column in self.names.items():
            out[name], found, bad = arrays(values[column], size, column, padded=True)
            problems |= bad
            lengths = found if lengths is None else lengths
            for row in np.flatnonzero((found != lengths) & (lengths > 0)):
                text = f"{column} has {found[row]} values, {self.names['flux']} {lengths[row]}"
                problems.setdefault(int(row), RowProblem(Reason.ARRAY_LENGTH, text))
        return ArmArrays(out, problems)


def _length(column: Array) -> int:
    if column.dtype != object:
        return int(np.prod(column.shape[1:], dtype=int))
    return max((np.size(row) for row in column if row is not None), default=0)


class PixelRows:
    """``row_per_pixel``: rows [first, last) of the table are the pixels of one spectrum."""

    def __init__(
        self, table: BinaryTable, names: Mapping[str, str], edges: list[int] | None = None
    ) -> None:
        self.table, self.names = table, names
        self.edges = edges or [0, table.length]
        self.facts, self.count = table.facts, len(self.edges) - 1
        self.columns = {name: [column] for name, column in names.items()}

    def read(self, start: int, stop: int) -> ArmArrays:
        """Arrays padded with NaN to the longest."""
        first, last = self.edges[start], self.edges[stop]
        values = self.table.read(first, last, list(self.names.values()))
        size = max(np.diff(self.edges[start : stop + 1]))
        out: dict[str, Array] = {}
        problems: dict[int, RowProblem] = {}
        for name, column in self.names.items():
            flat, _, bad = arrays(values[column].reshape(-1, 1), 1, column)
            problems |= {self._spectrum(first + row) - start: why for row, why in bad.items()}
            out[name] = np.full((stop - start, size), np.nan)
            for row in range(start, stop):
                part = flat[self.edges[row] - first : self.edges[row + 1] - first, 0]
                out[name][row - start, : len(part)] = part
        return ArmArrays(out, problems)

    def _spectrum(self, row: int) -> int:
        return int(np.searchsorted(self.edges, row, side="right")) - 1


def _pixel_rows(
    file: SpectrumFile, table: BinaryTable, names: Mapping[str, str], layout: SpectrumLayoutConfig
) -> PixelRows:
    """The pixels of one spectrum, or of as many as a column of identifiers tells apart."""
    for place in layout.id:
        if place.column is None or place.hdu is not None:
            continue
        column = look_for(table.columns, place.column)
        if column is not None and column.upper() not in map(str.upper, table.header):
            ids = classify(table.read(0, table.length, [column])[column], names=True).source_id
            edges = [0, *(np.flatnonzero(np.diff(ids)) + 1).tolist(), table.length]
            return PixelRows(table, names, edges)
    return PixelRows(table, names)


class ImageRows:
    """``image_rows``: the rows of one image are the quantities of one spectrum.

    ``row``: they are planes of an image, in each of which this is the spectrum's row.
    """

    count = 1

    def __init__(
        self, file: SpectrumFile, image: FitsImage, places: Mapping[str, Place], row: int | None
    ) -> None:
        lines = 1 if row is None else lines_of_plane(image.header)
        if row is not None and row >= lines:
            raise file.unfit(f"the planes of its image have {lines} rows; row {row} is asked for")
        self.image = image
        self.rows = {name: int(place) * lines + (row or 0) for name, place in places.items()}
        highest = max(self.rows.values())
        if highest >= image.rows:
            raise file.unfit(f"its image has {image.rows} rows; row {highest} is asked for")
        self.columns = {name: [f"row {row}"] for name, row in self.rows.items()}
        self.facts = TableFacts(file.name, image.header, _axis_unit(image.header, self.columns))

    def read(self, start: int, stop: int) -> ArmArrays:
        """The rows of the image."""
        found = {name: _filled(self.image.read(row, row + 1)) for name, row in self.rows.items()}
        if "wavelength" not in found and is_multispec(self.image.header):
            found["wavelength"] = _of_lines(self.image, [self.rows["flux"]])
        return ArmArrays(found, {})


class Images:
    """``image_per_quantity``: an image each, one row per spectrum, or one row of all."""

    def __init__(
        self, file: SpectrumFile, images: Mapping[str, FitsImage], row: int | None,
        places: Mapping[str, Place],
    ) -> None:  # fmt: skip
        self.images, self.row, flux = images, row, images["flux"]
        self.count = flux.rows if row is None else 1
        for name, image in images.items():
            shared = name == "wavelength" and image.rows == 1
            if image.pixels != flux.pixels or (image.rows != flux.rows and not shared):
                raise file.unfit(
                    f"HDU {places[name]!r} has {image.rows} x {image.pixels} pixels, that of the "
                    f"flux, {places['flux']!r}, {flux.rows} x {flux.pixels}"
                )
        if row is not None and row >= flux.rows:
            raise file.unfit(f"its images have {flux.rows} rows; row {row} is asked for")
        self.columns = {name: [str(places[name])] for name in images}
        units = {
            str(places[name]): unit_text(image.header["BUNIT"])
            for name, image in images.items()
            if image.header.get("BUNIT")
        }
        self.facts = TableFacts(file.name, flux.header, units)

    def read(self, start: int, stop: int) -> ArmArrays:
        """Rows of the images; the wavelengths [P] where one row serves all."""
        if self.row is not None:
            start, stop = self.row, self.row + 1
        found = {}
        for name, image in self.images.items():
            if image.rows == 1 and name == "wavelength":
                found[name] = _filled(image.read(0, 1))[0]
            else:
                found[name] = _filled(image.read(start, stop))
        if "wavelength" not in found and is_multispec(self.images["flux"].header):
            found["wavelength"] = _of_lines(self.images["flux"], range(start, stop))
        return ArmArrays(found, {})

    @property
    def have_own_wavelengths(self) -> bool:
        """Whether the spectra differ in their wavelengths."""
        image = self.images.get("wavelength")
        own = is_multispec(self.images["flux"].header) if image is None else image.rows > 1
        return own and self.row is None


def _of_lines(image: FitsImage, rows: Sequence[int]) -> Array:
    """Wavelengths [n, P] by the dispersion functions of an image's lines."""
    return multispec_wavelengths(image.name, image.header, rows, image.pixels)


def _image_per_quantity(
    file: SpectrumFile, places: Mapping[str, Place], layout: SpectrumLayoutConfig, arm: Place | None
) -> Images | None:
    images = {name: file.image(place) for name, place in places.items()}
    if images["flux"] is None and layout.arms:
        return None
    for name, image in images.items():
        if image is None:
            raise file.missing(f"image HDU {places[name]!r}", setting_of(name))
    row = None if layout.row is None else int(of_arm(layout.row, arm))
    there = {name: image for name, image in images.items() if image is not None}
    return Images(file, there, row, places)


def _filled(values: Array) -> Array:
    """Float64 with NaN where masked."""
    filled: Array = np.ma.filled(np.ma.asarray(values).astype(float), np.nan)
    return filled


def unit_text(said: Any) -> str:
    """The unit in ``Wavelength (Ang)``, as APOGEE writes it; else the text as it is."""
    text = str(said).strip()
    words, _, rest = text.partition("(")
    plain = words.strip().replace(" ", "")
    if rest.endswith(")") and plain.isalpha() and len(plain) > 3:
        return rest[:-1].strip()
    return text


def _axis_unit(header: Mapping[str, Any], columns: Mapping[str, list[str]]) -> dict[str, str]:
    """The unit of the row of wavelengths, which is that of the axis."""
    unit = with_axis_unit(header).get("CUNIT1")
    return {columns["wavelength"][0]: str(unit)} if unit and "wavelength" in columns else {}


def with_axis_unit(header: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords with the unit of IRAF's ``WAT1_001 = 'wtype=linear units=Angstroms'`` as CUNIT1."""
    found = dict(header)
    for part in wat_text(header, 1).split():
        key, _, value = part.partition("=")
        if key == "units" and value and not header.get("CUNIT1"):
            found["CUNIT1"] = value
    return found


def with_unit(facts: TableFacts, columns: Mapping[str, list[str]]) -> TableFacts:
    """Facts that know the unit of wavelength by the header, where the column has none."""
    header = with_axis_unit(facts.header)
    units, name = dict(facts.units), columns.get("wavelength", [""])[0]
    if name and name not in units and header.get("CUNIT1"):
        units[name] = str(header["CUNIT1"])
    return replace(facts, header=header, units=units)
