"""Settings of how a run goes: its cluster, its listeners, its report, the demonstration."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, cast

from pydantic import (
    Field,
    SerializeAsAny,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from distcnn.config.base import Frozen, LocalPath, Names
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
        if isinstance(value, bool):  # ``true`` and ``false``
            return {"mode": "on" if value else "off"}
        return {"mode": value} if isinstance(value, str) else value


class BackendConfig(Frozen):
    """Where the work runs: the keys that every backend has."""

    backend: str = "local"
    """``local`` starts Dask workers on this machine, ``cuda`` one per GPU of it; ``serial`` runs
    in this very process; ``tcp://HOST:PORT`` takes the workers of a scheduler that runs already."""
    memory_limit: WorkerMemory = WORKER_BYTES
    """Now ``resources.memory``."""
    threads: WorkerThreads = 1
    """Now ``resources.threads``."""
    rates: str = "cpu-core-avx2"
    """What a core of a worker is, or a worker with a GPU, as ``conf/devices/rates.yaml`` names
    it; only ``distcnn plan --devices`` asks."""

    @field_validator("backend")
    @classmethod
    def _is_known(cls, backend: str) -> str:
        _row(backend)
        return backend

    def replaced(self, **values: object) -> Self:
        """A copy with other values of those keys that this backend has."""
        known = {key: value for key, value in values.items() if key in type(self).model_fields}
        return self.model_copy(update=known)


class ClusterConfig(BackendConfig):
    """The keys that every backend with workers has.

    One with keys of its own (a queue, an image) has a subclass, named in its row of
    ``distcnn.clusters.registry``.
    """

    workers: int | None = Field(None, ge=1)
    """Worker processes; None = as many as the backend finds cores for their threads, or GPUs."""
    dashboard: str | None = "127.0.0.1:0"
    """Address of the Dask dashboard (loopback, any free port); None = no dashboard."""
    in_flight: int = Field(2, ge=1)
    """Tasks in flight per worker; one is waiting while another runs."""
    attempts: int = Field(3, ge=1)
    """Times a task is begun on workers that die under it before it is given up."""
    restarts: int = Field(0, ge=0)
    """Times a stage is begun again from what it has stored, on a new cluster, when the scheduler is
    lost; 3 for ``k8s``. The same command again does that too."""
    patience: float = Field(120.0, gt=0)
    """Time in which no further worker comes while they start, or without a single one alive,
    after which the work is given up [s]."""
    tls: TlsConfig = TlsConfig()
    """Encryption between client, scheduler and workers."""


class LocalConfig(ClusterConfig):
    """Dask workers on this machine, which listen on the loopback interface only."""

    workers: int | None = Field(None, ge=1)
    """Worker processes; None = as many as there are cores for their threads."""


class CudaConfig(LocalConfig):
    """A Dask worker per GPU of this machine."""

    backend: str = "cuda"
    """See above."""
    workers: int | None = Field(None, ge=1)
    """Worker processes, on the first GPUs; None = one per GPU."""


class SerialConfig(BackendConfig):
    """No workers: all work is done in the process of the command, one task after the other.

    The keys of workers are read, for the sake of files that are used with other backends too,
    and mean nothing here.
    """

    backend: str = "serial"
    """See above."""

    @model_validator(mode="before")
    @classmethod
    def _without_workers(cls, section: Any) -> Any:
        if not isinstance(section, dict):
            return section
        return {k: v for k, v in section.items() if k not in _OF_WORKERS}


_OF_WORKERS = ClusterConfig.model_fields.keys() - BackendConfig.model_fields.keys()


class ExistingConfig(ClusterConfig):
    """The workers of a Dask scheduler that runs already; they are left as they are."""

    workers: int | None = Field(None, ge=1)
    """Workers to wait for, ``patience`` seconds after the last that came; None = those that are
    there, and at least one."""
    dashboard: str | None = None
    """Not used: there is the dashboard of the scheduler, if it has one."""
    accept_settings: bool = False
    """Work with a scheduler that was started with other settings than those that distcnn needs:
    a worker that dies may then take along more tasks than the one it was running."""


def _row(backend: str) -> "Row":
    # The one import upwards: which backends there are is the business of clusters, and that a
    # configuration names one of them must be said with its file and line. The rows are data.
    from distcnn.clusters.registry import find_backend

    try:
        return find_backend(backend)
    except ClusterError as error:
        raise ValueError(f"{error.expected}. {error.cure}".strip()) from None


def cluster_model(backend: str) -> type[BackendConfig]:
    """The model of the section ``cluster`` that asks for ``backend``.

    Raises
    ------
    ValueError : there is no such backend; says which there are.
    """
    return _row(backend).load_settings()


def _of_its_backend(value: Any, usual: ValidatorFunctionWrapHandler) -> BackendConfig:
    """A section is read by the model of the backend it asks for."""
    backend = value.get("backend", "local") if isinstance(value, dict) else None
    if not isinstance(backend, str):
        return cast(BackendConfig, usual(value))
    try:
        model = cluster_model(backend)
    except ValueError:  # no other key can be judged: this error alone is told
        return BackendConfig.model_validate({"backend": backend})
    return model.model_validate(value)


def own_cluster_models() -> dict[str, type[BackendConfig]]:
    """The models of the backends, by what a user writes for the backend."""
    from distcnn.clusters.registry import ROWS

    return {row.written: row.load_settings() for row in ROWS}


AnyClusterConfig = Annotated[SerializeAsAny[BackendConfig], WrapValidator(_of_its_backend)]
"""The section ``cluster``: of the model that its ``backend`` has."""


class MonitorConfig(Frozen):
    """Who watches a run beside the console; each listener is off while its key is null."""

    journal: LocalPath | None = None
    """File to which every event is appended as one line of JSON; runs may share it."""
    tensorboard: LocalPath | None = None
    """Folder for TensorBoard logs: one run per member that trains, one of what regions cost."""
    stalled_after: float | None = Field(None, gt=0)
    """Time without any progress after which a run says that it is stuck, and where [s]; None =
    5 minutes, or ten times the longest pause so far if that is more."""


class ReportConfig(Frozen):
    """One self-contained HTML page."""

    sections: Names | None = None
    """Sections shown (summary, trust, data, completeness, ...); None = all."""
    figures: Names | None = None
    """Figures shown (kiel, residuals, coverage, ...), each where the data allow it; None = all."""
    spectra: int = Field(6, ge=0)
    """Example spectra shown."""
    baselines: bool = True
    """Show the other methods of ``distcnn compare``; ``distcnn demo`` also fits them."""
    snr_edges: Annotated[tuple[float, ...], Follows("quality.snr_edges")] = SNR_EDGES
    """Edges of the S/N bins in tables and figures; those of ``quality`` unless given here."""
    sample: int = Field(200_000, ge=1000)
    """Stars kept in memory for figures and accuracy; counts are always of all stars."""
    coverage_band: tuple[float, float] = (0.64, 0.72)
    """Fraction of residuals within the quoted 68 % interval that counts as calibrated."""


class CompareConfig(Frozen):
    """Other methods on the same split."""

    methods: Names = ()
    """Names of the methods (``cannon``, ``payne``, ...); none = all that the survey has inputs
    for. ``distcnn compare --methods`` goes before it."""
    max_stars: int = Field(20_000, ge=100)
    """Most stars that a method is fitted on, and most stars outside training that it is asked
    for: those of the test split first, then stars without labels."""
    seed: int = Field(0, ge=0)
    """Seed of the methods that draw random numbers."""


class DemoConfig(Frozen):
    """The whole pipeline on simulated stars."""

    stars: int = Field(20_000, ge=100)
    """Stars to simulate."""
    seed: int = Field(1, ge=0)
    """Seed of the simulation."""
    checks: Names = ("all",)
    """Science checks that are made."""
    maps: bool = True
    """Make the maps of the spectra and of the Galaxy."""
