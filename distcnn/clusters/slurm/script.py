"""The script of a job: directives, the user's environment, our settings, the workers; its log."""

import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dask

from distcnn.clusters.dask_workers.settings import dask_settings, thread_variables
from distcnn.clusters.dask_workers.walltime import END_VARIABLE, MARGIN_VARIABLE
from distcnn.clusters.slurm.settings import SlurmConfig

DEATH_TIMEOUT_S = 60
"""Time without a scheduler after which a worker, and with the last one its job, ends: also when
the command was killed and could not cancel its jobs."""

TAIL_LINES = 8
TAIL_BYTES = 64_000
_ERROR = re.compile(r"\w*(Error|Exception): ")


@dataclass(frozen=True)
class JobScript:
    """What all jobs of a run have in common.

    Parameters
    ----------
    config : the section ``cluster``.
    name : of all jobs of this run, and of no other.
    logs : folder for their logs.
    variables : further environment (where certificates are, never what is in them).
    """

    config: SlurmConfig
    name: str
    logs: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def log_of(self, job: str) -> Path:
        """The file in which a job says what it does."""
        return self.logs / f"{self.name}-{job}.log"

    def render(self, scheduler: str, worker: str) -> str:
        """The script of the job whose workers are called ``worker``.

        Parameters
        ----------
        scheduler : address, tcp://HOST:PORT or tls://HOST:PORT.
        """
        lines = [
            "#!/bin/bash",
            *(f"#SBATCH {option}" for option in self._directives()),
            *self.config.environment,
            *(f"export {name}={shlex.quote(text)}" for name, text in self._exports().items()),
            f"export {END_VARIABLE}=$(( $(date +%s) + {self.config.seconds} ))",
            f'scratch=$(mktemp -d "{self.config.scratch}/distcnn-workers-XXXXXX") || exit 1',
            "trap 'rm -rf \"$scratch\"' EXIT",
            # A shell that waits in the foreground would hear of the end of the job too late.
            "trap 'kill $(jobs -p) 2>/dev/null' TERM INT",
            *self._workers(scheduler, worker),
            "wait",
            "wait",  # again, where a signal has ended the first one
        ]
        return "\n".join(lines) + "\n"

    def _directives(self) -> Iterator[str]:
        config = self.config
        yield f"--job-name={self.name}"
        yield f"--output={self.logs.absolute()}/{self.name}-%j.log"
        yield "--open-mode=append"
        yield "--nodes=1"
        yield "--ntasks=1"
        yield f"--cpus-per-task={config.job_cores or config.per_job * config.threads}"
        yield f"--mem={-(-config.bytes_of_job // 2**20)}M"
        yield f"--time={config.walltime}"
        if config.partition is not None:
            yield f"--partition={config.partition}"
        if config.account is not None:
            yield f"--account={config.account}"
        if config.gpus:
            yield f"--gres={config.gres}:{config.gpus}"
        yield from config.directives

    def _exports(self) -> dict[str, str]:
        # Dask's own way to hand a configuration on; a worker's scratch folder is on its command
        # line, for only the node knows it.
        settings = dask_settings(Path("/tmp"), self.config.threads)  # noqa: S108
        del settings["temporary-directory"]
        nested: dict[str, object] = {}
        dask.config.set(settings, config=nested)
        return {
            "DASK_INTERNAL_INHERIT_CONFIG": dask.config.serialize(nested),
            **thread_variables(self.config.threads),
            MARGIN_VARIABLE: f"{self.config.margin_seconds:g}",
            **self.variables,
        }

    def _workers(self, scheduler: str, worker: str) -> Iterator[str]:
        config = self.config
        options = ["--nthreads 1", f"--memory-limit {config.memory_limit}"]
        # Without an address Dask would show its numbers at every address of the node.
        options += ["--no-dashboard", "--dashboard-address 127.0.0.1:0"]
        options += [f"--death-timeout {DEATH_TIMEOUT_S}", '--local-directory "$scratch"']
        if config.interface is None:
            # Else a worker would listen at every address of its node.
            yield _HERE.format(python=self._python, scheduler=shlex.quote(scheduler))
            options.append('--host "$here"')
        else:
            options.append(f"--interface {shlex.quote(config.interface)}")
        command = f"{self._python} -m distributed.cli.dask_worker {shlex.quote(scheduler)}"
        if config.gpus:
            yield f"for number in $(seq 0 {config.gpus - 1}); do"
            yield '  gpu=$(echo "$CUDA_VISIBLE_DEVICES" | cut -d, -f $((number + 1)))'
            options.append(f'--name {worker}-"$number"')
            yield f'  CUDA_VISIBLE_DEVICES="$gpu" {command} {" ".join(options)} &'
            yield "done"
        else:
            options += [f"--name {worker}", f"--nworkers {config.per_job}"]
            yield f"{command} {' '.join(options)} &"

    @property
    def _python(self) -> str:
        usual = "python" if self.config.environment else sys.executable
        return shlex.quote(self.config.python or usual)

    def names_of(self, worker: str) -> list[str]:
        """What the workers of a job are called."""
        if self.config.per_job == 1 and not self.config.gpus:
            return [worker]
        return [f"{worker}-{number}" for number in range(self.config.per_job)]


_HERE = """here=$({python} -c '
import socket, sys
host, _, port = sys.argv[1].rpartition("://")[2].rpartition(":")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.connect((host, int(port)))
    print(probe.getsockname()[0])
' {scheduler}) || exit 1"""
"""The address of a node at which the scheduler sees it."""


def tail(file: Path) -> str:
    """The last lines of a log, after the first error in it; empty if there is none."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - TAIL_BYTES))
            text = stream.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    shown = lines[-TAIL_LINES:]
    # Of errors that follow from each other the first is the cause.
    first = next((line for line in lines if _ERROR.match(line)), None)
    return "\n".join(shown if first is None or first in shown else [first, "...", *shown])
