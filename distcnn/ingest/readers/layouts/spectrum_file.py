"""An open file of spectra: its tables and images by HDU, and its headers, in every format."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import IO, Any

import numpy as np

from distcnn.arrays import Array
from distcnn.config.survey.spectrum_layout import Place
from distcnn.errors import ColumnMissing, FileBroken, InputError
from distcnn.ingest.readers.base import Rejected, broken
from distcnn.ingest.readers.formats.binary import open_table
from distcnn.ingest.readers.formats.binary_table import BinaryTable, unreadable
from distcnn.ingest.readers.formats.containers import TableSource, sought
from distcnn.ingest.readers.formats.fits.extensions import content_of, table_of_hdu, tell_damage
from distcnn.ingest.readers.formats.fits.headers import FitsHdu, open_hdus, place_of
from distcnn.ingest.readers.formats.fits.images import FitsImage, fits_image
from distcnn.ingest.readers.formats.text.arrays import ArrayText

_MAX_TEXT_ROWS = 1 << 24
_MAX_TEXT_BYTES = 1 << 30
SHOWN_HDUS = 20
"""As many HDUs, or columns, are named where one is not found."""


@dataclass
class SpectrumFile:
    """A file while it is open. HDUs that are not there, or are empty, are None."""

    source: TableSource
    hdus: Sequence[FitsHdu] | None = None
    """Those of a FITS file."""
    stream: IO[bytes] | None = None
    texts: Sequence[str] = ()
    """Columns of text tables that are kept as texts."""
    rejected: list[Rejected] = field(default_factory=list)
    """Rows of text tables that cannot be read."""
    damage: str = ""
    """What is wrong with a FITS file behind the HDUs that are known."""
    _tables: dict[Place | None, BinaryTable] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Path, with that of a member of a zip archive."""
        return self.source.name

    def table(self, hdu: Place | None) -> BinaryTable | None:
        """The table ``hdu``; of None the only one, or the first.

        Raises
        ------
        FileBroken : it cannot be read, or is no table.
        """
        if hdu not in self._tables:
            table = self._open_table(hdu)
            if table is None:
                return None
            self._tables[hdu] = table
        return self._tables[hdu]

    def _open_table(self, hdu: Place | None) -> BinaryTable | None:
        if self.hdus is None:
            if self.source.format == "text":
                text = _text_table(self)
                return text if text.length else None
            return open_table(self.source, 1 if hdu is None else hdu)
        number = self._only_table() if hdu is None else self.number_of(hdu)
        if number is None:
            return None
        if not self.hdus[number].is_table:
            if not self.hdus[number].shape:
                return None  # as LAMOST writes an arm that was not combined
            raise self.unfit(f"HDU {hdu!r} is an image, no table of spectra")
        assert self.stream is not None
        with self._reading():
            table = table_of_hdu(
                self.name, self.hdus, number, self.source, self.stream, stays_open=True
            )
        return table if table.length else None

    def _only_table(self) -> int | None:
        numbers = [n for n, hdu in enumerate(self.hdus or ()) if hdu.is_table]
        if len(numbers) > 1 and 1 not in numbers:
            raise self.unfit("which of its tables holds the spectra is not said")
        return None if not numbers else numbers[0]

    def image(self, hdu: Place) -> FitsImage | None:
        """The image ``hdu``.

        Raises
        ------
        FileBroken : it cannot be read, or is no image.
        """
        if self.hdus is None:
            raise self.unfit(f"it is {self.source.format}, which has no images")
        number = self.number_of(hdu)
        if number is None:
            return None
        one = self.hdus[number]
        if one.is_table:
            raise self.unfit(f"HDU {hdu!r} is a table, no image")
        if not one.shape or 0 in one.shape:
            return None
        assert self.stream is not None
        with self._reading():
            content = content_of(self.source, self.stream, plain_file=False)
            return fits_image(self.name, one, self._keywords(number), *content)

    def header(self, hdu: Place | None) -> dict[str, Any]:
        """Keywords of an HDU, with those of the primary one; of None of that alone."""
        if self.hdus is None:
            table = self.table(None)
            return dict(table.header) if table is not None else {}
        number = 0 if hdu is None else self.number_of(hdu)
        if number is None:
            return {}
        return self._keywords(number)

    def _keywords(self, number: int) -> dict[str, Any]:
        assert self.hdus is not None
        return self.hdus[0].cards | self.hdus[number].cards

    def number_of(self, hdu: Place) -> int | None:
        """The number of an HDU; None if there is none of that number or name."""
        return place_of(self.hdus or (), hdu)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # bad bytes make libraries raise errors of every kind
            raise unreadable(self.name, " as fits", error) from None

    def missing(self, what: str, setting: str) -> InputError:
        """The error for an HDU or column that a layout names and the file lacks."""
        if self.damage:
            return broken(self.name, f"there is no {what}, and {self.damage}")
        return ColumnMissing(
            f"{self.name}: there is no {what}",
            expected=f"it, as ingest.spectra.layout.{setting} says",
            cure=f"{self.contents()}Correct 'layout', or leave the file out by 'files'.",
        )

    def unfit(self, problem: str) -> FileBroken:
        """The error for a sound file that is laid out otherwise than the layout says."""
        return FileBroken(
            f"{self.name}: {problem}",
            cure=f"{self.contents()}Set 'layout' (shape, hdu) of ingest.spectra to what it is.",
        )

    def contents(self) -> str:
        """``It holds HDU 0 (no name, empty), 1 (COADD, table of 9 rows: flux, ivar).``"""
        if self.hdus is None:
            columns = [column for table in self._tables.values() for column in table.columns]
            more = ", ..." if len(columns) > SHOWN_HDUS else ""
            return f"It holds columns {', '.join(columns[:SHOWN_HDUS])}{more}. " if columns else ""
        words = [f"{n} ({_described(hdu)})" for n, hdu in enumerate(self.hdus)]
        more = ", ..." if len(words) > SHOWN_HDUS else ""
        return f"It holds HDU {', '.join(words[:SHOWN_HDUS])}{more}. "


def _described(hdu: FitsHdu) -> str:
    name = hdu.name.strip() or "no name"
    header = hdu.cards
    if hdu.is_table:
        columns = [str(header.get(f"TTYPE{n}", "")) for n in range(1, 7)]
        shown = ", ".join(column for column in columns if column)
        return f"{name}, table of {header.get('NAXIS2')} rows: {shown}"
    if not hdu.shape:
        return f"{name}, empty"
    return f"{name}, image of {' x '.join(map(str, hdu.shape))}"


@contextmanager
def opened(
    source: TableSource, texts: Sequence[str] = (), columns: Sequence[str] = ()
) -> Iterator[SpectrumFile]:
    """A file of spectra, open while the block runs.

    Parameters
    ----------
    texts : columns of a text table that are kept as texts.
    columns : names of the columns of a text table whose first line has none.

    Raises
    ------
    FileBroken : it cannot be read as what its name or its first bytes say.
    """
    if source.format != "fits":
        named = _with_names(source, columns) if columns and source.format == "text" else source
        yield SpectrumFile(named, texts=texts)
        return
    stream = sought(source)
    # What was unpacked stays open, for its tables and images are read from it.
    with stream if source.is_plain else nullcontext(stream):
        hdus, damage = _hdus(source.name, stream)
        yield SpectrumFile(source, hdus, stream, damage=damage)


def _hdus(name: str, stream: IO[bytes]) -> tuple[list[FitsHdu], str]:
    try:
        hdus, damage = open_hdus(stream)
        if not hdus:
            raise ValueError(damage or "it holds nothing")
    except Exception as error:  # bad bytes make libraries raise errors of every kind
        raise unreadable(name, " as fits", error) from None
    if damage:
        tell_damage(name, damage)
    return hdus, damage


def _with_names(source: TableSource, columns: Sequence[str]) -> TableSource:
    """A text table with a first line of names before what it has."""

    def open_named() -> IO[bytes]:
        with source.open() as stream:
            content = stream.read(_MAX_TEXT_BYTES)
        first = next((line for line in content.splitlines() if not line.startswith(b"#")), b"")
        sign = source.delimiter if len(source.delimiter) == 1 else "," if b"," in first else " "
        return io.BytesIO(sign.join(columns).encode() + b"\n" + content)

    return replace(source, open=open_named)


def _text_table(file: SpectrumFile) -> BinaryTable:
    """A text table, which is read whole."""
    text = file.source.text()
    with text.stream:
        table = ArrayText(text, [column for column in text.columns if column in file.texts])
        columns: dict[str, Array] = {}
        for _, found in table.blocks(_MAX_TEXT_ROWS, table.columns):
            columns = found
        file.rejected += table.take_rejected()
        facts = table.facts
    length = len(next(iter(columns.values()))) if columns else 0

    def read(start: int, stop: int, names: Sequence[str]) -> dict[str, Array]:
        return {name: np.asarray(columns[name])[start:stop] for name in names}

    return BinaryTable(
        file.name, list(columns), dict(facts.header), length, read, dict(facts.units),
        dict(facts.ucds),
    )  # fmt: skip
