"""Keras files (``.h5`` of Keras 2, ``.keras`` of Keras 3): layers and weights, nothing run.

Both hold the layers as JSON and the weights as HDF5. What could hide code or point out of the
file (pickles, Lambda layers, external and linked data) is never followed.
"""

import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.errors import FileBroken, InputError, MissingExtra

MAX_BYTES = 2**31
"""A larger file is no network of spectra."""
_EXPECTED = "a Keras model as .h5 or .keras, saved whole (model.save)"


@dataclass(frozen=True)
class KerasLayer:
    """One layer as its file says it: class, settings, what it reads, its weights in order."""

    name: str
    kind: str
    config: Mapping[str, Any]
    sources: tuple[str, ...]
    weights: tuple[Array, ...]


@dataclass(frozen=True)
class KerasFile:
    """A model: layers by name, which of them are its inputs, which one its output."""

    layers: Mapping[str, KerasLayer]
    inputs: tuple[str, ...]
    output: str
    version: str


def read_keras(path: Path) -> KerasFile:
    """Read a model.

    Raises
    ------
    FileBroken : it cannot be read, is not such a file, or has weights without layers.
    InputError : its layers form no network of one output, or some are used twice.
    MissingExtra : h5py is not installed.
    """
    if path.is_dir():
        raise FileBroken(f"{path} is a folder", expected=_EXPECTED)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ValueError(f"{size:,} bytes, {MAX_BYTES:,} at most")
        found = _of_zip(path) if zipfile.is_zipfile(path) else _of_hdf5(path)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, zipfile.BadZipFile) as error:
        raise FileBroken(
            f"{path} is no Keras model that can be read ({_in_a_line(error)})", expected=_EXPECTED
        ) from None
    return found


def _in_a_line(error: Exception) -> str:
    """What a library says, without the addresses and descriptors of HDF5."""
    text = " ".join(str(error).split())
    inner = re.search(r"\((?!.*\()([^()]*)\)", text)
    return inner[1].split(": time =")[0] if inner is not None else text


def _of_hdf5(path: Path) -> KerasFile:
    h5py = _h5py()
    with h5py.File(path, "r") as file:
        if "model_config" not in file.attrs:
            raise ValueError(
                "it holds weights alone" if "layer_names" in file.attrs else "no model"
            )
        model = json.loads(_text(file.attrs["model_config"]))
        groups = _item(file, "model_weights")
        layers = _layers(model)
        weights = {name: _named_weights(groups, name) for name in (one.name for one in layers)}
        version = _text(file.attrs.get("keras_version", ""))
    return _joined(model, layers, weights, version)


def _named_weights(groups: Any, name: str) -> tuple[Array, ...]:
    if name not in groups:
        return ()
    group = _item(groups, name)
    names = [_text(each) for each in group.attrs.get("weight_names", ())]
    return tuple(_values(group, each) for each in names)


def _of_zip(path: Path) -> KerasFile:
    h5py = _h5py()
    with zipfile.ZipFile(path) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        missing = {"config.json", "model.weights.h5"} - sizes.keys()
        if missing or sum(sizes.values()) > MAX_BYTES:
            raise ValueError(f"no {', '.join(sorted(missing))}" if missing else "too large")
        model = json.loads(archive.read("config.json"))
        about = json.loads(archive.read("metadata.json")) if "metadata.json" in sizes else {}
        data = io.BytesIO(archive.read("model.weights.h5"))
    layers = _layers(model)
    with h5py.File(data, "r") as file:
        weights = _numbered_weights(_item(file, "layers"), layers)
    return _joined(model, layers, weights, str(about.get("keras_version", "")))


def _numbered_weights(groups: Any, layers: Sequence[KerasLayer]) -> dict[str, tuple[Array, ...]]:
    """Keras 3 names the groups by class and number among its like, ``conv1d``, ``conv1d_1``."""
    found, seen = {}, Counter[str]()
    for layer in layers:
        name = _snake_case(layer.kind)
        seen[name] += 1
        number = seen[name] - 1
        group = f"{name}_{number}" if number else name
        found[layer.name] = _variables(groups, group)
    return found


def _variables(groups: Any, name: str) -> tuple[Array, ...]:
    if name not in groups or "vars" not in _item(groups, name):
        return ()
    variables = _item(_item(groups, name), "vars")
    return tuple(_values(variables, key) for key in sorted(variables, key=int))


def _snake_case(name: str) -> str:
    """``Conv1D`` -> ``conv1d``, ``LeakyReLU`` -> ``leaky_re_lu``: as Keras 3 does it."""
    import re

    apart = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", apart).lower()


def _layers(model: Mapping[str, Any]) -> list[KerasLayer]:
    """The layers in the order of the file, without weights yet."""
    kind, config = model["class_name"], model["config"]
    entries = config["layers"] if isinstance(config, dict) else config
    if kind == "Sequential":
        return _sequential(entries)
    if kind not in ("Functional", "Model"):
        raise ValueError(f"a model of the class {kind}, not Sequential or Functional")
    return [
        KerasLayer(one["config"]["name"], one["class_name"], one["config"], _sources(one), ())
        for one in entries
    ]


def _sequential(entries: Sequence[Mapping[str, Any]]) -> list[KerasLayer]:
    found: list[KerasLayer] = []
    for entry in entries:
        config = entry["config"]
        if not found and entry["class_name"] != "InputLayer":
            start = {"batch_input_shape": config["batch_input_shape"]}
            found.append(KerasLayer("input", "InputLayer", start, (), ()))
        sources = (found[-1].name,) if found else ()
        found.append(KerasLayer(config["name"], entry["class_name"], config, sources, ()))
    return found


def _sources(entry: Mapping[str, Any]) -> tuple[str, ...]:
    nodes = entry.get("inbound_nodes", [])
    if len(nodes) > 1:
        raise ValueError(f"the layer {entry['config']['name']} is used {len(nodes)} times")
    return tuple(_origins(nodes[0])) if nodes else ()


def _origins(node: Any) -> list[str]:
    """Names of the layers that a node reads, in the words of Keras 2 or 3."""
    if isinstance(node, dict):  # of Keras 3
        if node.get("class_name") == "__keras_tensor__":
            return [str(node["config"]["keras_history"][0])]
        return _origins(node.get("args", []))
    if not isinstance(node, list):
        return []
    if node and isinstance(node[0], str):  # ["name", 0, 0, {}] of Keras 2
        return [node[0]]
    return [name for part in node for name in _origins(part)]


def _joined(
    model: Mapping[str, Any],
    layers: Sequence[KerasLayer],
    weights: Mapping[str, tuple[Array, ...]],
    version: str,
) -> KerasFile:
    known = {
        one.name: KerasLayer(one.name, one.kind, one.config, one.sources, weights[one.name])
        for one in layers
    }
    if model["class_name"] == "Sequential":
        return KerasFile(known, (layers[0].name,), layers[-1].name, version)
    inputs = _origins(model["config"]["input_layers"])
    outputs = _origins(model["config"]["output_layers"])
    if len(outputs) != 1:
        raise InputError(
            f"a model with the outputs {', '.join(outputs)}", expected="one layer with all labels"
        )
    return KerasFile(known, tuple(inputs), outputs[0], version)


def _item(group: Any, name: str) -> Any:
    """What is under a name in this very file: links to elsewhere are not followed."""
    h5py = _h5py()
    place = group
    for part in name.strip("/").split("/"):
        if not isinstance(place.get(part, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is not in the file itself")
        place = place[part]
    return place


def _values(group: Any, name: str) -> Array:
    data = _item(group, name)
    if getattr(data, "external", None) or getattr(data, "is_virtual", False):
        raise ValueError(f"{name} is kept in another file")
    if data.dtype.kind not in "fiu":
        raise ValueError(f"{name} holds no numbers")
    return np.asarray(data[()])


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _h5py() -> Any:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise MissingExtra.of("networks of Keras", "h5py", "keras") from error
    return h5py
