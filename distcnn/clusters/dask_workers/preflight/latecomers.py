"""Latecomers: a worker that joins after preflight proves itself with its first task.

Jobs are replaced, pods move, and a scheduler of others takes whoever comes. Another NumPy there,
or other code of ours, would change numbers without a word, so that a run goes on with nobody whom
preflight would have refused.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from distcnn.clusters.dask_workers.preflight.examine import identity
from distcnn.clusters.dask_workers.preflight.verdict import (
    PACKAGES,
    differences,
    versions_problem,
)
from distcnn.errors import WorkerUnfit


def check_worker(wanted: Mapping[str, Any], host: str) -> None:
    """Compare this worker with what preflight has found on the client.

    Parameters
    ----------
    wanted : ``examine.identity`` of the client.
    host : of this worker, for the message.

    Raises
    ------
    WorkerUnfit : it differs; says in what, and the cure.
    """
    unlike = tuple(differences(_own(), wanted, PACKAGES))
    if unlike:
        who = f"a worker that joined later, on {host},"
        problem, expected, cure = versions_problem(who, unlike, wanted)
        raise WorkerUnfit(problem, expected=expected, cure=f"{cure} {_AGAIN}")


_AGAIN = "Then run the command again: what is done stays done."


@cache
def _own() -> dict[str, Any]:
    return identity(PACKAGES)
