"""Members of a package as Keras models, run by ``model.predict`` one after the other.

    PYTHON -I keras_members.py FOLDER

``keras_predict.py`` writes FOLDER and starts this with an interpreter that has TensorFlow, and
needs nothing of ours. ``task.json`` names the layers, ``members.npz`` holds inputs, scaled as the
layers want them, and the weights. What comes back are ``labels.npz`` and ``result.json``.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Array = np.ndarray[Any, Any]
BATCHES = (32, 256, 1024, 4096)
"""Stars per step that are tried; the first is what ``predict`` does if it is not told."""
STARS = 16_384
"""Stars of one call of ``predict``, which costs tens of milliseconds however few they are."""


def chain(layers: list[dict[str, Any]], x: Any) -> Any:
    """Layers one after the other."""
    for layer in layers:
        x = make_layer(**layer)(x)
    return x


def make_layer(kind: str, name: str = "", **setting: Any) -> Any:
    """The layer of Keras that is this one of torch."""
    if kind == "conv":
        return keras.layers.Conv1D(name=name, **setting)
    if kind == "dense":
        return keras.layers.Dense(name=name, **setting)
    if kind == "leaky":
        return keras.layers.LeakyReLU(**setting)
    return keras.layers.Flatten()


def build(task: dict[str, Any], weights: dict[str, Array], member: int) -> Any:
    """One member: mean, positive noise and the free entries of the correlations."""
    inputs = [keras.Input((width,), name=name) for name, width in task["inputs"].items()]
    sides = []
    for x, layers in zip(inputs, task["branches"].values(), strict=True):
        pixels = layers[0]["kind"] == "conv"
        sides.append(chain(layers, keras.layers.Reshape((-1, 1))(x) if pixels else x))
    joined = chain(task["join"], keras.layers.Concatenate()(sides))
    model = keras.Model(inputs, [make_layer(**head)(joined) for head in task["heads"]])
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([weights[f"{member}.{layer.name}.{n}"] for n in ("kernel", "bias")])
    return model


def ensemble(models: list[Any], task: dict[str, Any], x: list[Array], batch: int) -> list[Array]:
    """Mean and noise [M,N,L] of all members, mean and total error [N,L] over them; label units.

    Labels come back from their scaling in NumPy, as notebooks do it.
    """
    centre, scale, hot = (np.asarray(task[name], np.float32) for name in ("centre", "scale", "hot"))
    means, noises = [], []
    for model in models:
        mean, noise, _ = model.predict(x, batch_size=batch, verbose=0)
        linear = centre + scale * mean
        means.append(np.where(hot > 0, np.exp(np.minimum(linear, 20)), linear))
        noises.append((noise + task["least"]) * scale * np.where(hot > 0, means[-1], 1))
    mean, noise = np.stack(means), np.stack(noises)
    error = np.sqrt(np.square(noise).mean(0) + (mean.var(0, ddof=1) if len(models) > 1 else 0))
    return [mean, noise, mean.mean(0), error]


def rate(models: list[Any], task: dict[str, Any], x: list[Array], batch: int, least: float) -> Any:
    """Stars and seconds of so many seconds, after a call that builds the graphs."""
    ensemble(models, task, x, batch)
    stars, begun = 0, time.perf_counter()
    while (spent := time.perf_counter() - begun) < least:
        ensemble(models, task, x, batch)
        stars += len(x[0])
    return stars, spent


def trials(make: Any, task: dict[str, Any], x: list[Array]) -> list[dict[str, Any]]:
    """Stars per second of one member, with and without XLA, in batches of several sizes."""
    found = []
    for xla in (False, True):
        for batch in BATCHES:
            model = make(0)
            model.compile(jit_compile=xla)
            stars, seconds = rate([model], task, x, batch, task["seconds"] / 10)
            speed = round(stars / seconds, 1)
            found.append({"batch": batch, "xla": xla, "stars_per_second": speed})
    return found


def main() -> None:
    """Try settings on one member, measure the fastest on all, write their labels."""
    folder = Path(sys.argv[1])
    task = json.loads((folder / "task.json").read_text())
    arrays = dict(np.load(folder / "members.npz"))
    stars = [arrays[name] for name in task["inputs"]]
    many = [np.resize(values, (STARS, values.shape[1])) for values in stars]
    tried = trials(lambda member: build(task, arrays, member), task, many)
    best = max(tried, key=lambda one: one["stars_per_second"])
    models = [build(task, arrays, member) for member in range(task["members"])]
    for model in models:
        model.compile(jit_compile=best["xla"])
    count, seconds = rate(models, task, many, best["batch"], task["seconds"])
    mean, noise, *_ = ensemble(models, task, stars, best["batch"])
    np.savez(folder / "labels.npz", mean=mean, noise=noise)
    result = {
        "stars_per_second": round(count / seconds, 1),
        "stars": count,
        "seconds": round(seconds, 2),
        "batch": best["batch"],
        "xla": best["xla"],
        "as_it_comes": round(tried[0]["stars_per_second"] / len(models), 1),
        "trials_of_one_member": tried,
        "threads": tf.config.threading.get_intra_op_parallelism_threads() or task["cores"],
        "keras": keras.version(),
        "tensorflow": tf.__version__,
    }
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
