"""Guessed: what the stars are called, by a column, a keyword of the header or the file."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distcnn.errors import DistcnnError
from distcnn.ingest.preview.guess.layout_guess import LayoutGuess
from distcnn.ingest.readers.formats.binary_table import BinaryTable
from distcnn.ingest.readers.layouts.spectrum_file import SpectrumFile
from distcnn.ingest.selection import known_ending

_ID_COLUMNS = ("source_id", "targetid", "sdss_id", "object_id", "targid", "obsid", "star", "id",
               "name", "objid", "apogee_id", "sobject_id", "specobjid")  # fmt: skip
_ID_KEYS = ("OBSID", "OBJID", "TARGETID", "SOURCE_ID", "TRG_UID", "SDSS_ID", "STARID", "OBJECT",
            "OBJNAME", "CNAME")  # fmt: skip
_PACKED = re.compile(r"\.(gz|bz2|xz|zst)$", re.IGNORECASE)


def guess_id(guess: LayoutGuess, file: SpectrumFile, path: Path) -> None:
    """Note where a star is named: a column, a keyword of the header, or the name of its file."""
    several = guess.values["shape"] == "image_per_quantity" and "row" not in guess.values
    for place in _id_columns(guess, file, several):
        guess.set("id", place, "guess: by its name")
        return
    keywords = {} if several else {str(k).upper(): v for k, v in file.header(None).items()}
    key = next((k for k in _ID_KEYS if str(keywords.get(k, "")).strip()), None)
    if key is not None:
        guess.set("id", {"header": key}, f"guess: the file says {key} = {keywords[key]!r}")
        return
    ending = _PACKED.sub("", known_ending(path.name))
    pattern = f"(.*){ending.replace('.', '[.]')}" if ending else "(.*)[.][^.]+"
    guess.set("id", {"file_name": pattern}, "guess: nothing in the file names the star")


def _id_columns(guess: LayoutGuess, file: SpectrumFile, several: bool) -> Iterator[dict[str, Any]]:
    for where, table in _tables_with_ids(guess, file, several):
        known = {column.lower(): column for column in table.columns}
        others = [name for name in known if name.endswith("_id")]
        for name in (*_ID_COLUMNS, *others):
            if name in known:
                yield {"column": known[name]} | ({} if where is None else {"hdu": where})


def _tables_with_ids(
    guess: LayoutGuess, file: SpectrumFile, several: bool
) -> Iterator[tuple[str | int | None, BinaryTable]]:
    """The table of the spectra, or tables beside images of many; each with its HDU."""
    rows = str(guess.values["shape"]).startswith("row")
    if file.hdus is None or (rows and "arms" not in guess.values):
        table = file.table(guess.values.get("hdu"))
        if table is not None:
            yield None, table
        return
    for number, one in enumerate(file.hdus if several else ()):
        try:
            table = file.table(number)
        except DistcnnError:
            continue
        if table is not None:
            yield str(one.name).strip() or number, table
