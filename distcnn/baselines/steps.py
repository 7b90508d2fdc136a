"""Steps: how a method tells how far it is, for fits that take more than some seconds.

Each step is a stage of its own beside that of the comparison, ``compare METHOD: STEP``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from distcnn.events import Advanced, Listener, StageEnded, StageStarted, silent

STAGE = "compare"
Advance = Callable[[int], None]
"""Called with the number of units that are finished since the last call."""


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


UNTOLD = Steps("")
"""Steps that nobody hears of."""
