"""The registry of readers: one row per archive format, one file per row.

A new reader is a module of this folder and a row of READERS; it is finished when a test class
derived from ReaderChecks (SpectraReaderChecks for spectra) passes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

from distcnn.config import FilesConfig
from distcnn.errors import ConfigError
from distcnn.formatting import did_you_mean
from distcnn.ingest.preprocess.velocity import VELOCITY_VARIABLES
from distcnn.ingest.readers.base import Kind, Reader, ReadRequest, SpectraReader
from distcnn.ingest.readers.cleaning import CleaningReader, CleaningSpectraReader
from distcnn.schema import LABELS

EACH_BAND, EACH_LABEL, EACH_SCALAR = "each band", "each label", "each scalar"
"""Stand for what the request names: bands; labels with their errors; further scalars."""
EACH_VELOCITY = "each velocity"
"""Stands for velocity and its error, and the barycentric correction of spectra, if asked for."""


@dataclass(frozen=True)
class ReaderEntry:
    """A reader: its module in this folder, whose name the configuration uses, and its class."""

    name: str
    implementation: str
    """Class in the module ``distcnn.ingest.readers.NAME``."""
    variables: Mapping[Kind, tuple[str, ...]]
    """Kinds of file that it can serve as, and the variables whose column ``columns`` may name."""
    sentence: str
    """What it reads."""

    def make(self, files: FilesConfig, request: ReadRequest) -> Reader:
        """The reader itself; only now is its module imported, with whatever library it needs."""
        module = import_module(f"distcnn.ingest.readers.{self.name}")
        reader: Reader = getattr(module, self.implementation)(files, request)
        return reader


_OF_XP = (
    *("source_id", "xp", "xp_error", "bp_coefficients", "bp_coefficient_errors"),
    *("rp_coefficients", "rp_coefficient_errors"),
)
SEVERAL_COLUMNS = ("flux", "flux_error", "wavelength", "photometry", *_OF_XP[1:])
"""Variables that may lie in several columns, one per pixel, band or coefficient."""
_OF_A_SOURCE = ("ra", "dec", "parallax", "parallax_error", "snr")

READERS = {
    entry.name: entry
    for entry in (
        ReaderEntry(
            "gaia_rvs",
            "GaiaRvs",
            {"spectra": ("source_id", "ra", "dec", "flux", "flux_error", EACH_VELOCITY)},
            "Gaia RVS mean spectra, bulk files",
        ),
        ReaderEntry(
            "gaia_rvs_datalink",
            "GaiaRvsDatalink",
            {
                "spectra": (
                    *("source_id", "wavelength", "flux", "flux_error", "ra", "dec"),
                    EACH_VELOCITY,
                )
            },
            "Gaia RVS spectra as DataLink sends them, one row per pixel",
        ),
        ReaderEntry(
            "gaia_xp",
            "GaiaXp",
            {
                "xp": _OF_XP,
            },
            "Gaia XP continuous mean spectra",
        ),
        ReaderEntry(
            "gaia_source",
            "GaiaSource",
            {"source": ("source_id", *_OF_A_SOURCE, EACH_BAND, EACH_SCALAR)},
            "Gaia source table",
        ),
        ReaderEntry(
            "apogee",
            "Apogee",
            {"labels": ("source_id", "label_snr", EACH_LABEL, EACH_VELOCITY)},
            "APOGEE allStar tables",
        ),
        ReaderEntry(
            "table",
            "Table",
            {
                "spectra": (
                    *("source_id", "flux", "flux_error", "wavelength", "ra", "dec", "snr"),
                    EACH_VELOCITY,
                ),
                "source": ("source_id", *_OF_A_SOURCE, "photometry", EACH_SCALAR),
                "xp": _OF_XP,
                "labels": ("source_id", "label_snr", EACH_LABEL, EACH_VELOCITY),
                "crosswalk": (
                    *("source_id", "label_id", "angular_distance", "magnitude_difference"),
                ),
            },
            "any table of one row per star, by the names in columns",
        ),
        ReaderEntry(
            "described",
            "Described",
            {"spectra": ()},
            "any file of spectra, as its layout describes it",
        ),
    )
}


def make_reader(files: FilesConfig, request: ReadRequest) -> Reader:
    """The reader that a configuration names.

    Raises
    ------
    ConfigError : no such reader, or one for another kind of file; lists those that there are.
        Or ``columns`` names a variable that it does not read, or several columns for one value.
    """
    able = {name: entry for name, entry in READERS.items() if request.kind in entry.variables}
    if files.reader not in able:
        known = "; ".join(f"{name}: {entry.sentence}" for name, entry in able.items())
        raise ConfigError(
            f"ingest.{request.kind}.reader = {files.reader!r}",
            expected=f"one of {', '.join(able)}",
            cure=f"There are {known}. Another format is a module NAME.py in "
            "distcnn/ingest/readers and a row of READERS in registry.py there.",
        )
    entry = able[files.reader]
    if getattr(files, "layout", None) is not None and files.reader != "described":
        raise ConfigError(
            f"ingest.{request.kind}.layout with reader {files.reader}, which does not use it",
            expected="reader: described",
            cure="Set ingest.spectra.reader: described, or leave 'layout' out.",
        )
    _check_columns(entry, files, request)
    reader = entry.make(files, request)
    if isinstance(reader, SpectraReader):
        return CleaningSpectraReader(reader, request.sentinels)
    return CleaningReader(reader, request.sentinels)


def known_variables(entry: ReaderEntry, request: ReadRequest) -> list[str]:
    """What ``columns`` may name for this kind of file, with the bands and labels asked for."""
    labels = [*request.labels, *(name for name in LABELS if name not in request.labels)]
    velocities = VELOCITY_VARIABLES if request.kind == "spectra" else VELOCITY_VARIABLES[:2]
    several = {
        EACH_BAND: request.bands,
        EACH_SCALAR: request.scalars,
        EACH_LABEL: [name for label in labels for name in (label, f"{label}_error")],
        EACH_VELOCITY: velocities if request.velocity else (),
    }
    names = [name for row in entry.variables[request.kind] for name in several.get(row, (row,))]
    return list(dict.fromkeys(names))


def _check_columns(entry: ReaderEntry, files: FilesConfig, request: ReadRequest) -> None:
    """Refuse what would be left unread without a word."""
    known = known_variables(entry, request)
    where = f"ingest.{request.kind}.columns"
    for name, columns in files.columns.items():
        if name not in known:
            raise ConfigError(
                f"{where} names {name!r}, a variable that reader {entry.name} does not know",
                expected=f"some of {', '.join(known)}" if known else "none; 'layout' has all",
                cure=did_you_mean(name, known, "Remove it."),
            )
        several = entry.name in ("table", "gaia_xp") and name in SEVERAL_COLUMNS
        if not several and not isinstance(columns, str):
            raise ConfigError(
                f"{where}.{name} = {list(columns)}", expected="the name of one column"
            )
