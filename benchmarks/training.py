"""Training speed as ratios within one run: our loop against a plain eager one.

    python benchmarks/training.py [--stars N] [--pixels P] [--seconds S] [--json FILE]

Unit: stars times members per second of one core, by process CPU time at one thread, so that
neighbours on the machine disturb little. The plain loop is what a notebook does: the same
network, batches drawn by a DataLoader, inputs scaled in every forward pass, torch's AdamW.
Ours is ``training.loop`` as it runs in a member's task, augmentation included.
"""

import argparse
import contextlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from distcnn.config import AugmentConfig, TrainConfig
from distcnn.model import Batch, InputSpec, StarInputs, build_network, fit_scaling
from distcnn.training.augment import Augment, Facts
from distcnn.training.batches import scale_stars
from distcnn.training.data import Labelled
from distcnn.training.loop import one_thread, train_member

LABELS = ("teff", "logg", "mh", "alpham", "feh")
PLAIN = AugmentConfig(noise=0, drop_xp=0, drop_parallax=0, drop_pixels=0)


def make_stars(stars: int, pixels: int) -> tuple[InputSpec, Labelled]:
    """Random stars: speed does not depend on what they mean."""
    rng = np.random.default_rng(0)
    spec = InputSpec(pixels, 110, ("g", "bp", "rp"), True, "benchmark", LABELS)
    inputs = StarInputs(
        flux=rng.normal(1, 0.05, (stars, pixels)).astype(np.float32),
        xp=rng.normal(1, 1, (stars, 110)).astype(np.float32),
        photometry=rng.normal(11, 1, (stars, 3)).astype(np.float32),
        astrometry=rng.uniform(0.1, 1, (stars, 2)).astype(np.float32),
        snr=rng.uniform(15, 100, (stars, 1)).astype(np.float32),
    )
    label = rng.normal(0, 1, (stars, len(LABELS))).astype(np.float32)
    error = np.full((stars, pixels), 0.05, np.float32)
    return spec, Labelled(np.arange(stars), inputs, error, label, np.full_like(label, 0.1))


def measure(epoch: Callable[[], None], stars: int, seconds: float) -> float:
    """Stars per CPU second; the first epoch warms up and is not counted."""
    epoch()
    begin, epochs = time.process_time(), 0
    while time.process_time() - begin < seconds:
        epoch()
        epochs += 1
    return stars * epochs / (time.process_time() - begin)


def plain_loop(spec: InputSpec, stars: Labelled, config: TrainConfig, seconds: float) -> float:
    """The loop of a notebook."""
    network = build_network(spec, config.network, 0)
    fit_scaling(network, stars.inputs, stars.label)
    label, error = torch.from_numpy(stars.label), torch.from_numpy(stars.label_error)
    data = TensorDataset(*stars.inputs.tensors(), label, error)
    loader = DataLoader(data, batch_size=config.batch, shuffle=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, foreach=False, fused=False)

    def epoch() -> None:
        for *inputs, y, y_error in loader:
            mean, sigma = network(*Batch(*inputs))
            variance = sigma**2 + y_error**2
            loss = (0.5 * ((mean - y) ** 2 / variance + variance.log())).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return measure(epoch, len(stars), seconds)


def our_loop(spec: InputSpec, stars: Labelled, config: TrainConfig, seconds: float) -> float:
    """``training.loop`` with checkpoints and validation, as a member's task runs it."""
    network = build_network(spec, config.network, 0)
    fit_scaling(network, stars.inputs, stars.label)
    train = scale_stars(network, stars)
    held_out = train.take(torch.arange(len(stars) // 8))
    clock: list[float] = []

    class Enough(Exception):
        pass

    def report(_: object) -> None:
        clock.append(time.process_time())
        if clock[-1] - clock[0] > seconds:
            raise Enough

    settings = config.model_copy(update={"epochs": 1000, "patience": 1000})
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Enough):
        train_member(
            network,
            train,
            held_out,
            augment=Augment(config.augment, spec, network, Facts()),
            config=settings,
            seed=0,
            folder=Path(folder),
            report=report,
        )
    return len(stars) * (len(clock) - 1) / (clock[-1] - clock[0])


def main() -> None:
    """Run both loops, print and store the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stars", type=int, default=8192)
    parser.add_argument("--pixels", type=int, default=800)
    parser.add_argument("--seconds", type=float, default=10.0, help="CPU seconds per loop")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    spec, stars = make_stars(options.stars, options.pixels)
    config = TrainConfig()
    bare = config.model_copy(update={"augment": PLAIN})
    with one_thread():
        plain = plain_loop(spec, stars, config, options.seconds)
        ours = our_loop(spec, stars, config, options.seconds)
        unaugmented = our_loop(spec, stars, bare, options.seconds)
    result = {
        "unit": "stars x members / s / core (CPU time, one thread)",
        "plain_loop": round(plain),
        "our_loop": round(ours),
        "our_loop_without_augmentation": round(unaugmented),
        "ratio": round(ours / plain, 3),
        "ratio_without_augmentation": round(unaugmented / plain, 3),
        "stars": options.stars,
        "pixels": options.pixels,
        "batch": config.batch,
        "network": config.network.model_dump(),
        "torch": str(torch.__version__),
        "machine": platform.processor() or platform.machine(),
        "load": os.getloadavg()[0],
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
