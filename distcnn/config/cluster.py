"""Settings of clusters."""

from typing import Literal

from pydantic import Field

from distcnn.config.base import Bytes, Frozen


class ClusterConfig(Frozen):
    """Where the work runs."""

    backend: Literal["local", "serial"] = "local"
    """``local`` starts Dask workers on this machine; ``serial`` runs in this very process."""
    workers: int | None = Field(None, ge=1)
    """Worker processes, one thread each; None = one per core."""
    memory_limit: Bytes = 4_000_000_000
    """Memory at which Dask restarts a worker."""
    dashboard: str | None = "127.0.0.1:0"
    """Address of the Dask dashboard (loopback, any free port); None = no dashboard."""
    in_flight: int = Field(2, ge=1)
    """Tasks in flight per worker; one is waiting while another runs."""
