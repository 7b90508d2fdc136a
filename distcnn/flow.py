"""Flow: the seam between rooms that have work and clusters that have workers.

A room cuts its work into items (regions, files, members), and hands one function and the
items to a flow. The flow runs them wherever it likes, a few in flight per worker, and
hands back an outcome per item as they finish, in any order. Results are small values;
everything large goes to a store. Items must be safe to run again.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Event
from typing import Generic, Protocol, TypeVar, cast, runtime_checkable

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """What became of one item: a value, or the error of its last attempt."""

    item: Item
    value: Result | None
    error: BaseException | None = None
    attempts: int = 1

    def result(self) -> Result:
        """The value; raises the error of the last attempt instead if there is one."""
        if self.error is not None:
            raise self.error
        return cast(Result, self.value)


@dataclass(frozen=True)
class Place:
    """Where a function runs: the host [address], the worker's name, whether it still matters.

    ``release``: called by a function whose rest needs no core, such as storing what it has
    computed; the next item begins on this worker meanwhile.
    """

    host: str = "127.0.0.1"
    worker: str = "here"
    wanted: Callable[[], bool] = field(default=lambda: True, repr=False)
    release: Callable[[], None] = field(default=lambda: None, repr=False)

    @classmethod
    def here(cls) -> "Place":
        """The place of the function that asks; a long one stops when it is no longer wanted."""
        return _PLACE.get()


_PLACE: ContextVar[Place] = ContextVar("place", default=Place())  # noqa: B039 - frozen


@contextmanager
def standing_at(place: Place) -> Iterator[None]:
    """What runs inside the block finds ``place``."""
    token = _PLACE.set(place)
    try:
        yield
    finally:
        _PLACE.reset(token)


class Flow(Protocol):
    """Runs one picklable function over many items and yields outcomes as they finish."""

    @property
    def workers(self) -> int:
        """How many items run at the same time."""
        ...

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Outcome[Item, Result]]: ...


@runtime_checkable
class Gang(Protocol):
    """Runs items that need each other: all at the same time, each on a worker of its own."""

    def living(self) -> int:
        """How many workers could take an item now."""
        ...

    def most(self) -> int:
        """The most items of one call."""
        ...

    def together(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> list[Outcome[Item, Result]]:
        """Outcomes in the order of the items, which go to workers ordered by host and name.

        When one fails the others are told (``Place.wanted``) and their outcomes are errors too.
        Two calls on one cluster take turns, whoever makes them.

        Raises
        ------
        ClusterError : fewer workers live than there are items, or the cluster is gone.
        """
        ...


class Unwanted(Exception):
    """An item was stopped because another one of its call had failed."""


class SerialFlow:
    """Runs every item here, one after the other. For tests and for comparison with clusters."""

    workers = 1

    def living(self) -> int:
        """Threads are no workers; still, they take as many items as somebody asks for."""
        return 1

    def most(self) -> int:
        """Threads are cheap."""
        return 64

    def together(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> list[Outcome[Item, Result]]:
        """Every item in a thread of its own."""
        over = Event()
        places = [Place(worker=f"thread-{n}", wanted=_unless(over)) for n in range(len(items))]
        with ThreadPoolExecutor(len(items)) as pool:
            pairs = zip(items, places, strict=True)
            futures = [pool.submit(_at, place, function, item) for item, place in pairs]
            try:
                _until_one_fails(futures)
            finally:
                over.set()
        pairs_done = zip(items, futures, strict=True)
        return [Outcome(item, *_ended(future)) for item, future in pairs_done]

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Outcome[Item, Result]]:
        for item in items:
            try:
                yield Outcome(item, function(item))
            except Exception as error:  # an outcome carries any failure of its item
                yield Outcome(item, None, error)


def _unless(event: Event) -> Callable[[], bool]:
    return lambda: not event.is_set()


def _at(place: Place, function: Callable[[Item], Result], item: Item) -> Result:
    with standing_at(place):
        return function(item)


def _until_one_fails(futures: Sequence[Future[Result]]) -> None:
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        if any(future.exception() for future in done):
            return


def _ended(future: Future[Result]) -> tuple[Result | None, BaseException | None]:
    error = future.exception()
    return (None, error) if error is not None else (future.result(), None)
