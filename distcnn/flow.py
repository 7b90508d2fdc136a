"""Flow: the seam between rooms that have work and clusters that have workers.

A room cuts its work into items (regions, files, members), and hands one function and the
items to a flow. The flow runs them wherever it likes, a few in flight per worker, and
hands back an outcome per item as they finish, in any order. Results are small values;
everything large goes to a store. Items must be safe to run again.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, cast

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


class Flow(Protocol):
    """Runs one picklable function over many items and yields outcomes as they finish."""

    @property
    def workers(self) -> int:
        """How many items run at the same time."""
        ...

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Outcome[Item, Result]]: ...


class SerialFlow:
    """Runs every item here, one after the other. For tests and for comparison with clusters."""

    workers = 1

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[Outcome[Item, Result]]:
        for item in items:
            try:
                yield Outcome(item, function(item))
            except Exception as error:  # an outcome carries any failure of its item
                yield Outcome(item, None, error)
