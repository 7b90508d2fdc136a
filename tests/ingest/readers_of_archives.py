"""Readers of the tiny archive, and its grid."""

import numpy as np
from astropy.table import Table
from tiny_archive import LABELS, PIXELS

from distcnn.config import FilesConfig, GridConfig
from distcnn.ingest.readers import ReadRequest, make_reader

GRID = GridConfig(start=846.0, step=0.01, size=PIXELS)
CENTRES = 846.0 + 0.01 * np.arange(PIXELS)
STARS = [11, 12, 13, 14, 15, 16]
BANDS = ("phot_g_mean_mag", "phot_bp_mean_mag")


def reader_for(name: str, kind: str, **files):
    request = ReadRequest(kind, GRID, BANDS, tuple(LABELS), files.pop("cuts", ()))
    return make_reader(FilesConfig(reader=name, files="*", **files), request)


def spectra_table() -> Table:
    flux = np.arange(6.0, dtype="f4")[:, None] + np.zeros((6, PIXELS), "f4")
    names = [f"{number:04d}" for number in range(5, 11)]
    return Table({"name": names, "spec": flux, "err": flux + 0.1, "sn": np.full(6, 50.0)})
