"""Which files belong together, by their names, and whether one is the same as before."""

import re
from collections.abc import Sequence
from pathlib import Path

from distcnn import hashing
from distcnn.ingest.selection import with_small_ending

_RANGE = re.compile(r"[A-Z][A-Za-z]+_(\d{6})-(\d{6})\.csv(?:\.gz)?")
_HEALPIX_CELLS = 12 * 4**8
"""Cells of HEALPix level 8, by which the Gaia archive cuts its tables into files."""
_SAMPLE_BYTES = 1 << 16


def healpix_range(path: Path) -> tuple[int, int] | None:
    """HEALPix range in the name of a file of the Gaia archive; None for every other name.

    Names are ``TABLE_aaaaaa-bbbbbb.csv.gz`` with cells of level 8 (``GaiaSource_000000-003111``).
    Anything else that looks like a range may be dates, plates or rows, which say nothing of
    where a star lies.
    """
    match = _RANGE.fullmatch(with_small_ending(path.name))
    if match is None:
        return None
    first, last = int(match.group(1)), int(match.group(2))
    return (first, last) if first <= last < _HEALPIX_CELLS else None


def overlapping_files(path: Path, candidates: Sequence[Path]) -> list[Path]:
    """The files that can hold the stars of ``path``: by HEALPix range, else all of them."""
    own = healpix_range(path)
    if own is None:
        return list(candidates)
    chosen = []
    for candidate in candidates:
        other = healpix_range(candidate)
        if other is None or (other[0] <= own[1] and own[0] <= other[1]):
            chosen.append(candidate)
    return chosen


def content_hash(path: Path) -> str:
    """A name for a file's content: digest of its size and of its first, middle and last 64 KiB.

    The end of a gzip file holds checksum and length of all that is in it. Files up to 192 KiB
    are taken whole. Of a file that cannot be read it says so: its reader has the error.
    """
    parts = []
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            middle = max(0, size // 2 - _SAMPLE_BYTES // 2)
            for place in (0, middle, max(0, size - _SAMPLE_BYTES)):
                stream.seek(place)
                parts.append(hashing.of_bytes(stream.read(_SAMPLE_BYTES)))
    except OSError as error:
        return f"unreadable: {error.strerror}"
    return hashing.of_value([size, parts])
