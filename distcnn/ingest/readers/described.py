"""Any file of spectra by description: ``ingest.spectra.layout`` says how it is laid out.

Tables of one row per star or per pixel, arrays of one row, images of any kind, in one file or one
for each arm; ``conf/surveys`` holds the descriptions of surveys.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from distcnn.arrays import Array
from distcnn.config import FilesConfig, SpectraFilesConfig, SpectrumLayoutConfig
from distcnn.config.survey.spectrum_layout import Place
from distcnn.errors import ConfigError
from distcnn.ingest.preprocess.statements import Statements
from distcnn.ingest.readers.base import Block, ReadRequest, broken, member_of
from distcnn.ingest.readers.formats.containers import (
    TableSource,
    blocks_of_each,
    of_first,
    table_sources,
)
from distcnn.ingest.readers.layouts.arm_files import FilesOfArms
from distcnn.ingest.readers.layouts.described_spectra import DescribedSpectra
from distcnn.ingest.readers.layouts.spectrum_file import SpectrumFile, opened


@dataclass(frozen=True)
class _Look:
    """What a look at a file told; kept, for it is asked for its grid and statements in turn."""

    stated: Statements
    wavelength: Array
    block: Block | None
    """Of a file of one spectrum, which need not be opened again for it."""


class Described:
    """Reader ``described``."""

    def __init__(self, files: FilesConfig, request: ReadRequest) -> None:
        if not isinstance(files, SpectraFilesConfig) or files.layout is None:
            raise ConfigError(
                "ingest.spectra.reader = 'described' without a layout",
                expected="ingest.spectra.layout, which describes the files",
                cure="Begin with the configuration of a survey in conf/surveys, or with what "
                "'distcnn conf --guess FILE' writes.",
            )
        if files.hdu != FilesConfig.model_fields["hdu"].default:
            raise ConfigError(
                f"ingest.spectra.hdu = {files.hdu!r} with the reader described",
                expected="it in ingest.spectra.layout.hdu",
            )
        self.files, self.request = files, request
        self.layout: SpectrumLayoutConfig = files.layout
        self.arms = FilesOfArms(files, files.layout)
        self._last: tuple[tuple[str, int, int], _Look] | None = None

    def _sources(self, path: Path) -> Iterator[TableSource]:
        return table_sources(path, files=self.files)

    @contextmanager
    def _opened(self, source: TableSource) -> Iterator[DescribedSpectra]:
        texts = [place.column for place in self.layout.id if place.column is not None]
        names = self.layout.text_columns
        with ExitStack() as stack:
            files: dict[Place | None, SpectrumFile] = {}
            for arm, one in self.arms.of(source).items():
                files[arm] = stack.enter_context(opened(one, texts, names))
            yield DescribedSpectra(files, self.layout, self.request)

    def blocks(self, path: Path, *, rows: int, ids: Array | None = None) -> Iterator[Block]:
        """Blocks of the spectra; of files of one arm each, the star comes with the first."""
        look = self._last[1] if self._last is not None and self._last[0] == _key(path) else None
        if look is not None and look.block is not None:
            one = look.block
            return iter([one.take(member_of(one.columns["source_id"], ids), one.rejected)])
        return blocks_of_each(self._sources(path), lambda source: self._blocks(source, rows, ids))

    def _blocks(self, source: TableSource, rows: int, ids: Array | None) -> Iterator[Block]:
        if not self._stands_for_star(source):
            return
        with self._opened(source) as spectra:
            yield from spectra.blocks(rows, ids)

    def _stands_for_star(self, source: TableSource) -> bool:
        """Whether a file is that of the star's first arm, with which the star comes."""
        return next(iter(self.arms.of(source).values())).path == source.path

    def wavelength(self, path: Path) -> Array:
        """Wavelengths of the file's first spectrum, its arms joined; they increase."""
        return self._look(path).wavelength

    def statements(self, path: Path) -> Statements:
        """Units, medium, frame and kind of error that the file states, or the layout."""
        return self._look(path).stated

    def _look(self, path: Path) -> _Look:
        if self.layout.arm_files or self.layout.join_files:
            # Arms are asked for one after the other, and all are answered by one look.
            source = next(self._sources(path))
            path = next(iter(self.arms.of(source).values())).path
        key = _key(path)
        if self._last is None or self._last[0] != key:
            self._last = key, of_first(self._sources(path), self._look_at)
        return self._last[1]

    def _look_at(self, source: TableSource) -> _Look:
        with self._opened(source) as spectra:
            wavelength, block = spectra.wavelength(), None
            if spectra.count == 1 and not source.is_member and self._stands_for_star(source):
                block = next(spectra.blocks(1, None))
            return _Look(spectra.statements, wavelength, block)


def _key(path: Path) -> tuple[str, int, int]:
    """What tells whether a file is still the same.

    Raises
    ------
    FileBroken : it cannot be looked at.
    """
    try:
        about = path.stat()
    except OSError as error:
        raise broken(
            path,
            f"the file cannot be read ({error.strerror})",
            cure="Check that it is there, and that it may be read.",
        ) from None
    return str(path), about.st_mtime_ns, about.st_size
