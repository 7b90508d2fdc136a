"""Velocities of the stars of a part: of their spectra's file, or looked up in another table."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from distcnn.arrays import Array
from distcnn.config import IngestConfig
from distcnn.errors import ColumnMissing, FileBroken, GridMismatch
from distcnn.ingest.plan import PartTask, reader_of
from distcnn.ingest.preprocess.velocity import CORRECTION, VELOCITY, Velocities
from distcnn.ingest.readers import Block
from distcnn.ingest.readers.formats.containers import collecting_notes
from distcnn.ingest.star_tables import VelocityTable

_BLOCK_ROWS = 65536


@dataclass(frozen=True)
class VelocitySource:
    """Where the velocities of a part come from; ``table`` is None if its spectra bring them."""

    config: IngestConfig
    table: VelocityTable | None

    @classmethod
    def of(cls, task: PartTask) -> "VelocitySource | None":
        """That of a part; None if its spectra are not shifted."""
        kind = task.config.velocity_files
        if kind is None:
            return None
        if kind == "spectra":
            return cls(task.config, None)
        if kind == "labels":
            assert task.velocities is not None
            return cls(task.config, VelocityTable.load(task.velocities))
        return cls(task.config, _table_of(task))

    def velocities(self, block: Block, path: Path) -> Velocities:
        """Those of the rows of a block [km/s].

        Raises
        ------
        GridMismatch : the spectra are to bring velocities, and their reader gives none.
        """
        shift = self.config.prepare.rest_frame
        assert shift is not None
        if self.table is not None:
            columns = self.table.look_up(block.columns["source_id"])
        elif VELOCITY in block.columns:
            columns = dict(block.columns)
        else:
            raise GridMismatch(
                f"{path}: its reader gives no velocities",
                expected="them, as ingest.prepare.rest_frame.velocity = spectra says",
                cure="Name column or keyword as velocity in ingest.spectra.columns, or in 'values' "
                "of its layout, or take velocities from source.",
            )
        return Velocities.of(columns, len(block), shift)

    def correction(self, block: Block, path: Path) -> Array:
        """Barycentric correction [n] in km/s of topocentric spectra.

        Raises
        ------
        GridMismatch : their reader gives none.
        """
        shift = self.config.prepare.rest_frame
        assert shift is not None
        if CORRECTION not in block.columns:
            raise GridMismatch(
                f"{path}: its wavelengths are topocentric",
                expected=f"{shift.frame} ones, as the velocities (ingest.prepare.rest_frame.frame)",
                cure=f"Name their {CORRECTION} in ingest.spectra.columns, or in 'values' of its "
                "layout, the velocity that was added to the observed one; or set "
                "rest_frame.frame: topocentric.",
            )
        return Velocities.of({VELOCITY: block.columns[CORRECTION]}, len(block), shift).velocity


def _table_of(task: PartTask) -> VelocityTable:
    """Velocities of the source files of a part; kept, for other parts may have the same files."""
    stamps = tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in task.source)
    return _read_table(stamps, task.config.model_dump_json())


@lru_cache(maxsize=1)
def _read_table(stamps: tuple[tuple[Path, int, int], ...], settings: str) -> VelocityTable:
    config = IngestConfig.model_validate_json(settings)
    return VelocityTable.of(_source_blocks(config, [path for path, *_ in stamps]))


def _source_blocks(config: IngestConfig, paths: Iterable[Path]) -> Iterator[Block]:
    reader = reader_of(config, "source")
    assert reader is not None
    for path in paths:
        with collecting_notes():  # what is wrong with a file is told where its rows are joined
            try:
                yield from reader.blocks(path, rows=_BLOCK_ROWS)
            except (FileBroken, ColumnMissing):
                continue
