"""Tables that are not text: FITS, VOTable, Parquet and HDF5, handed out a few rows at a time."""

import warnings
from collections.abc import Iterator

from distcnn.ingest.readers.base import broken
from distcnn.ingest.readers.formats.aligned import open_aligned
from distcnn.ingest.readers.formats.binary_table import BinaryTable, unreadable
from distcnn.ingest.readers.formats.containers import TableSource, tell_unread
from distcnn.ingest.readers.formats.fits.extensions import open_fits
from distcnn.ingest.readers.formats.hdf5_table import open_hdf5
from distcnn.ingest.readers.formats.parquet_table import open_parquet
from distcnn.ingest.readers.formats.votable import open_votable

_OPENERS = {
    "fits": open_fits,
    "votable": open_votable,
    "parquet": open_parquet,
    "hdf5": open_hdf5,
    "aligned": open_aligned,
}


def open_table(table_source: TableSource, hdu: int | str = 1) -> BinaryTable:
    """Open one table of a FITS, VOTable, Parquet or HDF5 file; further ones are told.

    Parameters
    ----------
    hdu : number (the first table is 1) or name of a table extension, of a TABLE of a VOTable, or
        of a group or table of HDF5.

    Raises
    ------
    FileBroken : it cannot be read as what its name says, or has no rows.
    """
    return next(_tables(table_source, hdu))


def open_tables(table_source: TableSource, hdu: int | str = 1) -> Iterator[BinaryTable]:
    """All tables of a file that is no text, as DataLink joins those of several stars.

    With an ``hdu`` other than the first it is that one alone.

    Raises
    ------
    FileBroken : as in ``open_table``.
    """
    return _tables(table_source, None if hdu == 1 else hdu)


def _tables(table_source: TableSource, hdu: int | str | None) -> Iterator[BinaryTable]:
    kind = table_source.format
    opener = _OPENERS[kind]
    tables = opener(table_source, hdu)
    given, empty = False, None
    while True:
        try:
            with warnings.catch_warnings():
                # Real archive files carry unit texts and dates that astropy warns about.
                warnings.simplefilter("ignore")
                table = next(tables, None)
        except Exception as error:  # libraries let errors of every kind through from bad bytes
            raise unreadable(table_source.name, f" as {kind}", error) from None
        if table is None:
            if empty is not None:
                raise empty
            return
        if table.length:
            given, empty = True, None
            yield table
            continue
        if given:  # of a star of several there may be no data
            tell_unread("tables without rows", table.name, "nothing can be taken from them")
        else:
            empty = broken(
                table.name,
                "the table has no rows",
                row=0,
                cure="Nothing can be taken from it; leave it out by 'files', or name another "
                "table by 'hdu'.",
            )
