"""Engines, one row each, and which of them this machine supports in which precision.

To add one, write a file beside this one with a function like ``Build``, add its row here, and
pass ``EngineChecks`` of the conformance kit. An engine is imported when it is built, so that no
one pays for one that is not used.
"""

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import cast, get_args

import torch

from distcnn.inference.engines.base import EngineRefused
from distcnn.model import Package
from distcnn.model.devices import Precision, is_fast
from distcnn.model.ensemble import Layers

__all__ = ["ENGINES", "Candidate", "EngineRefused", "Precision", "list_candidates"]

Build = Callable[[Package, torch.dtype, torch.device, Path], Layers]
"""(package, type of the large products, device, folder for what takes long to make) -> the layers
of all members. Raises ``EngineRefused`` where it cannot run the package here."""


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
        return ENGINES[self.engine].load()(package, dtype, device, cache)


@dataclass(frozen=True)
class EngineKind:
    """An engine: where it is, what runs it, and whether it is tried by default.

    Attributes
    ----------
    build : ``FILE:FUNCTION`` in this folder, or the function itself.
    devices : kinds of device that run it.
    low_precision : it runs in bfloat16 and float16 too.
    by_default : ``auto`` tries it; not where building takes minutes.
    needs : the distribution and extra that must be installed; its version decides, among other
        things, whether a remembered choice is still valid.
    tool : the program that must be found.
    """

    build: str | Build
    devices: tuple[str, ...] = ("cpu", "cuda")
    low_precision: bool = False
    by_default: bool = True
    needs: str = ""
    tool: str = ""

    def load(self) -> Build:
        """The function that builds it."""
        if not isinstance(self.build, str):
            return self.build
        file, _, function = self.build.partition(":")
        return cast(Build, getattr(import_module(f"{__package__}.{file}"), function))


ENGINES: dict[str, EngineKind] = {
    "eager": EngineKind("torch_engines:eager"),
    "torchscript": EngineKind("torch_engines:torchscript"),
    "joint": EngineKind("torch_engines:batched", low_precision=True),
    "openvino": EngineKind(
        "openvino:build", devices=("cpu",), low_precision=True, needs="openvino"
    ),
    "graphs": EngineKind("torch_engines:cuda_graphs", devices=("cuda",), low_precision=True),
    "compile": EngineKind("compiled:just_in_time", by_default=False, tool="g++"),
    "aot": EngineKind("compiled:ahead_of_time", by_default=False, tool="g++"),
}
"""Every engine by name, the simplest first: of equally fast ones the first is taken."""


def engine_versions() -> dict[str, str]:
    """Versions of what engines need, "" where it is not installed."""
    return {kind.needs: _version(kind.needs) for kind in ENGINES.values() if kind.needs}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def list_candidates(
    device: torch.device, *, engine: str = "auto", precision: str = "auto"
) -> Iterator[tuple[Candidate, str]]:
    """Candidates in the order of trial, each with why this machine does not admit it (or "").

    ``engine`` and ``precision``: only these, ``auto`` = those worth a trial.
    """
    for name, kind in ENGINES.items():
        if engine not in ("auto", name):
            continue
        for wanted in get_args(Precision):
            if precision in ("auto", wanted) and (kind.low_precision or wanted == "float32"):
                candidate = Candidate(name, wanted)
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
    if not kind.by_default and not named:
        return "takes minutes to build: tried only by name"
    return ""
