"""Guessed from tables: which hold spectra, and which columns are flux, error, wavelength, mask."""

from typing import Any

from distcnn.errors import DistcnnError
from distcnn.ingest.preview.guess.layout_guess import MIN_PIXELS, LayoutGuess
from distcnn.ingest.preview.guess.names import arms_in, roles_of
from distcnn.ingest.readers.base import is_number
from distcnn.ingest.readers.formats.binary_table import BinaryTable
from distcnn.ingest.readers.formats.containers import TableSource
from distcnn.ingest.readers.layouts.spectrum_file import SpectrumFile
from distcnn.ingest.readers.values.numbers import row_array


def names_of_columns(source: TableSource) -> list[str]:
    """Names for the columns of a text whose first line holds numbers; none if it has names."""
    if source.format != "text":
        return []
    text = source.text()
    with text.stream:
        first = text.columns
    if not all(map(is_number, first)):
        return []
    usual = ["wavelength", "flux", "error"]
    return [*usual[: len(first)], *(f"column{n}" for n in range(4, len(first) + 1))]


def of_tables(file: SpectrumFile) -> LayoutGuess | None:
    """What the first table that looks like one of spectra holds; None if there is none."""
    if file.hdus is None:
        table = file.table(None)
        return None if table is None else _of_table(table, None, file)
    for number in range(len(file.hdus)):
        try:
            table = file.table(number)
        except DistcnnError:
            continue
        if table is not None:
            name = str(file.hdus[number].name).strip()
            guess = _of_table(table, name or number, file)
            if guess is not None:
                return guess
    return None


def _of_table(table: BinaryTable, hdu: str | int | None, file: SpectrumFile) -> LayoutGuess | None:
    inside = [
        column for column in table.columns if column.upper() not in map(str.upper, table.header)
    ]
    inside = [one for one in inside if not any(o.startswith(f"{one}.") for o in inside)]
    first = table.read(0, 1, inside)
    long = [name for name in inside if _size(first[name][0]) >= MIN_PIXELS]
    guess = LayoutGuess()
    columns = long or inside
    roles = roles_of(columns)
    if "flux" not in roles or (not long and table.length < MIN_PIXELS):
        return None
    shape = "row_per_star" if long else "row_per_pixel"
    guess.set("shape", shape, f"guess: its cells hold {'arrays' if long else 'single numbers'}")
    if hdu is not None:
        _guess_hdu(guess, hdu, file)
    for key in ("flux", "error", "wavelength"):
        if key in roles:
            guess.set(key, roles[key], "guess: by its name")
    if "mask" in roles:
        guess.set("masks", [{"place": roles["mask"]}], "guess: that any bit makes a pixel useless")
    return guess


def _size(value: Any) -> int:
    try:
        return len(row_array(value, ""))
    except Exception:  # a text or an object is no array
        return 0


def _guess_hdu(guess: LayoutGuess, hdu: str | int, file: SpectrumFile) -> None:
    """The HDU, with its arm as ``{arm}`` if there are others of the same kind."""
    names = [one.name.strip() for one in file.hdus or ()]
    arms = arms_in(str(hdu), names)
    if arms is None:
        guess.set("hdu", hdu, "guess: the first table that looks like a spectrum")
        return
    text, found = arms
    guess.set("hdu", text, "guess: extensions of the same name but for the arm")
    guess.set("arms", found, "guess: their arms, the first preferred where they overlap")
