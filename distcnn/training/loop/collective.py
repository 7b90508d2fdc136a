"""Collective: what a rank needs of the others; the loop is the same for one rank and for many."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from distcnn.errors import TrainingError


class Collective(Protocol):
    """One rank's view of its group."""

    rank: int
    world: int

    def all_reduce(self, values: Tensor) -> Tensor:
        """Sum over ranks, the same bits on each; ``values`` is changed in place."""
        ...

    def wrap(self, layers: nn.Module) -> nn.Module:
        """Layers whose gradients become the mean over ranks in ``backward``."""
        ...

    def sync_gradients(self, layers: nn.Module, *, last: bool) -> AbstractContextManager[None]:
        """Around ``backward`` of one of this rank's micro-batches.

        Gradients add up locally until the ``last`` one, which exchanges them: once per step
        instead of once per micro-batch (``no_sync`` of torch).
        """
        ...

    def may_write(self) -> bool:
        """Whether this is the rank that writes and reports.

        Asked before every write, so that a group that was given up without knowing it stops here.
        """
        ...

    def assert_equal(self, value: int, what: str) -> None:
        """Refuse to go on where ranks see different values of ``what``."""
        ...


class SingleRank:
    """The only rank."""

    rank, world = 0, 1

    def all_reduce(self, values: Tensor) -> Tensor:
        return values

    def wrap(self, layers: nn.Module) -> nn.Module:
        return layers

    @contextmanager
    def sync_gradients(self, layers: nn.Module, *, last: bool) -> Iterator[None]:
        yield

    def may_write(self) -> bool:
        return True

    def assert_equal(self, value: int, what: str) -> None:
        pass


class DdpCollective:
    """One of ``world`` ranks of the default process group of torch.

    Parameters
    ----------
    device : where gradients are.
    fence : called before anything is written; raises where another group has taken over.
    """

    def __init__(self, device: torch.device, fence: Callable[[], None]) -> None:
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.device, self.fence = device, fence

    def all_reduce(self, values: Tensor) -> Tensor:
        there = values.to(self.device)
        dist.all_reduce(there)
        return values.copy_(there)

    def wrap(self, layers: nn.Module) -> nn.Module:
        # Buffers are constant here (scalings): sending them in every step would buy nothing.
        return DistributedDataParallel(layers, broadcast_buffers=False)

    @contextmanager
    def sync_gradients(self, layers: nn.Module, *, last: bool) -> Iterator[None]:
        if last or not isinstance(layers, DistributedDataParallel):
            yield
            return
        with layers.no_sync():
            yield

    def may_write(self) -> bool:
        if self.rank == 0:
            self.fence()
        return self.rank == 0

    def assert_equal(self, value: int, what: str) -> None:
        """See ``Collective``.

        Raises
        ------
        TrainingError : ranks see different values.
        """
        # A place for each rank's value: their sum is the list of all values.
        seen = torch.zeros(self.world, dtype=torch.int64)
        seen[self.rank] = value
        if len(set(self.all_reduce(seen).tolist())) > 1:
            raise TrainingError(
                f"the ranks see different {what}",
                expected="survey and package on a file system that all workers share",
            )
