"""Models in exactly the two layouts of Keras, and what their layers compute, in plain numpy.

``Keras2`` (``.h5``) and ``Keras3`` (``.keras``) lay down the same list of layers. ``reference``
computes them one sample at a time, as the definitions of Keras say, with nothing of distcnn.
"""

import io
import json
import math
import zipfile
from dataclasses import dataclass, field

import h5py
import numpy as np


@dataclass
class Layer:
    kind: str
    name: str
    config: dict
    reads: tuple = ()
    weights: list = field(default_factory=list)


def entry(name, size, channels=1):
    shape = [None, size, channels] if channels else [None, size]
    return Layer("InputLayer", name, {"shape": shape})


def save_h5(path, layers, *, sequential=False, output=None):
    """As Keras 2 saves a model: JSON in an attribute, weights in groups by the layer's name."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.4.0"
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps(_model(layers, _node2, sequential, output, 2))
        groups = file.create_group("model_weights")
        for layer in layers:
            group = groups.create_group(layer.name)
            names = [f"{layer.name}/weight_{n}:0" for n in range(len(layer.weights))]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, values in zip(names, layer.weights, strict=True):
                group.create_dataset(name, data=values)
    return path


def save_keras(path, layers, *, sequential=False, output=None):
    """As Keras 3 saves a model: a zip of JSON and HDF5, weights by class and number."""
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        seen = {}
        for layer in layers:
            name = SNAKE_CASE[layer.kind]
            number = seen[name] = seen.get(name, -1) + 1
            group = file.create_group(f"layers/{name}_{number}" if number else f"layers/{name}")
            for n, values in enumerate(layer.weights):
                group.create_dataset(f"vars/{n}", data=values)
    with zipfile.ZipFile(path, "w") as archive:
        model = _model(layers, _node3, sequential, output, 3)
        archive.writestr("config.json", json.dumps(model))
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("model.weights.h5", data.getvalue())
    return path


SNAKE_CASE = {
    "InputLayer": "input_layer",
    "Conv1D": "conv1d",
    "Dense": "dense",
    "LeakyReLU": "leaky_re_lu",
    "ReLU": "re_lu",
    "ELU": "elu",
    "Softmax": "softmax",
    "Dropout": "dropout",
    "Flatten": "flatten",
    "Reshape": "reshape",
    "Activation": "activation",
    "Concatenate": "concatenate",
    "Add": "add",
    "Lambda": "lambda",
    "LSTM": "lstm",
    "MaxPooling1D": "max_pooling1d",
    "AveragePooling1D": "average_pooling1d",
    "GlobalMaxPooling1D": "global_max_pooling1d",
    "GlobalAveragePooling1D": "global_average_pooling1d",
    "BatchNormalization": "batch_normalization",
}


def _model(layers, node, sequential, output, version):
    key = "batch_input_shape" if version == 2 else "batch_shape"
    entries = []
    for layer in layers:
        config = {"name": layer.name, **layer.config}
        if layer.kind == "InputLayer":
            config[key] = config.pop("shape")
        made = {"class_name": layer.kind, "config": config}
        if not sequential:
            made |= {
                "name": layer.name,
                "inbound_nodes": [node(layer.reads)] if layer.reads else [],
            }
        entries.append(made)
    if sequential:
        return {"class_name": "Sequential", "config": {"name": "s", "layers": entries}}
    inputs = [[one.name, 0, 0] for one in layers if one.kind == "InputLayer"]
    outputs = [[name, 0, 0] for name in (output or [layers[-1].name])]
    if version == 3 and len(inputs) == 1:
        inputs = inputs[0]
    if version == 3 and len(outputs) == 1:
        outputs = outputs[0]
    config = {"name": "f", "layers": entries, "input_layers": inputs, "output_layers": outputs}
    return {"class_name": "Functional", "config": config}


def _node2(reads):
    return [[name, 0, 0, {}] for name in reads]


def _node3(reads):
    tensors = [
        {"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}}
        for name in reads
    ]
    return {"args": tensors if len(tensors) == 1 else [tensors], "kwargs": {}}


def weights(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 0.5, shape).astype("f4") for shape in shapes]


def conv(name, reads, channels, filters, *, kernel=3, stride=1, dilation=1, groups=1, **more):
    config = {
        "filters": filters,
        "kernel_size": [kernel],
        "strides": [stride],
        "dilation_rate": [dilation],
        "groups": groups,
        "data_format": "channels_last",
        "use_bias": True,
        **more,
    }
    shapes = [(kernel, channels // groups, filters)]
    shapes += [(filters,)] if config["use_bias"] else []
    return Layer("Conv1D", name, config, (reads,), weights(len(name), *shapes))


def dense(name, reads, width, units, **more):
    config = {"units": units, "use_bias": True, **more}
    shapes = [(width, units), (units,)] if config["use_bias"] else [(width, units)]
    return Layer("Dense", name, config, (reads,), weights(len(name), *shapes))


def flatten(reads):
    return Layer("Flatten", "flat", {"data_format": "channels_last"}, (reads,))


def rave_like(pixels=40, labels=3, seed=0):
    """The layers of Guiglion et al. (2020), smaller."""
    shrunk = 2 * (pixels - 8)
    return [
        entry("input_1", pixels),
        conv("convol_1", "input_1", 1, 4, kernel=5),
        Layer("LeakyReLU", "leaky_re_lu", {"alpha": 0.3}, ("convol_1",)),
        conv("convol_2", "leaky_re_lu", 4, 2, kernel=5),
        Layer("Dropout", "dropout", {"rate": 0.2}, ("convol_2",)),
        entry("input_2", 3),
        flatten("dropout"),
        Layer("Flatten", "flatten_1", {"data_format": "channels_last"}, ("input_2",)),
        dense("dense", "flat", shrunk, 8),
        dense("dense_1", "flatten_1", 3, 5),
        Layer("Concatenate", "concatenate", {"axis": -1}, ("dense", "dense_1")),
        dense("dense_2", "concatenate", 13, labels),
    ]


def reference(layers, inputs):
    """Values of the last layer for one star; ``inputs``: arrays by the name of their layer."""
    values = {}
    for layer in layers:
        if layer.kind == "InputLayer":
            shape = layer.config["shape"][1:]
            values[layer.name] = np.asarray(inputs[layer.name], np.float64).reshape(shape)
        else:
            read = [values[name] for name in layer.reads]
            weights = [np.asarray(w, np.float64) for w in layer.weights]
            values[layer.name] = REFERENCES[layer.kind](read, layer.config, weights)
    return values[layers[-1].name]


def _dense(read, config, weights):
    x = read[0]
    rows = [x] if x.ndim == 1 else list(x)
    out = [
        [sum(row[i] * weights[0][i, j] for i in range(len(row))) for j in range(config["units"])]
        for row in rows
    ]
    y = np.array(out) + (weights[1] if len(weights) > 1 else 0)
    return activated(config.get("activation", "linear"), y if x.ndim > 1 else y[0])


def _padded(x, config, span, stride, fill):
    how = config.get("padding", "valid")
    before = after = 0
    if how == "causal":
        before = span - 1
    if how == "same":
        total = max((math.ceil(len(x) / stride) - 1) * stride + span - len(x), 0)
        before, after = total // 2, total - total // 2
    return np.pad(x, ((before, after), (0, 0)), constant_values=fill)


def _conv(read, config, weights):
    kernel, stride = config["kernel_size"][0], config["strides"][0]
    dilation, groups = config["dilation_rate"][0], config["groups"]
    x = _padded(read[0], config, dilation * (kernel - 1) + 1, stride, 0.0)
    filters = config["filters"]
    own, made = x.shape[1] // groups, filters // groups
    steps = (len(x) - dilation * (kernel - 1) - 1) // stride + 1
    y = np.zeros((steps, filters))
    for t in range(steps):
        for f in range(filters):
            first = f // made * own
            for k in range(kernel):
                for c in range(own):
                    y[t, f] += x[t * stride + k * dilation, first + c] * weights[0][k, c, f]
    return activated(config.get("activation", "linear"), y + (weights[1] if weights[1:] else 0))


def _pool(reduce, fill):
    def pool(read, config, weights):
        size = config["pool_size"][0]
        stride = config["strides"][0] if config.get("strides") else size
        x = _padded(read[0], config, size, stride, fill)
        steps = (len(x) - size) // stride + 1
        return np.array([reduce(x[t * stride : t * stride + size], axis=0) for t in range(steps)])

    return pool


def _batch_normalisation(read, config, weights):
    weights = list(weights)
    gamma = weights.pop(0) if config["scale"] else 1.0
    beta = weights.pop(0) if config["center"] else 0.0
    mean, variance = weights
    return gamma * (read[0] - mean) / np.sqrt(variance + config["epsilon"]) + beta


def activated(name, x):
    erf = np.vectorize(math.erf)
    return {
        "linear": lambda: x,
        "relu": lambda: np.maximum(x, 0),
        "leaky_relu": lambda: np.where(x < 0, 0.2 * x, x),
        "elu": lambda: np.where(x < 0, np.expm1(x), x),
        "selu": lambda: 1.0507009873554805 * np.where(x < 0, 1.6732632423543772 * np.expm1(x), x),
        "gelu": lambda: x * 0.5 * (1 + erf(x / math.sqrt(2))),
        "tanh": lambda: np.tanh(x),
        "sigmoid": lambda: 1 / (1 + np.exp(-x)),
        "softplus": lambda: np.log1p(np.exp(x)),
        "swish": lambda: x / (1 + np.exp(-x)),
        "silu": lambda: x / (1 + np.exp(-x)),
        "softmax": lambda: np.exp(x) / np.exp(x).sum(-1, keepdims=True),
        "exponential": lambda: np.exp(x),
    }[name]()


def _slope(config):
    return config.get("negative_slope", config.get("alpha", 0.3))


REFERENCES = {
    "Dense": _dense,
    "Conv1D": _conv,
    "MaxPooling1D": _pool(np.max, -np.inf),
    "AveragePooling1D": _pool(np.mean, 0.0),
    "GlobalMaxPooling1D": lambda read, config, weights: read[0].max(0),
    "GlobalAveragePooling1D": lambda read, config, weights: read[0].mean(0),
    "BatchNormalization": _batch_normalisation,
    "LeakyReLU": lambda read, config, w: np.where(read[0] < 0, _slope(config) * read[0], read[0]),
    "ReLU": lambda read, config, weights: np.maximum(read[0], 0),
    "ELU": lambda read, c, w: np.where(read[0] < 0, c["alpha"] * np.expm1(read[0]), read[0]),
    "Softmax": lambda read, config, weights: activated("softmax", read[0]),
    "Dropout": lambda read, config, weights: read[0],
    "Flatten": lambda read, config, weights: read[0].reshape(-1),
    "Reshape": lambda read, config, weights: read[0].reshape(config["target_shape"]),
    "Activation": lambda read, config, weights: activated(config["activation"], read[0]),
    "Concatenate": lambda read, config, weights: np.concatenate(read, -1),
    "Add": lambda read, config, weights: sum(read),
}
