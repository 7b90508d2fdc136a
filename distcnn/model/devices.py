"""Devices: what the settings ``device`` mean on the machine that asks.

The process that plans counts GPUs without waking one: a process that has woken a GPU holds
memory on it, and its children cannot use it.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Literal

import torch
from threadpoolctl import ThreadpoolController

from distcnn.errors import DeviceError
from distcnn.executor import WorkerContext
from distcnn.gpus import count_gpus

DeviceChoice = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16", "float16"]

_CPU_TELLS = {
    "bfloat16": ("_is_avx512_bf16_supported", "_is_amx_tile_supported"),
    "float16": ("_is_amx_fp16_supported",),
}


def plan_device(wanted: DeviceChoice, gpus: int | None = None) -> Literal["cpu", "cuda"]:
    """Where work will run, told without initialising CUDA; ``gpus`` None = count them.

    Raises
    ------
    DeviceError : a GPU is asked for and there is none, or this torch cannot use it.
    """
    gpus = count_gpus() if gpus is None else gpus
    if wanted == "cpu" or (wanted == "auto" and not (gpus and torch.version.cuda)):
        return "cpu"
    if torch.version.cuda is None:
        raise _device_error(f"torch {torch.__version__} was built without CUDA")
    if gpus == 0:
        raise _device_error("there is no NVIDIA GPU that this process may use")
    return "cuda"


def open_device(wanted: DeviceChoice) -> torch.device:
    """The device of this worker: its first visible GPU, or the CPU. Initialises CUDA.

    Raises
    ------
    DeviceError : a GPU is asked for and cannot be used.
    """
    if plan_device(wanted) == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    if wanted == "cuda":
        raise _device_error("the NVIDIA driver does not answer, or is too old for this torch")
    return torch.device("cpu")


def is_fast(device: torch.device, precision: Precision = "bfloat16") -> bool:
    """Whether the device has matrix units for that precision."""
    if precision == "float32":
        return True
    if device.type == "cuda":
        return bool(torch.cuda.get_device_capability(device) >= (8, 0))
    named = (getattr(torch.cpu, name, None) for name in _CPU_TELLS[precision])
    return any(tells is not None and bool(tells()) for tells in named)


def out_of_memory(error: BaseException) -> bool:
    """Whether a failure says that memory ran out, on the host or on a device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The CPU allocator and some CUDA libraries raise a bare RuntimeError: only its text tells.
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text
    )


@contextmanager
def worker_threads() -> Iterator[None]:
    """Threads of torch and of BLAS inside: as many as the worker has (``resources.threads``).

    By default one: with a process per core that is fastest, and sums keep their order, so
    results are the same bits everywhere.
    """
    before, threads = torch.get_num_threads(), WorkerContext.current().threads
    torch.set_num_threads(threads)
    try:
        with _blas(len(sys.modules)).limit(limits=threads):
            yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=1)
def _blas(modules: int) -> Any:
    """Every BLAS of this process. To look through its libraries takes 3 ms, and another one comes
    with an import only: ``modules`` is the number of modules.
    """
    return ThreadpoolController().select(user_api="blas")


def _device_error(why: str) -> DeviceError:
    return DeviceError(
        f"the device asked for is cuda, but {why}",
        expected="an NVIDIA GPU with its driver, and a torch with CUDA",
        cure="Set resources.device to cpu or auto, or run where `nvidia-smi` lists a GPU.",
    )
