"""The tables that a file holds: the file itself, or the members of a zip archive.

A zip archive of DataLink holds one member per product and star, or one per product. Which of them
a reader takes is decided here; whatever it does not take is told (``collecting_notes``).
"""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import IO, TypeVar

from distcnn.config import FilesConfig
from distcnn.errors import ColumnMissing, FileBroken, InputError
from distcnn.ingest.readers.base import Block, Rejected, broken
from distcnn.ingest.readers.formats.kinds import (
    BEGINNING_BYTES,
    format_of,
    format_of_name,
    unknown_format,
)
from distcnn.ingest.readers.formats.packing import (
    UNPACKING_ERRORS,
    cannot_unpack,
    is_packed,
    open_bytes,
    spooled,
    unpacked_inside,
)
from distcnn.ingest.readers.formats.text.table import TextTable
from distcnn.ingest.selection import is_called, is_left_over, listed
from distcnn.schema import Reason

_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_OTHER_PRODUCTS = ("RVS", "XP_", "MCMC", "EPOCH", "CROWDED")
"""Beginnings of the names of DataLink's products, which stand in the names of its members."""
Answer = TypeVar("Answer")


# --- what was not read -------------------------------------------------------------------------


@dataclass(frozen=True)
class Unread:
    """Something that was seen and not read: ``what`` it is, ``where``, and how to have it read."""

    what: str
    where: str
    cure: str
    is_fault: bool = False
    """Whether something is wrong with the file."""


@dataclass
class ReadingNotes:
    """What readers met in files besides rows: things left unread, members of no use."""

    unread: list[Unread] = field(default_factory=list)
    read: set[str] = field(default_factory=set)
    """``where`` of what stands beside unread things and was read: another kind may leave it."""
    unusable: list[Rejected] = field(default_factory=list)


_notes: ContextVar[ReadingNotes | None] = ContextVar("reading_notes", default=None)


@contextmanager
def collecting_notes() -> Iterator[ReadingNotes]:
    """Gather what the readers that are at work inside have to tell."""
    notes = ReadingNotes()
    token = _notes.set(notes)
    try:
        yield notes
    finally:
        _notes.reset(token)


def tell_unread(what: str, where: str, cure: str, *, is_fault: bool = False) -> None:
    """Note something that is left unread; once, however often the file is opened."""
    notes, note = _notes.get(), Unread(what, where, cure, is_fault)
    if notes is not None and note not in notes.unread:
        notes.unread.append(note)


def tell_read(where: str) -> None:
    """Note that something was read which another kind of file may leave unread."""
    notes = _notes.get()
    if notes is not None:
        notes.read.add(where)


# --- tables ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TableSource:
    """A table of a file: the file itself, or a member of a zip archive.

    ``name`` is the path, with the member's after a colon.
    """

    path: Path
    name: str
    open: Callable[[], IO[bytes]]
    is_member: bool = False
    delimiter: str = ""
    """Of a text table; empty: its header shows it."""
    decimal: str = "."
    """Of a text table: the point or comma before the fraction of a number."""

    @cached_property
    def format(self) -> str:
        """One of text, aligned, fits, votable, parquet, hdf5, by its first bytes and its name.

        Raises
        ------
        FileBroken : it is of no known format, empty, or cannot be opened.
        """
        if self.is_member:  # unpacking it twice would take long
            kind = format_of_name(self.name)
            if kind is None:
                raise unknown_format(self.name)
            return kind
        try:
            with self.open() as stream:
                return format_of(stream.read(BEGINNING_BYTES), self.name)
        except UNPACKING_ERRORS as error:
            raise cannot_unpack(self.name, error, 1) from None

    @cached_property
    def is_plain(self) -> bool:
        """Whether the table is the file itself as it lies on disk, not packed in any way."""
        if self.is_member:
            return False
        return not is_packed(self.path)

    def text(self) -> TextTable:
        """The file or member as a text table."""
        stream = self.open()
        try:
            return TextTable(Path(self.name), stream, self.delimiter, self.decimal)
        except BaseException:
            stream.close()
            raise


def is_zip(path: Path) -> bool:
    """Whether a file is a zip archive, by its name or by its first bytes."""
    if path.suffix.lower() == ".zip":
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(4) in _ZIP_MAGIC
    except OSError:
        return False


def table_sources(
    path: Path, product: str = "", files: FilesConfig | None = None
) -> Iterator[TableSource]:
    """The tables in a file: itself, or members of a zip archive in the order of their names.

    Parameters
    ----------
    product : DataLink product whose members are taken if there are any; members of other
        products are not.
    files : settings of this kind of file: ``members``, patterns of names that choose instead
        (``*RVS*``), and ``delimiter`` and ``decimal`` of text tables.

    Raises
    ------
    FileBroken : the zip archive is damaged, or has no such member.
    """
    text = (files.delimiter, files.decimal) if files else ("", ".")
    if not is_zip(path):
        yield TableSource(path, str(path), lambda: open_bytes(path), False, *text)
        return
    members = files.member_patterns if files else ()
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise broken(path, f"the zip archive cannot be read ({error})") from None
    with archive:
        for info in _chosen_members(path, archive, product, members):
            opener = partial(_open_member, path, archive, info)
            yield TableSource(path, f"{path}:{info.filename}", opener, True, *text)


def formats_of(path: Path) -> set[str]:
    """Formats of the tables in a file; ``unknown`` where it cannot be told."""
    try:
        if is_zip(path):
            with zipfile.ZipFile(path) as archive:
                return {format_of_name(name) or "unknown" for name in archive.namelist()}
        return {next(table_sources(path)).format}
    except (FileBroken, OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return {"unknown"}


def _chosen_members(
    path: Path, archive: zipfile.ZipFile, product: str, members: Sequence[str]
) -> list[zipfile.ZipInfo]:
    files = [info for info in archive.infolist() if not info.is_dir()]
    if any(info.filename.startswith("xl/work") for info in files):
        cure = "Save its sheet as CSV."
        raise broken(path, "it is a workbook of Excel, which is not read", cure=cure)
    last = {info.filename: info for info in files}  # of one name the last, as unzip leaves it
    tables = [name for name in sorted(last) if format_of_name(name) and not is_left_over(name)]
    if members:
        chosen = [n for n in sorted(last) if any(_named(n, pattern) for pattern in members)]
    else:
        chosen = _of_product(tables, product)
    if not chosen:
        wanted = f"is called {' or '.join(members)}" if members else f"is of {product or 'a table'}"
        raise broken(
            path,
            f"no member of the zip archive {wanted}",
            cure=f"It holds {listed(sorted(last)) or 'nothing'}; name others with 'members'.",
        )
    for name in sorted(last.keys() - set(chosen)):
        tell_unread("members of zip archives", f"{path.name}:{name}", "choose with 'members'")
    if len(last) > len(chosen):
        for name in chosen:
            tell_read(f"{path.name}:{name}")
    if len(last) < len(files):
        where = f"{len(files) - len(last)} in {path.name}"
        tell_unread("members of the same name as a later one", where, "rename them")
    return [last[name] for name in chosen]


def _named(name: str, pattern: str) -> bool:
    return is_called(name, pattern) or is_called(PurePosixPath(name).name, pattern)


def _of_product(names: Sequence[str], product: str) -> list[str]:
    """Members of a product; if none is called so, those that belong to no other product."""
    if not product:
        return list(names)
    own = [name for name in names if product in PurePosixPath(name).name.upper()]
    others = [p for p in _OTHER_PRODUCTS if not product.startswith(p)]
    neutral = [n for n in names if not any(p in PurePosixPath(n).name.upper() for p in others)]
    beside = [n for n in neutral if not product.startswith("XP_") or "XP_" not in n.upper()]
    return own or beside


def _open_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    """A member unpacked to its end, so that its checksum is compared before a row is taken."""
    name = f"{path}:{info.filename}"
    if info.flag_bits & 1:
        cure = "Unpack it with its password, and ingest the files."
        raise broken(name, "this member of the zip archive is encrypted", cure=cure)
    try:
        with archive.open(info) as packed:
            stream = spooled(packed, name, info.compress_size)
        stream = unpacked_inside(stream, name)
    except FileBroken:
        raise
    except NotImplementedError as error:
        cure = "Unpack it with another program, and ingest the files."
        raise broken(name, f"this member cannot be unpacked here ({error})", cure=cure) from None
    except Exception as error:  # zipfile lets errors of every library for unpacking through
        raise broken(name, f"this member of the zip archive is damaged ({error})") from None
    if stream.read(1):
        stream.seek(0)
        return stream
    stream.close()
    raise broken(name, "this member of the zip archive is empty (0 bytes)", row=0)


def sought(table_source: TableSource) -> IO[bytes]:
    """A table as a stream that can be sought in; if it is packed, unpacked to its end."""
    stream = table_source.open()
    if table_source.is_member or table_source.is_plain:
        return stream
    with stream:
        return spooled(stream, table_source.name, table_source.path.stat().st_size)


def blocks_of_each(
    table_sources: Iterator[TableSource], read: Callable[[TableSource], Iterator[Block]]
) -> Iterator[Block]:
    """Blocks of every table of a file; a member of no use is noted, and the others are read.

    Raises
    ------
    InputError : no member can be used, or one breaks off after rows of it were given, or nobody
        gathers the notes (``collecting_notes``).
    """
    notes, first, good, failed = _notes.get(), None, 0, 0
    for source in table_sources:
        begun = False
        try:
            for block in read(source):
                begun = True
                yield block
            good += 1
        except (FileBroken, ColumnMissing) as error:
            if begun or not source.is_member or notes is None:
                raise _with_further_tables(error, source) from None
            first, failed = first or error, failed + 1
            row = Rejected(source.name, 0, 0, Reason.UNUSABLE_FILE, str(error))
            notes.unusable.append(row)
    if first is not None and not good:
        more = f" {failed - 1} more members cannot be used either." if failed > 1 else ""
        cure = f"{first.cure}{more}".strip()
        raise type(first)(first.problem, expected=first.expected, cure=cure)


def _with_further_tables(
    error: FileBroken | ColumnMissing, source: TableSource
) -> FileBroken | ColumnMissing:
    """The error of a column that is missing, naming the tables of the file that are not read."""
    notes, own = _notes.get(), f"{PurePosixPath(source.name).name}: "
    if notes is None or not isinstance(error, ColumnMissing):
        return error
    others = [n.where.removeprefix(own) for n in notes.unread if n.where.startswith(own)]
    if not others:
        return error
    cure = f"{error.cure} The file has further tables ({listed(others)}): choose with 'hdu'."
    return ColumnMissing(error.problem, expected=error.expected, cure=cure)


def of_first(table_sources: Iterator[TableSource], look: Callable[[TableSource], Answer]) -> Answer:
    """What the first table of a file that can be used says.

    Raises
    ------
    InputError : that of the first table, if none can be used.
    """
    first: InputError | None = None
    for source in table_sources:
        try:
            return look(source)
        except InputError as error:
            first = first or error
    assert first is not None, "a file without tables is refused before"
    raise first
