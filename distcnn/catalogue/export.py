"""Export: choose the writer by the suffix, write beside the target, then put it in place."""

from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Protocol, cast

from distcnn.catalogue.table import Sheet, sheet_of
from distcnn.errors import StoreError, UsageError
from distcnn.events import Advanced, Listener, StageEnded, StageStarted, silent
from distcnn.files import atomic_write
from distcnn.survey import Store

STAGE = "export"
_MODULES = ("fits", "parquet", "votable")


class Writer(Protocol):
    """One format: a module with these two names. It is finished when WriterChecks pass."""

    SUFFIXES: tuple[str, ...]

    def write(self, path: Path, sheet: Sheet) -> int:
        """Write a new file, block by block; returns its number of rows."""
        ...


def writers() -> dict[str, Writer]:
    """The writer of every known suffix."""
    found = [cast(Writer, import_module(f"distcnn.catalogue.writers.{name}")) for name in _MODULES]
    return {suffix: writer for writer in found for suffix in writer.SUFFIXES}


def export(predictions: Path, target: Path, listener: Listener = silent) -> int:
    """Write the catalogue of a prediction store; an existing file is replaced.

    Returns
    -------
    Number of stars written: all that the survey has.

    Raises
    ------
    UsageError : the suffix is not known, or the target is a folder.
    StoreError : the predictions are not finished, or the disk refuses.
    StoreCorrupt : stored bytes do not match their checksum.
    """
    writer = _writer(target)
    store = Store.open(predictions, "predictions")
    if not store.attrs.get("complete"):
        raise StoreError(
            f"{predictions} is not finished",
            expected="a prediction store with every region stored",
            cure="Run the same distcnn predict command again; it goes on where it stopped.",
        )
    start = perf_counter()
    listener(StageStarted(STAGE, store.stars, "stars"))
    rows = _replace(target, writer, sheet_of(store, lambda n: listener(Advanced(STAGE, n))))
    facts = {"stars": rows, "file": target.name, "seconds": round(perf_counter() - start, 1)}
    listener(StageEnded(STAGE, facts))
    return rows


def _writer(target: Path) -> Writer:
    known = writers()
    if target.suffix.lower() not in known:
        raise UsageError(
            f"{target.name} does not say which format it is to have",
            expected=f"a name that ends in {', '.join(known)}",
        )
    if target.is_dir():
        raise UsageError(f"{target} is a folder", expected="the name of a file")
    return known[target.suffix.lower()]


def _replace(target: Path, writer: Writer, sheet: Sheet) -> int:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as draft:
            return writer.write(draft, sheet)
    except OSError as error:
        raise StoreError(f"{target} cannot be written ({error.strerror or error})") from error
