"""What tests of groups of ranks share: a small task, and eyes on its processes."""

import os
import signal
import threading
import time
from pathlib import Path

import psutil
from safetensors.numpy import load_file

from distcnn.config import AugmentConfig, DistributeConfig, NetworkConfig, SplitConfig, TrainConfig
from distcnn.model import InputSpec
from distcnn.survey import Store
from distcnn.training.data.labelled import summarise_split
from distcnn.training.data.loader import Sharding
from distcnn.training.loop.member import WEIGHTS, MemberTask
from distcnn.training.loop.progress import PROGRESS

LIMIT = 600.0
"""Seconds after which a test gives up waiting."""


def small(**distribute):
    return TrainConfig(
        members=1,
        epochs=8,
        patience=8,
        batch=32,
        network=NetworkConfig(width=16, hidden=16, dropout=0.1),
        split=SplitConfig(train=0.6, validation=0.15, calibration=0.15),
        augment=AugmentConfig(noise=0.5, drop_xp=0.1, drop_parallax=0.1, drop_pixels=0.02),
        distribute=DistributeConfig(strategy="data", lanes=3, **distribute),
        precision="float32",
    )


def task_of(survey: Path, partial: Path, config: TrainConfig, **sharding) -> MemberTask:
    store = Store.open(survey)
    spec = InputSpec.of_survey(store, config.network)
    split_summary = summarise_split(store, spec, config.split)
    address, data = store.location.address, split_summary.data
    return MemberTask(address, partial, 0, spec, config, data, Sharding(3, **sharding))


def weights(task: MemberTask) -> dict:
    return load_file(task.folder / WEIGHTS)


def until(condition, what: str):
    """Wait for something that other processes do; returns it."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come")


def ranks_of(partial: Path, attempt: int | None = None) -> list[psutil.Process]:
    """Living rank processes of a training, in the order of their ranks."""
    found = {}
    for file in partial.glob(f"member_00/attempt_{attempt or '*'}/rank_*.pid"):
        try:
            process = psutil.Process(int(file.read_text() or 0))
            if "distcnn.training.ddp.worker" in process.cmdline():
                found[file.name] = process
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return [found[name] for name in sorted(found)]


def epochs_reported(partial: Path) -> int:
    path = partial / "member_00" / PROGRESS
    return path.read_bytes().count(b"\n") if path.exists() else 0


class RankKiller(threading.Thread):
    """Kills what ``victim`` names, once it is there and training has got so far."""

    def __init__(self, partial: Path, *steps) -> None:
        super().__init__(daemon=True)
        self.partial, self.steps = partial, steps

    def run(self) -> None:
        for epochs, victim in self.steps:
            until(lambda: epochs_reported(self.partial) >= epochs, "an epoch")  # noqa: B023
            process_id = until(lambda: victim(self.partial), "a victim")  # noqa: B023
            os.kill(process_id, signal.SIGKILL)
