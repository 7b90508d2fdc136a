"""Engines that torch brings: members as they are, or all of them in one module."""

from pathlib import Path

import torch
from torch import Tensor, nn

from distcnn.inference.engines.base import EngineRefused
from distcnn.model import Package
from distcnn.model.batched_ensemble import BatchedHybrid, ModuleListEnsemble, OutputHead, Outputs
from distcnn.model.cuda_graphs import capture
from distcnn.model.ensemble import Layers, sequential_layers
from distcnn.model.networks.hybrid import Hybrid
from distcnn.model.scaling import BranchInputs


def eager(package: Package, dtype: torch.dtype, device: torch.device, cache: Path) -> Layers:
    """The canonical weights in Python: what fixtures were made with."""
    return sequential_layers(package.members("eager", str(device)))


def torchscript(package: Package, dtype: torch.dtype, device: torch.device, cache: Path) -> Layers:
    """The TorchScript members of the package."""
    return sequential_layers(package.members("torchscript", str(device)))


def batched(package: Package, dtype: torch.dtype, device: torch.device, cache: Path) -> Layers:
    """All members of ``hybrid`` as products of matrices.

    Raises
    ------
    EngineRefused : the package's network is another one.
    """
    module = batched_module(package, dtype, loop=device.type == "cpu")
    return WithOutputHead(module).to(device)


class WithOutputHead(nn.Module):
    """A module that gives heads, and what makes outputs of them."""

    def __init__(self, heads: nn.Module) -> None:
        super().__init__()
        self.heads = heads.eval()
        self.finish = OutputHead()

    def forward(self, inputs: dict[str, Tensor]) -> Outputs:
        out: Outputs = self.finish(*self.heads(inputs))
        return out


def module_list(package: Package) -> ModuleListEnsemble:
    """ModuleListEnsemble of any network, one after the other in one module."""
    return ModuleListEnsemble([network.layers for network in package.networks()])


def batched_module(package: Package, dtype: torch.dtype, *, loop: bool) -> BatchedHybrid:
    """ModuleListEnsemble of ``hybrid`` as products."""
    layers = [network.layers for network in package.networks()]
    hybrids = [each for each in layers if isinstance(each, Hybrid)]
    if len(hybrids) < len(layers):
        raise EngineRefused(f"made for the network hybrid, not {package.network.preset}")
    return BatchedHybrid(hybrids, dtype=dtype, loop=loop)


def cuda_graphs(package: Package, dtype: torch.dtype, device: torch.device, cache: Path) -> Layers:
    """``batched`` recorded as a CUDA graph per size of batch: one launch for all its kernels."""
    return CudaGraphLayers(batched(package, dtype, device, cache))


class CudaGraphLayers:
    """Layers as CUDA graphs: inputs are copied to where the graph reads them."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, BranchInputs, Outputs]] = {}

    def __call__(self, inputs: BranchInputs) -> Outputs:
        stars = len(inputs["scalars"])
        if stars not in self._graphs:
            self._graphs[stars] = self._record(inputs)
        graph, static, outputs = self._graphs[stars]
        for name, values in inputs.items():
            static[name].copy_(values, non_blocking=True)
        graph.replay()
        return outputs

    def _record(self, inputs: BranchInputs) -> tuple[torch.cuda.CUDAGraph, BranchInputs, Outputs]:
        static = {name: values.clone() for name, values in inputs.items()}
        graph, outputs = capture(lambda: self._layers(static), static["scalars"].device)
        return graph, static, outputs
