"""Steps: how a method tells how far it is, for fits that take more than some seconds.

Each step is a stage of its own beside that of the comparison, ``compare METHOD: STEP``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from distcnn.events import Advanced, Listener, StageEnded, StageStarted, silent

STAGE = "compare"
Item_co = TypeVar("Item_co", covariant=True)
Advance = Callable[[int], None]
"""Called with the number of units that are finished since the last call."""


class Counted(Protocol[Item_co]):
    """Items whose number is known: a list, or an array along its first axis."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Item_co]: ...


@dataclass(frozen=True)
class Steps:
    """The steps of one method, told to a listener. ``method``: its name on the command line."""

    method: str
    listener: Listener = silent

    @contextmanager
    def step(self, name: str, total: int, unit: str) -> Iterator[Advance]:
        """A step of ``total`` units; what it gives tells how many more are finished.

        Its end is told if it is reached, by fewer units too: a training may stop early.
        """
        stage = f"{STAGE} {self.method}: {name}"
        self.listener(StageStarted(stage, total, unit))
        yield lambda count: self.listener(Advanced(stage, count))
        self.listener(StageEnded(stage))

    def over(self, name: str, items: Counted[Item_co], unit: str) -> Iterator[Item_co]:
        """The items, one unit of a step each, which is finished when the next is asked for."""
        with self.step(name, len(items), unit) as advance:
            for item in items:
                yield item
                advance(1)


UNTOLD = Steps("")
"""Steps that nobody hears of."""
