"""Text of the lines of a ledger: a checksum, and an entry as JSON."""

import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from distcnn.errors import StoreCorrupt, StoreError
from distcnn.survey.ledger.fingerprint import CURE
from distcnn.survey.ledger.lines import Lines

_LINE_BEGIN = b'{"name":"'


def whole_lines(lines: Lines) -> Iterator[tuple[int, bytes, int]]:
    """Begin, text and end of every line up to one that is torn [bytes].

    Raises
    ------
    StoreError : the file cannot be read.
    StoreCorrupt : a line other than the last is damaged.
    """
    begin, torn = 0, 0
    try:
        with lines.open() as stream:
            for number, line in enumerate(stream, 1):
                if not line.endswith(b"\n"):
                    return
                if torn:
                    raise StoreCorrupt(f"{lines}, line {torn} is damaged", cure=CURE)
                text, end = checked_text(line[:-1]), begin + len(line)
                if text is None:
                    torn = number
                else:
                    yield begin, text, end
                begin = end
    except OSError as error:
        raise unreadable(lines, error) from None


def line_of(entry: Mapping[str, Any]) -> bytes:
    """The line of an entry, with its line feed."""
    text = json.dumps(entry, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def name_of(text: bytes) -> str:
    """Name in a line; one that stands first, without escapes, is found without parsing."""
    end = text.find(b'"', len(_LINE_BEGIN))
    name = text[len(_LINE_BEGIN) : end]
    if text.startswith(_LINE_BEGIN) and b"\\" not in name:
        return name.decode()
    return str(json.loads(text)["name"])


def checked_text(line: bytes) -> bytes | None:
    """The text of a line; None if its checksum does not fit."""
    check, _, text = line.partition(b" ")
    return text if check == b"%08x" % zlib.crc32(text) else None


def unreadable(lines: Lines, error: OSError) -> StoreError:
    """What to say of a ledger that the system does not give."""
    if isinstance(error, FileNotFoundError):
        return StoreError(
            f"{lines} does not exist",
            expected="a ledger, which says what is stored",
            cure="Copy a store with its folder .distcnn, or make it again.",
        )
    return StoreError(f"{lines} cannot be read ({error})", expected="a ledger")
