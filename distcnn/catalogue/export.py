"""Export: choose the writer by the suffix, write beside the target, then put it in place."""

from pathlib import Path
from time import perf_counter

from distcnn.catalogue.selection import Selection
from distcnn.catalogue.table import ALL, CatalogueTable, catalogue_table
from distcnn.catalogue.writers import WriterEntry, entry_of
from distcnn.errors import StoreError, UsageError
from distcnn.events import Advanced, Listener, StageEnded, StageStarted, silent
from distcnn.location import Address, Location
from distcnn.survey import Store

STAGE = "export"


def export(
    predictions: Address,
    target: Address,
    listener: Listener = silent,
    selection: Selection = ALL,
) -> int:
    """Write the catalogue of a prediction store; a catalogue that is there is replaced.

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
    store = Store.open(predictions, "predictions")
    if not store.attrs.get("complete"):
        raise StoreError(
            f"{predictions} is not finished",
            expected="a prediction store with every region stored",
            cure="Run the same distcnn predict command again; it goes on where it stopped.",
        )
    start = perf_counter()
    listener(StageStarted(STAGE, store.stars, "stars"))
    table = catalogue_table(store, lambda rows: listener(Advanced(STAGE, rows)), selection)
    rows = _replace(target, entry, table)
    facts = {"stars": rows, "file": target.name, "seconds": round(perf_counter() - start, 1)}
    listener(StageEnded(STAGE, facts))
    return rows


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
    try:
        with replacement as draft:
            return entry.load().write(draft, table)
    except OSError as error:
        raise StoreError(f"{target} cannot be written ({error.strerror or error})") from error
