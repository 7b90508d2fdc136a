"""APOGEE allStar and allStarLite tables as reference labels.

Column names of the DR17 data model (allStar-dr17-synspec_rev1.fits): GAIAEDR3_SOURCE_ID, SNR,
TEFF, LOGG, M_H, ALPHA_M, FE_H, X_FE, each with ``_ERR``; velocities VHELIO_AVG and VERR [km/s].
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from distcnn.arrays import Array
from distcnn.config import FilesConfig
from distcnn.ingest.readers.base import Block, ReadRequest
from distcnn.ingest.readers.formats.containers import TableSource, blocks_of_each, table_sources
from distcnn.ingest.readers.values.labels import label_blocks, label_selection
from distcnn.schema import Reason

COLUMNS = {
    "source_id": "GAIAEDR3_SOURCE_ID",
    "label_snr": "SNR",
    "teff": "TEFF",
    "logg": "LOGG",
    "mh": "M_H",
    "alpham": "ALPHA_M",
    "feh": "FE_H",
    "sife": "SI_FE",
    "alfe": "AL_FE",
    "mgfe": "MG_FE",
    "nife": "NI_FE",
    "velocity": "VHELIO_AVG",
}


class Apogee:
    """Reader ``apogee``."""

    def __init__(self, files: FilesConfig, request: ReadRequest) -> None:
        errors = {f"{name}_error": f"{column}_ERR" for name, column in COLUMNS.items()}
        errors["velocity_error"] = "VERR"
        columns = errors | COLUMNS | {k: str(v) for k, v in files.columns.items()}
        self.labels, self.files = request.labels, files
        self.selection = label_selection(
            request.labels,
            request.cuts,
            columns,
            identifier=columns["source_id"],
            texts="source_id" in files.columns,  # such as APOGEE_ID, with a crosswalk
            hdu=files.hdu,
            velocity=request.velocity,
        )

    def blocks(self, path: Path, *, rows: int, ids: Array | None = None) -> Iterator[Block]:
        """Blocks with source_id, label, label_error, label_snr and the columns cut on."""

        def read(table_source: TableSource) -> Iterator[Block]:
            return label_blocks(table_source, self.selection, self.labels, rows=rows, ids=ids)

        sources = table_sources(path, files=self.files)
        for block in blocks_of_each(sources, read):
            # Targets without a Gaia counterpart have 0 there; that is no fault of the file.
            kept = tuple(r for r in block.rejected if r.reason is not Reason.NO_ID)
            yield replace(block, rejected=kept)
