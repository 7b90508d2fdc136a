"""The catalogue: a finished prediction store as one table that astronomers' tools read.

A catalogue, file or folder, appears complete or not at all. Rows stream through; memory does not
grow with them.
"""

from distcnn.catalogue.columns import BOUNDARY_TESTS, Column, columns
from distcnn.catalogue.describe import describe, is_catalogue
from distcnn.catalogue.export import export
from distcnn.catalogue.selection import CovarianceForm, Selection
from distcnn.catalogue.table import CatalogueTable, HeaderEntry, catalogue_table
from distcnn.catalogue.writers import find_entry

__all__ = [
    "BOUNDARY_TESTS",
    "CatalogueTable",
    "Column",
    "CovarianceForm",
    "HeaderEntry",
    "Selection",
    "catalogue_table",
    "columns",
    "describe",
    "export",
    "find_entry",
    "is_catalogue",
]
