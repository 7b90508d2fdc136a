"""Settings of distributed training: who trains what, and where."""

from typing import Literal

from pydantic import Field

from distcnn.config.base import Bytes, Frozen


class DistributeConfig(Frozen):
    """How members are spread over workers and devices."""

    strategy: Literal["auto", "ensemble", "data", "fused"] = "auto"
    """``ensemble``: one member per worker; ``data``: several ranks share a member's batches
    (torch DDP); ``fused``: one device trains many members in one pass. ``auto`` decides from
    members, workers and devices, and ``--dry-run`` says why."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the arithmetic runs; ``auto`` takes a GPU where a worker has one."""
    ranks: int | None = Field(None, ge=1)
    """Ranks per member for ``data``; None = all workers."""
    lanes: int = Field(8, ge=1)
    """For ``data``: parts of every batch with random numbers and stars of their own. Ranks share
    the lanes out, so the result does not depend on their number; at most one rank per lane."""
    stream: Literal["auto", "always", "never"] = "auto"
    """Whether training stars are read from the survey anew in every epoch instead of being held
    in memory; ``auto``: where they need more than ``memory``."""
    memory: Bytes = 1_500_000_000
    """Bytes of training stars that a rank may hold."""
    checkpoint: int = Field(2000, ge=1)
    """Steps between checkpoints within an epoch, where training stars are streamed or shared out;
    one is written at the end of every epoch in any case."""
    attempts: int = Field(3, ge=1)
    """Times a group of ranks is started again after one of them died."""
    timeout: float = Field(60.0, gt=0)
    """Seconds that ranks wait for each other before the missing one is named."""
