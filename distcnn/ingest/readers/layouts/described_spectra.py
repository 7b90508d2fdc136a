"""The spectra of one file, or of the files of one star's arms, as a layout describes them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from distcnn.arrays import Array
from distcnn.config import SpectrumLayoutConfig, ValuePlaceConfig
from distcnn.config.survey.spectrum_layout import Place
from distcnn.errors import GridMismatch
from distcnn.ingest.preprocess.statements import Statements
from distcnn.ingest.readers.base import Block, ReadRequest, Rejected, RowProblem, member_of
from distcnn.ingest.readers.formats.containers import tell_unread
from distcnn.ingest.readers.layouts.joining import ArmSpectra, JoinedSpectra, join
from distcnn.ingest.readers.layouts.pixels import ArmMeaning
from distcnn.ingest.readers.layouts.quantities import (
    ArmReader,
    Images,
    PixelRows,
    TableCells,
    arm_reader,
)
from distcnn.ingest.readers.layouts.spectrum_file import SpectrumFile
from distcnn.ingest.readers.layouts.star_values import StarValues, first_that_is_there
from distcnn.ingest.readers.values.scalars import identify, reject, star_columns
from distcnn.schema import Reason

_ROWS_LOOKED_AT = 64
_Joined = tuple[list[JoinedSpectra | None], dict[int, RowProblem]]


@dataclass(frozen=True)
class _Arm:
    rank: int
    name: Place | None
    reader: ArmReader
    meaning: ArmMeaning


class DescribedSpectra:
    """Spectra of files that are open: one, or one for each arm.

    Parameters
    ----------
    files : arm -> its file; the key is None where all arms are in one file.

    Raises
    ------
    InputError : a file is laid out otherwise, or does not say what has to be known.
    """

    def __init__(
        self,
        files: Mapping[Place | None, SpectrumFile],
        layout: SpectrumLayoutConfig,
        request: ReadRequest,
    ) -> None:
        self.files, self.layout, self.request = files, layout, request
        self.file = next(iter(files.values()))
        found = (self._section(hdu) for hdu in layout.hdus)
        self.sections = [section for section in found if section is not None]
        if not self.sections:
            wanted = " or ".join(repr(hdu) for hdu in layout.hdus if hdu is not None)
            named = f"HDU {wanted}" if wanted else f"image HDU {layout.flux!r}"
            raise self.file.missing(f"{named} with spectra", "hdu" if wanted else "flux")

    def _section(self, hdu: Place | None) -> "_Section | None":
        arms = list(self._arms(hdu))
        if not arms:
            return None
        least = self.layout.minimum_arms or max(len(self.layout.arms), 1)
        if any(file.damage for file in self.files.values()):
            least = max(len(self.layout.arms), least)  # the others may be what was lost
        there = {arm.name for arm in arms}
        lacking = [f"arm {arm}" for arm in self.layout.arms if arm not in there]
        if len(arms) < least:
            raise self.file.missing(
                f"{' and '.join(lacking) or 'other file of the star'}; {len(arms)} of "
                f"{len(self.layout.arms) or least} arms are there",
                "minimum_arms",
            )
        if lacking:
            where = f"{Path(self.file.name).name}: {', '.join(lacking)}"
            cure = "their pixels are missing; set minimum_arms of the layout to refuse such files"
            tell_unread("files without an arm", where, cure)
        return _Section(self.file, arms, self.layout)

    def _arms(self, hdu: Place | None) -> Iterator[_Arm]:
        request = self.request
        for rank, (name, file) in enumerate(self._files_of_arms()):
            reader = arm_reader(file, self.layout, hdu, name) if file is not None else None
            if reader is not None:
                meaning = ArmMeaning(reader, self.layout, request.grid, request.override)
                yield _Arm(rank, name, reader, meaning)

    def _files_of_arms(self) -> list[tuple[Place | None, SpectrumFile | None]]:
        if self.layout.join_files:
            return list(self.files.items())
        if self.layout.arm_files:
            return [(name, self.files.get(name)) for name in self.layout.arms]
        return [(name, self.file) for name in self.layout.arms or (None,)]

    @property
    def count(self) -> int:
        """Spectra of all HDUs."""
        return sum(section.count for section in self.sections)

    @property
    def statements(self) -> Statements:
        """What the file says of its first arm; what is overridden of any."""
        stated = [arm.meaning.stated for section in self.sections for arm in section.arms]
        overridden = dict.fromkeys(name for one in stated for name in one.overridden)
        return replace(stated[0], overridden=tuple(overridden))

    @property
    def have_own_grids(self) -> bool:
        """Whether every spectrum has wavelengths of its own, in one file."""
        return self.count > 1 and any(section.brings_wavelengths for section in self.sections)

    def wavelength(self) -> Array:
        """Wavelengths [P], which increase, of the first spectrum that has any.

        Raises
        ------
        GridMismatch : no spectrum has wavelengths in order.
        """
        problem: RowProblem | None = None
        for section in self.sections:
            for start in range(0, section.count, _ROWS_LOOKED_AT):
                stop = min(start + _ROWS_LOOKED_AT, section.count)
                spectra, problems = section.spectra(start, stop)
                for joined in spectra:
                    if joined is not None:
                        return joined.wavelength
                problem = problem or next(iter(problems.values()), None)
        raise GridMismatch(
            f"{self.file.name}: no spectrum has wavelengths in order "
            f"({problem.detail if problem else 'there is none'})",
            expected="wavelengths that increase or decrease in every arm",
            cure="Correct wavelength, spacing or overlap of ingest.spectra.layout.",
        )

    def blocks(self, rows: int, ids: Array | None) -> Iterator[Block]:
        """Blocks of the spectra that the layout keeps."""
        first, left_out = 1, 0
        unread: tuple[Rejected, ...] = tuple(self.file.rejected)
        for section in self.sections:
            for start in range(0, section.count, rows):
                stop = min(start + rows, section.count)
                block, dropped = section.block(start, stop, first, self.have_own_grids)
                left_out += dropped
                keep = member_of(block.columns["source_id"], ids)
                yield block.take(keep, (*unread, *block.rejected))
                unread = ()
            first += section.count
        if left_out:
            where = f"{Path(self.file.name).name}: {left_out} of {self.count}"
            cure = "correct 'keep' if they are stars"
            tell_unread("files with spectra that layout.keep leaves out", where, cure)


class _Section:
    """The spectra of one HDU, or of one set of arms."""

    def __init__(
        self, file: SpectrumFile, arms: Sequence[_Arm], layout: SpectrumLayoutConfig
    ) -> None:
        self.file, self.arms, self.layout = file, arms, layout
        self.count = arms[0].reader.count
        for arm in arms:
            if arm.reader.count != self.count:
                raise file.unfit(
                    f"arm {arm.name} has {arm.reader.count} spectra, {arms[0].name} {self.count}"
                )
        first = arms[0].reader
        table = first.table if isinstance(first, (TableCells, PixelRows)) else None
        edges = first.edges if isinstance(first, PixelRows) else None
        self.values = StarValues(file, table, self.count, edges, first.facts.header)
        self.identifier = first_that_is_there(self.values, layout.id)
        self._last: tuple[tuple[int, int], _Joined] | None = None

    @property
    def brings_wavelengths(self) -> bool:
        """Whether wavelengths stand beside the flux of every spectrum."""
        for arm in self.arms:
            if isinstance(arm.reader, Images):
                if arm.reader.have_own_wavelengths:
                    return True
            elif "wavelength" in arm.reader.columns:
                return True
        return False

    def block(self, start: int, stop: int, first: int, own: bool) -> tuple[Block, int]:
        """Spectra [start, stop), and how many of them are not kept.

        ``first`` is the row number of the first of the section; with ``own`` every spectrum
        comes with its wavelengths.
        """
        numbers = np.arange(first + start, first + stop)
        kept = self.values.kept(self.layout.keep, start, stop)
        column = self.values.read(self.identifier, start, stop)[kept]
        stars, rejected = identify(column, numbers[kept], self.file.name, True)
        columns = star_columns(stars)
        for name, places in self.layout.values.items():
            columns[name] = self._numbers(name, places, start, stop)[kept]
        spectra, problems = self.spectra(start, stop)
        chosen = np.flatnonzero(kept)
        bad = {n: problems[row] for n, row in enumerate(chosen.tolist()) if row in problems}
        reject(columns["source_id"], bad, numbers[kept], self.file.name, rejected)
        columns |= _stacked([spectra[row] for row in chosen], own)
        good = columns["source_id"] > 0
        block = Block(numbers[kept], columns).take(good, tuple(rejected))
        return block, int((~kept).sum())

    def _numbers(
        self, name: str, places: Sequence[ValuePlaceConfig], start: int, stop: int
    ) -> Array:
        """Values [n] of the first place that the file has; NaN, and told, if it has none."""
        for place in places:
            if self.values.has(place):
                return self.values.numbers(place, start, stop)
        where = f"{Path(self.file.name).name}: {name} ({', '.join(map(str, places))})"
        tell_unread("values that files do not have", where, "correct 'values' of the layout if so")
        return np.full(stop - start, np.nan)

    def spectra(self, start: int, stop: int) -> _Joined:
        """Joined spectra [start, stop), None with a problem; several may share arrays.

        The last ones are kept, for a file of one spectrum is asked for its grid and then for it.
        """
        if self._last is None or self._last[0] != (start, stop):
            self._last = None  # two blocks would take twice the memory
            self._last = (start, stop), self._read_spectra(start, stop)
        return self._last[1]

    def _read_spectra(self, start: int, stop: int) -> _Joined:
        problems: dict[int, RowProblem] = {}
        arms: list[tuple[int, Array, Array, Array | None]] = []
        for arm in self.arms:
            read = arm.reader.read(start, stop)
            problems |= read.problems
            wavelength = arm.meaning.wavelengths(read.arrays)
            arms.append((arm.rank, wavelength, *arm.meaning.fluxes(read.arrays)))
        out: list[JoinedSpectra | None] = [None] * (stop - start)
        for rows in _rows_of_one_grid([wavelength for _, wavelength, _, _ in arms], stop - start):
            good = [row for row in rows if row not in problems]
            if not good:
                continue
            try:
                joined = self._joined(arms, good)
            except RowProblem as problem:
                problems |= dict.fromkeys(good, problem)
                continue
            for place, row in enumerate(good):
                error = None if joined.error is None else joined.error[place : place + 1]
                flux = joined.flux[place : place + 1]
                out[row] = JoinedSpectra(joined.wavelength, flux, error)
        return out, problems

    def _joined(
        self, arms: Sequence[tuple[int, Array, Array, Array | None]], rows: Sequence[int]
    ) -> JoinedSpectra:
        parts = []
        for rank, wavelength, flux, error in arms:
            grid = wavelength if wavelength.ndim == 1 else wavelength[rows[0]]
            if np.isfinite(grid).any():
                some = None if error is None else error[rows]
                parts.append(ArmSpectra(rank, grid, flux[rows], some))
        if len(parts) < (self.layout.minimum_arms or len(arms)):
            raise RowProblem(Reason.GRID, "an arm has no wavelengths (layout.minimum_arms)")
        return join(parts, self.layout.overlap)


def _rows_of_one_grid(wavelengths: Sequence[Array], count: int) -> list[list[int]]:
    """Rows whose wavelengths are the same in every arm."""
    own = [wavelength for wavelength in wavelengths if wavelength.ndim > 1]
    if not own:
        return [list(range(count))]
    groups: dict[bytes, list[int]] = {}
    for row in range(count):
        key = b"".join(np.ascontiguousarray(wavelength[row]).tobytes() for wavelength in own)
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def _stacked(spectra: Sequence[JoinedSpectra | None], own: bool) -> dict[str, Array]:
    """Columns flux, flux_error and, with ``own``, wavelength, NaN behind shorter spectra."""
    known = [one for one in spectra if one is not None]
    size = max((len(one.wavelength) for one in known), default=1)
    with_error = any(one.error is not None for one in known)
    flux = np.full((len(spectra), size), np.nan, np.float32)
    error, wavelength = np.full_like(flux, np.nan), np.full(flux.shape, np.nan)
    for row, one in enumerate(spectra):
        if one is not None:
            here = slice(len(one.wavelength))
            flux[row, here], wavelength[row, here] = one.flux[0], one.wavelength
            if one.error is not None:
                error[row, here] = one.error[0]
    columns = {"flux": flux}
    columns |= {"flux_error": error} if with_error else {}
    return columns | ({"wavelength": wavelength} if own else {})
