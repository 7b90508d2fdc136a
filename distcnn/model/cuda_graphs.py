"""CUDA graphs: work on a GPU recorded once, to be replayed with a single launch."""

from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")
WARM_UP = 3
"""Times the work is done beforehand, as CUDA asks: what is allocated then is not recorded."""


def capture(
    work: Callable[[], Result], device: torch.device
) -> tuple["torch.cuda.CUDAGraph", Result]:
    """The graph of ``work``, and its result, which every replay overwrites.

    Raises
    ------
    RuntimeError : the work holds something that CUDA cannot record.
    """
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            work()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()
    return graph, result
