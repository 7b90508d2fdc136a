"""What a task of the first half of ingest is given."""

from dataclasses import dataclass, field
from pathlib import Path

from distcnn.config import FilesConfig, IngestConfig
from distcnn.ingest.preprocess.wavelength import Array
from distcnn.ingest.readers import Kind, Reader, Wanted, make_reader


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

    @property
    def kind(self) -> Kind:
        """The kind of ``files``: the source table gives the rows of a survey without spectra."""
        return main_kind(self.config)


def main_kind(config: IngestConfig) -> Kind:
    """The kind of file that gives the rows of the survey."""
    return "spectra" if config.spectra is not None else "source"


def reader_of(config: IngestConfig, kind: Kind) -> Reader | None:
    """The reader that the configuration names for a kind of file; None if the survey has none."""
    files: FilesConfig | None = getattr(config, kind)
    if files is None:
        return None
    cuts = config.labels.cuts if config.labels else ()
    labels = config.labels.labels if config.labels else ()
    return make_reader(files, Wanted(kind, config.grid, config.bands, labels, cuts))
