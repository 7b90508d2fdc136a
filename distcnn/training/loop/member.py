"""Members: each trained by one task in one process, or by a group of ranks.

Whoever trains reads the survey itself; nothing but small values passes between driver and
task. What a task leaves behind:

    PACKAGE.partial/member_00/progress.jsonl   a line per epoch, followed by the driver
                              checkpoint.pt    where to go on
                              member.safetensors   the finished network
                              attempt_1/       what the ranks of a group said (see ``ddp``)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from distcnn import hashing
from distcnn.config import TrainConfig
from distcnn.errors import DigestMismatch
from distcnn.files import atomic_write_bytes
from distcnn.location import Address
from distcnn.model import InputSpec, Network, build_network
from distcnn.model.devices import open_device, worker_threads
from distcnn.training.data.augment import Augment
from distcnn.training.data.loader import ONE_VIRTUAL_RANK, Sharding, derived_seed
from distcnn.training.data.source import LabelledSource
from distcnn.training.loop.checkpoint import CHECKPOINT, MemberState
from distcnn.training.loop.collective import Collective, SingleRank
from distcnn.training.loop.fit import train_member
from distcnn.training.loop.precision import Arithmetic, optimise_layers
from distcnn.training.loop.progress import PROGRESS, append_progress

WEIGHTS = "member.safetensors"


def member_name(number: int) -> str:
    """Name of a member in folders and ledgers."""
    return f"member_{number:02d}"


@dataclass(frozen=True)
class MemberTask:
    """One member to train: where the stars are, where it may write, and its number.

    ``data`` is the digest of all that training sees of the survey.
    """

    survey: Address
    partial: Path
    number: int
    spec: InputSpec
    config: TrainConfig
    data: str
    sharding: Sharding = ONE_VIRTUAL_RANK

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

    @property
    def fold(self) -> int | None:
        """The fold that it holds out; None where no member has one of its own."""
        split = self.config.split
        return self.number % split.folds if split.cross_fitted else None

    @property
    def source(self) -> LabelledSource:
        """The stars it learns from."""
        return LabelledSource(self.survey, self.spec, self.config, self.data, self.fold)


@dataclass(frozen=True)
class MemberResult:
    """What became of a member: a line of the ledger, and of the manifest of the package.

    Parameters
    ----------
    digest : of the file with its weights; empty on ranks that do not write.
    best : number of the epoch with the lowest validation loss, whose weights it has.
    validation : that loss [nat per label].
    epochs : (training loss, validation loss) of every epoch.
    arithmetic : on what and how precisely it was computed.
    """

    digest: str
    seed: int
    best: int
    validation: float
    epochs: list[tuple[float, float]]
    arithmetic: Arithmetic | None

    @classmethod
    def of(
        cls, task: MemberTask, state: MemberState, digest: str, arithmetic: Arithmetic
    ) -> "MemberResult":
        return cls(digest, task.seed, state.best, state.validation, state.epochs, arithmetic)

    def to_json(self) -> dict[str, Any]:
        """As in ledgers and manifests."""
        found = vars(self) | {"arithmetic": self.arithmetic and self.arithmetic.to_json()}
        return {name: value for name, value in found.items() if value is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "MemberResult":
        arithmetic = value.get("arithmetic")
        return cls(
            value["digest"],
            value["seed"],
            value["best"],
            value["validation"],
            [(float(loss), float(validation)) for loss, validation in value["epochs"]],
            None if arithmetic is None else Arithmetic.from_json(arithmetic),
        )


def run_member(task: MemberTask) -> MemberResult:
    """Train one member, or go on with it."""
    return train_on_rank(task, SingleRank(), open_device(task.config.distribute.device))


def train_on_rank(task: MemberTask, collective: Collective, device: torch.device) -> MemberResult:
    """The part of one rank in a member; only the first rank writes."""
    task.folder.mkdir(parents=True, exist_ok=True)
    with worker_threads():
        data = task.source.of_rank(task.sharding, collective.rank, collective.world)
    network = build_network(task.spec, task.config.network, task.seed)
    network.load_state_dict(data.scaling, strict=False)
    augment = Augment(task.config.augment, task.spec, network, data.properties)
    network.layers.to(device)
    arithmetic = optimise_layers(
        network.layers, data.validation, task.config.precision, collective.world
    )
    state = train_member(
        network,
        data.loader,
        data.validation,
        augment=augment,
        config=task.config,
        seed=task.seed,
        folder=task.folder,
        on_epoch=lambda epoch: append_progress(task.folder / PROGRESS, epoch),
        collective=collective,
        precision=arithmetic.dtype,
    )
    digest = finish_member(task, network) if collective.may_write() else ""
    return MemberResult.of(task, state, digest, arithmetic)


def finish_member(task: MemberTask, network: Network) -> str:
    """Put a trained network where ``read_member`` finds it; returns the digest of its weights."""
    state = network.to("cpu").state_dict()
    data = bytes(save_tensors({name: tensor.contiguous() for name, tensor in state.items()}))
    atomic_write_bytes(task.folder / WEIGHTS, data)
    (task.folder / CHECKPOINT).unlink(missing_ok=True)
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
