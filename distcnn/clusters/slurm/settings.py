"""Settings of the backend ``slurm``."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from distcnn.config.base import Bytes
from distcnn.config.run import ClusterConfig

_WALLTIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
MEMORY_BESIDE_WORKERS = 500_000_000
"""Of a job, for the process that watches over its workers [bytes]."""


def parse_walltime(text: str) -> int:
    """Seconds of a time limit as Slurm writes it: ``90`` (minutes), ``1:30:00``, ``2-12``.

    Raises
    ------
    ValueError : it is none.
    """
    found = _WALLTIME.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a time limit such as 04:00:00, 90 (minutes) or 1-12:00")
    days, *parts = (None if part is None else int(part) for part in found.groups())
    given = [part for part in parts if part is not None]
    if days is not None:  # days-hours[:minutes[:seconds]]
        hours, minutes, seconds = (*given, 0, 0)[:3]
    elif len(given) == 3:
        hours, minutes, seconds = given
    else:  # minutes[:seconds]
        hours, (minutes, seconds) = 0, (*given, 0)[:2]
    return (((days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def _check_walltime(text: str) -> str:
    if parse_walltime(text) <= 0:
        raise ValueError(f"{text!r} is no time at all; 04:00:00 are four hours")
    return text


Walltime = Annotated[str, AfterValidator(_check_walltime)]


class SlurmConfig(ClusterConfig):
    """Jobs of a Slurm cluster, each with some Dask workers; the scheduler runs in the command.

    The command runs where ``sbatch`` does and where the nodes can reach it: on a login node, or
    itself in a job.
    """

    backend: str = "slurm"
    """See above."""
    workers: int | None = Field(None, ge=1)
    """Workers of all jobs together; None = those of one job."""
    workers_per_job: int = Field(1, ge=1)
    """Workers of one job; it runs on one node."""
    partition: str | None = None
    """``--partition``; None = the one that the cluster takes by default."""
    account: str | None = None
    """``--account``; None = yours."""
    walltime: Walltime = "01:00:00"
    """Time limit of a job. Its workers begin no task that would not end before, and end; the next
    job takes their place."""
    job_memory: Bytes | None = None
    """Memory of a job; None = ``resources.memory`` for each worker, and half a gigabyte."""
    job_cores: int | None = Field(None, ge=1)
    """Cores of a job; None = ``resources.threads`` for each worker."""
    gpus: int = Field(0, ge=0)
    """GPUs of a job (``--gres=gpu:N``): it has one worker for each, which sees no other."""
    gres: str = "gpu"
    """What the cluster calls its GPUs: ``gpu:a100``."""
    directives: tuple[str, ...] = ()
    """Further options of sbatch, one each: ``--qos=long``, ``--exclusive``, ``-C skylake``."""
    environment: tuple[str, ...] = ()
    """Lines of shell before the workers start: ``module load python/3.11``, ``source
    /path/venv/bin/activate``."""
    python: str | None = None
    """Python on the nodes; None = the path of the one that runs the command, and where
    ``environment`` has lines, the ``python`` that they put first."""
    interface: str | None = None
    """Network interface at which scheduler and workers listen, such as ``ib0``; None = the
    scheduler at the address of this machine, each worker at the one that reaches the scheduler."""
    scheduler_interface: str | None = None
    """The same for the scheduler alone, if it is called otherwise on this machine."""
    scratch: str = "${TMPDIR:-/tmp}"
    """Folder on the nodes for temporary files; the shell there reads it."""
    logs: Path | None = None
    """Folder for the logs of jobs, seen from the nodes; None = beside what the command makes, with
    the ending ``.logs``."""
    minimum_workers: int = Field(1, ge=1)
    """Workers with which the work begins; others join it as their jobs start."""
    gather: float = Field(60.0, ge=0)
    """Time to wait for the rest once these are there [s]."""
    margin: float | None = Field(None, ge=0)
    """Time before the end of a job in which no task runs; a task is begun only if twice the time
    of the longest so far is left before [s]. None = a tenth of ``walltime``, at most a minute."""
    poll: float = Field(10.0, gt=0)
    """Time between two questions to Slurm [s]."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.workers is not None and self.workers % self.per_job:
            raise ValueError(
                f"workers in whole jobs: {self.workers} is no multiple of {self.per_job} a job"
            )
        if self.margin is not None and self.margin > self.seconds / 2:
            raise ValueError(
                f"a margin of at most half the walltime, {self.seconds / 2:g} s: a worker takes "
                f"a moment to start, and would leave with {self.margin:g} s left"
            )
        return self

    @property
    def per_job(self) -> int:
        """Workers of a job."""
        return self.gpus or self.workers_per_job

    @property
    def total(self) -> int:
        """Workers of all jobs."""
        return self.workers or self.per_job

    @property
    def jobs(self) -> int:
        """Jobs that run, or wait, at the same time."""
        return -(-self.total // self.per_job)

    @property
    def seconds(self) -> int:
        """Time limit of a job [s]."""
        return parse_walltime(self.walltime)

    @property
    def margin_seconds(self) -> float:
        """``margin``, or what stands for it [s]."""
        return min(60.0, self.seconds / 10) if self.margin is None else self.margin

    @property
    def bytes_of_job(self) -> int:
        """Memory that a job asks for [bytes]."""
        return self.job_memory or self.per_job * self.memory_limit + MEMORY_BESIDE_WORKERS
