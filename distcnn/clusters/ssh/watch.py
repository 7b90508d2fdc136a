"""Watch: an agent on every host, started again as often as its host is lost and comes back.

Everything of ssh runs in one thread with an event loop of its own. A host whose connection breaks,
whose agent ends, or that cannot reach the scheduler is told once, with the reason and how many
workers go on; it is tried again, less and less often, until the command ends. Its regions are
computed elsewhere meanwhile.
"""

import asyncio
import json
import threading
from collections import deque
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from distcnn.clusters.ssh.agent import MARK
from distcnn.clusters.ssh.connection import HostRefused, connected, python_command
from distcnn.clusters.ssh.examine import Host
from distcnn.clusters.ssh.settings import SshConfig
from distcnn.events import Listener, Notice

if TYPE_CHECKING:
    import asyncssh

Answer = TypeVar("Answer")
BEAT_S = 2.0
"""Time between two signs of life for an agent."""
PAUSES_S = (1.0, 15.0)
"""Between two tries to reach a host that is lost: at first, and at most."""
END_S = 4.0
"""Time for the agents to clear up at the end."""
START_S = 60.0
"""Time for the agents to start, which import Dask from what may be a slow disk."""
POLL_S = 0.1


class Loop:
    """An event loop in a thread. Waiting for it can be interrupted, which it itself cannot be."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="ssh", daemon=True)
        self.thread.start()

    def begin(self, work: Coroutine[Any, Any, Answer]) -> "Future[Answer]":
        """Start something in there."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Wait for it; where the wait is interrupted, so is the work."""
        future = self.begin(work)
        try:
            return future.result()
        finally:
            future.cancel()

    def close(self) -> None:
        """End it, and everything that is still in there."""
        with suppress(TimeoutError):
            self.begin(_cancel_others()).result(timeout=END_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(END_S)
        if not self.thread.is_alive():
            self.loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class Watch:
    """The hosts of a cluster.

    Parameters
    ----------
    hosts : each with the names of its workers.
    order : what every agent is told: scheduler, security, memory, threads, folder.
    listener : hears of hosts that are lost and that are back.
    """

    def __init__(
        self,
        loop: Loop,
        config: SshConfig,
        hosts: Sequence[Host],
        order: dict[str, Any],
        listener: Listener,
    ) -> None:
        self.loop, self.config, self.order, self.listener = loop, config, order, listener
        self.watched = [Watched(host, self) for host in hosts]
        self.begun = False
        self.over = asyncio.Event()

    def start(self) -> None:
        """Begin, and wait until every host has said that it works or why it does not."""
        for one in self.watched:
            self.loop.begin(one.keep())
        deadline, never = monotonic() + START_S, threading.Event()
        while not all(one.known.is_set() for one in self.watched) and monotonic() < deadline:
            never.wait(POLL_S)

    def stop(self) -> None:
        """End the workers and wait for their hosts to be clean, if they can be reached."""
        self.begun = False
        self.loop.run(self._stop())

    async def _stop(self) -> None:
        self.over.set()
        ends = [asyncio.wait_for(one.ended.wait(), END_S) for one in self.watched]
        await asyncio.gather(*ends, return_exceptions=True)

    def why(self) -> str:
        """What is known of hosts whose workers are missing."""
        missing = [one for one in self.watched if one.alive < one.wanted]
        return "; ".join(f"{one.host.name}: {one.reason or 'no word yet'}" for one in missing)

    def tell(self, host: Host, what: str, level: str = "info") -> None:
        """That a host is lost or back, once each; nothing while the hosts start."""
        if self.begun:
            alive = sum(one.alive for one in self.watched)
            total = sum(one.wanted for one in self.watched)
            text = f"host {host.name} {what}: {alive} of {total} workers go on"
            self.listener(Notice(text, level))


class Watched:
    """A host, its agent, and what is known of both."""

    def __init__(self, host: Host, watch: Watch) -> None:
        self.host, self.watch = host, watch
        self.wanted = len(host.worker_names)
        self.alive = 0
        self.starts = 0
        self.lost = False
        self.reason = ""
        self.known = threading.Event()
        self.ended = asyncio.Event()
        self.errors: deque[str] = deque(maxlen=20)

    async def keep(self) -> None:
        """Until the end."""
        pause, over = PAUSES_S[0], self.watch.over
        while not over.is_set():
            begun = monotonic()
            try:
                reason = await self._serve()
            except HostRefused as refused:
                reason = refused.why
            except Exception as error:  # whatever it is, it is told and tried again
                reason = f"{type(error).__name__}: {error}"
            if over.is_set():
                break
            self._note(0, reason)
            lived = monotonic() - begun > PAUSES_S[1]
            pause = PAUSES_S[0] if lived else min(2 * pause, PAUSES_S[1])
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), pause)
        self.ended.set()

    async def _serve(self) -> str:
        """Start an agent and stay with it to its end; why it ended."""
        config, host = self.watch.config, self.host.config
        self.reason = ""
        self.errors.clear()
        command = python_command(config, host, "-m", "distcnn.clusters.ssh.agent")
        async with connected(config, host) as connection:
            agent = await connection.create_process(command)
            agent.stdin.write(json.dumps(self._order()) + "\n")
            await self._hear(agent)
            with suppress(TimeoutError):
                await asyncio.wait_for(agent.wait_closed(), BEAT_S)
        if agent.returncode is None:
            return "the connection to it ended"
        if agent.exit_signal is not None:
            return f"its agent was killed by SIG{agent.exit_signal[0]}"
        last = self.errors[-1] if self.errors else f"its agent ended with code {agent.returncode}"
        return self.reason or last

    def _order(self) -> dict[str, Any]:
        # Names of their own for every start: an agent of before, whose link was cut, may live for
        # some seconds beside this one, and Dask refuses two workers of one name.
        again = f"-{self.starts}" if self.starts else ""
        self.starts += 1
        names = [f"{name}{again}" for name in self.host.worker_names]
        return {**self.watch.order, "workers": names, "address": self.host.address}

    async def _hear(self, agent: "asyncssh.SSHClientProcess[str]") -> None:
        """Until the agent ends, or the connection to it."""
        works = (self._beat(agent), self._keep_errors(agent))
        aside = [asyncio.ensure_future(work) for work in works]
        try:
            async for line in agent.stdout:
                if line.startswith(MARK):
                    self._understand(json.loads(line.removeprefix(MARK)))
            await asyncio.wait(aside[1:], timeout=BEAT_S)  # its last words
        finally:
            for task in aside:
                task.cancel()
            await asyncio.gather(*aside, return_exceptions=True)

    def _understand(self, facts: dict[str, Any]) -> None:
        if "problem" in facts:
            self.reason = facts["problem"]
        if "alive" in facts:
            self._note(facts["alive"], facts["why"])

    def _note(self, alive: int, reason: str) -> None:
        """So many workers live, and why one has just ended if one has."""
        self.alive = alive
        if alive == self.wanted:
            self.known.set()
            if self.lost:
                self.watch.tell(self.host, "is there again")
            self.lost, self.reason = False, ""
        elif reason:
            self.known.set()
            self.reason = reason
            if not self.lost:
                self.watch.tell(self.host, f"is lost ({reason})", "warning")
            self.lost = True

    async def _keep_errors(self, agent: "asyncssh.SSHClientProcess[str]") -> None:
        async for line in agent.stderr:
            if line.strip():
                self.errors.append(line.strip())

    async def _beat(self, agent: "asyncssh.SSHClientProcess[str]") -> None:
        """Signs of life until the end of the command, then the end of the input."""
        while not self.watch.over.is_set():
            agent.stdin.write("\n")
            with suppress(TimeoutError):
                await asyncio.wait_for(self.watch.over.wait(), BEAT_S)
        agent.stdin.write_eof()
