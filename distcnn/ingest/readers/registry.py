"""The registry of readers: one row per archive format, one file per row.

A new reader is a module of this folder and a row of READERS; it is finished when a test class
derived from ReaderChecks (SpectraReaderChecks for spectra) passes.
"""

from dataclasses import dataclass
from importlib import import_module

from distcnn.config import FilesConfig
from distcnn.errors import ConfigError
from distcnn.ingest.readers.base import Kind, Reader, ReadRequest


@dataclass(frozen=True)
class ReaderEntry:
    """A reader: its module in this folder, whose name the configuration uses, and its class."""

    name: str
    implementation: str
    """Class in the module ``distcnn.ingest.readers.NAME``."""
    kinds: tuple[Kind, ...]
    """Kinds of file that it can serve as."""
    sentence: str
    """What it reads."""

    def make(self, files: FilesConfig, request: ReadRequest) -> Reader:
        """The reader itself; only now is its module imported, with whatever library it needs."""
        module = import_module(f"distcnn.ingest.readers.{self.name}")
        reader: Reader = getattr(module, self.implementation)(files, request)
        return reader


READERS = {
    entry.name: entry
    for entry in (
        ReaderEntry("gaia_rvs", "GaiaRvs", ("spectra",), "Gaia RVS mean spectra, bulk files"),
        ReaderEntry(
            "gaia_rvs_datalink",
            "GaiaRvsDatalink",
            ("spectra",),
            "Gaia RVS spectra as DataLink sends them, one row per pixel",
        ),
        ReaderEntry("gaia_xp", "GaiaXp", ("xp",), "Gaia XP continuous mean spectra"),
        ReaderEntry("gaia_source", "GaiaSource", ("source",), "Gaia source table"),
        ReaderEntry("apogee", "Apogee", ("labels",), "APOGEE allStar tables"),
        ReaderEntry(
            "table",
            "Table",
            ("spectra", "source", "xp", "labels"),
            "any table of one row per star, by the names in columns",
        ),
    )
}


def make_reader(files: FilesConfig, request: ReadRequest) -> Reader:
    """The reader that a configuration names.

    Raises
    ------
    ConfigError : no such reader, or one for another kind of file; lists those that there are.
    """
    able = {name: entry for name, entry in READERS.items() if request.kind in entry.kinds}
    if files.reader not in able:
        known = "; ".join(f"{name}: {entry.sentence}" for name, entry in able.items())
        raise ConfigError(
            f"ingest.{request.kind}.reader = {files.reader!r}",
            expected=f"one of {', '.join(able)}",
            cure=f"There are {known}. Another format is a module NAME.py in "
            "distcnn/ingest/readers and a row of READERS in registry.py there.",
        )
    return able[files.reader].make(files, request)
