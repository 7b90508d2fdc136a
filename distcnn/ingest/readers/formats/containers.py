"""The tables that a file holds: the file itself, or the members of a zip archive."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from distcnn.ingest.readers.base import broken
from distcnn.ingest.readers.formats.text import TextTable, open_bytes

_TEXT, _FITS = {"csv", "ecsv", "txt", "dat"}, {"fits", "fit"}
_VOTABLE, _PARQUET = {"xml", "vot", "votable"}, {"parquet", "pq"}


@dataclass(frozen=True)
class TableSource:
    """A table of a file: the file itself, or a member of a zip archive."""

    path: Path
    name: str
    open: Callable[[], IO[bytes]]

    @property
    def format(self) -> str:
        """One of text, fits, votable, parquet.

        Raises
        ------
        FileBroken : the name ends in none of the known ways.
        """
        parts = self.name.lower().split(".")
        suffix = parts[-2] if parts[-1] == "gz" and len(parts) > 2 else parts[-1]
        table = (("text", _TEXT), ("fits", _FITS), ("votable", _VOTABLE), ("parquet", _PARQUET))
        for kind, suffixes in table:
            if suffix in suffixes:
                return kind
        raise broken(
            self.name,
            f"{suffix!r} is no known format",
            cure="Known: csv, ecsv, fits, xml, vot, parquet, also gzipped, and zip with these.",
        )

    def text(self) -> TextTable:
        """The file or member as a text table."""
        return TextTable(Path(self.name), self.open())


def table_sources(path: Path, keyword: str = "") -> list[TableSource]:
    """The tables in a file: itself, or the members of a zip whose name holds ``keyword``.

    Raises
    ------
    FileBroken : the zip is damaged or has no such member.
    """
    if path.suffix.lower() != ".zip":
        return [TableSource(path, str(path), lambda: open_bytes(path))]
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if keyword in name)
            content = {name: archive.read(name) for name in names}
    except (OSError, zipfile.BadZipFile) as error:
        raise broken(path, f"the zip archive cannot be read ({error})") from None
    if not content:
        raise broken(path, f"no member's name holds {keyword!r}", cure="Ask DataLink for it.")
    return [
        TableSource(path, f"{path}:{name}", lambda data=data: io.BytesIO(data))  # type: ignore[misc]
        for name, data in content.items()
    ]
