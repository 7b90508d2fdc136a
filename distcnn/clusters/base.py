"""What a cluster backend is: the functions its module has, and the executor they open."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

from distcnn.clusters.places import Findings, Places
from distcnn.events import Listener
from distcnn.executor import Executor, ExpectedWorkers


class ClusterExecutor(Executor, Protocol):
    """An executor with the workers behind it."""

    @property
    def dashboard(self) -> str | None:
        """Address of the Dask dashboard, if there is one."""
        ...

    @property
    def findings(self) -> Findings:
        """What ``preflight`` has found."""
        ...

    def preflight(self, places: Places, listener: Listener) -> Findings:
        """Look at every worker before any work, and tell what was found.

        Raises
        ------
        ClusterError : they are not fit for the run; says why, and the cure.
        """
        ...


class Backend(Protocol):
    """A module of this folder. ``config`` is the ``cluster`` section of the configuration, of the
    model that the row of the backend names.

    A plan asks what to expect before anything is started, so nothing here may look at the
    machine where the command was typed unless the workers will run there too.
    """

    def open_executor(
        self, config: Any, listener: Listener
    ) -> AbstractContextManager[ClusterExecutor]:
        """Start workers; stop them and remove their files at exit.

        ``listener`` hears what is worth a word until they are there; see
        ``dask_workers.starting.arrival``.

        Raises
        ------
        ClusterError : the workers do not start.
        MissingExtra : what the backend needs is not installed.
        """
        ...

    def expect(self, config: Any) -> ExpectedWorkers:
        """The workers that ``open_executor`` would give, with what each gets; starts none.

        Raises
        ------
        ClusterError, MissingExtra : as ``open_executor``.
        """
        ...
