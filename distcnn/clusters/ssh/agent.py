"""The program on a host: keeps its workers, and ends them when nobody wants them any more.

    python -m distcnn.clusters.ssh.agent

It reads its order, one line of JSON, from the ssh connection, keys of certificates among it: they
are never in a file, an environment or a list of processes. Then it expects a sign of life every
few seconds. It ends, kills its workers and removes their folder when the connection ends (the
command is done, or was killed) or is silent for too long (the link is cut, or this machine slept).
So nothing stays on a host for ever, whatever happens at the other end.

Workers that end are started again: those that die by their nanny, as everywhere in Dask; those
that lost the scheduler, which their nannies let go, by the agent.
"""

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any, TextIO

import dask
from distributed import Nanny
from distributed.security import Security

from distcnn.clusters.dask_workers.settings import dask_settings, thread_variables
from distcnn.clusters.dask_workers.starting.scratch import scratch_folder
from distcnn.clusters.dask_workers.starting.tracker import start_tracker
from distcnn.stopping import kill_children

MARK = "distcnn-agent: "
"""Begins every line for the other end; a shell may greet with others."""
REACH_S = 15.0
"""Time to reach the scheduler."""
DEATH_S = 60.0
"""Time for a worker to find the scheduler, after which it is started again."""
PAUSES_S = (1.0, 30.0)
"""Between two starts of a worker that does not live: at first, and at most."""
POLL_S = 0.2
"""Time between two looks whether to end."""
KILL_S = 2.0
"""Time to wait for what was killed."""
LONG_LIFE_S = 60.0
"""A worker that lived so long is started again at once."""


class Agent:
    """The workers of one host.

    Parameters
    ----------
    order : scheduler [address], workers [names], address [of this host], memory [bytes a worker],
        threads, silence [s] after which to end, settings of Dask, security (ca, cert, key as
        PEM text; null = none), folder (null = the one of the system).
    tell : gives facts to the other end.
    """

    def __init__(self, order: dict[str, Any], tell: Callable[..., None]) -> None:
        self.order, self.tell = order, tell
        self.over = threading.Event()
        self.heard = monotonic()
        self.alive: set[str] = set()

    def listen(self, stream: TextIO) -> None:
        """Until the connection ends; runs in a thread of its own."""
        with suppress(OSError, ValueError):
            while stream.readline():
                self.heard = monotonic()
        self.over.set()

    @property
    def unwanted(self) -> bool:
        """Whether to end."""
        return self.over.is_set() or monotonic() - self.heard > self.order["silence"]

    def run(self, folder: Path) -> None:
        """Keep the workers until they are not wanted any more."""
        problem = self._unreachable()
        if problem is not None:
            self.tell(problem=problem)
            return
        usual = dask_settings(folder, self.order["threads"])
        with dask.config.set({**usual, **self.order["settings"]}):
            # Not asyncio.run, which at the end would wait for nannies that speak to nobody.
            asyncio.new_event_loop().run_until_complete(self._keep_all(folder))

    def _unreachable(self) -> str | None:
        """Why the scheduler cannot be reached; Dask would try again for ever."""
        scheme, _, place = self.order["scheduler"].partition("://")
        host, _, port = place.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()
        except OSError as error:
            return f"does not reach the scheduler at {scheme}://{place} ({error})"
        return None

    async def _keep_all(self, folder: Path) -> None:
        keepers = [
            asyncio.ensure_future(self._keep(name, folder)) for name in self.order["workers"]
        ]
        while not self.unwanted:
            await asyncio.wait(keepers, timeout=POLL_S)
        # They are not asked to end, which could take as long as their work: a worker may be
        # killed at any moment. No nanny starts it again, since this loop runs no further.
        kill_children(KILL_S)

    async def _keep(self, name: str, folder: Path) -> None:
        pause = PAUSES_S[0]
        while True:
            begun = monotonic()
            try:
                async with self._nanny(name, folder) as nanny:
                    self._note(name, alive=True)
                    await nanny.finished()
                why = "it lost the scheduler"
            except Exception as error:  # whatever it is, it is told and tried again
                why = f"{type(error).__name__}: {error}"
            self._note(name, alive=False, why=why)
            pause = (
                PAUSES_S[0] if monotonic() - begun > LONG_LIFE_S else min(2 * pause, PAUSES_S[1])
            )
            await asyncio.sleep(pause)

    def _note(self, name: str, *, alive: bool, why: str = "") -> None:
        (self.alive.add if alive else self.alive.discard)(name)
        self.tell(alive=len(self.alive), why=why)

    def _nanny(self, name: str, folder: Path) -> Any:
        make: Callable[..., Any] = Nanny
        return make(
            self.order["scheduler"],
            name=name,
            nthreads=1,  # tasks at a time; the threads of their arithmetic are others
            host=self.order["address"],
            memory_limit=self.order["memory"],
            local_directory=str(folder),
            env=thread_variables(self.order["threads"]),
            security=_security(self.order["security"]),
            death_timeout=DEATH_S,
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        )


def _security(tls: dict[str, str] | None) -> Security | None:
    if tls is None:
        return None
    make: Callable[..., Security] = Security
    return make(
        require_encryption=True,
        tls_ca_file=tls["ca"],
        tls_worker_cert=tls["cert"],
        tls_worker_key=tls["key"],
    )


def main() -> None:
    """Read the order, obey it, leave nothing."""
    out = _own_output()

    def tell(**facts: object) -> None:
        with suppress(OSError):  # nobody listens any more
            out.write(f"{MARK}{json.dumps(facts)}\n")
            out.flush()

    order = json.loads(sys.stdin.readline())
    agent = Agent(order, tell)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: agent.over.set())
    start_tracker()  # before the first worker, whose semaphores it removes when that is killed
    threading.Thread(target=agent.listen, args=(sys.stdin,), daemon=True).start()
    tempfile.tempdir = order["folder"]
    with scratch_folder() as folder:
        # What a killed worker leaves lies in there too, and goes with it.
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
        tell(folder=str(folder))
        try:
            agent.run(folder)
        finally:
            kill_children(KILL_S)
    tell(end=True)
    # Threads may wait for what has just been killed.
    os._exit(0)


def _own_output() -> TextIO:
    """The output for the other end; what anyone prints goes to the errors instead."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own


if __name__ == "__main__":
    main()
