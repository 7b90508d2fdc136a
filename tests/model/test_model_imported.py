"""Networks of Keras: each layer as its definition says, both layouts of files, nothing run."""

import json
import os
import subprocess
import sys
import zipfile
from math import prod

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model.imported_networks import network_of
from model.keras_models import (
    Layer,
    conv,
    dense,
    entry,
    flatten,
    rave_like,
    reference,
    save_h5,
    save_keras,
    weights,
)

from distcnn.errors import FileBroken, InputError
from distcnn.model.imported.keras_file import read_keras
from distcnn.model.imported.keras_layers import IDENTITIES, KINDS

SAVERS = {".h5": save_h5, ".keras": save_keras}
PARITY = 1e-5
pytestmark = [
    pytest.mark.filterwarnings(r"ignore:.*torch\.jit\.:DeprecationWarning"),
    pytest.mark.filterwarnings(r"ignore:.*torch\.jit\.:FutureWarning"),
]


def check(tmp_path, layers, *, suffix=".h5", scalars=0, stars=3, seed=1, **how):
    """The network of a file gives what the reference gives, eager and as TorchScript."""
    rng = np.random.default_rng(seed)
    network = network_of(SAVERS[suffix](tmp_path / f"m{suffix}", layers, **how), scalars)
    inputs = [layer for layer in layers if layer.kind == "InputLayer"]
    values = {
        one.name: rng.normal(0, 1, (stars, prod(one.config["shape"][1:]))).astype("f4")
        for one in inputs
    }
    spectrum = torch.from_numpy(values[inputs[0].name])
    other = torch.from_numpy(values[inputs[-1].name]) if scalars else torch.zeros(stars, 0)
    expected = [
        reference(layers, {name: rows[star] for name, rows in values.items()})
        for star in range(stars)
    ]
    with torch.inference_mode():
        met = network(spectrum, other).numpy()
        scripted = torch.jit.script(network)(spectrum, other).numpy()
    size = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(met / size, np.stack(expected) / size, atol=PARITY)
    np.testing.assert_array_equal(scripted, met)


@settings(max_examples=25)
@given(
    samples=st.integers(8, 20),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    padding=st.sampled_from(["valid", "same", "causal"]),
    groups=st.sampled_from([1, 2]),
    bias=st.booleans(),
)
def test_a_convolution_is_that_of_keras(
    tmp_path_factory, samples, kernel, stride, dilation, padding, groups, bias
):
    if stride > 1:
        dilation = 1  # Keras has no both
    if dilation * (kernel - 1) >= samples:
        return
    layers = [
        entry("in", samples),
        conv("first", "in", 1, 4),
        conv(
            *("second", "first", 4, 6),
            kernel=min(kernel, samples - 2),
            stride=stride,
            dilation=dilation if dilation * (kernel - 1) < samples - 2 else 1,
            groups=groups,
            padding=padding,
            use_bias=bias,
            activation="tanh",
        ),
        flatten("second"),
    ]
    check(tmp_path_factory.mktemp("c"), layers)


@settings(max_examples=25)
@given(
    samples=st.integers(6, 20),
    size=st.integers(1, 4),
    stride=st.integers(0, 3),
    padding=st.sampled_from(["valid", "same"]),
    kind=st.sampled_from(["MaxPooling1D", "AveragePooling1D"]),
)
def test_a_pool_is_that_of_keras(tmp_path_factory, samples, size, stride, padding, kind):
    if kind == "AveragePooling1D":
        padding = "valid"
    config = {"pool_size": [size], "strides": [stride] if stride else None, "padding": padding}
    pool = Layer(kind, "pool", {**config, "data_format": "channels_last"}, ("first",))
    layers = [entry("in", samples), conv("first", "in", 1, 3), pool, flatten("pool")]
    check(tmp_path_factory.mktemp("p"), layers)


@pytest.mark.parametrize(
    "activation",
    [
        *("linear", "relu", "leaky_relu", "elu", "selu", "gelu", "tanh", "sigmoid"),
        *("softplus", "swish", "silu", "softmax", "exponential"),
    ],
)
@pytest.mark.parametrize("own", [True, False])
def test_an_activation_is_that_of_keras_in_a_layer_and_alone(tmp_path, activation, own):
    layers = [entry("in", 6, 0)]
    if own:
        layers += [dense("d", "in", 6, 5, activation=activation)]
    else:
        layers += [dense("d", "in", 6, 5)]
        layers += [Layer("Activation", "a", {"activation": activation}, ("d",))]
    check(tmp_path, layers, stars=5)


def _normalisation(width, *, scale=True, center=True):
    config = {"axis": [2], "epsilon": 1e-3, "scale": scale, "center": center}
    rng = np.random.default_rng(3)
    own = rng.uniform(0.5, 2, (2 + scale + center, width)).astype("f4")
    return Layer("BatchNormalization", "norm", config, ("c",), list(own))


SINGLE_LAYERS = {
    "GlobalMaxPooling1D": Layer("GlobalMaxPooling1D", "g", {"keepdims": False}, ("c",)),
    "GlobalAveragePooling1D": Layer("GlobalAveragePooling1D", "g", {}, ("c",)),
    "LeakyReLU": Layer("LeakyReLU", "g", {"alpha": 0.1}, ("c",)),
    "LeakyReLU of Keras 3": Layer("LeakyReLU", "g", {"negative_slope": 0.05}, ("c",)),
    "LeakyReLU as it comes": Layer("LeakyReLU", "g", {}, ("c",)),
    "ReLU": Layer("ReLU", "g", {"max_value": None, "threshold": 0.0}, ("c",)),
    "ELU": Layer("ELU", "g", {"alpha": 0.7}, ("c",)),
    "Softmax": Layer("Softmax", "g", {"axis": -1}, ("c",)),
    "Dropout": Layer("Dropout", "g", {"rate": 0.5}, ("c",)),
    "Reshape": Layer("Reshape", "g", {"target_shape": [-1, 2]}, ("c",)),
    "Add": Layer("Add", "g", {}, ("c", "c")),
    "Concatenate": Layer("Concatenate", "g", {"axis": -1}, ("c", "c")),
    "BatchNormalization": _normalisation(4),
    "BatchNormalization, shift alone": _normalisation(4, scale=False),
    "BatchNormalization, scale alone": _normalisation(4, center=False),
    "BatchNormalization, neither": _normalisation(4, scale=False, center=False),
}


@pytest.mark.parametrize("suffix", SAVERS)
@pytest.mark.parametrize("name", SINGLE_LAYERS)
def test_every_other_layer_is_that_of_keras_from_either_layout(tmp_path, name, suffix):
    layer = SINGLE_LAYERS[name]
    layers = [entry("in", 9), conv("c", "in", 1, 4), layer, flatten(layer.name)]
    if layer.kind.startswith("Global"):
        layers = [*layers[:-1], dense("out", "g", 4, 2)]
    check(tmp_path, layers, suffix=suffix)


def test_every_layer_that_is_taken_over_is_tested():
    tested = {layer.kind for layer in SINGLE_LAYERS.values()} | {"InputLayer", "Dense", "Conv1D"}
    tested |= {"MaxPooling1D", "AveragePooling1D", "Activation", "Flatten"}
    assert set(KINDS) <= tested
    assert "Dropout" in IDENTITIES


@pytest.mark.parametrize("suffix", SAVERS)
def test_a_network_of_two_branches_is_read_from_either_layout(tmp_path, suffix):
    check(tmp_path, rave_like(), suffix=suffix, scalars=3)


@pytest.mark.parametrize("suffix", SAVERS)
def test_a_sequential_model_is_read_from_either_layout(tmp_path, suffix):
    layers = [entry("in", 12), conv("c", "in", 1, 2), flatten("c"), dense("out", "flat", 20, 3)]
    check(tmp_path, layers, suffix=suffix, sequential=True)


def test_a_sequential_model_of_keras_2_may_name_its_shape_in_the_first_layer(tmp_path):
    layers = [conv("c", "in", 1, 2), flatten("c")]
    layers[0].config["batch_input_shape"] = [None, 12, 1]
    path = save_h5(tmp_path / "m.h5", layers, sequential=True)
    assert network_of(path)(torch.zeros(1, 12), torch.zeros(1, 0)).shape == (1, 20)


REFUSED = {
    "Lambda": (
        [Layer("Lambda", "my_code", {"function": ["4wEAAA==", None, None]}, ("in",))],
        r"my_code \(Lambda\), memory \(LSTM\).*never run",
    ),
    "channels": ([conv("c", "in", 1, 2, data_format="channels_first")], "data_format channels_f"),
    "activation": ([conv("c", "in", 1, 2, activation="mish")], "activation mish"),
    "custom activation": (
        [conv("c", "in", 1, 2, activation={"class_name": "function", "config": "f"})],
        "activation {",
    ),
    "padding": ([conv("c", "in", 1, 2, padding="reflect")], "padding reflect"),
    "kernel": ([conv("c", "in", 1, 2, kernel=30)], "kernel of 30 pixels on 12"),
    "clipped": ([Layer("ReLU", "r", {"max_value": 6.0}, ("in",))], "max_value 6.0"),
    "average": (
        [Layer("AveragePooling1D", "p", {"pool_size": [2], "padding": "same"}, ("in",))],
        "padding same",
    ),
    "axis": ([Layer("Concatenate", "j", {"axis": 1}, ("in", "in"))], "axis 1"),
    "add": (
        [conv("c", "in", 1, 2), Layer("Add", "s", {}, ("in", "c"))],
        r"shapes \[\(10, 2\), \(12, 1\)\]",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_here_is_refused_by_name(tmp_path, name):
    layers, message = REFUSED[name]
    if name == "Lambda":
        layers = [*layers, Layer("LSTM", "memory", {"units": 3}, ("my_code",))]
    layers = [entry("in", 12), *layers, flatten(layers[-1].name)]
    with pytest.raises(InputError, match=message):
        network_of(save_h5(tmp_path / "m.h5", layers))


def test_weights_that_are_not_those_of_the_layers_are_refused(tmp_path):
    layers = [entry("in", 12, 0), dense("out", "in", 12, 3)]
    layers[-1].weights = layers[-1].weights[:1]
    with pytest.raises(InputError, match=r"out \(Dense\) has weights of the shapes"):
        network_of(save_h5(tmp_path / "m.h5", layers))
    layers[-1].weights = weights(1, (12, 3), (3,))
    layers[-1].weights[0][0, 0] = np.nan
    with pytest.raises(InputError, match="not finite"):
        network_of(save_h5(tmp_path / "m.h5", layers))


def test_inputs_other_than_named_are_refused_with_their_sizes(tmp_path):
    path = save_h5(tmp_path / "m.h5", rave_like())
    for scalars in (0, 4):
        with pytest.raises(InputError, match=r"takes input_1 \[40\], input_2 \[3\]"):
            network_of(path, scalars)
    with pytest.raises(InputError, match="with the outputs dense_1, dense_2"):
        network_of(save_h5(tmp_path / "n.h5", rave_like(), output=["dense_1", "dense_2"]), 3)


def test_a_file_that_is_no_model_is_told_so(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"text")
    with pytest.raises(FileBroken, match=r"no Keras model.*model\.save"):
        read_keras(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.attrs["layer_names"] = [b"dense"]
    with pytest.raises(FileBroken, match="weights alone"):
        read_keras(tmp_path / "b.h5")
    with zipfile.ZipFile(tmp_path / "c.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(FileBroken, match=r"no model\.weights\.h5"):
        read_keras(tmp_path / "c.keras")
    whole = save_h5(tmp_path / "d.h5", rave_like()).read_bytes()
    for size in range(0, len(whole), len(whole) // 17):
        (tmp_path / "e.h5").write_bytes(whole[:size])
        with pytest.raises(FileBroken):
            read_keras(tmp_path / "e.h5")


@pytest.mark.parametrize("way", ["soft", "external", "storage"])
def test_nothing_outside_of_the_file_is_read(tmp_path, way):
    path = save_h5(tmp_path / "m.h5", [entry("in", 12, 0), dense("out", "in", 12, 3)])
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = np.zeros((12, 3), "f4")
    (tmp_path / "raw").write_bytes(bytes(12 * 3 * 4))
    with h5py.File(path, "r+") as file:
        group = file["model_weights/out/out"]
        del group["weight_0:0"]
        if way == "soft":
            group["weight_0:0"] = h5py.SoftLink("/model_weights/out/out/weight_1:0")
        elif way == "external":
            group["weight_0:0"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/secret")
        else:
            raw = [(str(tmp_path / "raw"), 0, 12 * 3 * 4)]
            group.create_dataset("weight_0:0", (12, 3), "f4", external=raw)
    with pytest.raises(FileBroken, match=r"is not in the file itself|kept in another file"):
        read_keras(path)


KERAS = """
import json, sys, numpy, warnings
warnings.simplefilter("ignore")
import keras
stars = numpy.load(sys.argv[2])
out = {}
for path in json.loads(sys.argv[1]):
    model = keras.models.load_model(path, compile=False)
    out[path] = model.predict([stars["spectrum"], stars["scalars"]], verbose=0)
numpy.savez(sys.argv[3], **{str(n): out[p] for n, p in enumerate(out)})
"""


@pytest.mark.real
def test_published_networks_give_what_keras_gives(real_data, tmp_path):
    """Keras in a Python of its own, DISTCNN_KERAS (or this one): distcnn does not need it."""
    files = sorted((real_data / "keras_rave2020").glob("*.h5"))
    if not files:
        pytest.skip("keras_rave2020/*.h5 are missing in DISTCNN_DATA")
    python = os.environ.get("DISTCNN_KERAS", sys.executable)
    env = {"KERAS_BACKEND": "torch"} | dict(os.environ)
    there = [python, "-c", "import keras"]
    if subprocess.run(there, env=env, capture_output=True, check=False).returncode:
        pytest.skip(f"Keras is not installed in {python} (DISTCNN_KERAS names another Python)")
    rng = np.random.default_rng(1)
    spectrum = rng.uniform(0.2, 1.2, (64, 912)).astype("f4")
    scalars = rng.uniform(-0.5, 1.5, (64, 9)).astype("f4")
    given_stars, gives = tmp_path / "in.npz", tmp_path / "out.npz"
    np.savez(given_stars, spectrum=spectrum[:, :, None], scalars=scalars[:, :, None])
    names = json.dumps([str(file) for file in files])
    subprocess.run([python, "-c", KERAS, names, given_stars, gives], env=env, check=True)
    for number, file in enumerate(files):
        network = network_of(file, 9)
        with torch.inference_mode():
            met = network(torch.from_numpy(spectrum), torch.from_numpy(scalars)).numpy()
        np.testing.assert_allclose(met, np.load(gives)[str(number)], atol=PARITY)
