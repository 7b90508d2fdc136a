"""The cluster backends, one row each. Data only: a backend is imported when it is chosen.

To add one, write a module beside this file with the functions of ``base.Backend`` (and, where
it has configuration keys of its own, a subclass of ``ClusterConfig``) and a preset in
``conf/clusters``, add its row here, and pass the conformance kit: ``cluster_checks`` for its
executor, ``cluster_runs`` for whole commands.
"""

import re
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from distcnn.errors import ClusterError
from distcnn.formatting import did_you_mean

if TYPE_CHECKING:
    from distcnn.clusters.base import Backend
    from distcnn.config import BackendConfig


@dataclass(frozen=True)
class Row:
    """A backend: how it is asked for, where it is, what it is.

    ``extra``: what must be installed for it. ``schemes``: set where the backend is asked for by
    an address (SCHEME://HOST:PORT) instead of its name. ``settings``: the name of its own
    configuration model in ``module`` (or of another, as ``MODULE:NAME``), a subclass of
    ``ClusterConfig``; None = it has the common keys only.
    """

    name: str
    module: str
    sentence: str
    extra: str | None = None
    schemes: tuple[str, ...] = ()
    settings: str | None = None

    def takes(self, backend: str) -> bool:
        """Whether ``cluster.backend`` asks for this one."""
        if not self.schemes:
            return backend == self.name
        scheme, _, address = backend.partition("://")
        return scheme in self.schemes and re.fullmatch(r"\S+:\d+", address) is not None

    @property
    def written(self) -> str:
        """What a user writes to have it."""
        return f"{self.schemes[0]}://HOST:PORT" if self.schemes else self.name

    def load(self) -> "Backend":
        """The functions of the backend; what its extra brings is imported by them only."""
        try:
            return cast("Backend", import_module(self.module))
        except ValueError as error:  # Dask reads its configuration as it is imported
            raise ClusterError(
                f"Dask cannot be used ({error})",
                expected="YAML in the files of ~/.config/dask and of DASK_CONFIG",
                cure="Mend or move the file.",
            ) from error

    def load_settings(self) -> "type[BackendConfig]":
        """The model of its configuration section; loads nothing of its extra."""
        if self.settings is None:
            from distcnn.config import ClusterConfig

            return ClusterConfig
        module, _, name = self.settings.rpartition(":")
        holder = import_module(module) if module else self.load()
        return cast("type[BackendConfig]", getattr(holder, name))


ROWS = (
    Row(
        "local",
        "distcnn.clusters.local",
        "Dask workers on this machine, one per core",
        settings="distcnn.config.run:LocalConfig",
    ),
    Row(
        "cuda",
        "distcnn.clusters.cuda",
        "a Dask worker per GPU of this machine",
        extra="cuda",
        settings="distcnn.config.run:CudaConfig",
    ),
    Row(
        "serial",
        "distcnn.clusters.serial",
        "in the process of the command, without workers",
        settings="distcnn.config.run:SerialConfig",
    ),
    Row(
        "ssh",
        "distcnn.clusters.ssh",
        "Dask workers on hosts that ssh reaches",
        extra="ssh",
        settings="SshConfig",
    ),
    Row(
        "k8s",
        "distcnn.clusters.k8s",
        "pods of a Kubernetes cluster, by the Dask operator",
        extra="k8s",
        settings="distcnn.clusters.k8s.settings:KubernetesConfig",
    ),
    Row(
        "slurm",
        "distcnn.clusters.slurm",
        "Dask workers in jobs of a Slurm cluster",
        extra="slurm",
        settings="distcnn.clusters.slurm.settings:SlurmConfig",
    ),
    Row(
        "existing",
        "distcnn.clusters.existing",
        "the workers of a Dask scheduler that runs already",
        schemes=("tcp", "tls"),
        settings="distcnn.config.run:ExistingConfig",
    ),
)


def find_backend(backend: str) -> Row:
    """The row that ``cluster.backend`` asks for.

    Raises
    ------
    ClusterError : no backend is called so; the message lists those there are.
    """
    for row in ROWS:
        if row.takes(backend):
            return row
    raise ClusterError(
        f"there is no cluster backend {backend!r}",
        expected=known_backends(),
        cure=did_you_mean(backend, [row.name for row in ROWS if not row.schemes]),
    )


def known_backends() -> str:
    """The names for an error message, each with the extra it needs."""
    names = [
        f"{row.written} (pip install 'distcnn[{row.extra}]')" if row.extra else row.written
        for row in ROWS
    ]
    return f"{', '.join(names[:-1])} or {names[-1]}"


def backends_help() -> str:
    """The names with what they are, for the help of the command line."""
    return "; ".join(f"{row.written}: {row.sentence}" for row in ROWS)
