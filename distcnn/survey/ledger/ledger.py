"""Ledger: which tasks are done, under which fingerprint.

A text file of JSON lines with one writer. The first line holds the fingerprint (digests of
input, package, settings, code version); every other line one finished task (a region, a member,
a part) with the digest of what it stored. A line is appended and forced to disk only after its
task is stored. Presence of chunks proves nothing; the ledger does.

Why not SQLite: measured for a survey of a billion stars (a million regions, 300 MB), a forced
append takes 5 ms here and 11 to 19 ms in a rollback journal (0.5 to 3 ms in WAL mode, which no
network file system supports); a look-up takes as long (22 and 25 us). A database opens in 0.1 s
instead of 3.4 s and needs no memory where the index below needs 41 MB: both once per run, of
hours. A line of text can be read with any tool, and a damaged byte costs one line, not the file.
"""

import json
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, Self

from distcnn.errors import DistcnnError
from distcnn.location import Address, Location
from distcnn.survey.ledger.entries import Entries
from distcnn.survey.ledger.fingerprint import CURE, check_fingerprint
from distcnn.survey.ledger.line_index import LineIndex
from distcnn.survey.ledger.line_text import line_of, name_of, whole_lines
from distcnn.survey.ledger.lines import Lines, lines_at

LINES_AT_ONCE = 4096
"""Lines that are forced to disk together where one ledger takes over another."""
STOPPING_S = 5.0
"""Time that a run which was stopped or failed gives its last lines to arrive."""


class Ledger:
    """Finished tasks of one run: ``done[name]`` has the digest and further facts.

    Facts stay in the file: memory grows by about forty bytes per task.
    """

    def __init__(
        self, lines: Lines, fingerprint: dict[str, Any], done: "Entries | None" = None
    ) -> None:
        self._lines = lines
        self.fingerprint = fingerprint
        self.done = Entries(lines) if done is None else done
        self._end = 0  # of the last whole line that was read

    @property
    def path(self) -> Path:
        """The file; raises for a ledger in an object store."""
        return self._lines.path

    @classmethod
    def open(
        cls,
        address: Address,
        fingerprint: dict[str, Any],
        *,
        disposable: Container[str] | None = None,
        is_worthless: Callable[[Mapping[str, Any]], bool] = lambda entry: False,
        cure: str = CURE,
    ) -> "Ledger":
        """Begin a ledger, or go on with the one there.

        Parameters
        ----------
        disposable : tasks that count for nothing. A ledger of another fingerprint is begun again
            where no other task is done; None = it is an error in any case.
        is_worthless : whether the entry of a task says that it has stored nothing; such a task
            counts for nothing either.
        cure : what to do where it is one.

        Raises
        ------
        FingerprintMismatch : the one there was begun from other input, settings or code.
        StoreCorrupt : a line other than the last is damaged.
        """
        lines = lines_at(Location.parse(address))
        fingerprint = json.loads(json.dumps(fingerprint))
        if not lines.exists():
            ledger = cls(lines, fingerprint)
            lines.begin(line_of({"fingerprint": fingerprint}))
            return ledger
        ledger = cls._of(lines)
        if not ledger.fingerprint or ledger._may_be_dropped(fingerprint, disposable, is_worthless):
            lines.remove()
            return cls.open(address, fingerprint)
        begun = f"{lines.folder} was begun"
        check_fingerprint(ledger.fingerprint, fingerprint, begun=begun, cure=cure)
        # A process killed while appending leaves part of a line; cut it off before going on.
        lines.cut(ledger._end)
        return ledger

    @classmethod
    def read(cls, address: Address) -> "Ledger":
        """Read a ledger, whatever its fingerprint.

        Raises
        ------
        StoreError : there is none.
        StoreCorrupt : a line other than the last is damaged.
        """
        return cls._of(lines_at(Location.parse(address)))

    @classmethod
    def _of(cls, lines: Lines) -> "Ledger":
        fingerprint: dict[str, Any] = {}
        places, end = LineIndex(), 0
        for begin, text, stop in whole_lines(lines):
            if end:
                places[name_of(text)] = begin
            else:
                fingerprint = json.loads(text).get("fingerprint", {})
            end = stop
        ledger = cls(lines, fingerprint, Entries(lines, places))
        ledger._end = end
        return ledger

    def _may_be_dropped(
        self,
        fingerprint: dict[str, Any],
        disposable: Container[str] | None,
        is_worthless: Callable[[Mapping[str, Any]], bool],
    ) -> bool:
        if disposable is None or self.fingerprint == fingerprint:
            return False
        return all(name in disposable or is_worthless(self.done[name]) for name in self.done)

    def record(self, name: str, digest: str, **facts: Any) -> None:
        """Note that the result of a task is stored.

        In a file the line is on disk afterwards; in an object store it follows within a second,
        and ``flush`` waits for it.
        """
        place = self._lines.size()
        self._lines.append(line_of({"name": name, "digest": digest, **facts}))
        self.done.note(name, place)

    def absorb(self, other: "Ledger") -> int:
        """Take over what another ledger of the run has and this one lacks; returns how many tasks.

        The other one may be removed afterwards: the lines are where they survive this process.
        """
        new = (pair for pair in other.done.items() if pair[0] not in self.done)
        taken = 0
        while block := list(islice(new, LINES_AT_ONCE)):
            place = self._lines.size()
            lines = [line_of({"name": name, **facts}) for name, facts in block]
            self._lines.append(b"".join(lines))
            for (name, _), line in zip(block, lines, strict=True):
                self.done.note(name, place)
                place += len(line)
            taken += len(block)
        self.flush()
        return taken

    def flush(self) -> None:
        """Wait until every line is where it survives this process.

        Raises
        ------
        PlaceError : the object store takes no more.
        """
        self._lines.flush()

    @contextmanager
    def flushed(self) -> Iterator[Self]:
        """Flush at the end; a block that was stopped or failed waits for some seconds at most.

        So nobody who takes over its lock finds less done than it had noted, and an object store
        that answers no more does not keep a run from ending.
        """
        try:
            yield self
        except BaseException:
            with suppress(DistcnnError):
                self._lines.flush(timeout=STOPPING_S)
            raise
        self.flush()
