"""Slurm's own words: what sbatch, squeue, scancel and sinfo say of our jobs."""

import getpass
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from time import monotonic, sleep

from distcnn.errors import ClusterError

ALIVE = frozenset(
    {"PENDING", "RUNNING", "CONFIGURING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING"}
    | {"REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT", "STAGE_OUT"}
)
"""States of a job that may still do something; every other one is an end."""
NEVER = frozenset(
    {"AccountNotAllowed", "BadConstraints", "DependencyNeverSatisfied", "InvalidAccount"}
    | {"InvalidQOS", "JobHeldAdmin", "JobHeldUser", "PartitionNodeLimit", "PartitionTimeLimit"}
    | {
        "QOSNotAllowed",
        "AssocMaxCpuPerJobLimit",
        "AssocMaxMemPerJob",
        "AssocMaxWallDurationPerJobLimit",
    }
    | {"QOSMaxCpuPerJobLimit", "QOSMaxMemoryPerJob", "QOSMaxWallDurationPerJobLimit"}
)
"""Reasons for which a job would wait until somebody changes it."""
TOOL_TIMEOUT_S = 60.0
CANCEL_TIMEOUT_S = 20.0
ENDING_S = 5.0
"""Longest wait for the processes of cancelled jobs."""
POLL_S = 0.2


@dataclass(frozen=True)
class JobState:
    """A job as squeue tells of it. ``reason``: why it waits, or has ended; ``nodes``: where."""

    job: str
    state: str
    reason: str = ""
    nodes: str = ""

    @property
    def alive(self) -> bool:
        """Whether it runs or waits."""
        return self.state in ALIVE

    @property
    def pending(self) -> bool:
        """Whether it waits to be begun."""
        return self.alive and self.state not in {"RUNNING", "SIGNALING", "STAGE_OUT"}

    def __str__(self) -> str:
        where = f" on {self.nodes}" if self.nodes else ""
        why = f" ({self.reason})" if self.reason not in {"", "None"} else ""
        return f"job {self.job}: {self.state}{why}{where}"


GONE = "gone from the queue"


def queue_arguments(name: str) -> list[str]:
    """The question after all jobs of a name, those that ended lately too."""
    mine = ["--user", getpass.getuser(), "--name", name, "--states", "all"]
    return ["squeue", "--noheader", *mine, "--format", "%A|%T|%r|%N"]


def parse_queue(text: str) -> dict[str, JobState]:
    """What squeue answers, by the number of the job."""
    rows = (line.strip().split("|", 3) for line in text.splitlines() if line.count("|") >= 3)
    return {job: JobState(job, *rest) for job, *rest in rows}


def count_reasons(states: Iterable[JobState]) -> str:
    """``13 jobs pending (Resources)``; empty if none is."""
    pending = [state for state in states if state.pending]
    if not pending:
        return ""
    reasons = dict.fromkeys(s.reason for s in pending if s.reason not in {"", "None"})
    named = f" ({', '.join(reasons)})" if reasons else ""
    return f"{len(pending)} job{'s' if len(pending) > 1 else ''} pending{named}"


def jobs_of(name: str) -> dict[str, JobState]:
    """All jobs of a name.

    Raises
    ------
    ClusterError : Slurm does not answer.
    """
    return parse_queue(ask(queue_arguments(name)))


def ask(command: list[str], timeout: float = TOOL_TIMEOUT_S) -> str:
    """What a program of Slurm answers.

    Raises
    ------
    ClusterError : it is not there, says an error, or nothing.
    """
    try:
        # In a session of its own: Ctrl-C is for the command, which has to cancel its jobs.
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            start_new_session=True,
            check=False,
        )
    except FileNotFoundError:
        raise no_slurm(command[0]) from None
    except subprocess.TimeoutExpired:
        raise ClusterError(
            f"{command[0]} does not answer within {timeout:g} s",
            cure="Ask whoever runs the cluster whether slurmctld is well.",
        ) from None
    if answer.returncode:
        raise ClusterError(f"{command[0]} says: {' '.join(answer.stderr.split())}")
    return answer.stdout


def no_slurm(program: str) -> ClusterError:
    """What to say where there is no Slurm."""
    return ClusterError(
        f"there is no program {program!r} on this machine",
        expected="a machine from which jobs are submitted to a Slurm cluster",
        cure="Log in to one, or load Slurm's module.",
    )


def cancel(name: str) -> None:
    """Cancel every job of a name that Slurm knows of now.

    Raises
    ------
    ClusterError : Slurm does not answer.
    """
    ask(["scancel", "--quiet", "--user", getpass.getuser(), "--name", name])


def cancel_all(name: str, timeout: float = CANCEL_TIMEOUT_S) -> list[JobState]:
    """Cancel every job of a name until none is left; returns those that are, after a while.

    One may have been submitted just now, so Slurm is asked again afterwards; and processes on the
    nodes take a moment to end, if their node is well.
    """
    begun = monotonic()
    while True:
        cancel(name)
        states = list(jobs_of(name).values())
        left = [state for state in states if state.alive]
        ending = any(state.state == "COMPLETING" for state in states)
        waited = monotonic() - begun
        if not left and not (ending and waited < ENDING_S):
            return []
        if waited > timeout:
            return left
        sleep(POLL_S)


def node_addresses(partition: str | None) -> set[str]:
    """Addresses or names of the nodes on which jobs may run.

    Raises
    ------
    ClusterError : Slurm does not answer.
    """
    where = ["--partition", partition] if partition else []
    return set(ask(["sinfo", "--noheader", "--Node", "--format", "%o", *where]).split())


def hopeless(states: Mapping[str, JobState]) -> JobState | None:
    """A job that will never begin as it is, if there is one."""
    pending = (state for state in states.values() if state.pending)
    return next((state for state in pending if state.reason in NEVER), None)
