"""Jobs: a Dask cluster of jobs that are replaced when they end; the one module of dask-jobqueue.

dask-jobqueue submits jobs and cancels them. What becomes of them it does not ask: a job that ends
before its worker has come is waited for without end, one of several workers that ends is not
replaced, nor is any without ``adapt``, which goes by workers that are gone and not by jobs. So
Slurm itself is asked: what has ended gets a successor, and after some that have never had a worker
the end of their log is told instead.
"""

import asyncio
import itertools
from time import monotonic
from typing import Any

from dask_jobqueue.slurm import SLURMCluster, SLURMJob
from distributed import Status
from distributed.diagnostics.plugin import SchedulerPlugin

from distcnn.clusters.slurm.queue import (
    GONE,
    JobState,
    count_reasons,
    hopeless,
    parse_queue,
    queue_arguments,
)
from distcnn.clusters.slurm.script import JobScript, tail
from distcnn.errors import ClusterError
from distcnn.events import Listener, Notice

FAILURES = 3
"""Jobs in a row that end without having had a worker, after which no more are submitted."""
LONGEST_PAUSE_S = 600.0
"""Between two tries to submit where jobs fail although others work."""
SUBMISSIONS = 8
"""Programs of Slurm that run at the same time: its controller serves others too."""
LOST_S = 45.0
"""Time after which a job that runs, and whose workers are gone, is replaced: its node is lost."""


class Job(SLURMJob):
    """One job; its script is ours."""

    pid = None
    auto_restart = False

    def __init__(
        self,
        scheduler: str,
        name: str,
        *,
        script: JobScript,
        gate: asyncio.Semaphore,
        **options: Any,
    ) -> None:
        self.our_script, self.gate = script, gate
        self.refused = ""
        self.begun = monotonic()
        self.last_seen: float | None = None
        """When a worker of it was there last; None = never."""
        config = script.config
        super().__init__(  # type: ignore[no-untyped-call]
            scheduler,
            name,
            cores=config.per_job,
            processes=config.per_job,
            memory=str(config.bytes_of_job),
            job_name=script.name,
            **options,
        )

    def job_script(self) -> str:
        """What is submitted."""
        return self.our_script.render(str(self.scheduler), str(self.name))

    async def start(self) -> None:
        """Submit; what sbatch says against it is kept, for nobody waits for this."""
        async with self.gate:
            with self.job_file() as file:
                code, out, err = await call(["sbatch", "--parsable", file])
        if code:
            self.refused = " ".join(err.split()) or f"sbatch ends with {code}"
        else:
            self.job_id = out.strip().partition(";")[0]
        self.status = Status.running

    async def close(self) -> None:
        """Cancel it, unless it was never there."""
        if self.job_id:
            async with self.gate:
                await call(["scancel", "--quiet", self.job_id])
        self.status = Status.closed

    @property
    def workers(self) -> list[str]:
        """Names of its workers."""
        return self.our_script.names_of(str(self.name))


async def call(command: list[str]) -> tuple[int, str, str]:
    """Exit code and both outputs of a program; Ctrl-C does not reach it."""
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=pipe, stderr=pipe, start_new_session=True
        )
    except OSError as error:
        return 1, "", str(error)
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


class JobCluster(SLURMCluster):
    """A scheduler here, and jobs. No two of them, and so no two workers, have one name."""

    job_cls: Any = Job

    def __init__(self, *, script: JobScript, **options: Any) -> None:
        self._numbers = itertools.count()
        gate = asyncio.Semaphore(SUBMISSIONS)
        super().__init__(name=script.name, script=script, gate=gate, **options)

    def _new_worker_name(self, worker_number: int) -> str:
        # Dask would use a name again while the scheduler still waits for the lost worker of that
        # name, and then refuse the new one.
        return f"{self._name}-{next(self._numbers)}"


class _Arrivals(SchedulerPlugin):
    """Names of all workers that have ever come."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def add_worker(self, scheduler: Any, worker: str) -> None:
        self.names.add(str(scheduler.workers[worker].name))


class Keeper:
    """Replaces what ends, and knows why something is missing. Runs in the cluster's own loop.

    Parameters
    ----------
    cluster : a running ``JobCluster`` without jobs.
    listener : hears of jobs that end and of jobs that fail.
    """

    def __init__(self, cluster: Any, script: JobScript, listener: Listener) -> None:
        self.cluster, self.script, self.listener = cluster, script, listener
        self.config = script.config
        self.states: dict[str, JobState] = {}
        self.failed: list[str] = []
        """What is known of jobs that ended in a row without having had a worker."""
        self._cause = ""
        self.next_try = 0.0
        """When jobs that failed get successors."""
        self.silence = ""
        """What Slurm said instead of an answer, last time."""
        self.arrivals = _Arrivals()
        self._work: Any = None

    def start(self) -> None:
        """Submit the jobs and keep them."""
        self.cluster.scheduler.add_plugin(self.arrivals)
        self.cluster.scale(jobs=self.config.jobs)
        self._work = asyncio.run_coroutine_threadsafe(self._keep(), self.cluster.loop.asyncio_loop)

    def stop(self) -> None:
        """Replace nothing more."""
        if self._work is not None:
            self._work.cancel()

    async def _keep(self) -> None:
        while True:
            try:
                await self._look()
            except Exception as error:  # a run without a keeper would never end
                self.silence = f"{type(error).__name__}: {error}"
            # The first answers come soon: a job that cannot run ends at once.
            early = monotonic() - min((j.begun for j in self._jobs()), default=0.0) < 10.0
            await asyncio.sleep(min(self.config.poll, 1.0) if early else self.config.poll)

    def _jobs(self) -> list[Job]:
        return list(self.cluster.workers.values())

    async def _look(self) -> None:
        code, out, err = await call(queue_arguments(self.script.name))
        self.silence = " ".join(err.split()) if code else ""
        if code:
            return
        self.states = parse_queue(out)
        present = {str(one.name) for one in self.cluster.scheduler.workers.values()}
        for name, job in list(self.cluster.workers.items()):
            if job.last_seen is None and not self.arrivals.names.isdisjoint(job.workers):
                job.last_seen = monotonic()
                self.failed.clear()
            if not present.isdisjoint(job.workers):
                job.last_seen = monotonic()
            if (end := self._end_of(job)) is not None:
                await self._replace(name, job, end)
        if monotonic() > self.next_try:
            self.cluster.scale(jobs=self.config.jobs)

    def _end_of(self, job: Job) -> JobState | None:
        """How a job has ended; None = it has not."""
        if job.refused:
            return JobState("none", "refused", job.refused)
        state = self.states.get(str(job.job_id))
        if state is None:
            # Submitted after the question, or forgotten since.
            return JobState(str(job.job_id), GONE) if monotonic() - job.begun > LOST_S else None
        if not state.alive:
            return state
        lost = job.last_seen is not None and monotonic() - job.last_seen > LOST_S
        return (
            JobState(str(job.job_id), "no worker of it is left", nodes=state.nodes)
            if lost
            else None
        )

    async def _replace(self, name: str, job: Job, end: JobState) -> None:
        del self.cluster.workers[name]
        self.cluster.worker_spec.pop(name, None)
        await job.close()
        if job.last_seen is not None:
            self.listener(Notice(f"{end}; another job takes its place"))
            return
        cause = job.refused or tail(self.script.log_of(str(job.job_id)))
        told = self._told(job, end, cause)
        pause = self.config.poll * 2 ** len(self.failed)
        self.next_try = monotonic() + min(pause, LONGEST_PAUSE_S)
        # The same for every one of a hundred jobs is told once.
        if not self.failed or self._cause != cause:
            self.listener(Notice(f"No worker came from {told}", "warning"))
        self.failed.append(told)
        self._cause = cause

    @property
    def given_up(self) -> bool:
        """Whether jobs fail one after the other."""
        return len(self.failed) >= min(FAILURES, self.config.jobs)

    def _told(self, job: Job, end: JobState, cause: str) -> str:
        if job.refused:
            return f"a job; sbatch says: {cause}"
        file = self.script.log_of(str(job.job_id))
        return f"{end}; {file} ends with:\n{cause}" if cause else f"{end}; {file} is empty"

    def note(self) -> str:
        """What is worth a word while workers are missing."""
        return count_reasons(self.states.values()) or self.silence

    def why(self) -> str:
        """What is known of workers that do not come."""
        known = [*self.failed[-1:], self.note()]
        known += [str(one) for one in self.states.values() if one.state == "RUNNING"][:3]
        return "; ".join(filter(None, known))

    def coming(self) -> bool:
        """Whether workers may still come, though none is there now.

        Raises
        ------
        ClusterError : jobs end as soon as they begin, or will never begin.
        """
        if self.given_up:
            raise ClusterError(
                f"no worker came from {self.failed[-1]}",
                cure=self._cure(),
            )
        never = hopeless(self.states)
        if never is not None:
            raise ClusterError(
                f"{never}: it would wait for ever",
                expected="a job that Slurm can begin",
                cure="Change cluster.partition, walltime, job_memory, job_cores, account or "
                "directives.",
            )
        return any(state.pending for state in self.states.values())

    def _cure(self) -> str:
        if "sbatch says" in self.failed[-1]:
            return "Change cluster.partition, account, walltime or directives accordingly."
        if "ModuleNotFoundError" in self.failed[-1] or "No module named" in self.failed[-1]:
            return (
                "Install it for the Python of the nodes (pip install 'distcnn[slurm]'), or name "
                "another with cluster.python, or with lines of cluster.environment."
            )
        return (
            "See there whether the node has the Python of cluster.python, with distcnn, after "
            "the lines of cluster.environment, and whether it reaches the scheduler "
            "(cluster.interface)."
        )
