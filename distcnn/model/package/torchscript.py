"""TorchScript: a network as bytes that any torch can run. Deprecated upstream; nothing outside
this file knows it.
"""

import io
import itertools
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from distcnn.modalities import BUILT_IN
from distcnn.model.inputs import Batch
from distcnn.model.networks.hybrid import Network
from distcnn.model.scaling import BranchInputs


def loaded(data: bytes, device: str) -> Any:
    """The network of these bytes, on a device. Loading executes code: check the digest first."""
    with _deprecated():
        module = torch.jit.load(io.BytesIO(data), map_location=device).eval()  # type: ignore[no-untyped-call]
    by_name = len(module.forward.schema.arguments) == len(("self", "stars"))
    return module if by_name else PositionalNetwork(module)


class PositionalNetwork:
    """A network that was saved when tensors travelled by position, called by name."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self.labels = module.labels

    def __call__(self, stars: Batch) -> Any:
        return self._module(*_arguments(stars))

    def inputs(self, stars: Batch) -> BranchInputs:
        """What its branches read."""
        return dict(zip(_BRANCHES, self._module.inputs(*_arguments(stars)), strict=True))

    def layers(self, inputs: BranchInputs) -> Any:
        """Scaled mean, sigma and correlation."""
        return self._module.layers(*(inputs[name] for name in _BRANCHES))


_BRANCHES = ("spectrum", "xp", "scalars")


def _arguments(stars: Batch) -> list[torch.Tensor]:
    return [stars[name] for name in BUILT_IN]


def dumped(network: Network) -> bytes:
    """Unfrozen TorchScript, the same bytes from the same network in every process.

    The bytes matter because the digest that names a package covers them. Leaving the archive out
    of that digest would spare the work below, but it is the one file of a package whose loading
    executes code: whoever knows a package's digest must be able to trust all of it.
    """
    raw, clean = io.BytesIO(), io.BytesIO()
    with _deprecated():
        torch.jit.save(torch.jit.script(network), raw)
    with zipfile.ZipFile(raw) as source:
        # Debug files name folders of this machine, and nothing needs them.
        names = [e.filename for e in source.infolist() if not e.filename.endswith(".debug_pkl")]
        files = {name: _in_order(name, source.read(name)) for name in names}
    with zipfile.ZipFile(clean, "w") as target:
        for name, data in files.items():
            target.writestr(zipfile.ZipInfo(name), data)
    return clean.getvalue()


def _in_order(name: str, data: bytes) -> bytes:
    if name.endswith("serialization_id"):
        return b"0" * len(data)  # a hash of the bytes before they were put in order
    if not name.endswith(".py"):
        return data
    # torch writes the constants of a class in the order of a set, another in every process.
    lines = data.decode().split("\n")
    kinds = itertools.groupby(lines, key=lambda line: " : Final[" in line)
    ordered = [sorted(run) if constant else list(run) for constant, run in kinds]
    return "\n".join(itertools.chain.from_iterable(ordered)).encode()


@contextmanager
def _deprecated() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*torch\.jit\.", DeprecationWarning)
        warnings.filterwarnings("ignore", r".*torch\.jit\.", FutureWarning)
        yield
