"""Places of a stage, and what a cluster was found to be before the stage begins."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from distcnn.location import Location


@dataclass(frozen=True)
class Places:
    """What every worker has to see.

    ``output``: where the stage writes; files are exchanged beside it. ``reads``: products by
    what they are (``survey``, ``package``). ``memory``: what a worker may need [bytes].
    """

    output: Location
    reads: Mapping[str, Location] = field(default_factory=dict)
    memory: int = 0


@dataclass(frozen=True)
class Findings:
    """What all workers have: ``gpus`` each, as few as the one with the fewest; None = not known."""

    gpus: int | None = None
