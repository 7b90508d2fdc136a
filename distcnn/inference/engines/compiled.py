"""Engines by torch's compiler: when first called, or ahead of time into the cache.

On CPUs they were slower than the others and take minutes to build, so they are tried only
where they are named. The compiler's warnings about its own internals are silenced.
"""

import warnings
from pathlib import Path
from typing import Any

import torch

from distcnn.files import atomic_write
from distcnn.inference.engines.torch_engines import WithOutputHead, batched_module
from distcnn.model import Package
from distcnn.model.batched_ensemble import Outputs
from distcnn.model.ensemble import Layers
from distcnn.model.scaling import BranchInputs

MAX_BATCH_STARS = 65_536
"""Stars in a batch that an engine compiled ahead of time takes at most."""


def just_in_time(package: Package, dtype: torch.dtype, device: torch.device, cache: Path) -> Layers:
    """``torch.compile`` of all members."""
    module: Layers = torch.compile(_module(package, dtype, device), dynamic=True)
    return module


def ahead_of_time(
    package: Package, dtype: torch.dtype, device: torch.device, cache: Path
) -> Layers:
    """``torch.export`` and AOTInductor; the library is kept in the cache of this user."""
    name = f"{package.digest[:32]}-{torch.__version__}-{device.type}-{dtype}-by-name.pt2"
    path = cache / name
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        _compile(_module(package, dtype, device), package, device, path)
    with warnings.catch_warnings(action="ignore"):
        run: Any = torch._inductor.aoti_load_package(str(path))

    def layers(inputs: BranchInputs) -> Outputs:
        mean, sigma, correlation = run(inputs)
        return mean, sigma, correlation

    return layers


def _module(package: Package, dtype: torch.dtype, device: torch.device) -> torch.nn.Module:
    return WithOutputHead(batched_module(package, dtype, loop=False)).to(device)


def _compile(module: torch.nn.Module, package: Package, device: torch.device, path: Path) -> None:
    scaling = package.scaling(str(device))
    stars = package.fixtures()[0]
    with torch.inference_mode():
        example = scaling.inputs(stars.tensors(device=str(device)))
    example = {name: values.clone() for name, values in example.items()}
    stars_axis = torch.export.Dim("stars", min=2, max=MAX_BATCH_STARS)
    with warnings.catch_warnings(action="ignore"), torch.no_grad():
        exported = torch.export.export(
            module, (example,), dynamic_shapes=({name: {0: stars_axis} for name in example},)
        )
        with atomic_write(path, suffix=path.suffix) as draft:
            torch._inductor.aoti_compile_and_package(exported, package_path=str(draft))
