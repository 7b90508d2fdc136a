"""Template: the catalogue as an empty astropy table, whose header both FITS and Parquet carry."""

import numpy as np
from astropy import units
from astropy.table import Column, Table

from distcnn.catalogue.table import Sheet


def empty_table(sheet: Sheet) -> Table:
    """No rows; units, sentences, UCDs and provenance."""
    table = Table(meta={fact.name: fact.value for fact in sheet.facts})
    for column in sheet.columns:
        kind = np.dtype(column.dtype)
        table[column.name] = Column(
            np.empty(0, f"U{kind.itemsize}" if kind.kind == "S" else kind),
            unit=units.Unit(column.unit) if column.unit else None,
            description=column.description,
            meta={"ucd": column.ucd},
        )
    return table
