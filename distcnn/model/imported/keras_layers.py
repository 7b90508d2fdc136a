"""What each layer of Keras is here: its settings and weights, translated one by one.

Only what is data is taken: numbers, and the name of an operation of the table below. What does
nothing once a network is trained (drop-out, noise) is left out. Shapes are those of one star,
channels last.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, get_args

import numpy as np

from distcnn.arrays import Array
from distcnn.config.imported import Activation
from distcnn.errors import InputError
from distcnn.model.imported.keras_file import KerasLayer

Shape = tuple[int, ...]
Weights = dict[str, Array]
Translated = tuple[dict[str, Any], Weights]
"""Settings of a ``LayerConfig``, and its weights."""
KERAS_LEAKY_SLOPE, KERAS_LEAKY_ACTIVATION_SLOPE = 0.3, 0.2
"""Defaults of Keras: of the layer LeakyReLU, and of the activation ``leaky_relu``."""
IDENTITIES = (
    "Dropout",
    "AlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
    "ActivityRegularization",
)
"""Layers that act in training only."""
_SAME_NAMES = {"silu": "swish"}


def _input(layer: KerasLayer, shapes: Sequence[Shape]) -> Translated:
    return {"shape": input_shape(layer)}, {}


def input_shape(layer: KerasLayer) -> Shape:
    """Shape of an input layer, that of one star.

    Raises
    ------
    InputError : it is not fixed, or has more than one channel.
    """
    config = layer.config
    shape = config.get("batch_input_shape") or config.get("batch_shape") or ()
    if len(shape) < 2 or not all(isinstance(size, int) for size in shape[1:]):
        raise InputError(f"the input {layer.name} has the shape {shape}", expected="fixed sizes")
    found = tuple(shape[1:])
    if len(found) > 2 or (len(found) == 2 and found[1] != 1):
        raise InputError(f"the input {layer.name} has the shape {found}", expected="[N] or [N, 1]")
    return found


def _dense(layer: KerasLayer, shapes: Sequence[Shape]) -> Translated:
    units, width = int(layer.config["units"]), shapes[0][-1]
    kernel, *bias = _weights(layer, (width, units), *_bias_shape(layer, units))
    settings = {"kind": "dense", "shape": (*shapes[0][:-1], units), "bias": bool(bias)}
    return settings | _activation(layer), {"weight": kernel.T} | _named_bias(bias)


def _convolution(layer: KerasLayer, shapes: Sequence[Shape]) -> Translated:
    config = layer.config
    _only(layer, data_format=("channels_last", None))
    samples, channels = _two(layer, shapes[0])
    filters, groups = int(config["filters"]), int(config.get("groups", 1))
    kernel, stride, dilation = (
        _one(config.get(name, 1)) for name in ("kernel_size", "strides", "dilation_rate")
    )
    span = dilation * (kernel - 1) + 1
    padding = _padding(layer, samples, span, stride)
    weight, *bias = _weights(
        layer, (kernel, channels // groups, filters), *_bias_shape(layer, filters)
    )
    settings = {
        "kind": "convolution",
        "shape": (_steps(samples, sum(padding), span, stride), filters),
        "kernel": kernel,
        "stride": stride,
        "dilation": dilation,
        "groups": groups,
        "padding": padding,
        "bias": bool(bias),
    }
    return settings | _activation(layer), {"weight": weight.transpose(2, 1, 0)} | _named_bias(bias)


def _pooling(kind: str) -> Callable[[KerasLayer, Sequence[Shape]], Translated]:
    def pooling(layer: KerasLayer, shapes: Sequence[Shape]) -> Translated:
        _only(layer, data_format=("channels_last", None))
        if kind == "average_pooling":
            _only(layer, padding=("valid",))
        samples, channels = _two(layer, shapes[0])
        kernel = _one(layer.config["pool_size"])
        stride = _one(layer.config.get("strides") or kernel)
        padding = _padding(layer, samples, kernel, stride)
        shape = (_steps(samples, sum(padding), kernel, stride), channels)
        return {
            "kind": kind,
            "shape": shape,
            "kernel": kernel,
            "stride": stride,
            "padding": padding,
        }, {}

    return pooling


def _global_pooling(kind: str) -> Callable[[KerasLayer, Sequence[Shape]], Translated]:
    def pooling(layer: KerasLayer, shapes: Sequence[Shape]) -> Translated:
        _only(layer, data_format=("channels_last", None), keepdims=(False, None))
        return {"kind": kind, "shape": _two(layer, shapes[0])[1:]}, {}

    return pooling


def _normalisation(layer: KerasLayer, shapes: Sequence[Shape]) -> Translated:
    """Of a batch, by the means and variances of training: a factor and a term per channel."""
    config, width = layer.config, shapes[0][-1]
    axis = _one(config.get("axis", -1))
    if axis not in (-1, len(shapes[0])):
        raise _not_taken(layer, "axis", axis)
    has_scale, has_shift = config.get("scale", True), config.get("center", True)
    found = iter(_weights(layer, *[(width,)] * (2 + bool(has_scale) + bool(has_shift))))
    gamma = next(found) if has_scale else np.ones(width)
    beta = next(found) if has_shift else np.zeros(width)
    mean, variance = next(found), next(found)
    factor = gamma / np.sqrt(variance.astype(np.float64) + float(config.get("epsilon", 1e-3)))
    own = {"weight": factor, "bias": beta - mean * factor}
    return {"kind": "normalisation", "shape": shapes[0]}, own


def _leaky(layer: KerasLayer, shapes: Sequence[Shape]) -> Translated:
    config = layer.config
    slope = config.get("negative_slope", config.get("alpha", KERAS_LEAKY_SLOPE))
    return _function("leaky_relu", shapes[0], float(np.asarray(slope))), {}


def _relu(layer: KerasLayer, shapes: Sequence[Shape]) -> Translated:
    _only(layer, max_value=(None,), threshold=(0, None), negative_slope=(0, None))
    return _function("relu", shapes[0]), {}


def _elu(layer: KerasLayer, shapes: Sequence[Shape]) -> Translated:
    return _function("elu", shapes[0], float(layer.config.get("alpha", 1.0))), {}


def _activated(layer: KerasLayer, shapes: Sequence[Shape]) -> Translated:
    return {"kind": "activation", "shape": shapes[0]} | _activation(layer), {}


def _softmax(layer: KerasLayer, shapes: Sequence[Shape]) -> Translated:
    _only(layer, axis=(-1,))
    return _function("softmax", shapes[0]), {}


def _function(name: str, shape: Shape, slope: float = 0.0) -> dict[str, Any]:
    return {"kind": "activation", "shape": shape, "activation": name, "slope": slope}


def _flatten(layer: KerasLayer, shapes: Sequence[Shape]) -> Translated:
    _only(layer, data_format=("channels_last", None))
    return {"kind": "flatten", "shape": (prod(shapes[0]),)}, {}


def _reshape(layer: KerasLayer, shapes: Sequence[Shape]) -> Translated:
    wanted, size = tuple(layer.config["target_shape"]), prod(shapes[0])
    known = prod(length for length in wanted if length != -1)
    shape = tuple(size // known if length == -1 else int(length) for length in wanted)
    if prod(shape) != size or len(shape) > 2:
        raise _not_taken(layer, "target_shape", wanted)
    return {"kind": "reshape", "shape": shape}, {}


def _concatenate(layer: KerasLayer, shapes: Sequence[Shape]) -> Translated:
    axis = layer.config.get("axis", -1)
    if axis not in (-1, len(shapes[0])) or len({shape[:-1] for shape in shapes}) > 1:
        raise _not_taken(layer, "axis", axis)
    width = sum(shape[-1] for shape in shapes)
    return {"kind": "concatenate", "shape": (*shapes[0][:-1], width)}, {}


def _add(layer: KerasLayer, shapes: Sequence[Shape]) -> Translated:
    if len(set(shapes)) > 1:
        raise _not_taken(layer, "shapes", sorted(set(shapes)))
    return {"kind": "add", "shape": shapes[0]}, {}


KINDS: Mapping[str, Callable[[KerasLayer, Sequence[Shape]], Translated]] = {
    "InputLayer": _input,
    "Dense": _dense,
    "Conv1D": _convolution,
    "MaxPooling1D": _pooling("max_pooling"),
    "AveragePooling1D": _pooling("average_pooling"),
    "GlobalMaxPooling1D": _global_pooling("global_max_pooling"),
    "GlobalAveragePooling1D": _global_pooling("global_average_pooling"),
    "BatchNormalization": _normalisation,
    "LeakyReLU": _leaky,
    "ReLU": _relu,
    "ELU": _elu,
    "Softmax": _softmax,
    "Activation": _activated,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Concatenate": _concatenate,
    "Add": _add,
}
"""Every class of Keras that is taken over and acts once a network is trained."""


def _activation(layer: KerasLayer) -> dict[str, Any]:
    name = layer.config.get("activation") or "linear"
    known = _SAME_NAMES.get(name, name) if isinstance(name, str) else None
    if known not in get_args(Activation):
        raise _not_taken(layer, "activation", name)
    slopes = {"leaky_relu": KERAS_LEAKY_ACTIVATION_SLOPE, "elu": 1.0}
    return {"activation": known, "slope": slopes.get(str(known), 0.0)}


def _padding(layer: KerasLayer, samples: int, span: int, stride: int) -> tuple[int, int]:
    """Samples added before and behind; where one side gets more, it is the one behind."""
    how = layer.config.get("padding", "valid")
    if how == "valid":
        return 0, 0
    if how == "causal":
        return span - 1, 0
    if how != "same":
        raise _not_taken(layer, "padding", how)
    total = max((-(-samples // stride) - 1) * stride + span - samples, 0)
    return total // 2, total - total // 2


def _steps(samples: int, padded: int, span: int, stride: int) -> int:
    steps = (samples + padded - span) // stride + 1
    if steps < 1:
        raise InputError(f"a kernel of {span} pixels on {samples}")
    return steps


def _bias_shape(layer: KerasLayer, width: int) -> list[Shape]:
    return [(width,)] if layer.config.get("use_bias", True) else []


def _named_bias(bias: Sequence[Array]) -> Weights:
    return {"bias": bias[0]} if bias else {}


def _weights(layer: KerasLayer, *shapes: Shape) -> tuple[Array, ...]:
    met = [values.shape for values in layer.weights]
    if met != list(shapes):
        raise InputError(
            f"the layer {layer.name} ({layer.kind}) has weights of the shapes {met}",
            expected=str(list(shapes)),
            cure="Save the model again; what is read here is not what it was trained as.",
        )
    return layer.weights


def _only(layer: KerasLayer, **admitted: tuple[Any, ...]) -> None:
    for name, values in admitted.items():
        value = layer.config.get(name, values[-1])
        if value not in values:
            raise _not_taken(layer, name, value)


def _not_taken(layer: KerasLayer, name: str, value: object) -> InputError:
    return InputError(
        f"the layer {layer.name} ({layer.kind}) has {name} {value}",
        expected="what distcnn can compute; see distcnn/model/imported/keras_layers.py",
    )


def _two(layer: KerasLayer, shape: Shape) -> tuple[int, int]:
    if len(shape) != 2:
        raise InputError(f"the layer {layer.name} reads {shape}", expected="[samples, channels]")
    return shape[0], shape[1]


def _one(value: Any) -> int:
    """The number in ``[10]`` or ``10``."""
    (found,) = value if isinstance(value, list | tuple) else (value,)
    return int(found)
