"""Readers: one per archive format, all behind one protocol."""

from collections.abc import Callable

from distcnn.config import FilesConfig
from distcnn.errors import ConfigError
from distcnn.ingest.readers.apogee import Apogee
from distcnn.ingest.readers.base import Block, Kind, Reader, ReadRequest, Rejected
from distcnn.ingest.readers.gaia_rvs import GaiaRvs
from distcnn.ingest.readers.gaia_rvs_datalink import GaiaRvsDatalink
from distcnn.ingest.readers.gaia_source import GaiaSource
from distcnn.ingest.readers.gaia_xp import GaiaXp
from distcnn.ingest.readers.table import Table

READERS: dict[str, tuple[Callable[[FilesConfig, ReadRequest], Reader], tuple[Kind, ...]]] = {
    "gaia_rvs": (GaiaRvs, ("spectra",)),
    "gaia_rvs_datalink": (GaiaRvsDatalink, ("spectra",)),
    "gaia_xp": (GaiaXp, ("xp",)),
    "gaia_source": (GaiaSource, ("source",)),
    "apogee": (Apogee, ("labels",)),
    "table": (Table, ("spectra", "source", "xp", "labels")),
}


def make_reader(files: FilesConfig, request: ReadRequest) -> Reader:
    """The reader that a configuration names.

    Raises
    ------
    ConfigError : no such reader, or one for another kind of file.
    """
    able = [name for name, (_, kinds) in READERS.items() if request.kind in kinds]
    if files.reader not in able:
        raise ConfigError(
            f"ingest.{request.kind}.reader = {files.reader!r}",
            expected=f"one of {', '.join(able)}",
        )
    return READERS[files.reader][0](files, request)


__all__ = ["READERS", "Block", "Kind", "ReadRequest", "Reader", "Rejected", "make_reader"]
