"""Telling what a catalogue holds, from its own header alone."""

from collections.abc import Iterator
from pathlib import Path

from distcnn.catalogue.writers import entry_of, find_entry
from distcnn.catalogue.writers.base import CatalogueHeader
from distcnn.errors import FileBroken

SHOWN_ENTRIES = (
    "CREATOR",
    "SURVEY",
    "RELEASE",
    "SURVSHA",
    "PACKSHA",
    "ENGINE",
    "PRECIS",
    "MEMBERS",
    "WHERE",
)


def is_catalogue(path: Path) -> bool:
    """Whether the path has the name and the layout, file or folder, of a catalogue."""
    entry = find_entry(path)
    return entry is not None and entry.is_there(path)


def describe(path: Path) -> str:
    """Rows, origin and columns of a catalogue, as text.

    Raises
    ------
    FileBroken : it is not readable in the format that its name says.
    """
    try:
        return "\n".join(_lines(path, entry_of(path).load().read_header(path)))
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise FileBroken(
            f"{path} is not readable ({error})",
            expected=f"a {path.suffix.lstrip('.')} catalogue",
            cure="Export it again with `distcnn export`.",
        ) from None


def _lines(path: Path, header: CatalogueHeader) -> Iterator[str]:
    yield f"{path}: a catalogue of {header.rows:,} stars"
    known = header.entries
    yield from (f"  {name.lower():10s} {known[name]}" for name in SHOWN_ENTRIES if name in known)
    for name, unit, sentence in header.columns:
        yield f"  {name:22s} {f'[{unit}]' if unit else '':8s} {sentence}"
