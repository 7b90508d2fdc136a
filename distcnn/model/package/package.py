"""Package: a trained ensemble in a folder that says everything about itself.

    manifest.json                 what it is, from what it was made, sha256 of every other file
    members/member_00.safetensors weights and scaling: the canonical form
    members/member_00.ts.pt       the same as TorchScript, unfrozen
    fixtures.safetensors          inputs with the outputs that every engine must reproduce
    quality.safetensors           limits, novelty, calibration
    stacking.safetensors          regressions beside the networks and their weights, if any
    curves.json                   losses per epoch and member
    evaluation.json               how it does on the test split; named by no digest, because
                                  the package must not depend on the test split

The digest of the manifest names the package. A file is read only if its digest is the one in
the manifest: loading TorchScript executes code.
"""

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import safetensors
import torch
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from distcnn import __version__, hashing
from distcnn.arrays import Array
from distcnn.config import ImportedNetwork, NetworkConfig, StudentNetwork
from distcnn.errors import PackageError
from distcnn.labels import OwnLabels, described, label_info
from distcnn.location import Address, Location
from distcnn.manifest import MANIFEST, Manifest, no_package, read_file, read_manifest
from distcnn.model.inputs import Batch, InputSpec, StarInputs
from distcnn.model.networks.covariance import pack_pairs
from distcnn.model.networks.hybrid import Network, build_network, is_student, stack_members
from distcnn.model.package import torchscript
from distcnn.model.package.host_cache import local_files
from distcnn.model.stacking import Parts, Stacking, to_bytes
from distcnn.schema import (
    BLENDS_PACKAGE_FORMAT,
    LABEL_NODES_PACKAGE_FORMAT,
    OTHER_LIGHT_PACKAGE_FORMAT,
    PACKAGE_FORMAT,
    PERCEPTRONS_PACKAGE_FORMAT,
    PHOTOMETRIC_PACKAGE_FORMAT,
    STACKED_PACKAGE_FORMAT,
)

Engine = Literal["eager", "torchscript"]
Member = Callable[[Batch], tuple[Tensor, Tensor, Tensor]]
EVALUATION = "evaluation.json"
STACKING = "stacking.safetensors"
_CURE = "Restore the package from a copy, or train again."


class Fixtures(NamedTuple):
    """Inputs of F stars, some with missing ones, and what every member must give for them.

    ``mean``, ``sigma`` [M,F,L]; ``correlation`` [M,F,K], None in the first packages.
    """

    stars: StarInputs
    mean: Array
    sigma: Array
    correlation: Array | None


class Package:
    """An opened package: its manifest, and members on demand."""

    def __init__(
        self, location: Location, manifest: Manifest, files: Location | None = None
    ) -> None:
        self.location = location
        self._files = files or location
        self.manifest = manifest
        self.digest = manifest.digest
        # Sections without which there is no network: absent ones are a KeyError for ``load``.
        spec, network = (manifest.to_json()[name] for name in ("spec", "network"))
        self.spec = InputSpec.from_json(spec)
        self.labels = self.spec.labels
        self.network = _network_config(network)

    @classmethod
    def load(cls, address: Address, verify: bool = True) -> "Package":
        """Open the package at ``address``; with ``verify`` check every file's digest first.

        Without it a file is still checked at the moment it is used.

        Raises
        ------
        PackageError : no package there, or one of another format.
        DigestMismatch : a file is missing or is not the one that the manifest names.
        """
        location = Location.parse(address)
        manifest = read_manifest(location)
        try:
            package = cls(location, manifest, local_files(location, manifest))
        except (ValueError, KeyError, TypeError) as error:
            raise no_package(location, error) from None
        if verify:
            for name in manifest.files:
                package.read(name)
        return package

    def read(self, name: str) -> bytes:
        """Bytes of one file, checked.

        Raises
        ------
        DigestMismatch : they are not those that the manifest names.
        """
        return read_file(self._files, self.manifest, name)

    @property
    def path(self) -> Path:
        """The folder on this machine; raises where there is none (``Location.local_path``)."""
        return self.location.local_path

    def file_sizes(self) -> int:
        """Bytes of all files that the manifest names."""
        return sum((self._files / name).size() for name in self.manifest.files)

    @property
    def size(self) -> int:
        """Number of members."""
        return len(self.manifest.members)

    @property
    def student(self) -> bool:
        """Whether one network stands for an ensemble (see ``network.Student``)."""
        return is_student(self.network)

    @property
    def quality_arrays(self) -> dict[str, Array]:
        """What ``quality.Quality.from_arrays`` takes."""
        return load_arrays(self.read("quality.safetensors"))

    @property
    def curves(self) -> list[dict[str, Any]]:
        """Per member: seed, best epoch, losses per epoch."""
        curves: list[dict[str, Any]] = json.loads(self.read("curves.json"))
        return curves

    @property
    def evaluation(self) -> dict[str, Any]:
        """Results on the test split; empty if there are none."""
        file = self.location / EVALUATION
        found: dict[str, Any] = json.loads(file.read_bytes()) if file.exists() else {}
        return found

    def fixtures(self) -> "Fixtures":
        """What every engine must reproduce."""
        arrays = load_arrays(self.read("fixtures.safetensors"))
        stars = StarInputs({name: arrays[name] for name in self.spec.widths})
        return Fixtures(stars, arrays["mean"], arrays["sigma"], arrays.get("correlation"))

    def members(self, engine: Engine = "eager", device: str = "cpu") -> list[Member]:
        """Every member, ready to be called with a ``Batch``; see ``Network``."""
        make = self._eager if engine == "eager" else self._scripted
        return [make(number, device) for number in range(self.size)]

    def networks(self, device: str = "cpu") -> list[Network]:
        """Every member as a module, from the canonical weights."""
        return [self._network(number, device) for number in range(self.size)]

    def stacking(self, device: str = "cpu") -> Stacking | None:
        """The regressions beside the networks; None where the ensemble is all there is."""
        if STACKING not in self.manifest.files:
            return None
        labels = self.scaling().labels
        found = Stacking.from_bytes(self.spec.features, labels, self.read(STACKING))
        return found.requires_grad_(False).to(device)

    def scaling(self, device: str = "cpu") -> Network:
        """A member for its scalings, which all of them share."""
        return self._network(0, device)

    def _network(self, number: int, device: str) -> Network:
        network = build_network(self.spec, self.network, seed=0)
        state = load_tensors(self.read(_member(number, "safetensors")))
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise PackageError(
                f"{self.location}: member {number} does not fit its network ({error})", cure=_CURE
            ) from None
        return network.eval().requires_grad_(False).to(device)

    def _eager(self, number: int, device: str) -> Member:
        return self._network(number, device)

    def _scripted(self, number: int, device: str) -> Member:
        member: Member = torchscript.loaded(self.read(_member(number, "ts.pt")), device)
        return member


def _network_config(network: Mapping[str, Any]) -> NetworkConfig:
    if "layers" in network:
        return ImportedNetwork.model_validate(network)
    return (StudentNetwork if "student" in network else NetworkConfig).model_validate(network)


def write_package(
    address: Address,
    *,
    networks: Sequence[Network],
    spec: InputSpec,
    network_config: NetworkConfig,
    fixtures: StarInputs,
    label_sigma: Array,
    quality_arrays: Mapping[str, Array],
    curves: Sequence[Mapping[str, Any]],
    manifest_extra: Mapping[str, Any],
    own_labels: OwnLabels | None = None,
    stacking: Parts | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Package:
    """Write a package; it appears at ``address`` complete or not at all.

    Parameters
    ----------
    networks : members; they share their scalings.
    fixtures : stars, some with missing inputs, that every engine must reproduce.
    label_sigma : [L] typical total error, the unit of every parity check; label units.
    curves : per member, what became of it epoch by epoch.
    manifest_extra : data, split, seeds and everything else worth keeping (JSON).
    own_labels : what the survey says of labels of its own.
    stacking : regressions beside the networks and their weights, if any.
    files : further files by name.

    Raises
    ------
    PackageError : the path exists, members differ in scaling, or the disk refuses.
    ValueError : a section in ``manifest_extra`` is not what ``Manifest`` says it is.
    """
    location = Location.parse(address)
    if location.exists():
        raise PackageError(f"{location} exists", cure="Give another path or remove it.")
    files = dict(files or {}) | {
        "fixtures.safetensors": _fixtures(networks, fixtures),
        "quality.safetensors": save_arrays(dict(quality_arrays)),
        "curves.json": _json(list(curves)),
    }
    if stacking is not None:
        files[STACKING] = to_bytes(stacking)
    for number, network in enumerate(networks):
        network.eval().requires_grad_(False)
        files[_member(number, "safetensors")] = _weights(network)
        files[_member(number, "ts.pt")] = torchscript.dumped(network)
    document = {
        "format": _format(stacking, quality_arrays),
        "kind": "package",
        "distcnn_version": __version__,
        "versions": _versions(),
        "spec": spec.to_json(),
        "network": network_config.model_dump(mode="json"),
        "labels": _label_entries(spec.labels, own_labels or {}),
        "label_sigma": [float(value) for value in label_sigma],
        "scaling": _scaling(networks),
        "members": [{k: v for k, v in c.items() if k != "epochs"} for c in curves],
        **manifest_extra,
        "files": {name: hashing.of_bytes(data) for name, data in sorted(files.items())},
    }
    manifest = Manifest.from_json(document)  # refused here, it is not on disk yet
    _write_folder(location, {**files, MANIFEST: manifest.to_bytes()})
    return Package.load(location)


def _label_entries(names: Sequence[str], own: OwnLabels) -> list[dict[str, str]]:
    """Name and unit; of labels that the schema does not tell of, everything."""
    more = described(names, own)
    return [
        {"name": name, "unit": label_info(name, own).unit, **more.get(name, {})} for name in names
    ]


def write_evaluation(package: Package, evaluation: Mapping[str, Any]) -> None:
    """Put results on the test split beside the package; its digest stays what it was."""
    data = _json({"package": package.digest, **evaluation})
    (package.location / EVALUATION).write_bytes(data)


def _format(stacking: Parts | None, quality_arrays: Mapping[str, Array]) -> int:
    if "photometric_perceptrons" in (stacking or {}):
        return PHOTOMETRIC_PACKAGE_FORMAT
    if any(name.startswith("novelty.expected.") for name in quality_arrays):
        return OTHER_LIGHT_PACKAGE_FORMAT
    along_labels = len(quality_arrays.get("calibration.label_columns", ()))
    if along_labels or (stacking and "nodes" in stacking["weights"]):
        return LABEL_NODES_PACKAGE_FORMAT
    if "perceptrons" in (stacking or {}):
        return PERCEPTRONS_PACKAGE_FORMAT
    if any(name.startswith("novelty.blends.") for name in quality_arrays):
        return BLENDS_PACKAGE_FORMAT
    return PACKAGE_FORMAT if stacking is None else STACKED_PACKAGE_FORMAT


def _member(number: int, ending: str) -> str:
    return f"members/member_{number:02d}.{ending}"


def _weights(network: Network) -> bytes:
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    return bytes(save_tensors(state))


def _fixtures(networks: Sequence[Network], stars: StarInputs) -> bytes:
    with torch.inference_mode():
        outputs = stack_members([network.eval()(stars.tensors()) for network in networks])
    found = {"mean": outputs[0], "sigma": outputs[1], "correlation": pack_pairs(outputs[2])}
    arrays = {name: values.contiguous().numpy() for name, values in found.items()}
    if not all(np.isfinite(values).all() for values in arrays.values()):
        raise PackageError(
            "a member gives values that are not finite",
            expected="finite labels for every star, whatever is missing",
            cure="Train again with a smaller train.learning_rate.",
        )
    return bytes(save_arrays({**stars.arrays, **arrays}))


def _scaling(networks: Sequence[Network]) -> dict[str, Any]:
    found = []
    for network in networks:
        state = {
            name: tensor.numpy()
            for name, tensor in network.state_dict().items()
            if name.startswith(("inputs.", "labels."))
        }
        found.append(hashing.of_arrays(state))
    if len(set(found)) != 1:
        raise PackageError(
            f"the members have {len(set(found))} different scalings", expected="one and the same"
        )
    labels = networks[0].labels
    return {
        "digest": found[0],
        "label_logarithm": [bool(value) for value in labels.logarithm],
        "label_centre": labels.centre.tolist(),
        "label_scale": labels.scale.tolist(),
    }


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__).partition("+")[0],
        "numpy": np.__version__,
        "safetensors": str(safetensors.__version__),
    }


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _write_folder(location: Location, files: Mapping[str, bytes]) -> None:
    try:
        with location.new_folder() as draft:
            for name, data in files.items():
                (draft / name).write_bytes(data)
    except OSError as error:
        raise PackageError(f"{location} cannot be written ({error})") from None
