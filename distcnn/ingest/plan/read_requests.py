"""What is asked of the readers: one for each kind of file, and the numbers per star it gathers."""

from collections.abc import Iterator

import numpy as np

from distcnn.config import FilesConfig, IngestConfig
from distcnn.errors import ConfigError
from distcnn.ingest.preprocess.velocity import ERROR, VELOCITY
from distcnn.ingest.readers import Kind, Reader, ReadRequest, SpectraReader, make_reader
from distcnn.schema import STAR, SURVEY_VARIABLES

# Scalars that ingest treats one by one: positions, S/N and parallax have rules of their own.
_KNOWN_SCALARS = {"ra", "dec", "snr", "parallax", "parallax_error", "label_snr"}


def reader_of(config: IngestConfig, kind: Kind) -> Reader | None:
    """The reader that the configuration names for a kind of file; None if the survey has none."""
    files: FilesConfig | None = getattr(config, kind)
    if files is None:
        return None
    section = config.crosswalk if kind == "crosswalk" else config.labels
    cuts = section.cuts if section else ()
    labels = config.labels.labels if config.labels else ()
    scalars = further_scalars(config)
    velocity = config.velocity_files == kind
    scalars += tuple(n for n in (VELOCITY, ERROR) if velocity and n in files.columns)
    request = ReadRequest(
        kind,
        config.grid,
        config.bands,
        labels,
        cuts,
        scalars,
        config.sentinels,
        override=config.override,
        velocity=velocity,
    )
    return make_reader(files, request)


def spectra_reader_of(config: IngestConfig) -> SpectraReader | None:
    """The reader of spectra; None for a survey without spectra."""
    reader = reader_of(config, "spectra")
    assert reader is None or isinstance(reader, SpectraReader), "its kit checks for wavelength()"
    return reader


def further_scalars(config: IngestConfig) -> tuple[str, ...]:
    """Scalar variables of the survey that ``source.columns`` names and nothing else handles.

    A new number per star is thus a row of SURVEY_VARIABLES and the name of its column: readers
    gather it, parts stage it and the survey stores it like the parallax; NaN where missing.
    Velocities by which spectra are shifted are handled where that is done.
    """
    given = config.source.columns if config.source is not None else {}
    handled = (VELOCITY, ERROR) if config.velocity_files is not None else ()
    return tuple(n for n in _gathered_scalars() if n in given and n not in handled)


def _gathered_scalars() -> Iterator[str]:
    for variable in SURVEY_VARIABLES.values():
        number = variable.dims == (STAR,) and np.dtype(variable.dtype).kind == "f"
        if number and variable.name not in _KNOWN_SCALARS:
            yield variable.name


def check_scalars(config: IngestConfig) -> None:
    """Refuse columns of scalars where no reader looks for them, rather than leave them out."""
    for kind, files in (("spectra", config.spectra), ("xp", config.xp)):
        for name in _gathered_scalars():
            own = name in (VELOCITY, ERROR) and config.velocity_files == kind
            if files is not None and name in files.columns and not own:
                raise ConfigError(
                    f"ingest.{kind}.columns names {name!r}",
                    expected="it in ingest.source.columns",
                    cure="The same file may serve as source as well, with reader: table.",
                )
