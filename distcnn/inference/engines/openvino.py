"""Engine by OpenVINO (extra ``openvino``): all members in one graph, on the CPU.

The graph is made once per package and kept in the cache, as it is and compiled; both hold
numbers, no code, and are believed only after they have reproduced the package's fixtures.
"""

import contextlib
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distcnn import hashing
from distcnn.executor import WorkerContext
from distcnn.files import atomic_write, atomic_write_bytes
from distcnn.inference.engines.base import EngineRefused
from distcnn.inference.engines.cache import host_facts
from distcnn.inference.engines.torch_engines import module_list
from distcnn.model import Package
from distcnn.model.batched_ensemble import OutputHead, Outputs
from distcnn.model.ensemble import Layers
from distcnn.model.scaling import BranchInputs

HINTS = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}


def build(package: Package, dtype: torch.dtype, device: torch.device, cache: Path) -> Layers:
    """The graph of all members, compiled for the threads of this worker.

    Raises
    ------
    EngineRefused : OpenVINO cannot be used here.
    """
    try:
        import openvino
    except ImportError as error:
        raise EngineRefused(f"openvino cannot be imported ({error})") from None
    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": WorkerContext.current().threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": HINTS[dtype],
        "ENABLE_CPU_PINNING": False,
    }
    try:
        compiled = _compiled(openvino, core, package, cache, settings)
        return _Layers(compiled.create_infer_request())
    except RuntimeError as error:
        raise EngineRefused(f"openvino: {error}") from None


class _Layers:
    """An infer request with the contract of an engine."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._finish = OutputHead()

    def __call__(self, inputs: BranchInputs) -> Outputs:
        given = [values.numpy() for values in inputs.values() if values.shape[1]]
        found = self._request.infer(given, share_inputs=True, share_outputs=True)
        heads = (torch.from_numpy(found[number]) for number in range(3))
        out: Outputs = self._finish(*heads)
        return out


class PositionalEnsemble(nn.Module):
    """Members whose branches are arguments in their order: what a tracer takes. A branch of
    width 0 is none, because OpenVINO refuses empty inputs.
    """

    def __init__(self, members: nn.Module, example: BranchInputs) -> None:
        super().__init__()
        self.members = members
        self.widths = {name: values.shape[1] for name, values in example.items()}

    def forward(self, *given: Tensor) -> Outputs:
        coming = iter(given)
        inputs = {
            name: next(coming) if width else given[0][:, :0] for name, width in self.widths.items()
        }
        out: Outputs = self.members(inputs)
        return out


def _compiled(
    openvino: Any, core: Any, package: Package, cache: Path, settings: dict[str, Any]
) -> Any:
    """The graph compiled for this processor, which takes half a second, or as it was kept.

    What is kept begins with its digest, so that a damaged file is not given to OpenVINO, and is
    named by all that decides it.
    """
    facts = {
        "package": package.digest,
        "openvino": openvino.__version__,
        **host_facts(),
        **settings,
    }
    path = cache / f"{hashing.of_value(facts)[:32]}-openvino-compiled"
    with contextlib.suppress(OSError, RuntimeError, TypeError, ValueError):
        digest, _, blob = path.read_bytes().partition(b"\n")
        if hashing.of_bytes(blob) == digest.decode():
            return core.import_model(blob, "CPU", settings)
    compiled = core.compile_model(_graph(openvino, core, package, cache), "CPU", settings)
    with contextlib.suppress(OSError, RuntimeError):  # it is compiled again next time
        blob = compiled.export_model().getvalue()
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        atomic_write_bytes(path, hashing.of_bytes(blob).encode() + b"\n" + blob)
    return compiled


def _graph(openvino: Any, core: Any, package: Package, cache: Path) -> Any:
    path = cache / f"{package.digest[:32]}-openvino-{openvino.__version__.split('-')[0]}.xml"
    if path.exists() and path.with_suffix(".bin").exists():
        return core.read_model(path)
    model = _convert(openvino, package)
    with contextlib.suppress(OSError):  # without a cache it is made again next time
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        with atomic_write(path, suffix=".xml") as draft:
            openvino.save_model(model, draft, compress_to_fp16=False)
            # The weights first: a graph without them would not be complete.
            draft.with_suffix(".bin").replace(path.with_suffix(".bin"))
    return model


def _convert(openvino: Any, package: Package) -> Any:
    # The frontend itself: openvino's own convert_model reports its use over the network.
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    stars = package.fixtures()[0].take(slice(0, 2))
    # Tracing warns of what the tolerance makes good.
    with torch.inference_mode(), warnings.catch_warnings(action="ignore"):
        example = package.scaling().inputs(stars.tensors())
        used = tuple(values for values in example.values() if values.shape[1])
        module = PositionalEnsemble(module_list(package).eval(), example)
        # Traced once: the fixtures, not a second trace, show whether the graph is right.
        traced = torch.jit.trace(module, used, check_trace=False)  # type: ignore[no-untyped-call]
        frontend = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(traced, example_input=used)
        return frontend.convert(frontend.load(decoder))
