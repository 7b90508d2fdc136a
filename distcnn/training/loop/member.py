"""Members: each trained by one task in one process, or by a group of ranks.

Whoever trains reads the survey itself; nothing but small values passes between driver and
task. What a task leaves behind:

    PACKAGE.partial/member_00/progress.jsonl   a line per epoch, followed by the driver
                              checkpoint.pt    where to go on
                              member.safetensors   the finished network
                              attempt_1/       what the ranks of a group said (see ``ranks``)
"""

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from distcnn import hashing
from distcnn.arrays import Array
from distcnn.config import TrainConfig
from distcnn.errors import DigestMismatch
from distcnn.files import atomic_write_bytes
from distcnn.model import InputSpec, Network, build_network, fit_scaling
from distcnn.model.devices import open_device
from distcnn.survey import Store
from distcnn.survey.split import Part
from distcnn.training.data.augment import Augment, Facts
from distcnn.training.data.labelled import (
    HELD,
    Labelled,
    evenly,
    find_rows,
    join,
    piece_size,
    read_labels,
    read_rows,
)
from distcnn.training.data.loader import Feed, HeldLane, Lane, StreamedLane, known_snr, lane_rows
from distcnn.training.data.tensors import Scaled, gather, scale_stars
from distcnn.training.loop import checkpoint
from distcnn.training.loop.collective import Alone, Comm
from distcnn.training.loop.conv_matmul import for_cpu
from distcnn.training.loop.fit import CHECKPOINT, Progress, derived_seed, one_thread, train_member
from distcnn.training.loop.precision import choose_precision, with_full_heads

PROGRESS, WEIGHTS = "progress.jsonl", "member.safetensors"
TRIAL = 256
"""Most validation stars on which a reduced precision must agree with float32."""
SAMPLE = 20_000
"""Most training stars on which scalings and the facts of augmentation are measured."""


@dataclass(frozen=True)
class Dealing:
    """How training stars come to the batches; the weights depend on it.

    Parameters
    ----------
    lanes : parts of every batch, shared out over ranks.
    buffer : stars per lane that are shuffled together as they stream past; 0 = all are held.
    """

    lanes: int = 1
    buffer: int = 0

    def to_json(self) -> dict[str, int]:
        return asdict(self)


def member_name(number: int) -> str:
    """Name of a member in folders and ledgers."""
    return f"member_{number:02d}"


@dataclass(frozen=True)
class MemberTask:
    """One member to train: where the stars are, where it may write, and its number."""

    survey: Path
    partial: Path
    number: int
    spec: InputSpec
    config: TrainConfig
    data: str
    dealing: Dealing = Dealing()

    @property
    def folder(self) -> Path:
        return self.partial / self.name

    @property
    def name(self) -> str:
        return member_name(self.number)

    @property
    def seed(self) -> int:
        """Seed of weights and batches; other members, other seeds."""
        return derived_seed(self.config.seed, self.number)


def run_member(task: MemberTask) -> dict[str, Any]:
    """Train one member, or go on with it; returns digest, seed, best epoch and losses."""
    return train_one(task, Alone(), open_device(task.config.distribute.device))


def train_one(task: MemberTask, comm: Comm, device: torch.device) -> dict[str, Any]:
    """The part of one rank in a member; only the first rank writes."""
    task.folder.mkdir(parents=True, exist_ok=True)
    with one_thread():
        feed, validation, scaling, facts = _prepare(task, comm)
    network = build_network(task.spec, task.config.network, task.seed)
    network.load_state_dict(scaling, strict=False)
    augment = Augment(task.config.augment, task.spec, network, facts)
    network.layers.to(device)
    precision, why = fastest(network, validation, comm, task.config.precision)
    progress = train_member(
        network,
        feed,
        validation,
        augment=augment,
        config=task.config,
        seed=task.seed,
        folder=task.folder,
        report=lambda epoch: checkpoint.append_line(task.folder / PROGRESS, epoch),
        comm=comm,
        precision=precision,
    )
    network.layers.to("cpu")
    digest = ""
    if comm.writes():
        digest = write_member(task, network)
        (task.folder / CHECKPOINT).unlink()
    return facts_of(task, progress, digest) | arithmetic_of(device, precision, why)


def fastest(
    network: Network, validation: Scaled, comm: Comm, asked: str
) -> tuple[torch.dtype, str]:
    """Bring the layers into the form that trains fastest on a CPU; precision and why."""
    if next(network.layers.parameters()).device.type != "cpu":
        return torch.float32, "a GPU trains members one by one in float32"
    with_full_heads(for_cpu(network.layers))
    if comm.world > 1:
        return torch.float32, "ranks may stand on processors of different kinds"
    with one_thread():
        return choose_precision(
            network.layers, validation.take(torch.arange(min(TRIAL, len(validation)))), asked
        )


def facts_of(task: MemberTask, progress: Progress, digest: str) -> dict[str, Any]:
    """What is told of a finished member: digest of its weights, seed, best epoch, losses."""
    return {
        "digest": digest,
        "seed": task.seed,
        "best": progress.best,
        "validation": progress.validation,
        "epochs": progress.epochs,
    }


def arithmetic_of(device: torch.device, precision: torch.dtype, why: str) -> dict[str, Any]:
    """What is told of how a member was computed."""
    name = str(precision).removeprefix("torch.")
    return {"arithmetic": {"device": device.type, "precision": name, "precision_why": why}}


def write_member(task: MemberTask, network: Network) -> str:
    """Put a finished network where ``read_member`` finds it; returns the digest."""
    data = bytes(save_tensors({k: v.contiguous() for k, v in network.state_dict().items()}))
    atomic_write_bytes(task.folder / WEIGHTS, data)
    return hashing.of_bytes(data)


def read_member(task: MemberTask, digest: str) -> Network:
    """A finished member.

    Raises
    ------
    DigestMismatch : its file is not the one that was written.
    """
    path = task.folder / WEIGHTS
    data = path.read_bytes() if path.exists() else b""
    if hashing.of_bytes(data) != digest:
        raise DigestMismatch(
            f"{path} is gone or was changed",
            expected="the weights that its training ended with",
            cure=f"Remove {task.partial} and train again.",
        )
    network = build_network(task.spec, task.config.network, task.seed)
    network.load_state_dict(load_tensors(data))
    return network.eval().requires_grad_(False)


Prepared = tuple[Feed, Scaled, dict[str, Tensor], Facts]


def _prepare(task: MemberTask, comm: Comm) -> Prepared:
    """Training and validation stars of one rank, scalings and facts."""
    if task.dealing == Dealing():
        train, validation, scaling, facts = held_stars(
            task.survey, task.spec, task.config, task.data
        )
        return Feed.plain(train, task.config.batch), validation, scaling, facts
    source = _Source(Store.open(task.survey, "survey"), task.spec, task.config)
    facts, pool = source.facts(), known_snr(torch.from_numpy(source.sample.inputs.snr))
    source.forget_sample()
    lanes = {
        lane: source.lane(lane, task.dealing)
        for lane in range(comm.rank, task.dealing.lanes, comm.world)
    }
    feed = Feed(
        lanes,
        task.dealing.lanes,
        len(source.train),
        task.config.batch,
        pool,
        streamed=task.dealing.buffer > 0,
    )
    return feed, source.validation(), source.scaling(), facts


def held_stars(
    survey: Path, spec: InputSpec, config: TrainConfig, data: str
) -> tuple[Scaled, Scaled, dict[str, Tensor], Facts]:
    """Scaled training and validation stars, scalings and facts; kept for this process's next."""
    return _scaled_stars(survey, spec, config.model_dump_json(include={"split", "network"}), data)


@lru_cache(maxsize=1)
def _scaled_stars(
    survey: Path, spec: InputSpec, settings: str, data: str
) -> tuple[Scaled, Scaled, dict[str, Tensor], Facts]:
    # ``data``, a digest, is part of the key: another survey under the same name is another one.
    source = _Source(Store.open(survey, "survey"), spec, TrainConfig.model_validate_json(settings))
    train = source.scaled(source.train)
    return train, source.validation(), source.scaling(), source.facts()


class _Source:
    """A survey as training sees it: scalings are fitted on an even sample of training stars."""

    def __init__(self, store: Store, spec: InputSpec, config: TrainConfig) -> None:
        self.store, self.spec, self.config = store, spec, config
        self.train = find_rows(store, spec, config.split, Part.TRAIN)
        self.sample = self._read(self.train[:: max(1, -(-len(self.train) // SAMPLE))])
        self.network = build_network(spec, config.network, seed=0)
        fit_scaling(self.network, self.sample.inputs, read_labels(store, spec, self.train))

    def scaled(self, rows: Array) -> Scaled:
        """The stars at those rows."""
        parts = (scale_stars(self.network, part) for part in read_rows(self.store, self.spec, rows))
        if not len(rows):
            return scale_stars(self.network, self.sample.take(slice(0, 0)))
        return gather(parts, len(rows))

    def validation(self) -> Scaled:
        rows = find_rows(self.store, self.spec, self.config.split, Part.VALIDATION)
        return self.scaled(evenly(rows, HELD))

    def scaling(self) -> dict[str, Tensor]:
        """The part of a network's state that was fitted here."""
        return {
            name: tensor
            for name, tensor in self.network.state_dict().items()
            if name.startswith(("inputs.", "labels."))
        }

    def forget_sample(self) -> None:
        """Streaming goes on for hours: what was needed at its beginning only is let go."""
        self.sample = self.sample.take(np.arange(0))

    def facts(self) -> Facts:
        return Facts.of(self.store, self.sample)

    def lane(self, lane: int, dealing: Dealing) -> Lane:
        rows = lane_rows(self.train, dealing.lanes, lane)
        if not dealing.buffer:
            return HeldLane(self.scaled(rows))
        piece = piece_size(self.store)
        return StreamedLane(rows, self.scaled, piece=piece, buffer=dealing.buffer)

    def _read(self, rows: Array) -> Labelled:
        return join(list(read_rows(self.store, self.spec, rows)))
