"""Parts: the unit of the first half of ingest, and which files each is made of.

A part is one spectra file, or several small ones, with whatever other files know of its stars.
``PartTask`` is what a worker is given to make one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distcnn.arrays import Array
from distcnn.config import IngestConfig
from distcnn.ingest.matching import healpix_range, overlapping_files
from distcnn.ingest.preprocess.statements import SILENT, Statements
from distcnn.ingest.readers import Kind

MAX_SHARED_PART_BYTES = 32 << 20
"""Bytes of small files without a HEALPix range that share one part."""
MAX_SHARED_PART_FILES = 1000
"""Files that share one part: some seconds of reading, as opening a file takes a millisecond."""


@dataclass(frozen=True)
class PartTask:
    """One part: its files, where to stage it, and settings. ``wavelength`` is the output grid."""

    name: str
    files: tuple[Path, ...]
    source: tuple[Path, ...]
    xp: tuple[Path, ...]
    labels: Path | None
    folder: Path
    config: IngestConfig = field(compare=False)
    wavelength: Array | None = field(compare=False, default=None)
    stated: Statements = SILENT
    """What the first file says of its spectra."""
    velocities: Path | None = None
    """Velocities of the label table, where the spectra are shifted by them."""

    @property
    def rule(self) -> str:
        """What becomes of several rows of a star: of a table of sources the first counts."""
        return self.config.repeats if self.kind == "spectra" else "first"

    @property
    def kind(self) -> Kind:
        """The kind of ``files``: the source table gives the rows of a survey without spectra."""
        return main_kind(self.config)


def main_kind(config: IngestConfig) -> Kind:
    """The kind of file that gives the rows of the survey."""
    return "spectra" if config.spectra is not None else "source"


def files_about(group: Sequence[Path], candidates: Sequence[Path]) -> tuple[Path, ...]:
    """The files of another kind that can hold the stars of a part."""
    if not all(map(healpix_range, group)):
        return tuple(candidates)
    return tuple(dict.fromkeys(p for f in group for p in overlapping_files(f, candidates)))


def groups_of_files(paths: Sequence[Path], sizes: Mapping[Path, int]) -> Iterator[list[Path]]:
    """Files of one part each.

    A file with a HEALPix range stands alone, because the range says which source and XP files
    its part has to read; the others would read all of them anyway.
    """
    group: list[Path] = []
    size = 0
    for path in paths:
        alone = healpix_range(path) is not None
        full = len(group) == MAX_SHARED_PART_FILES
        if group and (alone or full or size + sizes[path] > MAX_SHARED_PART_BYTES):
            yield group
            group, size = [], 0
        group.append(path)
        size += sizes[path]
        if alone:
            yield group
            group, size = [], 0
    if group:
        yield group
