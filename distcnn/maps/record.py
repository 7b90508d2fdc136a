"""The record of a map: what it was made from, what it found, which tables and figures it has.

A map is a folder:

    map.json             this record, written last: without it the folder is not a map
    stars/*.parquet      a row per star, a file per region of the survey, in its order
    NAME.ecsv            tables, each described in the record
    NAME.{png,pdf,svg}   figures, each with its caption in the record

``map.json`` has ``kind`` ("tsne" or "galaxy"), ``origin`` (digests of what it was made from, the
settings, the version), ``facts`` (name -> number or text), ``sentences`` (what it found, in
words, the most important first), ``tables`` and ``figures`` (name -> title and caption, in the
order in which a page shows them) and ``columns`` (of the stars: name -> unit and meaning).
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from distcnn import hashing
from distcnn.errors import FileBroken, UsageError
from distcnn.files import atomic_folder, atomic_write_text, empty_folder, locked_folder
from distcnn.location import LocalLocation, work_folder

RECORD_FILE, ORIGIN_FILE, STARS_FOLDER = "map.json", "origin.json", "stars"


@dataclass(frozen=True)
class Exhibit:
    """A table or a figure: its title, and a caption that can be understood alone."""

    title: str
    caption: str


@dataclass(frozen=True)
class MapRecord:
    """What ``map.json`` holds; see the module."""

    kind: str
    origin: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()
    tables: Mapping[str, Exhibit] = field(default_factory=dict)
    figures: Mapping[str, Exhibit] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return "\n".join(self.sentences)

    def to_json(self) -> str:
        """The text of ``map.json``."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def read(cls, folder: Path) -> "MapRecord":
        """The record of a finished map.

        Raises
        ------
        FileBroken : there is none, or it cannot be read.
        """
        try:
            held = json.loads((folder / RECORD_FILE).read_bytes())
            shown = {
                part: {name: Exhibit(**row) for name, row in held.pop(part).items()}
                for part in ("tables", "figures")
            }
            return cls(**held | shown | {"sentences": tuple(held["sentences"])})
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise FileBroken(
                f"{folder} is no map ({type(error).__name__}: {error})",
                expected=f"a folder with a readable {RECORD_FILE}",
                cure="Make one with `distcnn map`.",
            ) from None


def finished_map(out: Path, origin: Mapping[str, Any]) -> MapRecord | None:
    """The map that is there if it is of the same origin; None where there is nothing yet.

    Raises
    ------
    UsageError : a map of another origin, or something else, is there.
    """
    if (out / RECORD_FILE).exists():
        record = MapRecord.read(out)
        other = _differing(record.origin, origin)
        if not other:
            return record
        raise UsageError(
            f"{out} is a map with another {', '.join(other)}",
            expected="a map of the same products, settings and version, or a new folder",
            cure=f"Choose another folder, or remove {out}.",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already and is no map", expected="a new folder")
    return None


def _differing(found: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    # Through JSON, in which a record is kept: tuples are lists there.
    same: dict[str, Any] = json.loads(json.dumps(dict(asked)))
    return [name for name in sorted({*found, *same}) if found.get(name) != same.get(name)]


@contextmanager
def unfinished_map(out: Path, origin: Mapping[str, Any]) -> Iterator[Path]:
    """The folder of the work on a map, this process's alone; what is done there is kept.

    Work of another origin is begun again. The folder goes with ``publish``.

    Raises
    ------
    LockHeld : another process makes this map.
    """
    work = work_folder(LocalLocation(out))
    with locked_folder(work):
        note, wanted = work / ORIGIN_FILE, hashing.of_value(dict(origin))
        if not note.exists() or note.read_text(encoding="utf-8") != wanted:
            empty_folder(work)
            (work / STARS_FOLDER).mkdir()
            atomic_write_text(note, wanted)
        yield work


@contextmanager
def publish(out: Path, work: Path) -> Iterator[Path]:
    """A folder for tables, figures and record; with the stars it becomes the map ``out``."""
    with atomic_folder(out) as draft:
        yield draft
        shutil.copytree(work / STARS_FOLDER, draft / STARS_FOLDER)
    empty_folder(work)
