"""Places of a stage, and what a cluster was found to be before the stage begins."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from distcnn.location import Location


@dataclass(frozen=True)
class Places:
    """What every worker has to see.

    ``output``: where the stage writes; files are exchanged beside it. ``reads``: products by
    what they are (``survey``, ``package``). ``memory``: what a worker may need [bytes].
    ``modules``: what its tasks need, imported beforehand.
    """

    output: Location
    reads: Mapping[str, Location] = field(default_factory=dict)
    memory: int = 0
    modules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Findings:
    """What preflight has found.

    ``gpus``: each worker has so many, as few as the one with the fewest; None = not known.
    ``identity``: what workers that join later have to share (see ``preflight.latecomers``);
    None = nobody has looked, or there is no one who could join.
    """

    gpus: int | None = None
    identity: Mapping[str, Any] | None = None
