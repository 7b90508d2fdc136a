"""The catalogue: a finished prediction store as one table that astronomers' tools read.

A file appears complete or not at all. Rows stream through; memory does not grow with them.
"""

from distcnn.catalogue.columns import BOUNDARY_TESTS, Column, columns
from distcnn.catalogue.describe import describe, is_catalogue
from distcnn.catalogue.export import export, writers
from distcnn.catalogue.table import Fact, Sheet, sheet_of

__all__ = [
    "BOUNDARY_TESTS",
    "Column",
    "Fact",
    "Sheet",
    "columns",
    "describe",
    "export",
    "is_catalogue",
    "sheet_of",
    "writers",
]
