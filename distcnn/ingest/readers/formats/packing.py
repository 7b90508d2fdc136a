"""Packed files: unpacked by their first bytes, whatever they are called, within bounds.

What is unpacked as a whole goes to a temporary file once it is large, never into memory, for a
few KiB can hold GiB.
"""

import bz2
import errno
import io
import lzma
import os
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

import pyarrow as pa
from isal import igzip, isal_zlib

from distcnn.errors import FileBroken
from distcnn.ingest.readers.base import broken

MAGIC_BYTES = 4
"""As many of the first bytes tell how a file is packed."""
PACKED_SUFFIXES = ("gz", "bz2", "xz", "zst", "zstd")
UNPACKING_ERRORS: tuple[type[BaseException], ...] = (
    OSError,
    EOFError,
    zlib.error,
    cast(type[Exception], isal_zlib.error),
    lzma.LZMAError,
    pa.ArrowInvalid,
)
"""What the libraries raise from bytes that cannot be unpacked."""
MAX_LINE_BYTES = 64 << 20
"""Bytes of one line of text; a few KiB of gzip may hold GiB of anything."""
_MAX_IN_MEMORY_BYTES = 64 << 20
_MAX_UNPACKED_BYTES = 1 << 30
_MAX_RATIO = 200
"""How much larger than packed a file may be, beyond ``_MAX_UNPACKED_BYTES``; tables pack to a
tenth, seldom to a hundredth."""
_NOT_UNPACKED = {b"\x1f\x9d": "compress", b"\x04\x22\x4d\x18": "lz4", b"7z\xbc\xaf": "7z"}


Packed = Path | IO[bytes]


def _of_gzip(packed: Packed) -> IO[bytes]:
    if isinstance(packed, Path):
        return cast(IO[bytes], igzip.IGzipFile(packed, "rb"))  # type: ignore[no-untyped-call]
    return cast(IO[bytes], igzip.IGzipFile(fileobj=packed, mode="rb"))  # type: ignore[no-untyped-call]


def _of_bzip2(packed: Packed) -> IO[bytes]:
    return cast(IO[bytes], bz2.BZ2File(packed))


def _of_xz(packed: Packed) -> IO[bytes]:
    return cast(IO[bytes], lzma.LZMAFile(packed))


def _of_zstd(packed: Packed) -> IO[bytes]:
    is_path = isinstance(packed, Path)
    file = pa.OSFile(str(packed)) if is_path else pa.PythonFile(packed, mode="r")
    return io.BufferedReader(pa.CompressedInputStream(file, "zstd"), 1 << 20)


_PACKERS: dict[bytes, Callable[[Packed], IO[bytes]]] = {
    b"\x1f\x8b": _of_gzip,
    b"BZh": _of_bzip2,
    b"\xfd7zX": _of_xz,
    b"\x28\xb5\x2f\xfd": _of_zstd,
}
"""First bytes of a packed file -> how it is unpacked."""


def _unpacker(magic: bytes, name: str | Path) -> Callable[[Packed], IO[bytes]] | None:
    for beginning, how in _PACKERS.items():
        if magic.startswith(beginning):
            return how
    for beginning, program in _NOT_UNPACKED.items():
        if magic.startswith(beginning):
            cure = "Unpack it, or pack it with gzip, bzip2, xz or zstd."
            raise broken(name, f"the file is packed by {program}", cure=cure)
    return None


def open_bytes(path: Path) -> IO[bytes]:
    """A file's bytes, unpacked if they are packed, whatever the name.

    Raises
    ------
    FileBroken : there is no such file, it is empty, or packed in a way that is not known.
    """
    try:
        with path.open("rb") as probe:
            magic = probe.read(MAGIC_BYTES)
        if not magic:
            raise broken(path, "the file is empty (0 bytes)", row=0)
        how = _unpacker(magic, path)
        return path.open("rb") if how is None else how(path)
    except OSError as error:
        cure = "Check that it is there, that it may be read, and the disk."
        raise broken(path, f"the file cannot be opened ({error.strerror})", cure=cure) from None


def cannot_unpack(name: str | Path, error: BaseException | None, row: int | None) -> FileBroken:
    """The error for one of UNPACKING_ERRORS."""
    if isinstance(error, EOFError):
        return broken(name, "the packed stream ends too early; the file is truncated", row=row)
    return broken(name, f"the file cannot be unpacked ({error})", row=row)


def is_packed(path: Path) -> bool:
    """Whether a file is packed, by its first bytes."""
    with path.open("rb") as stream:
        return any(map(stream.read(MAGIC_BYTES).startswith, _PACKERS))


def unpacked_inside(stream: IO[bytes], name: str) -> IO[bytes]:
    """What is packed inside a stream that can be sought in, or that stream itself."""
    magic = stream.read(MAGIC_BYTES)
    stream.seek(0)
    how = _unpacker(magic, name)
    if how is None:
        return stream
    with stream, how(stream) as inner:
        return spooled(inner, name, _size(stream))


def _size(stream: IO[bytes]) -> int:
    place = stream.tell()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(place)
    return size


class _Spooled(tempfile.SpooledTemporaryFile[bytes]):
    """One that closes itself, without a warning, when nothing holds it any more."""

    def __del__(self) -> None:
        self.close()


def spooled(packed: IO[bytes], name: str, packed_bytes: int) -> IO[bytes]:
    """All bytes of a stream, in memory or in a temporary file, which goes with the stream.

    Raises
    ------
    FileBroken : there are far more than a file of ``packed_bytes`` holds, or no room for them.
    """
    limit = max(_MAX_UNPACKED_BYTES, _MAX_RATIO * packed_bytes)
    stream = cast(IO[bytes], _Spooled(_MAX_IN_MEMORY_BYTES))
    try:
        while data := packed.read(1 << 20):
            limit -= len(data)
            if limit < 0:
                raise _too_much(name)
            stream.write(data)
    except OSError as error:
        stream.close()
        if error.errno != errno.ENOSPC:
            raise
        cure = "Set TMPDIR to a folder with more room, or unpack the file."
        raise broken(name, "there is no room to unpack it", cure=cure) from None
    except BaseException:
        stream.close()
        raise
    stream.seek(0)
    return stream


def _too_much(name: str) -> FileBroken:
    return broken(
        name,
        f"it unpacks to more than {_MAX_RATIO} times its size and {_MAX_UNPACKED_BYTES >> 30} "
        "GiB; tables do not",
        cure="Look at it; if it is sound, unpack it yourself and ingest the files.",
    )
