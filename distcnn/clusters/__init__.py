"""Clusters: where workers come from. Only this package starts them, and it leaves none behind.

``open_cluster`` gives an executor (see ``distcnn.executor``), ``run_on_cluster`` does a stage's
work with one and begins it again if the scheduler is lost, ``expect_workers`` tells what to
expect. ``registry`` has the backends; one is imported when it is asked for, so that no one pays
for one that is not used.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, TypeVar

from distcnn.clusters.registry import find_backend

if TYPE_CHECKING:
    from distcnn.clusters.base import Backend, ClusterExecutor
    from distcnn.config import BackendConfig
    from distcnn.events import Listener
    from distcnn.executor import ExpectedWorkers

__all__ = [
    "expect_workers",
    "import_ahead",
    "open_cluster",
    "render_cluster",
    "run_on_cluster",
]

Answer = TypeVar("Answer")


@contextmanager
def open_cluster(
    config: "BackendConfig", listener: "Listener | None" = None
) -> Iterator["ClusterExecutor"]:
    """Start workers as configured; stop them and remove their files at exit.

    ``listener`` hears how many have come while they start (None = nobody).

    Raises
    ------
    ClusterError : the backend is unknown, or its workers do not start.
    MissingExtra : what the backend needs is not installed.
    """
    from distcnn.events import silent

    backend, config = _chosen(config)
    with backend.open_executor(config, listener or silent) as executor:
        yield executor


def import_ahead(config: "BackendConfig", *modules: str) -> AbstractContextManager[object]:
    """Let a backend that can do so import ``modules`` for its workers from now on.

    Raises
    ------
    ClusterError, MissingExtra : as ``open_cluster``.
    """
    backend, config = _chosen(config)
    begin: Callable[..., AbstractContextManager[object]] | None
    begin = getattr(backend, "import_ahead", None)
    return nullcontext() if begin is None else begin(config, *modules)


def run_on_cluster(
    config: "BackendConfig", listener: "Listener", work: "Callable[[ClusterExecutor], Answer]"
) -> Answer:
    """What ``work`` answers, a stage that goes on from what it has stored if it is begun again.

    If the scheduler is lost it is begun again on a new cluster, ``config.restarts`` times.

    Raises
    ------
    ClusterError, MissingExtra : as ``open_cluster``; also the last loss of a scheduler.
    """
    from distcnn.config import ClusterConfig
    from distcnn.errors import SchedulerLost
    from distcnn.events import Notice

    restarts = config.restarts if isinstance(config, ClusterConfig) else 0
    lost_before = 0
    while True:
        try:
            with open_cluster(config, listener) as executor:
                return work(executor)
        except SchedulerLost as lost:
            lost_before += 1
            if lost_before > restarts:
                raise
            problem = " ".join(lost.problem.split())  # Dask's words have several lines
            text = f"{problem}; going on from what is stored, with a new cluster"
            listener(Notice(f"{text} ({lost_before} of {restarts})", "warning"))


def render_cluster(config: "BackendConfig") -> str:
    """What ``open_cluster`` would create elsewhere, as text; creates nothing, asks no cluster.

    Raises
    ------
    ClusterError : the backend creates nothing that could be shown, or settings are missing.
    """
    from distcnn.errors import ClusterError

    backend, config = _chosen(config)
    render: Callable[[BackendConfig], str] | None = getattr(backend, "render", None)
    if render is None:
        raise ClusterError(
            f"the cluster {config.backend} creates no objects that could be shown",
            expected="k8s or slurm",
        )
    return render(config)


def expect_workers(config: "BackendConfig") -> "ExpectedWorkers":
    """The workers that ``open_cluster`` would give; starts none.

    Raises
    ------
    ClusterError : the backend is unknown, or cannot be asked.
    MissingExtra : what the backend needs is not installed.
    """
    backend, config = _chosen(config)
    return backend.expect(config)


def _chosen(config: "BackendConfig") -> "tuple[Backend, BackendConfig]":
    """The backend, and the configuration in its own model, whichever it was made in."""
    row = find_backend(config.backend)
    model = row.load_settings()
    if not isinstance(config, model):
        config = model.model_validate(config.model_dump(exclude_unset=True))
    return row.load(), config
