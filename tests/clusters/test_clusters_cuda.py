"""The backend for GPUs: what it says without one, and what it asks dask-cuda for."""

import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path

import psutil
import pytest
from conformance.cluster_checks import environment, square
from distributed import LocalCluster

from distcnn.clusters import expect_workers, open_cluster
from distcnn.config import ClusterConfig
from distcnn.errors import ClusterError, MissingExtra

CUDA = ClusterConfig(backend="cuda", dashboard=None)
INSTALLED = importlib.util.find_spec("dask_cuda") is not None


class NVMLError_LibraryNotFound(Exception):  # noqa: N801 - the name that NVML's bindings give
    pass


def give_dask_cuda(monkeypatch, *, gpus, cluster=None):
    """A module with the two names that are used of dask-cuda, which needs a driver to be asked."""
    utils = types.ModuleType("dask_cuda.utils")
    utils.get_n_gpus = gpus
    module = types.ModuleType("dask_cuda")
    module.utils, module.LocalCUDACluster = utils, cluster
    monkeypatch.setitem(sys.modules, "dask_cuda", module)
    monkeypatch.setitem(sys.modules, "dask_cuda.utils", utils)


def refused(config=CUDA):
    with pytest.raises((ClusterError, MissingExtra)) as caught, open_cluster(config):
        pass
    return str(caught.value)


@pytest.mark.skipif(INSTALLED, reason="dask-cuda is installed")
def test_without_the_extra_its_name_is_told():
    assert "pip install 'distcnn[cuda]'" in refused()


@pytest.mark.skipif(not INSTALLED or Path("/dev/nvidia0").exists(), reason="needs no GPU")
def test_the_real_dask_cuda_without_a_driver():
    assert "no NVIDIA driver" in refused()


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="needs no GPU")
def test_the_command_ends_with_one_line_and_exit_code_1(tmp_path):
    words = ["simulate", str(tmp_path / "archive"), "--stars", "5", "--cluster", "cuda"]
    ended = subprocess.run(
        [sys.executable, "-m", "distcnn", *words],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "pip install 'distcnn[cuda]'" in line or "no NVIDIA driver" in line


def test_without_a_driver_that_is_said(monkeypatch):
    def none():
        raise NVMLError_LibraryNotFound("NVML Shared Library Not Found")

    give_dask_cuda(monkeypatch, gpus=none)
    assert "no NVIDIA driver on this machine: expected a machine where" in refused()


def test_without_a_gpu_that_is_said(monkeypatch):
    give_dask_cuda(monkeypatch, gpus=lambda: 0)
    assert "no NVIDIA GPU" in refused()


def test_a_worker_per_gpu_is_expected(monkeypatch):
    give_dask_cuda(monkeypatch, gpus=lambda: 4)
    assert expect_workers(CUDA).count == 4
    assert expect_workers(CUDA.model_copy(update={"workers": 3})).count == 3


def test_more_workers_than_gpus_are_refused(monkeypatch):
    give_dask_cuda(monkeypatch, gpus=lambda: 2)
    assert "3 workers were asked for and there are 2 GPUs" in refused(
        ClusterConfig(backend="cuda", workers=3, dashboard=None)
    )


class OneFakeGpu(LocalCluster):
    """Dask's own local cluster with the signature of dask-cuda's."""

    def __init__(self, *, device_memory_limit, preload, **arguments):
        assert device_memory_limit is None
        os.environ["RAPIDS_NO_INITIALIZE"] = "True"
        super().__init__(processes=True, preload=preload, **arguments)


def test_workers_are_those_of_the_local_backend(monkeypatch):
    give_dask_cuda(monkeypatch, gpus=lambda: 1, cluster=OneFakeGpu)
    before = dict(os.environ)
    with open_cluster(CUDA) as executor:
        assert executor.workers == 1
        assert sorted(result.unwrap() for result in executor(square, range(3))) == [0, 1, 4]
        (threads,) = executor(environment, ["OMP_NUM_THREADS"])
        assert threads.unwrap() == "1"
        listening = {c.laddr.ip for c in psutil.Process().net_connections() if c.status == "LISTEN"}
        assert listening <= {"127.0.0.1"}
    assert dict(os.environ) == before


def test_a_cluster_that_does_not_start_is_told_with_the_reason(monkeypatch):
    def broken(**arguments):
        raise ValueError("Can not scale beyond visible devices")

    give_dask_cuda(monkeypatch, gpus=lambda: 1, cluster=broken)
    assert "did not start (ValueError: Can not scale" in refused()
