"""Export: choose the writer by the suffix, write beside the target, then put it in place."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from distcnn import __version__, hashing
from distcnn.catalogue.rows import SelectedRows, SharedRows
from distcnn.catalogue.selection import Selection
from distcnn.catalogue.table import ALL, BLOCK_ROWS, CatalogueTable, catalogue_table
from distcnn.catalogue.writers import FINISHED, STAGE, WriterEntry, entry_of
from distcnn.errors import StoreError, UsageError
from distcnn.events import Advanced, Listener, Notice, StageEnded, StageStarted, silent
from distcnn.executor import Executor
from distcnn.files import atomic_write_text, empty_folder, locked_folder
from distcnn.location import Address, Location, work_folder
from distcnn.survey import Store


def export(
    predictions: Address,
    target: Address,
    listener: Listener = silent,
    selection: Selection = ALL,
    executor: Executor | None = None,
) -> int:
    """Write the catalogue of a prediction store; a catalogue that is there is replaced.

    Parameters
    ----------
    executor : shares the work where the format allows it (HATS); what is done is then kept beside
        the target until all of it is, and the same call goes on there.

    Returns
    -------
    Number of stars written: all that the survey has, or that fulfil the selection's condition.

    Raises
    ------
    UsageError : the suffix is not known, the target is no catalogue that could be replaced, or
        the selection names what the predictions do not have.
    StoreError : the predictions are not finished, or the disk refuses.
    StoreCorrupt : stored bytes do not match their checksum.
    """
    target = Location.parse(target)
    entry = entry_of(Path(target.name))
    _check_target(target, entry)
    if selection.margin and entry.name != "hats":
        raise UsageError(f"margins in {target.name}", expected="a name that ends in .hats")
    store = _open_finished(predictions)
    start = perf_counter()
    shared = entry.load_shared() if executor is not None else None
    if shared is None or executor is None:
        listener(StageStarted(STAGE, store.stars, "stars"))
        table = catalogue_table(store, lambda n: listener(Advanced(STAGE, n)), selection)
        _tell_empty(table, store, selection, listener)
        rows = _replace(target, entry, table)
    else:
        table = catalogue_table(store, selection=selection)
        _tell_empty(table, store, selection, listener)
        regions = SharedRows.cut(store, SelectedRows.of(store, selection))
        with _unfinished(target, store, regions, table.margin) as work:
            rows = shared.write_shared(work, table, regions, executor, listener)
    facts = {"stars": rows, "file": target.name, "seconds": round(perf_counter() - start, 1)}
    listener(StageEnded(STAGE, facts))
    return rows


def _tell_empty(
    table: CatalogueTable, store: Store, selection: Selection, listener: Listener
) -> None:
    """Warn of a condition that no star fulfils, with what each part of it leaves."""
    if table.rows or not store.stars:
        return
    counts = SelectedRows.of(store, selection).counts_of_parts(store, BLOCK_ROWS)
    parts = "; ".join(f"{text}: {count:,}" for text, count in counts.items())
    each = f" Alone, its parts leave {parts}." if len(counts) > 1 else ""
    text = f"No star of {store.stars:,} fulfils {selection.where!r}: the catalogue has no rows."
    listener(Notice(text + each, "warning"))


def _open_finished(predictions: Address) -> Store:
    store = Store.open(predictions, "predictions")
    if not store.attrs.get("complete"):
        raise StoreError(
            f"{predictions} is not finished",
            expected="a prediction store with every region stored",
            cure="Run the same distcnn predict command again; it goes on where it stopped.",
        )
    return store


def _check_target(target: Location, entry: WriterEntry) -> None:
    """Refuse to replace what is not a catalogue of this format."""
    if entry.layout == "file" and target.is_folder():
        raise UsageError(f"{target} is a folder", expected="the name of a file")
    if entry.layout == "file" or not target.exists():
        return
    if not target.is_folder():
        raise UsageError(f"{target} is a file", expected="the name of a folder")
    if any(target.children()):
        try:
            with target.local_copy() as path:
                entry.load().read_header(path)
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise UsageError(
                f"{target} is a folder, but no {entry.name} catalogue ({error})",
                expected="a catalogue to replace, an empty folder, or a new name",
                cure="Export under another name; nothing was removed.",
            ) from None


def _replace(target: Location, entry: WriterEntry, table: CatalogueTable) -> int:
    replacement = target.new_file() if entry.layout == "file" else target.replace_folder()
    with _refused(target), replacement as draft:
        return entry.load().write(draft, table)


@contextmanager
def _unfinished(target: Location, store: Store, rows: SharedRows, margin: float) -> Iterator[Path]:
    """A folder for the work; the catalogue in it takes the target's place when the block ends."""
    work = work_folder(target)
    with _refused(target), locked_folder(work):
        _begin(work, store, rows, margin)
        yield work
        with target.replace_folder() as draft:
            for part in sorted((work / FINISHED).iterdir()):
                shutil.move(part, draft / part.name)
        empty_folder(work)


def _begin(work: Path, store: Store, rows: SharedRows, margin: float) -> None:
    """Keep what an earlier run has left there only if it was to make the very same catalogue."""
    wanted = hashing.of_value(
        {
            "predictions": store.attrs.get("fingerprint"),
            "address": str(store.location),
            "columns": [column.name for column in rows.rows.columns],
            "where": rows.rows.condition and rows.rows.condition.text,
            "margin": margin,
            "standard": rows.rows.standard and rows.rows.standard.digest,
            "step": rows.regions.step,
            "distcnn": __version__,
        }
    )
    note = work / "of"
    if note.exists() and note.read_text(encoding="utf-8") == wanted:
        return
    empty_folder(work)
    atomic_write_text(note, wanted)


@contextmanager
def _refused(target: Location) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{target} cannot be written ({error.strerror or error})") from error
