"""A job: archive, survey and settings, with the tasks of work that follow from them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distcnn import __version__, hashing
from distcnn.config import IngestConfig
from distcnn.errors import ConfigError, InputError
from distcnn.events import Listener
from distcnn.ingest.matching import find_files, healpix_range, partners, stamp
from distcnn.ingest.part_task import PartTask, main_kind, reader_of
from distcnn.ingest.preprocess.spectra import Preparation
from distcnn.ingest.preprocess.wavelength import Array, is_declared, wavelengths
from distcnn.ingest.readers import Kind

_KINDS: tuple[Kind, ...] = ("spectra", "source", "xp", "labels")
_PART_BYTES = 32 << 20
# Settings that change how fast a survey is made, and nothing in it.
_WITHOUT_EFFECT = {"block_rows"}


@dataclass(frozen=True)
class Job:
    """What is to be made from what; ``stamps`` name the contents of the files."""

    archive: Path
    survey: Path
    config: IngestConfig
    files: Mapping[Kind, Sequence[Path]]
    stamps: Mapping[str, str]
    listener: Listener

    @property
    def main(self) -> Kind:
        """The kind of file that gives the rows of the survey."""
        return main_kind(self.config)

    @property
    def staging(self) -> Path:
        """The folder of all that is unfinished."""
        return self.survey.with_name(f"{self.survey.name}.partial")

    @property
    def parts(self) -> Path:
        """The folder of staged parts."""
        return self.staging / "parts"

    @property
    def draft(self) -> Path:
        """The survey while it is being written."""
        return self.staging / "survey.zarr"

    @property
    def inputs(self) -> str:
        """Digest of all files' names and contents."""
        return hashing.of_value(dict(self.stamps))

    def relative(self, path: Path) -> str:
        """A file's name within the archive: the same on every machine."""
        return path.relative_to(self.archive).as_posix()

    def fingerprint(self) -> dict[str, Any]:
        """What must stay the same for a job to go on: every setting, file names, version."""
        names = {kind: [self.relative(p) for p in paths] for kind, paths in self.files.items()}
        settings = self.config.model_dump(mode="json", exclude=_WITHOUT_EFFECT)
        return {
            **dict(_flat("ingest", settings)),
            "file names": hashing.of_value(names),
            "distcnn version": __version__,
        }

    def items(self, labels: Path | None) -> list[PartTask]:
        """One task per spectra file; small files without a HEALPix range share one."""
        wavelength = self.output_grid()
        return [self._item(group, labels, wavelength) for group in _groups(self.files[self.main])]

    def _item(
        self, group: Sequence[Path], labels: Path | None, wavelength: Array | None
    ) -> PartTask:
        extra = f"+{len(group) - 1}" if len(group) > 1 else ""
        others: dict[Kind, tuple[Path, ...]] = {}
        for kind in _KINDS[1:3]:
            candidates = self.files.get(kind, ()) if kind != self.main else ()
            others[kind] = tuple(dict.fromkeys(p for f in group for p in partners(f, candidates)))
        return PartTask(
            f"{self.relative(group[0]).replace('/', '__')}{extra}",
            tuple(group),
            others["source"],
            others["xp"],
            labels,
            self.parts,
            self.config,
            wavelength,
        )

    def output_grid(self) -> Array | None:
        """Wavelengths of the stored pixels; None for a survey without spectra."""
        reader = reader_of(self.config, "spectra")
        if reader is None:
            return None
        grid, prepare = self.config.grid, self.config.prepare
        if prepare.target is not None:
            return wavelengths(prepare.target)
        first = self.files["spectra"][0]
        given = wavelengths(grid) if is_declared(grid) else reader.wavelength(first)
        assert given is not None
        return Preparation.plan(given, grid, prepare).wavelength


def open_job(archive: Path, survey: Path, config: IngestConfig, listener: Listener) -> Job:
    """Find the files and check that the configuration can be carried out.

    Raises
    ------
    ConfigError : the configuration names no rows, or a reader that does not exist.
    InputError : there is no such folder, or no such file in it.
    """
    if config.spectra is None and config.source is None:
        raise ConfigError(
            "ingest.spectra and ingest.source are both null",
            expected="at least one, to give the stars of the survey",
        )
    if not archive.is_dir():
        raise InputError(f"there is no folder {archive}", expected="a folder of archive files")
    files: dict[Kind, list[Path]] = {}
    for kind in _KINDS:
        section = getattr(config, kind)
        if section is not None:
            reader_of(config, kind)
            files[kind] = find_files(archive, section)
    every = sorted({path for paths in files.values() for path in paths})
    stamps = {path.relative_to(archive).as_posix(): stamp(path) for path in every}
    return Job(archive, survey, config, files, stamps, listener)


def _flat(prefix: str, tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        name = f"{prefix}.{key}"
        if isinstance(value, dict):
            yield from _flat(name, value)
        else:
            yield name, value


def _groups(paths: Sequence[Path]) -> Iterator[list[Path]]:
    group: list[Path] = []
    size = 0
    for path in paths:
        alone = healpix_range(path) is not None
        if group and (alone or size + path.stat().st_size > _PART_BYTES):
            yield group
            group, size = [], 0
        group.append(path)
        size += path.stat().st_size
        if alone:
            yield group
            group, size = [], 0
    if group:
        yield group
