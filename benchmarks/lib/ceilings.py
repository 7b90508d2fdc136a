"""What a device can do at most, measured, and what a training step asks of it.

``python benchmarks/ceilings.py`` prints the ceilings of the CPU, and of a GPU if there is one.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

VIEWS = ("view", "t.", "transpose", "permute", "expand", "as_strided", "slice", "select", "detach")


class Traffic(TorchDispatchMode):
    """Bytes that operations read and write if nothing is fused and no cache helps."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        name = str(function).removeprefix("aten.")
        if not name.startswith(VIEWS):
            for leaf in tree_leaves((args, result)):
                self.bytes += leaf.nbytes if isinstance(leaf, torch.Tensor) else 0
        return result


def demand(step: Callable[[], object]) -> dict[str, float]:
    """Floating-point operations of the products in one step, and bytes as ``Traffic`` counts."""
    with FlopCounterMode(display=False) as flops:
        step()
    with Traffic() as traffic:
        step()
    return {"flop": float(flops.get_total_flops()), "bytes": float(traffic.bytes)}


def ceilings(device: torch.device, precision: torch.dtype, seconds: float = 1.0) -> dict[str, Any]:
    """Products [flop/s] in ``precision`` and copies [byte/s, read and written] of a device."""
    size = 8192 if device.type == "cuda" else 512
    a = torch.randn(size, size, device=device).to(precision)
    out = torch.empty_like(a)
    much = torch.empty((2**30 if device.type == "cuda" else 2**27) // 4, device=device)
    into = torch.empty_like(much)
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu, 1 thread",
        "precision": str(precision).removeprefix("torch."),
        "matmul_flop_per_s": 2 * size**3 / _time(lambda: torch.mm(a, a, out=out), device, seconds),
        "copy_bytes_per_s": 2 * much.nbytes / _time(lambda: into.copy_(much), device, seconds),
    }


def binding(asked: dict[str, float], steps_per_s: float, most: dict[str, Any]) -> dict[str, Any]:
    """Percent of both ceilings, and which of them binds."""
    matmul = 100 * asked["flop"] * steps_per_s / most["matmul_flop_per_s"]
    memory = 100 * asked["bytes"] * steps_per_s / most["copy_bytes_per_s"]
    first = "arithmetic" if matmul > memory else "memory traffic"
    low = max(matmul, memory) < 30
    return {
        "percent_of_matmul": round(matmul, 1),
        "percent_of_bandwidth": round(memory, 1),
        "binds": f"neither: launching many small operations, then {first}" if low else first,
    }


def _time(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Shortest time of one call."""
    best, begun = float("inf"), time.perf_counter()
    while time.perf_counter() - begun < seconds:
        clock = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - clock)
    return best


def main() -> None:
    """Print the ceilings of what is here."""
    torch.set_num_threads(1)
    devices = [torch.device("cpu")]
    devices += [torch.device("cuda", 0)] if torch.cuda.is_available() else []
    for device in devices:
        for precision in (torch.float32, torch.bfloat16):
            print(json.dumps(ceilings(device, precision), indent=1))


if __name__ == "__main__":
    main()
