"""Writers: one per catalogue format, all behind one protocol."""

from distcnn.catalogue.writers.base import FINISHED, STAGE, CatalogueHeader, SharedWriter, Writer
from distcnn.catalogue.writers.registry import WRITERS, WriterEntry, entry_of, find_entry

__all__ = [
    "FINISHED",
    "STAGE",
    "WRITERS",
    "CatalogueHeader",
    "SharedWriter",
    "Writer",
    "WriterEntry",
    "entry_of",
    "find_entry",
]
