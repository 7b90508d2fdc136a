"""Settings of clusters."""

from pydantic import Field

from distcnn.config.base import Bytes, Frozen


class ClusterConfig(Frozen):
    """Where the work runs."""

    backend: str = Field("local", pattern=r"^(local|cuda|serial|(tcp|tls)://[^\s]+:\d+)$")
    """``local`` starts Dask workers on this machine, ``cuda`` one per GPU of it; ``serial`` runs
    in this very process; ``tcp://HOST:PORT`` takes the workers of a scheduler that runs already."""
    workers: int | None = Field(None, ge=1)
    """Worker processes, one thread each; None = one per core, or per GPU."""
    memory_limit: Bytes = 4_000_000_000
    """Memory per worker [bytes, or text such as "4 GiB"]; a worker that comes near it is killed
    and started anew."""
    dashboard: str | None = "127.0.0.1:0"
    """Address of the Dask dashboard (loopback, any free port); None = no dashboard."""
    in_flight: int = Field(2, ge=1)
    """Items in flight per worker; one is waiting while another runs."""
    attempts: int = Field(3, ge=1)
    """Times an task is begun on workers that die under it before it is given up."""
    patience: float = Field(120.0, gt=0)
    """Time without a single living worker after which the work is given up [s]."""
