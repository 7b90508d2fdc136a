"""A whole network of Keras as one of ours: its layers in order, and which input is which."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from distcnn.arrays import Array
from distcnn.config.imported import LayerConfig
from distcnn.errors import InputError
from distcnn.model.imported.keras_file import KerasFile, KerasLayer
from distcnn.model.imported.keras_layers import IDENTITIES, KINDS, Weights, input_shape


@dataclass(frozen=True)
class Translation:
    """A network of ours: its layers in order, and the weights of each by its number and name."""

    layers: tuple[LayerConfig, ...]
    weights: Weights
    """``3.weight``, ``3.bias``, ...; float32."""
    version: str
    """Of Keras, as the file says."""


def translate(file: KerasFile, scalars: int) -> Translation:
    """Layers and weights of a model; ``scalars``: how many numbers it takes beside the spectrum.

    Raises
    ------
    InputError : layers that are not known here (all of them are named), or settings of theirs;
        weights of another shape than the layers say; inputs that are not spectrum and scalars.
    """
    _refuse_unknown(file)
    roles = _roles(file, scalars)
    numbers: dict[str, int] = {}
    layers: list[LayerConfig] = []
    weights: Weights = {}
    for layer in _in_order(file):
        sources = tuple(numbers[name] for name in layer.sources)
        shapes = [layers[number].shape for number in sources]
        if layer.kind in IDENTITIES:
            numbers[layer.name] = sources[0]
            continue
        with_role = {"kind": roles[layer.name]} if layer.kind == "InputLayer" else {}
        settings, own = KINDS[layer.kind](layer, shapes)
        weights |= {f"{len(layers)}.{name}": _good(layer, value) for name, value in own.items()}
        numbers[layer.name] = len(layers)
        layers.append(LayerConfig.model_validate({**settings, **with_role, "sources": sources}))
    if len(layers[-1].shape) != 1:
        raise InputError(f"a model that gives {layers[-1].shape} numbers", expected="one per label")
    return Translation(tuple(layers), weights, file.version)


def _refuse_unknown(file: KerasFile) -> None:
    unknown = [
        f"{layer.name} ({layer.kind})"
        for layer in file.layers.values()
        if layer.kind not in KINDS and layer.kind not in IDENTITIES
    ]
    if unknown:
        raise InputError(
            f"the layers {', '.join(unknown)} cannot be taken over",
            expected=f"only {', '.join([*KINDS, *IDENTITIES])}",
            cure="What holds code, as Lambda layers do, is never run; train such a network again "
            "with distcnn, or save it without these layers.",
        )


def _roles(file: KerasFile, scalars: int) -> dict[str, str]:
    sizes = {name: prod(input_shape(file.layers[name])) for name in file.inputs}
    found = [name for name, size in sizes.items() if scalars and size == scalars]
    others = [name for name in file.inputs if name not in found[-1:]]
    if len(others) > 1 or bool(found) != bool(scalars):
        raise InputError(
            f"a model that takes {', '.join(f'{name} [{n}]' for name, n in sizes.items())}",
            expected=f"a spectrum and {scalars} scalars" if scalars else "one spectrum",
            cure="Name what it takes beside the spectrum in imported.scalars, in its order.",
        )
    return dict.fromkeys(others, "spectrum") | dict.fromkeys(found[-1:], "scalars")


def _in_order(file: KerasFile) -> Iterator[KerasLayer]:
    """Every layer that the output needs, behind those that it reads."""
    done: set[str] = set()
    waiting = [file.output]
    begun: set[str] = set()
    while waiting:
        layer = file.layers[waiting[-1]]
        missing = [name for name in layer.sources if name not in done]
        if layer.name in done or not missing:
            waiting.pop()
            if layer.name not in done:
                done.add(layer.name)
                yield layer
        elif layer.name in begun:
            raise InputError(f"the layer {layer.name} reads what it gives")
        else:
            begun.add(layer.name)
            waiting += missing


def _good(layer: KerasLayer, values: Array) -> Array:
    if not np.isfinite(values).all():
        raise InputError(f"the layer {layer.name} has weights that are not finite")
    return np.ascontiguousarray(values, np.float32)
