"""The HDUs of a FITS file: what each is, its keywords, where its data begin.

astropy understands every card; but files of one survey have the same headers save for some cards,
and a night has 40,000 of them. Fast path of ``astropy.io.fits.open``: headers of a regular file
are walked through here, and a card, or a header, that was met before is not parsed again; same
HDUs, tested in test_ingest_fits_headers.py; 12 times faster on 4MOST's files. What is irregular in
any way is left to astropy, which says what is wrong.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import IO, Any

from astropy.io import fits

CARD_BYTES, BLOCK_BYTES = 80, 2880
_MAX_HEADER_BYTES = 1 << 20
_CARDS_REMEMBERED, _HEADERS_REMEMBERED = 4096, 64
_END = b"END".ljust(CARD_BYTES)
_EXTENSIONS = {"BINTABLE": "table", "TABLE": "text table", "IMAGE": "image"}
_CLASSES = (
    (fits.CompImageHDU, "packed image"),
    (fits.BinTableHDU, "table"),
    (fits.TableHDU, "text table"),
    ((fits.PrimaryHDU, fits.ImageHDU), "image"),
)
DAMAGED_EXTENSION = "an extension is damaged, or the file is truncated"
"""What is wrong with a file whose HDUs are not all known."""
_ONCE = ("NAXIS", "BITPIX", "PCOUNT", "GCOUNT", "XTENSION", "EXTNAME", "SIMPLE", "ZIMAGE", "ZTABLE")
"""Beginnings of the keywords that make a header irregular if they stand there twice."""


@dataclass(frozen=True)
class FitsHdu:
    """An HDU, as far as its header tells."""

    kind: str
    """table, text table, image, packed image (in tiles), or other."""
    name: str
    """EXTNAME; PRIMARY of a primary HDU without."""
    shape: tuple[int, ...]
    """Shape of the data in the order of numpy; empty if there are none."""
    data_start: int
    """Bytes before the data."""
    read_cards: Callable[[], dict[str, Any]]
    astropy: Any = None
    """astropy's HDU, where it was needed."""

    @property
    def is_table(self) -> bool:
        """Whether it is a table, binary or of text."""
        return self.kind in ("table", "text table")

    @cached_property
    def cards(self) -> dict[str, Any]:
        """Keywords and values of all cards that can be read."""
        return dict(self.read_cards())


def open_hdus(stream: IO[bytes]) -> tuple[list[FitsHdu], str]:
    """The HDUs of a FITS file, and what is wrong behind them, where more may follow.

    Of a file that is cut off inside the data of its last HDU the words say so; nothing in a file
    tells of HDUs whose headers are gone.

    Raises
    ------
    Exception : of whatever class, of bytes that are no FITS file.
    """
    found = _regular_hdus(stream)
    if found is not None:
        return found, ""
    stream.seek(0)
    # An HDU that is cut off is left out by astropy, with no more than a warning.
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        hdus = fits.open(stream, memmap=False)
        found = [_of_astropy(hdu) for hdu in hdus]
    if any("corrupted" in str(warning.message) for warning in told):
        return found, DAMAGED_EXTENSION
    about = hdus[-1].fileinfo()
    size, announced = stream.seek(0, os.SEEK_END), about["datLoc"] + about["datSpan"]
    if size < announced:
        return found, f"it has {size} bytes, its headers announce {announced}; it is truncated"
    return found, ""


def place_of(hdus: Sequence[FitsHdu], hdu: int | str) -> int | None:
    """The number of an HDU; None if there is none of that number or name."""
    if isinstance(hdu, str) and not hdu.lstrip("-").isdigit():
        names = [one.name.strip().upper() for one in hdus]
        wanted = hdu.strip().upper()
        return names.index(wanted) if wanted in names else None
    return int(hdu) if 0 <= int(hdu) < len(hdus) else None


def _of_astropy(hdu: Any) -> FitsHdu:
    kind = next((kind for classes, kind in _CLASSES if isinstance(hdu, classes)), "other")
    shape = getattr(hdu, "shape", None) or ()
    start = int(hdu.fileinfo()["datLoc"])
    return FitsHdu(kind, str(hdu.name), tuple(shape), start, lambda: cards_of(hdu.header), hdu)


def cards_of(header: Any) -> dict[str, Any]:
    """Keywords and values of all cards of astropy's header that can be read."""
    found: dict[str, Any] = {}
    for card in header.cards:
        try:
            found[card.keyword] = card.value
        except (fits.VerifyError, ValueError):  # a decimal comma, an unclosed quote
            continue
    return found


# --- regular files ------------------------------------------------------------------------------


def _regular_hdus(stream: IO[bytes]) -> list[FitsHdu] | None:
    """The HDUs of a file that is regular to its end; None of any other."""
    size, place, found = stream.seek(0, os.SEEK_END), 0, list[FitsHdu]()
    while place < size:
        raw = _header_at(stream, place)
        cards = None if raw is None else _cards(raw)
        kind = None if cards is None else _kind(cards, not found)
        if raw is None or cards is None or kind is None:
            return None
        axes = [cards[f"NAXIS{n}"] for n in range(cards["NAXIS"], 0, -1)]
        name = str(cards.get("EXTNAME", "" if found else "PRIMARY"))
        start = place + len(raw)
        shape = () if kind.endswith("table") else tuple(axes)
        found.append(FitsHdu(kind, name, shape, start, lambda cards=cards: cards))  # type: ignore[misc]
        place = start + -(-_data_bytes(cards, axes) // BLOCK_BYTES) * BLOCK_BYTES
    return found if found and place == size else None


def _data_bytes(cards: dict[str, Any], axes: Sequence[int]) -> int:
    """Bytes of data without padding (FITS standard 4.0, eq. 2, with GCOUNT = 1)."""
    values = int(bool(axes))
    for size in axes:
        values *= size
    return int(abs(cards["BITPIX"]) // 8 * (values + cards.get("PCOUNT", 0)))


def _header_at(stream: IO[bytes], place: int) -> bytes | None:
    """Bytes of a header with its padding; None if it has no end."""
    stream.seek(place)
    raw = b""
    while len(raw) < _MAX_HEADER_BYTES:
        block = stream.read(BLOCK_BYTES)
        if len(block) < BLOCK_BYTES:
            return None
        raw += block
        if any(block[n : n + CARD_BYTES] == _END for n in range(0, BLOCK_BYTES, CARD_BYTES)):
            return raw
    return None


@lru_cache(_HEADERS_REMEMBERED)
def _cards(raw: bytes) -> dict[str, Any] | None:
    """Keywords and values of a header; None if it is irregular. Not to be changed."""
    if not raw.isascii():
        return None
    found: dict[str, Any] = {}
    for image in _images(raw.decode("ascii")):
        card = _card(image)
        if card is None:
            continue
        if card[0] in found and card[0].startswith(_ONCE):
            return None
        found[card[0]] = card[1]
    return found


def _images(text: str) -> Iterator[str]:
    """The cards up to END, each with those that continue it."""
    image = ""
    for start in range(0, len(text), CARD_BYTES):
        card = text[start : start + CARD_BYTES]
        if image and card.startswith("CONTINUE"):
            image += card
            continue
        if image:
            yield image
        if card == _END.decode():
            return
        image = card


@lru_cache(_CARDS_REMEMBERED)
def _card(image: str) -> tuple[str, Any] | None:
    """Keyword and value of a card; None if it cannot be read."""
    card = fits.Card.fromstring(image)
    try:
        return card.keyword, card.value
    except (fits.VerifyError, ValueError):
        return None


def _kind(cards: dict[str, Any], is_first: bool) -> str | None:
    """What a regular HDU is; None of another."""
    kind = "image" if is_first else _EXTENSIONS.get(str(cards.get("XTENSION", "")).strip())
    if is_first and cards.get("SIMPLE") is not True:
        return None
    if kind is None or cards.get("GROUPS") or cards.get("ZIMAGE") or cards.get("ZTABLE"):
        return None
    return kind if _is_sized(cards, kind) else None


def _is_sized(cards: dict[str, Any], kind: str) -> bool:
    """Whether a header says how many bytes follow it, in the usual way."""
    number, heap = cards.get("NAXIS"), cards.get("PCOUNT", 0)
    if type(number) is not int or not 0 <= number <= 999:  # True is no number of axes
        return False
    sizes = [heap, *(cards.get(f"NAXIS{n}") for n in range(1, number + 1))]
    if any(type(size) is not int or size < 0 for size in sizes):
        return False
    if cards.get("BITPIX") not in (8, 16, 32, 64, -32, -64) or cards.get("GCOUNT", 1) != 1:
        return False
    return not heap if kind == "image" else number == 2
