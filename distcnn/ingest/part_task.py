"""What a task of the first half of ingest is given."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from distcnn.arrays import Array
from distcnn.config import FilesConfig, IngestConfig
from distcnn.ingest.readers import Kind, Reader, Wanted, make_reader
from distcnn.schema import STAR, SURVEY_VARIABLES

# Scalars that ingest treats one by one: positions, S/N and parallax have rules of their own.
_KNOWN_SCALARS = {"ra", "dec", "snr", "parallax", "parallax_error", "label_snr"}


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
    scalars = further_scalars(config)
    return make_reader(files, Wanted(kind, config.grid, config.bands, labels, cuts, scalars))


def further_scalars(config: IngestConfig) -> tuple[str, ...]:
    """Scalar variables of the survey that ``source.columns`` names and nothing else handles.

    A new number per star is thus a row of SURVEY_VARIABLES and the name of its column: readers
    gather it, parts stage it and the survey stores it like the parallax; NaN where missing.
    """
    given = config.source.columns if config.source is not None else {}
    return tuple(
        variable.name
        for variable in SURVEY_VARIABLES.values()
        if variable.dims == (STAR,)
        and np.dtype(variable.dtype).kind == "f"
        and variable.name not in _KNOWN_SCALARS
        and variable.name in given
    )
