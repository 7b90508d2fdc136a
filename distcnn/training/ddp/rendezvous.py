"""Rendezvous: how the ranks of one attempt find each other, and how a missing one is named.

Rank 0 listens on a free port of its own address, and only then writes it, in one go, to a
file that the others wait for. Survey and package lie on a file system that all workers share,
so the file does too. A port chosen beforehand could be taken by the time it is used; a listening
socket that is handed to the store cannot.
"""

import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, TCPStore

from distcnn.errors import TrainingError
from distcnn.files import atomic_write_bytes

ADDRESS = "address.json"
BROKEN_GROUP_WAIT_S = 5.0
"""Seconds in which ranks that lost each other may say that they are still there."""
CURE = "See the logs of the ranks; train.distribute.timeout is how long ranks wait."


class RankLost(Exception):
    """The group cannot go on, through no fault of this rank."""


class Rendezvous:
    """The key-value store of one attempt, held by rank 0, as one rank sees it."""

    def __init__(self, store: Any, rank: int, world: int, timeout: float) -> None:
        self.store, self.rank, self.world, self.timeout = store, rank, world, timeout

    def wait_for_all(self, word: str, timeout: float) -> list[int]:
        """Say ``word`` and wait until every rank has; returns those that have not.

        A barrier that can name who is missing, which that of torch cannot.
        """
        self.store.set(f"{word}/{self.rank}", "1")
        deadline = time.monotonic() + timeout
        missing = list(range(self.world))
        while missing and time.monotonic() < deadline:
            # The store can wait for a key, but not say which of several is missing: wait for the
            # first and then look at all.
            first = f"{word}/{missing[0]}"
            left = max(0.01, deadline - time.monotonic())
            with suppress(dist.DistStoreError):
                self.store.wait([first], timedelta(seconds=left))
            missing = [rank for rank in missing if not self.store.check([f"{word}/{rank}"])]
        return missing

    def silent(self) -> list[int]:
        """Who does not answer after the group broke; without the store, the rank that holds it."""
        try:
            return self.wait_for_all("broken", BROKEN_GROUP_WAIT_S)
        except (RuntimeError, dist.DistError):
            return [0]


@contextmanager
def rendezvous(
    folder: Path, rank: int, world: int, *, host: str, timeout: float, device: torch.device
) -> Iterator[Rendezvous]:
    """The process group of an attempt; it lasts as long as this process.

    Raises
    ------
    RankLost : a rank has not come within ``timeout`` seconds, or has gone; it is named.
    """
    store = _host(folder, host, timeout) if rank == 0 else _visit(folder, timeout)
    rendezvous = Rendezvous(store, rank, world, timeout)
    missing = rendezvous.wait_for_all("come", timeout)
    if missing:
        raise RankLost(f"{names(missing)} not come within {timeout:g} s")
    _join(rendezvous, host, device)
    try:
        yield rendezvous
    except (RuntimeError, dist.DistError) as broken:
        raise _explained(rendezvous, broken) from broken
    # The group ends with the process: to leave it in order would wait for ranks that are gone.


def names(ranks: Sequence[int]) -> str:
    """``rank 1 has`` or ``ranks 1, 2 have``."""
    if len(ranks) == 1:
        return f"rank {ranks[0]} has"
    return f"ranks {', '.join(map(str, ranks))} have"


def _host(folder: Path, host: str, timeout: float) -> Any:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, 0), family=family)
    port = listening.getsockname()[1]
    store = TCPStore(
        host,
        port,
        is_master=True,
        wait_for_workers=False,
        timeout=timedelta(seconds=timeout),
        master_listen_fd=listening.detach(),
    )
    atomic_write_bytes(folder / ADDRESS, json.dumps({"host": host, "port": port}).encode())
    return store


def _visit(folder: Path, timeout: float) -> Any:
    deadline = time.monotonic() + timeout
    while not (folder / ADDRESS).exists():
        if time.monotonic() > deadline:
            raise RankLost(f"rank 0 has not come within {timeout:g} s")
        time.sleep(0.02)
    where = json.loads((folder / ADDRESS).read_bytes())
    try:
        return TCPStore(
            where["host"],
            where["port"],
            is_master=False,
            wait_for_workers=False,
            timeout=timedelta(seconds=timeout),
        )
    except (RuntimeError, dist.DistError) as error:
        raise RankLost(f"rank 0 has gone from {where['host']} ({_first_line(error)})") from error


def _join(rendezvous: Rendezvous, host: str, device: torch.device) -> None:
    backend, prefix = ("nccl", "NCCL") if device.type == "cuda" else ("gloo", "GLOO")
    # Left alone, the libraries take whatever address the host's name stands for.
    os.environ[f"{prefix}_SOCKET_IFNAME"] = interface(host)
    try:
        dist.init_process_group(
            backend,
            store=PrefixStore("group", rendezvous.store),
            rank=rendezvous.rank,
            world_size=rendezvous.world,
            timeout=timedelta(seconds=rendezvous.timeout),
        )
    except (RuntimeError, dist.DistError) as broken:
        raise _explained(rendezvous, broken) from broken


def interface(host: str) -> str:
    """Name of the network interface with that address.

    Raises
    ------
    TrainingError : this machine has no such address.
    """
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address.partition("%")[0] == host for address in addresses):
            return name
    raise TrainingError(
        f"no network interface here has the address {host}",
        expected="the address under which Dask knows this worker",
        cure="Start the workers with --interface NAME.",
    )


def _explained(rendezvous: Rendezvous, broken: Exception) -> RankLost:
    silent = rendezvous.silent()
    if not silent:
        return RankLost(f"the ranks lost each other ({_first_line(broken)})")
    return RankLost(f"{names(silent)} stopped answering ({_first_line(broken)})")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
