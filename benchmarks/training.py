"""Training speed as ratios within one run: our loops against plain eager ones.

    python benchmarks/training.py [--stars N] [--pixels P] [--rounds R] [--networks A,B]
                                  [--survey PATH] [--members M] [--json FILE]

Unit: stars times members per second of one core, by process CPU time at one thread; the loops
take turns, and the median of the rounds counts, so that neighbours on the machine disturb
little. On a GPU: per second of wall time. Results are written to
``benchmarks/results/training-HARDWARE-COMMIT.json``:

    hardware, commit, torch, load    where, of what, and the load before and after (1 minute)
    speed.NETWORK.LOOP               stars x members / s / core; loops as in training_loops.py:
        notebook, eager              the plain ones, as a user starts them: batches of 128
        eager_our_batch              the same in batches as large as ours
        eager_kept_memory            that with the malloc settings of our workers
        ours                         augmentation off, as the plain ones
        eager_augmented              the plain one with the augmentation that members get
        ours_augmented               as members are trained
        *_conv                       ours with ``nn.Conv1d`` and ``nn.Dropout`` as they come
    ratio.NETWORK                    ours over the plain loops of the same work, at equal
                                     accuracy (see ``accuracy``): median of the rounds
    against_published                hybrid, ours augmented, over the eager loops of the
                                     published networks
    limits.NETWORK                   percent of the measured ceilings of one core (ceilings.py)
    two_members                      two processes over one, wall time: 2 is ideal on idle cores
    fused                            the same in one pass on the GPU, or on the CPU with
                                     ``--members``; percent of ceilings, and what binds
    accuracy                         with ``--survey``: test scatter of members trained to the end
                                     by our loop over those of the eager one, same recipe
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lib.ceilings import binding, ceilings, demand
from lib.origin import commit, hardware, keep, now
from lib.training_accuracy import compare_accuracy
from lib.training_loops import (
    CUSTOM,
    PLAIN,
    Eager,
    Epoch,
    eager,
    fused,
    make_network,
    make_stars,
    notebook,
    ours,
)

from distcnn.clusters.dask_workers.settings import (
    KEEP_MEMORY,
    keeping_environment,
    thread_variables,
)
from distcnn.config import NetworkConfig, TrainConfig
from distcnn.model import InputSpec
from distcnn.training.data.labelled import Labelled
from distcnn.training.data.tensors import scale_stars
from distcnn.training.loop.conv_matmul import cpu_form

Make = Callable[[InputSpec, Labelled, TrainConfig], Epoch]
PLAINS = ("notebook", "eager", "eager_our_batch", "eager_kept_memory")
CORRELATION_WEIGHT = [("ours", plain) for plain in PLAINS] + [("ours_augmented", "eager_augmented")]


class Turns:
    """A loop in a process of its own, which trains for an epoch whenever it is asked.

    ``kept``: with the memory settings of a cluster's workers, else as a user starts Python.
    """

    def __init__(self, make: Make, options: argparse.Namespace, config: TrainConfig, *, kept: bool):
        spawn = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        args = (make, options.stars, options.pixels, config, theirs)
        self.process = spawn.Process(target=_serve, args=args, daemon=True)
        with environment(kept=kept):
            self.process.start()

    def __call__(self) -> float:
        self.pipe.send(True)
        return float(self.pipe.recv())

    def close(self) -> None:
        self.pipe.send(False)
        self.process.join()


def _serve(make: Make, stars: int, pixels: int, config: TrainConfig, pipe: Connection) -> None:
    torch.set_num_threads(1)
    epoch = make(*make_stars(stars, pixels), config)
    with contextlib.suppress(EOFError):  # whoever asked is gone
        while pipe.recv():
            begun = time.process_time()
            epoch()
            pipe.send(time.process_time() - begun)


@contextlib.contextmanager
def environment(*, kept: bool) -> Iterator[None]:
    """Variables that a child process starts with."""
    with keeping_environment():
        os.environ.update(thread_variables(1))
        if kept:
            os.environ.update({name: str(value) for name, value in KEEP_MEMORY.items()})
        yield


def take_turns(loops: dict[str, Turns], rounds: int) -> dict[str, list[float]]:
    """CPU seconds per epoch of every loop and round; the first round warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(rounds + 1):
        for name, epoch in loops.items():
            took = epoch()
            if turn:
                seconds[name].append(took)
    for epoch in loops.values():
        epoch.close()
    return seconds


def measure_network(preset: str, options: argparse.Namespace) -> dict[str, Any]:
    """Speeds and ratios of all loops for one network."""
    config = TrainConfig(network=NetworkConfig.model_validate({"preset": preset}))
    bare = config.model_copy(update={"augment": PLAIN})
    custom, custom_bare = (each.model_copy(update=CUSTOM) for each in (config, bare))
    light, conv = partial(ours, light=True), partial(ours, light=False)
    loops = {
        "notebook": Turns(notebook, options, custom_bare, kept=False),
        "eager": Turns(eager, options, custom_bare, kept=False),
        "eager_our_batch": Turns(eager, options, bare, kept=False),
        "eager_kept_memory": Turns(eager, options, bare, kept=True),
        "eager_augmented": Turns(eager, options, custom, kept=False),
        "ours_conv": Turns(conv, options, bare, kept=True),
        "ours": Turns(light, options, bare, kept=True),
        "ours_augmented_conv": Turns(conv, options, config, kept=True),
        "ours_augmented": Turns(light, options, config, kept=True),
    }
    seconds = take_turns(loops, options.rounds)
    speed = {n: round(options.stars / float(np.median(each))) for n, each in seconds.items()}
    ratio = {
        f"{mine}_over_{plain}": round(float(np.median(np.divide(seconds[plain], seconds[mine]))), 3)
        for mine, plain in CORRELATION_WEIGHT
    }
    spec, stars = make_stars(bare.batch, options.pixels)
    network = make_network(spec, stars, bare)
    cpu_form(network.layers)
    one_step = Eager(network, scale_stars(network, stars), bare)
    limits = binding(demand(one_step), speed["ours"] / bare.batch, options.ceilings)
    return {"speed": speed, "ratio": ratio, "limits": limits}


def measure_fused(options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Several members in one pass, by wall time."""
    spec, stars = make_stars(options.stars, options.pixels)
    config = TrainConfig(members=options.members)
    epoch, group = fused(spec, stars, config, members=options.members, device=device)
    epoch()
    seconds = []
    for _ in range(options.rounds):
        begun = time.perf_counter()
        epoch()
        seconds.append(time.perf_counter() - begun)
    speed = options.members * len(stars) / float(np.median(seconds))
    cpu = torch.device("cpu")
    one, _ = fused(spec, stars.take(slice(config.batch)), config, members=1, device=cpu)
    most = ceilings(device, group.stack.precision)
    return {
        "members": options.members,
        "stars_x_members_per_s": round(speed),
        "minutes_for_28_members_of_44780_stars_x_100_epochs": round(
            28 * 44780 * 100 / speed / 60, 1
        ),
        **group.arithmetic,
        **binding(demand(one), speed / config.batch, most),
        "ceilings": most,
    }


def _train_alone(stars: int, pixels: int, epochs: int, gate: Any, seconds: Any) -> None:
    torch.set_num_threads(1)
    epoch = ours(*make_stars(stars, pixels), TrainConfig(), light=True)
    epoch()
    gate.wait()
    begun = time.perf_counter()
    for _ in range(epochs):
        epoch()
    seconds.put(time.perf_counter() - begun)


def measure_two(options: argparse.Namespace) -> dict[str, Any]:
    """Stars per second of two processes over those of one, by wall time."""
    spawn = multiprocessing.get_context("spawn")
    longest = []
    load = os.getloadavg()[0]
    for count in (1, 2):
        gate, seconds = spawn.Barrier(count), spawn.Queue()
        args = (options.stars, options.pixels, options.rounds, gate, seconds)
        workers = [spawn.Process(target=_train_alone, args=args) for _ in range(count)]
        with environment(kept=True):
            for worker in workers:
                worker.start()
        longest.append(max(seconds.get(timeout=600) for _ in workers))
        for worker in workers:
            worker.join()
    ratio = round(2 * longest[0] / longest[1], 3)
    return {"ratio": ratio, "cores": os.cpu_count(), "load_before": load}


def parse() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stars", type=int, default=8192)
    parser.add_argument("--pixels", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", default="hybrid,rave2020,hr15n2023")
    parser.add_argument("--survey", type=Path, help="a survey to compare accuracies on")
    parser.add_argument("--repeats", type=int, default=3, help="members for the accuracy")
    parser.add_argument("--members", type=int, help="in one pass; default 28 on a GPU, else none")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All measurements that were asked for."""
    cpu = torch.device("cpu")
    options.ceilings = ceilings(cpu, torch.float32)
    load = os.getloadavg()[0]
    each = {}
    for name in options.networks.split(","):
        each[name] = measure_network(name, options)
        print(name, json.dumps(each[name]), flush=True)
    result: dict[str, Any] = {
        "hardware": hardware(),
        "commit": commit(),
        "date": now(),
        "torch": str(torch.__version__),
        "stars": options.stars,
        "pixels": options.pixels,
        "batch": {"ours": TrainConfig().batch, "plain": CUSTOM["batch"]},
        **{key: {n: found[key] for n, found in each.items()} for key in ("speed", "ratio")},
        "limits": {n: found["limits"] for n, found in each.items()},
        "ceilings": options.ceilings,
        "two_members": measure_two(options),
    }
    if "hybrid" in each:
        mine = each["hybrid"]["speed"]["ours_augmented"]
        result["against_published"] = {
            name: round(mine / found["speed"]["eager"], 2)
            for name, found in each.items()
            if name != "hybrid"
        }
    if torch.cuda.is_available() or options.members:
        options.members = options.members or 28
        gpu = torch.cuda.is_available()
        result["fused"] = measure_fused(options, torch.device("cuda", 0) if gpu else cpu)
    if options.survey:
        result["accuracy"] = compare_accuracy(options.survey, options.repeats)
    return result | {"load": [load, os.getloadavg()[0]]}


def main() -> None:
    """Measure, print and store."""
    torch.set_num_threads(1)
    options = parse()
    result = run(options)
    print(json.dumps(result, indent=1))
    keep("training", result, options.json)


if __name__ == "__main__":
    main()
