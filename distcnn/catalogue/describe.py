"""Telling what a catalogue file holds, from its own header alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from astropy.io import fits, votable

from distcnn.catalogue.export import writers
from distcnn.errors import FileBroken

_FACTS = ("CREATOR", "SURVEY", "RELEASE", "SURVSHA", "PACKSHA", "ENGINE", "PRECIS", "MEMBERS")


def is_catalogue(path: Path) -> bool:
    """Whether the name is that of a catalogue file."""
    return path.is_file() and path.suffix.lower() in writers()


def describe(path: Path) -> str:
    """Rows, origin and columns of a catalogue, as text.

    Raises
    ------
    FileBroken : the file is not readable in the format that its name says.
    """
    readers = {".fits": _fits, ".parquet": _parquet}
    try:
        return "\n".join(readers.get(path.suffix.lower(), _votable)(path))
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise FileBroken(
            f"{path} is not readable ({error})",
            expected=f"a {path.suffix.lstrip('.')} catalogue",
            cure="Export it again with `distcnn export`.",
        ) from None


def _fits(path: Path) -> Iterator[str]:
    header = fits.getheader(path, 1)
    yield f"{path}: a catalogue of {header['NAXIS2']:,} stars"
    yield from (f"  {key.lower():10s} {header[key]}" for key in _FACTS if key in header)
    for number in range(1, header["TFIELDS"] + 1):
        yield _column(*(header.get(f"{card}{number}", "") for card in ("TTYPE", "TUNIT", "TCOMM")))


def _parquet(path: Path) -> Iterator[str]:
    file = pq.ParquetFile(path)
    yield f"{path}: a catalogue of {file.metadata.num_rows:,} stars"
    known = _texts(file.schema_arrow.metadata)
    yield from (f"  {key.lower():10s} {known[key]}" for key in _FACTS if key in known)
    for field in file.schema_arrow:
        about = _texts(field.metadata)
        yield _column(field.name, about.get("unit", ""), about.get("description", ""))


def _texts(metadata: Any) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (metadata or {}).items()}


def _votable(path: Path) -> Iterator[str]:
    table = votable.parse_single_table(path)
    yield f"{path}: a catalogue of {table.nrows:,} stars"
    known = {param.name: param.value for param in table.params}
    yield from (f"  {key.lower():10s} {known[key]}" for key in _FACTS if key in known)
    for field in table.fields:
        yield _column(field.name, str(field.unit or ""), field.description or "")


def _column(name: str, unit: str, sentence: str) -> str:
    return f"  {name:22s} {f'[{unit}]' if unit else '':8s} {sentence}"
