"""Writers: one per catalogue format, all behind one protocol."""

from distcnn.catalogue.writers.base import CatalogueHeader, Writer
from distcnn.catalogue.writers.registry import WRITERS, WriterEntry, entry_of, find_entry

__all__ = ["WRITERS", "CatalogueHeader", "Writer", "WriterEntry", "entry_of", "find_entry"]
