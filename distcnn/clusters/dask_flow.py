"""A flow over Dask workers: explicit futures, a bounded window, attempts counted here."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Generic, TypeVar
from uuid import uuid4

from dask._task_spec import Task
from distributed import Future, KilledWorker
from distributed.client import ClosedClientError

from distcnn.clusters.attempt import attempt as run_attempt
from distcnn.clusters.attempt import dumps, unpacked
from distcnn.clusters.gang import RERUN, living, run_together
from distcnn.config import ClusterConfig
from distcnn.errors import ClusterError
from distcnn.flow import Item, Outcome, Result

Answer = TypeVar("Answer")
POLL = 2.0


class DaskFlow:
    """Runs items on the workers of a Dask client.

    Parameters
    ----------
    client : a connected ``distributed.Client`` (untyped upstream); the caller closes it.
    config : in_flight [items per worker], attempts, patience [s].
    workers : how many items run at the same time.
    dashboard : address of the dashboard, if any.
    """

    def __init__(
        self, client: Any, config: ClusterConfig, *, workers: int, dashboard: str | None = None
    ) -> None:
        self.client = client
        self.config = config
        self.workers = workers
        self.dashboard = dashboard

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Outcome[Item, Result]]:
        """Outcomes in the order of completion; at most ``in_flight`` items per worker are begun.

        Closing the iterator, or an exception here, cancels what is in flight.

        Raises
        ------
        ClusterError : no worker lives for ``patience`` seconds, or the scheduler is gone.
        """
        window = _Window(self, function)
        waiting = iter(items)
        try:
            while True:
                window.fill(waiting)
                if not window.tries:
                    return
                outcome = window.next_outcome()
                if outcome is not None:
                    yield outcome
        finally:
            window.cancel()

    def living(self) -> int:
        """How many workers answer just now."""
        return len(living(self.client))

    def most(self) -> int:
        """One item per worker."""
        return self.living()

    def together(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> list[Outcome[Item, Result]]:
        """All items at the same time on workers of their own; see ``flow.Gang``."""
        return run_together(self.client, function, items)


@dataclass(frozen=True)
class _Try(Generic[Item]):
    item: Item
    attempt: int
    key: str
    future: Future[bytes]


class _Window(Generic[Item, Result]):
    """The items in flight for one call of a flow."""

    def __init__(self, flow: DaskFlow, function: Callable[[Item], Result]) -> None:
        self.client, self.config = flow.client, flow.config
        self.size = flow.workers * flow.config.in_flight
        self.function = dumps(function)
        self.tries: dict[str, _Try[Item]] = {}
        self.done: SimpleQueue[str] = SimpleQueue()
        name = getattr(function, "__name__", type(function).__name__)
        self.keys = (f"{name}-{uuid4().hex}-{number}" for number in count())

    def fill(self, waiting: Iterator[Item]) -> None:
        while len(self.tries) < self.size:
            try:
                item = next(waiting)
            except StopIteration:
                return
            self.begin(item, 1)

    def begin(self, item: Item, attempt: int) -> None:
        key = next(self.keys)
        # Only tasks marked as producers wait at the scheduler when few are in flight.
        task = Task(key, run_attempt, self.function, dumps(item), _data_producer=True)
        try:
            (future,) = self.client.get({key: task}, [key], sync=False)
        except ClosedClientError as lost:
            raise ClusterError(f"the scheduler is gone ({lost})", cure=RERUN) from lost
        self.tries[key] = _Try(item, attempt, key, future)
        future.add_done_callback(lambda _: self.done.put(key))

    def next_outcome(self) -> Outcome[Item, Result] | None:
        """Wait for an item to end; None if its worker died and it is to be done again."""
        ended = self.tries[self._next_key()]
        outcome = self._outcome(ended)
        del self.tries[ended.key]
        ended.future.release()  # type: ignore[no-untyped-call]
        if not isinstance(outcome.error, KilledWorker):
            return outcome
        if ended.attempt < self.config.attempts:
            self.begin(ended.item, ended.attempt + 1)
            return None
        return Outcome(ended.item, None, self._given_up(ended), ended.attempt)

    def cancel(self) -> None:
        """Forget everything in flight. What a worker is in the middle of, it ends unheard."""
        futures = [begun.future for begun in self.tries.values()]
        self.tries.clear()
        if futures and self.client.status == "running":
            with suppress(OSError, CancelledError):  # the connection may break just now
                self.client.cancel(futures, force=True)

    def _next_key(self) -> str:
        return self._patiently(lambda: self.done.get(timeout=POLL), Empty)

    def _outcome(self, ended: _Try[Item]) -> Outcome[Item, Result]:
        try:
            data = self._patiently(lambda: ended.future.result(timeout=POLL), TimeoutError)
            value, error = unpacked(data)
        except ClusterError:
            raise
        except CancelledError as lost:
            raise ClusterError(f"the scheduler is gone ({lost})", cure=RERUN) from lost
        except Exception as broken:  # an outcome carries any failure of its item
            return Outcome(ended.item, None, broken, ended.attempt)
        return Outcome(ended.item, value, error, ended.attempt)

    def _patiently(self, ask: Callable[[], Answer], nothing_yet: type[Exception]) -> Answer:
        """Ask again and again as long as there are workers that may answer."""
        alive = monotonic()
        while True:
            try:
                return ask()
            except nothing_yet:
                if self._living():
                    alive = monotonic()
            if monotonic() - alive > self.config.patience:
                raise ClusterError(
                    f"no worker has been alive for {self.config.patience:g} s", cure=RERUN
                )

    def _living(self) -> int:
        try:
            return len(self.client.nthreads())
        except (OSError, TimeoutError, RuntimeError) as error:
            raise ClusterError(f"the scheduler does not answer ({error})", cure=RERUN) from error

    def _given_up(self, ended: _Try[Item]) -> ClusterError:
        times = "once" if ended.attempt == 1 else f"{ended.attempt} times"
        return ClusterError(
            f"the worker died {times} while it ran {str(ended.item)[:200]}",
            expected=f"a worker needs less than {self.config.memory_limit / 1e9:.3g} GB of memory",
            cure="Raise cluster.memory_limit, or take fewer workers, and run the command again.",
        )
