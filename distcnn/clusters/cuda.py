"""The backend ``cuda``: one Dask worker per GPU of this machine, which sees that GPU first.

dask-cuda starts the workers and binds each to the cores beside its GPU. This process never
initialises CUDA: it asks the driver's own library how many GPUs there are.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distcnn.clusters import local
from distcnn.clusters.dask_workers.executor import DaskExecutor
from distcnn.clusters.dask_workers.settings import keeping_environment
from distcnn.config import ClusterConfig
from distcnn.errors import ClusterError, MissingExtra
from distcnn.events import Listener, silent
from distcnn.executor import ExpectedWorkers


@contextmanager
def open_executor(config: ClusterConfig, listener: Listener = silent) -> Iterator[DaskExecutor]:
    """One worker per GPU, or on the first ``config.workers`` of them, on the loopback interface.

    Raises
    ------
    MissingExtra : dask-cuda is not installed.
    ClusterError : there is no NVIDIA driver or no GPU, fewer GPUs than workers were asked for,
        or the workers do not start.
    """
    cuda = _import()
    workers = expect(config).count

    def start(config: ClusterConfig, workers: int, folder: Path) -> Any:
        return _start(cuda, config, workers, folder)

    with keeping_environment(), local.open_workers(config, workers, start, listener) as executor:
        yield executor


def expect(config: ClusterConfig) -> ExpectedWorkers:
    """One worker per GPU of this machine, or as many as are asked for, with the host memory of
    those on cores; memory of the GPU is not counted.

    Raises
    ------
    MissingExtra, ClusterError : as ``open_executor``.
    """
    gpus = _count(_import())
    workers = config.workers or gpus
    if workers > gpus:
        raise ClusterError(
            f"{workers} workers were asked for and there are {gpus} GPUs",
            expected="at most one worker per GPU",
            cure="Leave cluster.workers empty for all GPUs.",
        )
    return ExpectedWorkers(workers, local.worker_memory(config), config.threads, gpus=1)


def _import() -> Any:
    try:
        import dask_cuda
        import dask_cuda.utils
    except ImportError:
        raise MissingExtra.of("CUDA clusters", "dask-cuda", "cuda") from None
    return dask_cuda


def _count(cuda: Any) -> int:
    try:
        gpus = int(cuda.utils.get_n_gpus())
    except Exception as error:
        raise _no_gpu(error) from error
    if not gpus:
        raise _no_gpu(None)
    return gpus


def _start(cuda: Any, config: ClusterConfig, workers: int, folder: Path) -> Any:
    start: Callable[..., Any] = cuda.LocalCUDACluster
    try:
        return start(
            **local.arguments(config, workers, folder),
            # dask-cuda gives workers a preload of its own, which would displace the configured.
            preload=["distcnn.clusters.preload"],
            # Nothing on a GPU is kept between tasks, so there is nothing to move off it.
            device_memory_limit=None,
            protocol="tcp",
        )
    except Exception as error:
        raise _no_gpu(error) from error


def _no_gpu(error: Exception | None) -> ClusterError:
    """What NVML's errors, which have no common base in Python, mean to a user."""
    kind = type(error).__name__
    if error is None:
        what = "there is no NVIDIA GPU that may be used (CUDA_VISIBLE_DEVICES?)"
    elif kind in {"NVMLError_LibraryNotFound", "NVMLError_DriverNotLoaded"}:
        what = "there is no NVIDIA driver on this machine"
    else:
        what = f"workers on GPUs did not start ({kind}: {error})"
    return ClusterError(
        what,
        expected="a machine where `nvidia-smi` lists a GPU",
        cure="Run with --cluster local, which trains on CPUs.",
    )
