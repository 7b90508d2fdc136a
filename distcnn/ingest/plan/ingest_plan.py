"""What is to be made from what: files, grids, places of work, and what must stay the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from distcnn import __version__, hashing
from distcnn.arrays import Array
from distcnn.config import GridConfig, IngestConfig, SnrConfig
from distcnn.errors import ColumnMissing, FileBroken, InputError
from distcnn.events import Listener
from distcnn.files import relative_name
from distcnn.formatting import dotted
from distcnn.ingest.plan.part_task import PartTask, files_about, groups_of_files, main_kind
from distcnn.ingest.plan.read_requests import spectra_reader_of
from distcnn.ingest.preprocess.spectra import Preparation
from distcnn.ingest.preprocess.statements import SILENT, Statements, agreed_grid
from distcnn.ingest.preprocess.velocity import check_frames
from distcnn.ingest.preprocess.wavelength import is_declared, target_pixels, wavelengths
from distcnn.ingest.readers import Kind, SpectraReader
from distcnn.location import Address, LocalLocation, Location, work_folder

KINDS: tuple[Kind, ...] = ("spectra", "source", "xp", "labels")
# Settings that change how fast a survey is made, and nothing in it.
_SETTINGS_WITHOUT_EFFECT = {"block_rows"}


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
            for group in groups_of_files(self.files[self.main_kind], self.sizes)
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
        for kind in KINDS[1:3]:
            candidates = self.files.get(kind, ()) if kind != self.main_kind else ()
            same = kind in self._kinds_in_main_files
            others[kind] = tuple(group) if same else files_about(group, candidates)
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
