"""Images of FITS files, a few rows at a time: every BITPIX with its scale and nulls."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from distcnn.arrays import Array
from distcnn.ingest.readers.formats.fits.headers import FitsHdu
from distcnn.ingest.readers.formats.fits.table import FitsColumn

_CODES = {8: "B", 16: "I", 32: "J", 64: "K", -32: "E", -64: "D"}
"""TFORM of a table whose cells would have the pixels of that BITPIX."""


@dataclass(frozen=True)
class FitsImage:
    """An image: its pixels row by row, and its header with that of the primary HDU."""

    name: str
    header: dict[str, Any]
    rows: int
    """Rows, of all planes; 1 of an image of one axis."""
    pixels: int
    """Pixels of a row."""
    _read: Callable[[int, int], Array]

    def read(self, start: int, stop: int) -> Array:
        """Rows [start, stop) as an array [n, pixels], integers masked where BLANK.

        Raises
        ------
        ValueError : the file ends before them.
        """
        return self._read(start, stop).reshape(stop - start, self.pixels)


def fits_image(
    name: str,
    hdu: FitsHdu,
    header: dict[str, Any],
    size: int,
    opener: Callable[[], AbstractContextManager[IO[bytes]]],
) -> FitsImage:
    """The image of an HDU of a file of ``size`` bytes in all; ``header``: its keywords.

    Raises
    ------
    ValueError : the HDU has no image, or the file is shorter than announced.
    """
    shape = hdu.shape
    if not shape or 0 in shape:
        raise ValueError("it has no image")
    rows, pixels = int(np.prod(shape[:-1], dtype=int)), int(shape[-1])
    if hdu.kind == "packed image":
        packed = hdu.astropy
        return FitsImage(name, header, rows, pixels, lambda a, b: _unpacked(packed, pixels)[a:b])
    own = hdu.cards  # of the primary HDU's keywords none describes these bytes
    code = _CODES[int(own["BITPIX"])]
    row_bytes = pixels * abs(int(own["BITPIX"])) // 8
    start = hdu.data_start
    if size < start + rows * row_bytes:
        raise ValueError(
            f"it has {size} bytes, its header announces {start + rows * row_bytes}; it is truncated"
        )
    scale, zero = float(own.get("BSCALE", 1)), float(own.get("BZERO", 0))
    null = own.get("BLANK") if code in "BIJK" else None
    column = FitsColumn(name, code, pixels, 0, row_bytes, null, scale, zero)

    def read(first: int, last: int) -> Array:
        with opener() as stream:
            stream.seek(start + first * row_bytes)
            content = stream.read((last - first) * row_bytes)
        held = np.frombuffer(content, np.uint8).reshape(last - first, row_bytes)
        return column.decode(held, _no_heap)

    return FitsImage(name, header, rows, pixels, read)


def _no_heap(start: int, length: int) -> bytes:
    raise ValueError("an image has no heap")


def _unpacked(hdu: Any, pixels: int) -> Array:
    """All pixels of an image packed in tiles, which are unpacked together."""
    return np.asarray(hdu.data).reshape(-1, pixels)
