"""Run note: a run's last snapshot, beside the ledger of what it makes.

For a prediction store one file per run, replaced whole every few seconds, so that ``distcnn
watch`` and ``inspect`` see from anywhere, with nothing but the store, how a run is going or how it
ended, where it runs and which command it was. The ledger alone says what is done; a note only
says how. Ingest and training leave one in their ``.partial`` folder, which goes with it.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from operator import itemgetter

from distcnn.errors import DistcnnError
from distcnn.files import atomic_write_bytes
from distcnn.location import Location, work_folder
from distcnn.monitor.run_state import Snapshot
from distcnn.survey import Store

NOTE_S = 10.0
"""Time between two notes."""
FOLDER, FILE = "runs", "run.json"
MAX_NOTES = 100
"""Notes of runs that a store keeps; those of the elements of a large job array count too."""
_LEFT_OUT = ("curves",)


class NoteWriter:
    """Writes the notes of one run into its product, however that is made.

    Parameters
    ----------
    output : the prediction store, survey or package, which may not exist yet.
    """

    def __init__(self, output: Location) -> None:
        self._output = output
        self._folder: Location | None = None
        self._begun = False

    def __call__(self, snapshot: Snapshot, *, last: bool) -> None:
        """Put a snapshot where the one before was; nothing happens where nothing can be put."""
        if not snapshot["stage"]:
            return
        kept = {name: value for name, value in snapshot.items() if name not in _LEFT_OUT}
        with suppress(OSError, DistcnnError):
            if snapshot["stage"] == "predict":
                self._beside_ledger(f"{snapshot['run']}.json", json.dumps(kept).encode())
            elif not self._begun or (last and snapshot["status"] != "complete"):
                self._begun = _in_partial(self._output, json.dumps(kept).encode())

    def _beside_ledger(self, name: str, data: bytes) -> None:
        if self._folder is None:
            self._folder = Store.open(self._output).private / FOLDER
            old = sorted(place.name for place in self._folder.children())
            for place in old[: max(0, len(old) - MAX_NOTES)]:
                (self._folder / place).remove()
        (self._folder / name).write_bytes(data)


def _in_partial(output: Location, data: bytes) -> bool:
    """Never makes the folder: it may have been removed because the work is done."""
    folder = work_folder(output)
    if not folder.is_dir():
        return False
    atomic_write_bytes(folder / FILE, data)
    return True


def read_notes(store: Store) -> list[Snapshot]:
    """The last snapshots of the runs that wrote to a prediction store, the newest first."""
    return sorted(_readable(store.private / FOLDER), key=itemgetter("time"), reverse=True)


def read_partial_note(partial: Location) -> Snapshot | None:
    """The note in a ``.partial`` folder, if there is one."""
    return _read(partial / FILE)


def _readable(folder: Location) -> Iterator[Snapshot]:
    for file in folder.children():
        note = _read(file) if file.name.endswith(".json") else None
        if note is not None:
            yield note


def _read(file: Location) -> Snapshot | None:
    try:
        note: Snapshot = json.loads(file.read_bytes())
    except (OSError, DistcnnError, ValueError):  # none there, being replaced, or damaged
        return None
    return note
