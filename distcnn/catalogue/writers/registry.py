"""The registry of catalogue formats: one row per format, one file per row.

A new format is a module of this folder and a row of WRITERS; it is finished when a test class
derived from WriterChecks passes.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal, cast

from distcnn.catalogue.writers.base import SharedWriter, Writer
from distcnn.errors import UsageError


@dataclass(frozen=True)
class WriterEntry:
    """A format: its module in this folder, and the names by which a path asks for it."""

    name: str
    """The module is ``distcnn.catalogue.writers.NAME``."""
    suffixes: tuple[str, ...]
    layout: Literal["file", "folder"]
    """Whether a catalogue of this format is one file or a folder of files."""

    shared: bool = False
    """Whether workers can share the work (``base.SharedWriter``)."""

    def load(self) -> Writer:
        """The writer itself; only now is its module imported, with whatever library it needs."""
        return cast(Writer, import_module(f"distcnn.catalogue.writers.{self.name}"))

    def load_shared(self) -> SharedWriter | None:
        """The writer as one whose work can be shared; None if it is not one."""
        return cast(SharedWriter, self.load()) if self.shared else None

    def is_there(self, path: Path) -> bool:
        """Whether the path holds something of this format's layout."""
        return path.is_file() if self.layout == "file" else path.is_dir()


WRITERS: tuple[WriterEntry, ...] = (
    WriterEntry("fits", (".fits",), "file"),
    WriterEntry("parquet", (".parquet",), "file"),
    WriterEntry("cds", (".cds",), "folder"),
    WriterEntry("hats", (".hats",), "folder", shared=True),
    WriterEntry("votable", (".vot", ".xml", ".votable"), "file"),
)


def find_entry(path: Path) -> WriterEntry | None:
    """The format that a path's suffix asks for; None if there is none."""
    suffix = path.suffix.lower()
    return next((entry for entry in WRITERS if suffix in entry.suffixes), None)


def entry_of(path: Path) -> WriterEntry:
    """The format that a path's suffix asks for.

    Raises
    ------
    UsageError : no format has that suffix; lists those that there are.
    """
    entry = find_entry(path)
    if entry is None:
        known = ", ".join(suffix for entry in WRITERS for suffix in entry.suffixes)
        raise UsageError(
            f"{path.name} does not say which format it is to have",
            expected=f"a name that ends in {known}",
        )
    return entry
