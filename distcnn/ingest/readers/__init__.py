"""Readers: one per archive format, all behind one protocol."""

from distcnn.ingest.readers.base import (
    Block,
    Kind,
    Reader,
    ReadRequest,
    Rejected,
    SpectraReader,
)
from distcnn.ingest.readers.registry import READERS, make_reader

__all__ = [
    "READERS",
    "Block",
    "Kind",
    "ReadRequest",
    "Reader",
    "Rejected",
    "SpectraReader",
    "make_reader",
]
