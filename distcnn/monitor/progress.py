"""Progress: how far a product is, from what lies on disk or in an object store, and nothing else.

Works from any machine, while a run goes on, after it was interrupted and when all is done. What
is done comes from the ledger; how it goes, who does it and how to go on from the notes of runs.
"""

import platform
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import time

import psutil

from distcnn.errors import DistcnnError
from distcnn.formatting import format_duration, format_number
from distcnn.location import Location
from distcnn.monitor.run_note import NOTE_S, read_notes, read_partial_note
from distcnn.monitor.run_state import Snapshot
from distcnn.survey import Ledger, Region, Store, stored_regions

LOST_S = 6 * NOTE_S
"""A run on another machine that has written no note for so long is taken to be gone."""
MAX_RUNS_TOLD = 5
LOCK = "lock"


@dataclass(frozen=True)
class Progress:
    """A prediction store at one moment.

    ``failed``: stars without labels, of the stored regions; ``complete``: closed and counted.
    ``live``, ``ended``: notes of runs that are at work, and of those that are not, newest first.
    """

    place: Location
    stars: int
    stars_done: int
    regions: int
    regions_done: int
    failed: int
    complete: bool
    live: list[Snapshot] = field(default_factory=list)
    ended: list[Snapshot] = field(default_factory=list)
    command: str = ""

    @property
    def speed(self) -> float:
        """Stars per second of all runs at work, by their own word."""
        return float(sum(note["speed"] for note in self.live))

    @property
    def seconds_left(self) -> float | None:
        """Probable time to the end; None where there is no telling."""
        left = self.stars - self.stars_done
        return left / self.speed if self.speed and left else None

    def line(self) -> str:
        """All in one line: ``4,096 of 20,000 stars (20 %), 310 stars/s, 51 s left, ...``."""
        share = f"{100 * self.stars_done / self.stars:.1f} %" if self.stars else "100 %"
        parts = [f"{self.stars_done:,} of {self.stars:,} stars ({share})"]
        if self.live:
            parts.append(f"{format_number(self.speed)} stars/s")
        if self.seconds_left:
            parts.append(f"{format_duration(self.seconds_left)} left")
        last = next((note["last_region"] for note in self.live if note["last_region"]), "")
        parts += [f"last region {last}"] if last else []
        parts += [f"{self.failed:,} stars quarantined"] if self.failed else []
        failures = sum(note["failed_attempts"] for note in self.live)
        parts += [f"{failures:,} attempts failed"] if failures else []
        stalled = (f"STALLED: {n['stalled']}" for n in self.live if n.get("stalled"))
        return ", ".join([*parts, *stalled])

    def lines(self) -> Iterator[str]:
        """Everything, for people."""
        yield f"{self.place}: {self.line()}"
        yield f"  regions       {self.regions_done:,} of {self.regions:,} stored"
        yield f"  state         {self._state()}"
        for note in self.live[:MAX_RUNS_TOLD]:
            yield from _of_run(note)
        if not self.complete and not self.live:
            for note in self.ended[:1]:
                yield from _of_last_run(note)
            yield f"  go on with    {self.command}"

    def _state(self) -> str:
        if self.complete:
            return "complete"
        if not self.live:
            return "interrupted; nothing is lost of what is stored, and nobody works on it"
        runs = f"{len(self.live)} runs at work" if len(self.live) > 1 else "a run is at work"
        return f"{runs} and holds the lock" if len(self.live) == 1 else runs


def read_progress(place: Location) -> Progress:
    """How far a prediction store is.

    Raises
    ------
    StoreError : there is none, or its ledger cannot be read.
    """
    store = Store.open(place, "predictions")
    done = stored_regions(store)
    names = [Region.parse(name) for name in done]
    live, ended = _split(read_notes(store))
    counts = store.attrs.get("counts", {})
    return Progress(
        place=place,
        stars=store.stars,
        stars_done=sum(region.size for region in names),
        regions=len(store.regions()),
        regions_done=len(names),
        failed=counts.get("failed", _failed(live, ended)),
        complete=bool(store.attrs.get("complete")),
        live=live,
        ended=ended,
        command=_command(store, live + ended),
    )


def _failed(live: list[Snapshot], ended: list[Snapshot]) -> int:
    return sum(note["quarantined"] for note in (*live, *ended))


def _split(notes: list[Snapshot]) -> tuple[list[Snapshot], list[Snapshot]]:
    live = [note for note in notes if is_at_work(note)]
    return live, [note for note in notes if note not in live]


def is_at_work(note: Snapshot, now: float | None = None) -> bool:
    """Whether the run that wrote a note is still going, as far as can be known from here."""
    if note["status"] not in {"starting", "running", "stalled"}:
        return False
    if note["host"] == platform.node():
        return _is_process(note["process"], note["began"])
    return bool((time() if now is None else now) - note["time"] < LOST_S)


def _is_process(number: int, began: float) -> bool:
    """Whether it runs, and is not a later one of the same number."""
    try:
        return bool(psutil.Process(number).create_time() <= began + 1)
    except psutil.Error:
        return False


def _of_run(note: Snapshot) -> Iterator[str]:
    word = format_duration(max(0.0, time() - note["time"]))
    yield f"  run           {note['run']}: {note['status']}, process {note['process']} of host " + (
        f"{note['host']}; last word {word} ago"
    )
    workers = f"{note['worker_count']} of {note.get('workers_expected', '?')} workers have stored"
    yield f"  workers       {note.get('cluster', '')}: {workers} regions"
    if note["last_region"]:
        yield f"  last region   {note['last_region']}"
    if note.get("stalled"):
        yield f"  stalled       {note['stalled']}"
    for error in note["errors"][-3:]:
        yield f"  failure       {error['region']} {error['text'].splitlines()[0]}"
    if note.get("page"):
        yield f"  page          {note['page']}"


def _of_last_run(note: Snapshot) -> Iterator[str]:
    ended = note["status"]
    how = ended if ended in {"failed", "stopped", "complete"} else "ended without a word (killed?)"
    yield f"  last run      {note['run']}: {how}; process {note['process']} of host {note['host']}"
    if note["mean_speed"]:
        yield f"  its speed     {format_number(note['mean_speed'])} stars/s"
    for error in note["errors"][-1:]:
        yield f"  its last word {error['region']} {error['text'].splitlines()[0]}"


def _command(store: Store, notes: list[Snapshot]) -> str:
    """What to type to go on: what was typed, or else what the provenance of the store says."""
    typed = next((note for note in notes if note.get("command")), None)
    if typed is not None:
        return _from_here(typed["command"], typed["folder"])
    places = (_source(store, "package"), _source(store, "survey"), str(store.location))
    return "distcnn predict " + shlex.join(places)


def _from_here(command: str, folder: str) -> str:
    """The command as it is typed to go on, from the folder where this process is."""
    # Typed again, --restart would remove what is done; a call without --array does the rest.
    command = re.sub(r" --restart\b| --array[ =]\S+", "", command)
    here = Path(folder).resolve() == Path.cwd().resolve()
    return command if here or not command else f"cd {shlex.quote(folder)} && {command}"


def _source(store: Store, name: str) -> str:
    path = store.attrs.get(name, {}).get("path")
    if not path:
        return name.upper()
    return str(store.location.resolve(path))


def describe_unfinished(place: Location) -> list[str]:
    """What is known of work that is not done, and how to go on; nothing of anything else.

    A prediction store that is not complete, or the ``.partial`` folder of a survey or package.
    """
    with suppress(DistcnnError, OSError):
        if place.name.endswith(".partial"):
            return list(_of_partial(place))
        progress = read_progress(place)
        return [] if progress.complete else list(progress.lines())[1:]
    return []


def _of_partial(partial: Location) -> Iterator[str]:
    for name in ("ledger.jsonl", "parts.jsonl"):
        if (partial / name).exists():
            done = len(Ledger.read(partial / name).done)
            what = "members" if name.startswith("ledger") else "parts of the archive"
            yield f"  done          {done:,} {what}, by its ledger"
    note = read_partial_note(partial)
    if note is None:
        yield "  go on with    the command that began it, typed again"
        return
    if is_at_work(note):
        yield (
            f"  state         {note['stage']}: at work, process {note['process']} of "
            + note["host"]
        )
        return
    yield f"  state         {note['stage']}: interrupted; what is done is kept"
    yield f"  go on with    {_from_here(note['command'], note['folder']) or 'the same command'}"
