"""Candidates: which engines there are, in which precisions, and what this machine admits."""

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch

from distcnn.inference.engines import compiled, openvino, torch_engines
from distcnn.inference.engines.base import EngineRefused
from distcnn.model import Package
from distcnn.model.devices import Precision, is_fast
from distcnn.model.ensemble import Layers

__all__ = ["ENGINES", "Candidate", "EngineRefused", "Precision", "list_candidates"]

Build = Callable[[Package, torch.dtype, torch.device, Path], Layers]


@dataclass(frozen=True)
class Candidate:
    """An engine in a precision."""

    engine: str
    precision: Precision = "float32"

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"

    @classmethod
    def parse(cls, text: str) -> "Candidate":
        """From what ``str`` gives."""
        engine, _, precision = text.partition(" ")
        return cls(engine, precision or "float32")  # type: ignore[arg-type]

    def build(self, package: Package, device: torch.device, cache: Path) -> Layers:
        """The layers of all members; ``cache``: a folder for what takes long to make.

        Raises
        ------
        EngineRefused : this engine cannot run this package here.
        """
        dtype: torch.dtype = getattr(torch, self.precision)
        return ENGINES[self.engine].build(package, dtype, device, cache)


@dataclass(frozen=True)
class EngineKind:
    """An engine: how it is built, which devices run it, whether it is tried by default.

    ``benchmarked`` is false where building takes minutes: such an engine is tried only by name.
    """

    build: Build
    devices: tuple[str, ...] = ("cpu", "cuda")
    narrow: bool = False
    benchmarked: bool = True
    needs: str = ""
    tool: str = ""


ENGINES: dict[str, EngineKind] = {
    "eager": EngineKind(torch_engines.eager),
    "torchscript": EngineKind(torch_engines.torchscript),
    "joint": EngineKind(torch_engines.joint, narrow=True),
    "openvino": EngineKind(openvino.build, devices=("cpu",), narrow=True, needs="openvino"),
    "graphs": EngineKind(torch_engines.graphs, devices=("cuda",), narrow=True),
    "compile": EngineKind(compiled.compile_joint, benchmarked=False, tool="g++"),
    "aot": EngineKind(compiled.ahead_of_time, benchmarked=False, tool="g++"),
}
"""Every engine by name, the most plain first: of equally fast ones the first is taken."""


def list_candidates(
    device: torch.device, *, engine: str = "auto", precision: str = "auto"
) -> Iterator[tuple[Candidate, str]]:
    """Candidates in the order of trial, each with why this machine does not admit it (or "").

    ``engine`` and ``precision``: only these, ``auto`` = those worth a trial.
    """
    for name, kind in ENGINES.items():
        if engine not in ("auto", name):
            continue
        for width in get_args(Precision):
            if precision in ("auto", width) and (kind.narrow or width == "float32"):
                candidate = Candidate(name, width)
                yield candidate, unsupported_reason(candidate, device, named=engine == name)


def unsupported_reason(candidate: Candidate, device: torch.device, *, named: bool = True) -> str:
    """Why this machine does not admit a candidate, "" if it does; ``named``: by its name."""
    kind, precision = ENGINES[candidate.engine], candidate.precision
    if device.type not in kind.devices:
        return f"runs on {' or '.join(kind.devices)} only"
    if kind.needs and importlib.util.find_spec(kind.needs) is None:
        return f"{kind.needs} is not installed (pip install 'distcnn[{kind.needs}]')"
    if kind.tool and shutil.which(kind.tool) is None:
        return f"no {kind.tool} on this machine"
    if not is_fast(device, precision):
        return f"this {device.type} has no units for {precision}"
    if not kind.benchmarked and not named:
        return "takes minutes to build: tried only by name"
    return ""
