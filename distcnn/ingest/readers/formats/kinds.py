"""Which format a table has: by its first bytes where they say so, else by its name."""

import re
from pathlib import PurePosixPath

from distcnn.ingest.readers.base import broken
from distcnn.ingest.readers.formats.packing import PACKED_SUFFIXES

SUFFIXES = {
    "text": ("csv", "ecsv", "tsv", "txt", "dat", "tbl", "mrt", "rdb", "tab"),
    "fits": ("fits", "fit", "fts", "fz"),
    "votable": ("xml", "vot", "votable"),
    "parquet": ("parquet", "pq"),
    "hdf5": ("h5", "hdf5", "hdf", "he5", "nc"),
}
ALIGNED = "aligned"
"""Format of tables of text in columns of fixed width: IPAC, and MRT of the journals (CDS)."""
BEGINNING_BYTES = 1 << 14
"""As many of the first bytes are looked at."""
_HDF5, _HDF5_PLACES = b"\x89HDF\r\n\x1a\n", (0, 512, 1024, 2048, 4096)
"""Programs may write something of their own before an HDF5 file."""
_FOREIGN = {
    b"\x0e\x03\x13\x01": "HDF4",
    b"CDF\x01": "netCDF 3",
    b"CDF\x02": "netCDF 3",
    b"CDF\x05": "netCDF 3",
    b"ARROW1": "Arrow (Feather)",
    b"Obj\x01": "Avro",
    b"\x93NUMPY": "NumPy (npy)",
    b"%PDF": "PDF",
    b"SQLite format": "SQLite",
    b"#ASDF": "ASDF",
}
_VOTABLE = re.compile(rb"<(?:\w+:)?VOTABLE\b", re.IGNORECASE)
_HTML = re.compile(rb"<!doctype\s+html|<html", re.IGNORECASE)
_IPAC_TYPES = re.compile(
    rb"\|(?:\s*(?:i|int|l|long|f|float|d|double|r|real|c|char|t|date)?\s*\|)+\s*", re.IGNORECASE
)
_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t\r\n"


def format_of_name(name: str) -> str | None:
    """One of text, fits, votable, parquet, hdf5 by the end of a name; None if it says nothing."""
    parts = name.lower().split(".")
    packed = parts[-1] in PACKED_SUFFIXES and len(parts) > 2
    suffix = parts[-2] if packed else parts[-1]
    return next((kind for kind, suffixes in SUFFIXES.items() if suffix in suffixes), None)


def format_of(beginning: bytes, name: str) -> str:
    """The format of a table by its first bytes and its name; ``aligned`` is one more of text.

    Raises
    ------
    FileBroken : it is of no known format, or of another one than its name says that is not known.
    """
    named = format_of_name(name)
    own = _by_first_bytes(beginning)
    if own is not None:
        return own
    for magic, program in _FOREIGN.items():
        if beginning.startswith(magic):
            cure = "Write it as Parquet, FITS, VOTable or CSV."
            raise broken(name, f"it is a file of {program}, which is not read", cure=cure)
    text = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<"):
        return _of_markup(text, named, name)
    if named is None:
        raise unknown_format(name)
    if named == "text":
        return ALIGNED if aligned_kind(beginning) else "text"
    shown = beginning[:200]
    if shown and not shown.translate(None, _PRINTABLE):
        line = shown.decode().splitlines()[0][:40] if shown.strip() else ""
        raise broken(
            name,
            f"the file is not readable as {named}: it begins with {line!r}",
            row=0,
            cure="If it is text, call it .csv or .txt. Else it is damaged: fetch it again.",
        )
    return named


def _by_first_bytes(beginning: bytes) -> str | None:
    if beginning.startswith(b"SIMPLE  ="):
        return "fits"
    if beginning.startswith(b"PAR1"):
        return "parquet"
    if any(beginning.startswith(_HDF5, place) for place in _HDF5_PLACES):
        return "hdf5"
    return None


def _of_markup(text: bytes, named: str | None, name: str) -> str:
    if _VOTABLE.search(text):
        return "votable"
    if _HTML.match(text):
        cure = "A server may have answered with an error, or asked for a login; look at it."
        raise broken(name, "it is a page of HTML, no table", row=0, cure=cure)
    if named == "text":
        raise broken(name, "it is XML, no table of text", row=0, cure="Correct 'files'.")
    if named is None:
        raise unknown_format(name)
    return named


def unknown_format(name: str) -> Exception:
    """The error for a name that ends in none of the known ways."""
    known = ", ".join(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
    return broken(
        name,
        f"{PurePosixPath(name).suffix.lstrip('.')!r} is no known format",
        cure=f"Known: {known}, also packed by gzip, bzip2, xz or zstd, and zip with these.",
    )


def aligned_kind(beginning: bytes) -> str:
    """``ipac`` or ``mrt`` if a text begins so, else empty."""
    if b"Byte-by-byte Description" in beginning:
        return "mrt"
    lines = [line for line in beginning.splitlines()[:200] if not line.startswith(b"\\")]
    if len(lines) > 1 and lines[0].startswith(b"|") and _IPAC_TYPES.fullmatch(lines[1]):
        return "ipac" if lines[1].strip(b"| \t") else ""
    return ""
