"""The plan of an ingest: archive, survey and settings, with the tasks that follow from them.

A part is the unit of the first half of ingest: one spectra file, or several small ones, with
whatever other files know of its stars. ``PartTask`` is what a worker is given to make one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from distcnn import __version__, hashing
from distcnn.arrays import Array
from distcnn.config import FilesConfig, GridConfig, IngestConfig, SnrConfig
from distcnn.errors import ColumnMissing, ConfigError, FileBroken, InputError
from distcnn.events import Listener, Notice
from distcnn.files import relative_name
from distcnn.formatting import dotted
from distcnn.ingest.matching import healpix_range, overlapping_files
from distcnn.ingest.preprocess.spectra import Preparation
from distcnn.ingest.preprocess.statements import SILENT, Statements, agreed_grid
from distcnn.ingest.preprocess.velocity import ERROR, VELOCITY, check_frames
from distcnn.ingest.preprocess.wavelength import is_declared, target_pixels, wavelengths
from distcnn.ingest.readers import Kind, Reader, ReadRequest, SpectraReader, make_reader
from distcnn.ingest.readers.formats.containers import formats_of, is_zip
from distcnn.ingest.selection import ArchiveTree, find_files
from distcnn.ingest.unlabelled import why_unlabelled
from distcnn.location import Address, LocalLocation, Location, work_folder
from distcnn.schema import STAR, SURVEY_VARIABLES

_KINDS: tuple[Kind, ...] = ("spectra", "source", "xp", "labels")
MAX_SHARED_PART_BYTES = 32 << 20
"""Bytes of small files without a HEALPix range that share one part."""
MAX_SHARED_PART_FILES = 1000
"""Files that share one part: some seconds of reading, as opening a file takes a millisecond."""
# Settings that change how fast a survey is made, and nothing in it.
_SETTINGS_WITHOUT_EFFECT = {"block_rows"}
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


def _check_scalars(config: IngestConfig) -> None:
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


def staging_folder(survey: Address) -> Path:
    """The folder of all that an ingest to ``survey`` has not finished: see ``work_folder``."""
    return work_folder(Location.parse(survey))


@dataclass(frozen=True)
class IngestPlan:
    """What is to be made from what."""

    archive: Path
    survey: Location
    config: IngestConfig
    files: Mapping[Kind, Sequence[Path]]
    sizes: Mapping[Path, int]
    """Bytes of the files, as they were listed."""
    listener: Listener
    unlabelled: str = ""
    """Why no star can have a label, although the configuration names labels."""
    content_hashes: dict[str, str] = field(default_factory=dict)
    """Names for the contents of files by their name within the archive, as far as they are
    known; workers find them out (``stamping``)."""

    @property
    def main_kind(self) -> Kind:
        """The kind of file that gives the rows of the survey."""
        return main_kind(self.config)

    @property
    def staging_folder(self) -> Path:
        """The folder of all that is unfinished."""
        return staging_folder(self.survey)

    @property
    def parts_folder(self) -> Path:
        """The folder of staged parts."""
        return self.staging_folder / "parts"

    @property
    def draft(self) -> Location:
        """The survey while it is being written.

        In an object store nothing can be moved, so there it is in its place from the beginning;
        that it is not complete keeps all others from it.
        """
        if isinstance(self.survey, LocalLocation):
            return LocalLocation(self.staging_folder / "survey.zarr")
        return self.survey

    @property
    def inputs(self) -> str:
        """Digest of all files' names and contents, once all are known."""
        return hashing.of_value(self.content_hashes)

    @cached_property
    def paths(self) -> dict[str, Path]:
        """Every file by its name within the archive, in the order of their paths."""
        every = sorted({path for paths in self.files.values() for path in paths})
        return {self.relative(path): path for path in every}

    def relative(self, path: Path) -> str:
        """A file's name within the archive: the same on every machine."""
        return relative_name(path, self.archive)

    def fingerprint(self) -> dict[str, Any]:
        """What must stay the same for an ingest to go on: every setting, file names, version."""
        names = {kind: [self.relative(p) for p in paths] for kind, paths in self.files.items()}
        left_out = set(_SETTINGS_WITHOUT_EFFECT)
        if self.config.snr == SnrConfig():  # as surveys from before this setting have it
            left_out.add("snr")
        if self.config.repeats == "first":  # likewise
            left_out.add("repeats")
        settings = self.config.model_dump(mode="json", exclude=left_out)
        return {
            **dict(dotted(settings, "ingest")),
            "file names": hashing.of_value(names),
            "distcnn version": __version__,
        }

    def part_tasks(self, labels: Path | None, velocities: Path | None = None) -> list[PartTask]:
        """One task per spectra file; small files without a HEALPix range share one.

        Raises
        ------
        GridMismatch : the spectra cannot be shifted as the settings say.
        """
        wavelength, stated = self.output_grid(), self.statements()
        if self._first_stated is not None:
            check_frames(self.config, self.input_grid(), stated, self.files["spectra"][0])
        return [
            replace(
                self._part_task(group, labels, wavelength), stated=stated, velocities=velocities
            )
            for group in _groups_of_files(self.files[self.main_kind], self.sizes)
        ]

    @cached_property
    def _kinds_in_main_files(self) -> frozenset[Kind]:
        """Kinds whose files are those of the rows: each tells of its own stars."""
        main = self.files[self.main_kind]
        return frozenset(kind for kind, paths in self.files.items() if paths == main)

    def _part_task(
        self, group: Sequence[Path], labels: Path | None, wavelength: Array | None
    ) -> PartTask:
        extra = f"+{len(group) - 1}" if len(group) > 1 else ""
        others: dict[Kind, tuple[Path, ...]] = {}
        for kind in _KINDS[1:3]:
            candidates = self.files.get(kind, ()) if kind != self.main_kind else ()
            same = kind in self._kinds_in_main_files
            others[kind] = tuple(group) if same else _files_about(group, candidates)
        return PartTask(
            f"{self.relative(group[0]).replace('/', '__')}{extra}",
            tuple(group),
            others["source"],
            others["xp"],
            labels,
            self.parts_folder,
            self.config,
            wavelength,
        )

    def statements(self) -> Statements:
        """What the first file of spectra that can be read says of them.

        Raises
        ------
        GridMismatch : it contradicts the configuration.
        """
        return self._first_stated or SILENT

    @cached_property
    def _first_stated(self) -> Statements | None:
        reader = spectra_reader_of(self.config)
        for path in self.files["spectra"] if reader is not None else ():
            try:
                assert reader is not None
                return reader.statements(path)
            except (FileBroken, ColumnMissing):
                continue  # told where its part is made
        return None

    def input_grid(self) -> GridConfig:
        """The grid of the configuration with what the first file says where that is silent."""
        first = self.files["spectra"][0] if self.config.spectra else Path()
        return agreed_grid(self.config.grid, self.statements(), first, self.config.override)

    def output_grid(self) -> Array | None:
        """Wavelengths of the stored pixels; None for a survey without spectra."""
        reader = spectra_reader_of(self.config)
        if reader is None:
            return None
        grid, prepare = self.config.grid, self.config.prepare
        if prepare.target is not None:
            centres, stored = target_pixels(prepare)
            return np.asarray(centres[stored])
        given = wavelengths(grid) if is_declared(grid) else self._first_grid(reader)
        return Preparation.for_grid(given, grid, prepare).wavelength

    def _first_grid(self, reader: SpectraReader) -> Array:
        """The grid of the first file that can be used; the error of the first, if none can."""
        first: InputError | None = None
        for path in self.files["spectra"]:
            try:
                return reader.wavelength(path)
            except (FileBroken, ColumnMissing) as error:
                first = first or error
        assert first is not None, "without files there is no plan"
        raise first


def plan_ingest(
    archive: Path, survey: Address, config: IngestConfig, listener: Listener
) -> IngestPlan:
    """Find the files and check that the configuration can be carried out.

    Raises
    ------
    ConfigError : the configuration names no rows, a reader that does not exist, or a scalar where
        none is read.
    InputError : there is no such folder, or no such file in it.
    """
    if config.spectra is None and config.source is None:
        raise ConfigError(
            "ingest.spectra and ingest.source are both null",
            expected="at least one, to give the stars of the survey",
        )
    _check_scalars(config)
    if not archive.is_dir():
        met = f"{archive} is a file" if archive.is_file() else f"there is no folder {archive}"
        raise InputError(
            met,
            expected="a folder of archive files",
            cure="Name the folder; the files in it are chosen by 'files' in the configuration.",
        )
    # Workers elsewhere have a working directory of their own.
    archive, survey = archive.absolute(), Location.parse(survey).address
    files: dict[Kind, list[Path]] = {}
    tree = ArchiveTree(archive)
    for kind in _KINDS:
        section = getattr(config, kind)
        if section is not None:
            reader_of(config, kind)
            found = find_files(tree, section, required=kind != "labels")
            files[kind] = found.paths
            if found.paths:
                _check_used(kind, section, found.paths)
            for sentence in found.left_out:
                listener(Notice(f"Files of {kind}: {sentence}.", "warning"))
    unlabelled = why_unlabelled(tree, config, files)
    if unlabelled:
        _check_velocities_without_labels(config, unlabelled)
        del files["labels"]
        config = config.model_copy(update={"labels": None, "crosswalk": None})
        text = (
            f"The stars get no labels: {unlabelled}. That is right for stars to predict; for a "
            "training survey correct the folder or ingest.labels (null says that there are none)."
        )
        listener(Notice(text, "warning"))
    if config.crosswalk is not None and config.labels is not None:
        reader_of(config, "crosswalk")
        files["crosswalk"] = find_files(tree, config.crosswalk).paths
        _check_used("crosswalk", config.crosswalk, files["crosswalk"])
    place = Location.parse(survey)
    return IngestPlan(archive, place, config, files, tree.sizes, listener, unlabelled)


def _check_velocities_without_labels(config: IngestConfig, unlabelled: str) -> None:
    if config.velocity_files == "labels":
        raise InputError(
            f"{unlabelled}; the spectra are to be shifted by velocities of the label table",
            expected="a table of velocities of these stars",
            cure="Take velocities from source or spectra (ingest.prepare.rest_frame.velocity), "
            "which new stars have as well as labelled ones.",
        )


_USED_BY = {"hdu": ("fits", "votable"), "delimiter": ("text",), "decimal": ("text",)}
"""Settings of files, and the formats that know them."""


def _check_used(kind: Kind, section: FilesConfig, paths: Sequence[Path]) -> None:
    """Refuse settings that none of the files uses."""
    if section.members and not any(map(is_zip, paths)):
        raise ConfigError(
            f"ingest.{kind}.members = {section.members!r}",
            expected="zip archives to choose members of; none of the files is one",
            cure="Leave 'members' out, or correct 'files'.",
        )
    for name, formats in _USED_BY.items():
        value = getattr(section, name)
        if value == FilesConfig.model_fields[name].default:
            continue
        if not any(formats_of(path).intersection(("unknown", *formats)) for path in paths):
            raise ConfigError(
                f"ingest.{kind}.{name} = {value!r}",
                expected=f"a file of {' or '.join(formats)}, which it is for; there is none",
                cure=f"Leave {name!r} out, or correct 'files'.",
            )


def _files_about(group: Sequence[Path], candidates: Sequence[Path]) -> tuple[Path, ...]:
    """The files of another kind that can hold the stars of a part."""
    if not all(map(healpix_range, group)):
        return tuple(candidates)
    return tuple(dict.fromkeys(p for f in group for p in overlapping_files(f, candidates)))


def _groups_of_files(paths: Sequence[Path], sizes: Mapping[Path, int]) -> Iterator[list[Path]]:
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
