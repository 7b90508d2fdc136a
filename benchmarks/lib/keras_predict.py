"""The same members in Keras: ``model.predict`` member by member, as published notebooks do.

Needs an interpreter that has TensorFlow (``python -m venv tf; tf/bin/pip install
tensorflow-cpu``), which ``inference.py --keras tf/bin/python`` starts. Layers and weights are
those of the package's members; TensorFlow has all cores and its own threads.

What is counted, in favour of Keras: inputs are scaled before the clock starts, and only the free
entries of correlations are computed, not the matrices. Labels are brought back from their
scaling, and mean and error over the members taken, within it. Batches of several sizes, with and
without XLA, are tried on one member, and the fastest counts; ``as_it_comes`` is what one gets
without asking for a batch (32 stars), from the speed of that member. Stars are those of the plain
loop, repeated to 16,384, so that what a call costs by itself matters little. ``parity`` is the
largest difference of any member's means and sigmas from our eager ones, in label errors.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from distcnn.model import Ensemble, Hybrid, Network, Package, StarInputs, predict_each

Array = np.ndarray[Any, Any]
CHILD = Path(__file__).with_name("keras_members.py")
BRANCHES = ("scalars", "spectrum", "xp")
"""In the order in which ``Hybrid`` joins them."""
HEADS = {"mean": "linear", "noise": "softplus", "pairs": "linear"}
MOST = 0.01
"""Largest difference, in label errors: with more it is not the same network."""
QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
    "KERAS_BACKEND": "tensorflow",
}


def has_keras(python: str) -> bool:
    """Whether that interpreter runs and has TensorFlow and Keras."""
    code = (
        "import sys; from importlib.util import find_spec as f; "
        "sys.exit(not (f('tensorflow') and f('keras')))"
    )
    try:
        return subprocess.run([python, "-I", "-c", code], check=False).returncode == 0
    except OSError:
        return False


def describe(layers: nn.Module, name: str) -> Iterator[dict[str, Any]]:
    """Layers of a chain as Keras names them; drop-out does nothing here and is left out."""
    for number, layer in enumerate(layers.children()):
        if isinstance(layer, nn.Conv1d):
            yield {
                "kind": "conv",
                "name": f"{name}_{number}",
                "filters": layer.out_channels,
                "kernel_size": layer.kernel_size[0],
                "strides": layer.stride[0],
            }
        elif isinstance(layer, nn.Linear):
            yield {"kind": "dense", "name": f"{name}_{number}", "units": layer.out_features}
        elif isinstance(layer, nn.LeakyReLU):
            yield {"kind": "leaky", "negative_slope": layer.negative_slope}
        elif isinstance(layer, nn.Flatten):
            yield {"kind": "flatten"}
        elif not isinstance(layer, nn.Dropout):
            raise SystemExit(f"{layer} has no counterpart in keras_members.py")


def weights(layers: Hybrid) -> Iterator[tuple[str, Array]]:
    """Kernels and biases of one member, with their axes as Keras has them."""
    channels = 0
    for name, layer in layers.named_modules():
        key = name.replace(".", "_")
        if isinstance(layer, nn.Conv1d):
            yield f"{key}.kernel", layer.weight.numpy().transpose(2, 1, 0)
            channels = layer.out_channels
        elif isinstance(layer, nn.Linear):
            kernel = layer.weight.numpy()
            if channels:  # flattened: channels then samples in torch, samples then channels there
                parts = kernel.reshape(len(kernel), channels, -1)
                kernel, channels = parts.transpose(0, 2, 1).reshape(len(kernel), -1), 0
            yield f"{key}.kernel", kernel.T
        else:
            continue
        yield f"{key}.bias", layer.bias.numpy()


def export(members: Sequence[Network], stars: StarInputs, folder: Path, seconds: float) -> None:
    """Write what ``keras_members.py`` reads."""
    first = members[0]
    layers, labels = first.layers, first.labels
    if not (isinstance(layers, Hybrid) and layers.with_spectrum and layers.with_xp):
        raise SystemExit("Keras is compared with the network hybrid, all of its branches in use")
    with torch.no_grad():
        scaled = first.inputs(stars.tensors())
    inputs = {name: scaled[name].numpy() for name in ("scalars", "spectrum", "xp")}
    arrays = {
        f"{number}.{name}": value
        for number, member in enumerate(members)
        for name, value in weights(member.layers)
    }
    np.savez(folder / "members.npz", **inputs, **arrays)
    task = {
        "inputs": {name: inputs[name].shape[1] for name in BRANCHES},
        "branches": {name: list(describe(getattr(layers, name), name)) for name in BRANCHES},
        "join": list(describe(layers.join, "join")),
        "heads": [
            {"kind": "dense", "name": n, "units": getattr(layers, n).out_features, "activation": a}
            for n, a in HEADS.items()
        ],
        "members": len(members),
        "least": layers.least,
        "centre": labels.centre.tolist(),
        "scale": labels.scale.tolist(),
        "hot": labels.logarithm.tolist(),
        "seconds": seconds,
        "cores": len(os.sched_getaffinity(0)),
    }
    (folder / "task.json").write_text(json.dumps(task))


def measure_keras(
    python: str, package: Package, stars: StarInputs, seconds: float
) -> dict[str, Any]:
    """Stars per second of the ensemble in Keras, and how far its labels are from ours.

    Raises
    ------
    SystemExit : Keras gives other labels, or did not run.
    """
    members = package.networks()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        export(members, stars, folder, seconds)
        own = ("OMP_", "MKL_", "OPENBLAS_", "TF_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        words = [python, "-I", "-W", "ignore", str(CHILD), place]
        subprocess.run(words, check=True, env={**kept, **QUIET, "KERAS_HOME": place})
        result: dict[str, Any] = json.loads((folder / "result.json").read_text())
        with np.load(folder / "labels.npz") as found:
            met = [torch.from_numpy(found[name]) for name in ("mean", "noise")]
    parity = Ensemble(package).differences(met, predict_each(members, stars))
    if parity.rms > MOST:
        raise SystemExit(f"Keras differs by {parity.rms:.2g} label errors, at most {MOST} allowed")
    return result | {"parity": parity.rms, "parity_bias": parity.bias}
