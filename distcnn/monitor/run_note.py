"""Run note: a run's last snapshot, beside the ledger of its prediction store.

One file per run, replaced whole every few seconds, so that ``distcnn watch`` and ``inspect`` see
from anywhere, with nothing but the store, how a run is going or how it ended, where it runs and
which command it was. The ledger alone says what is done; a note only says how.
"""

import json
from collections.abc import Iterator
from operator import itemgetter

from distcnn.location import Location
from distcnn.monitor.run_state import Snapshot
from distcnn.survey import Store

NOTE_S = 10.0
"""Time between two notes."""
FOLDER = "runs"
LEFT_OUT = ("curves",)


def write_note(predictions: Location, snapshot: Snapshot) -> None:
    """Put a snapshot where the others of the same run were.

    Raises
    ------
    OSError : the place refuses.
    """
    private = Store.open(predictions).private
    kept = {name: value for name, value in snapshot.items() if name not in LEFT_OUT}
    (private / FOLDER / f"{snapshot['run']}.json").write_bytes(json.dumps(kept).encode())


def read_notes(store: Store) -> list[Snapshot]:
    """The last snapshots of all runs that wrote to a store, the newest first."""
    return sorted(_readable(store.private / FOLDER), key=itemgetter("time"), reverse=True)


def _readable(folder: Location) -> Iterator[Snapshot]:
    for file in folder.children():
        if file.name.endswith(".json"):
            try:
                yield json.loads(file.read_bytes())
            except (OSError, ValueError):  # it is being replaced, or was damaged
                continue
