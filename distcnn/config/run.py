"""Settings of how a run goes: its cluster, its listeners, its report, the demonstration."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import (
    Field,
    SerializeAsAny,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from distcnn.config.base import Frozen, LocalPath
from distcnn.config.predict import SNR_EDGES
from distcnn.config.resources import WORKER_BYTES, Follows, WorkerMemory, WorkerThreads
from distcnn.errors import ClusterError

if TYPE_CHECKING:
    from distcnn.clusters.registry import Row


class TlsConfig(Frozen):
    """Encryption between client, scheduler and workers, each of which shows a certificate."""

    mode: Literal["auto", "on", "off"] = "auto"
    """``auto``: on where the scheduler listens beyond the loopback interface. Whoever reaches a
    scheduler that is not encrypted can run any code there. ``tls: off`` is short for this key."""
    ca: Path | None = None
    """Certificate of the authority that has signed those of all sides, a file in PEM. None = a
    certificate is made for the run; of a scheduler that runs already, those of Dask's own
    configuration (``distributed.comm.tls``)."""
    cert: Path | None = None
    """Certificate of this side and of the workers that it starts, a file in PEM."""
    key: Path | None = None
    """Key of ``cert``, a file in PEM that only you should be able to read."""

    @property
    def paths(self) -> dict[str, Path | None]:
        """The files by their keys."""
        return {"ca": self.ca, "cert": self.cert, "key": self.key}

    @property
    def files(self) -> bool:
        """Whether certificates of the user are to be used."""
        return any(self.paths.values()) and self.mode != "off"

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, bool):  # YAML's reading of ``on`` and ``off``
            return {"mode": "on" if value else "off"}
        return {"mode": value} if isinstance(value, str) else value


class ClusterConfig(Frozen):
    """Where the work runs: the keys that every backend has.

    A backend with keys of its own (a queue, an image) has a subclass, named in its row of
    ``distcnn.clusters.registry``.
    """

    backend: str = "local"
    """``local`` starts Dask workers on this machine, ``cuda`` one per GPU of it; ``serial`` runs
    in this very process; ``tcp://HOST:PORT`` takes the workers of a scheduler that runs already."""
    workers: int | None = Field(None, ge=1)
    """Worker processes; None = as many as there are cores for their threads, or one per GPU."""
    memory_limit: WorkerMemory = WORKER_BYTES
    """Now ``resources.memory``."""
    threads: WorkerThreads = 1
    """Now ``resources.threads``."""
    dashboard: str | None = "127.0.0.1:0"
    """Address of the Dask dashboard (loopback, any free port); None = no dashboard."""
    in_flight: int = Field(2, ge=1)
    """Tasks in flight per worker; one is waiting while another runs."""
    attempts: int = Field(3, ge=1)
    """Times a task is begun on workers that die under it before it is given up."""
    patience: float = Field(120.0, gt=0)
    """Time without a single worker alive after which the work is given up [s]."""
    tls: TlsConfig = TlsConfig()
    """Encryption between client, scheduler and workers."""

    @field_validator("backend")
    @classmethod
    def _is_known(cls, backend: str) -> str:
        _row(backend)
        return backend


def _row(backend: str) -> "Row":
    # The one import upwards: which backends there are is the business of clusters, and that a
    # configuration names one of them must be said with its file and line. The rows are data.
    from distcnn.clusters.registry import find_backend

    try:
        return find_backend(backend)
    except ClusterError as error:
        raise ValueError(error.expected) from None


def _of_its_backend(value: Any, usual: ValidatorFunctionWrapHandler) -> ClusterConfig:
    """A section is read by the model of the backend it asks for."""
    backend = value.get("backend", "local") if isinstance(value, dict) else None
    if not isinstance(backend, str):
        return cast(ClusterConfig, usual(value))
    try:
        model = _row(backend).load_settings()
    except ValueError:
        return cast(ClusterConfig, usual(value))
    return model.model_validate(value)


def own_cluster_models() -> dict[str, type[ClusterConfig]]:
    """The models of the backends that have keys of their own, by the name of the backend."""
    from distcnn.clusters.registry import ROWS

    return {row.name: row.load_settings() for row in ROWS if row.settings is not None}


AnyClusterConfig = Annotated[SerializeAsAny[ClusterConfig], WrapValidator(_of_its_backend)]
"""The section ``cluster``: of the model that its ``backend`` has."""


class MonitorConfig(Frozen):
    """Listeners beside the console; each is off while its key is null."""

    journal: LocalPath | None = None
    """File to which every event is appended as one line of JSON; runs may share it."""
    tensorboard: LocalPath | None = None
    """Folder for TensorBoard logs: one run per member that trains, one of what regions cost."""


class ReportConfig(Frozen):
    """One self-contained HTML page."""

    figures: tuple[str, ...] | None = None
    """Figures shown (kiel, residuals, coverage, ...), each where the data allow it; None = all."""
    spectra: int = Field(6, ge=0)
    """Example spectra shown."""
    baselines: bool = True
    """Show the baselines of ``distcnn compare``; ``distcnn demo`` also makes them."""
    snr_edges: Annotated[tuple[float, ...], Follows("quality.snr_edges")] = SNR_EDGES
    """Edges of the S/N bins in tables and figures; those of ``quality`` unless given here."""
    sample: int = Field(200_000, ge=1000)
    """Stars kept in memory for figures and accuracy; counts are always of all stars."""
    coverage_band: tuple[float, float] = (0.64, 0.72)
    """Fraction of residuals within the quoted 68 % interval that counts as calibrated."""


class DemoConfig(Frozen):
    """The whole pipeline on simulated stars."""

    stars: int = Field(20_000, ge=100)
    """Stars to simulate."""
    seed: int = Field(1, ge=0)
    """Seed of the simulation."""
