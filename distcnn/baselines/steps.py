"""Steps: how a method tells how far it is, for fits that take more than some seconds.

Each step is a stage of its own beside that of the comparison, ``compare METHOD: STEP``.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from distcnn.events import Advance, Listener, silent, telling

STAGE = "compare"
Item_co = TypeVar("Item_co", covariant=True)


class Counted(Protocol[Item_co]):
    """Items whose number is known: a list, or an array along its first axis."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Item_co]: ...


@dataclass(frozen=True)
class Steps:
    """The steps of one method, told to a listener. ``method``: its name on the command line."""

    method: str
    listener: Listener = silent

    def step(self, name: str, total: int, unit: str) -> AbstractContextManager[Advance]:
        """A step of ``total`` units, as ``events.telling`` tells a stage."""
        return telling(self.listener, f"{STAGE} {self.method}: {name}", total, unit)

    def over(self, name: str, items: Counted[Item_co], unit: str) -> Iterator[Item_co]:
        """The items, one unit of a step each, which is finished when the next is asked for."""
        with self.step(name, len(items), unit) as advance:
            for item in items:
                yield item
                advance(1)


UNTOLD = Steps("")
"""Steps that nobody hears of."""
