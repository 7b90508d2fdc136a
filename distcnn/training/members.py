"""Members: each trained by one task in one process, which reads the survey itself.

Nothing but small values passes between driver and task. What a task leaves behind:

    PACKAGE.partial/member_00/progress.jsonl   a line per epoch, followed by the driver
                              checkpoint.pt    where to go on
                              member.safetensors   the finished network
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from distcnn import digests
from distcnn.config import TrainConfig
from distcnn.errors import DigestMismatch
from distcnn.model import InputSpec, Network, build_network, fit_scaling
from distcnn.survey import Store
from distcnn.training import checkpoint
from distcnn.training.augment import Augment, Facts
from distcnn.training.batches import Scaled, scale_stars
from distcnn.training.data import read_labelled
from distcnn.training.loop import CHECKPOINT, derived_seed, one_thread, train_member
from distcnn.training.split import Part

PROGRESS, WEIGHTS = "progress.jsonl", "member.safetensors"


@dataclass(frozen=True)
class MemberTask:
    """One member to train: where the stars are, where it may write, and its number."""

    survey: Path
    partial: Path
    number: int
    spec: InputSpec
    config: TrainConfig
    data: str

    @property
    def folder(self) -> Path:
        return self.partial / self.name

    @property
    def name(self) -> str:
        return f"member_{self.number:02d}"

    @property
    def seed(self) -> int:
        """Seed of weights and batches; other members, other seeds."""
        return derived_seed(self.config.seed, self.number)


def run_member(task: MemberTask) -> dict[str, Any]:
    """Train one member, or go on with it; returns digest, seed, best epoch and losses."""
    task.folder.mkdir(parents=True, exist_ok=True)
    with one_thread():
        train, validation, scaling, facts = _stars(task.survey, task.spec, task.config, task.data)
    network = build_network(task.spec, task.config.network, task.seed)
    network.load_state_dict(scaling, strict=False)
    progress = train_member(
        network,
        train,
        validation,
        augment=Augment(task.config.augment, task.spec, network, facts),
        config=task.config,
        seed=task.seed,
        folder=task.folder,
        report=lambda epoch: checkpoint.append_line(task.folder / PROGRESS, epoch),
    )
    data = bytes(save_tensors({k: v.contiguous() for k, v in network.state_dict().items()}))
    checkpoint.write_bytes(task.folder / WEIGHTS, data)
    (task.folder / CHECKPOINT).unlink()
    return {
        "digest": digests.of_bytes(data),
        "seed": task.seed,
        "best": progress.best,
        "validation": progress.validation,
        "epochs": progress.epochs,
    }


def read_member(task: MemberTask, digest: str) -> Network:
    """A finished member.

    Raises
    ------
    DigestMismatch : its file is not the one that was written.
    """
    path = task.folder / WEIGHTS
    data = path.read_bytes() if path.exists() else b""
    if digests.of_bytes(data) != digest:
        raise DigestMismatch(
            f"{path} is gone or was changed",
            expected="the weights that its training ended with",
            cure=f"Remove {task.partial} and train again.",
        )
    network = build_network(task.spec, task.config.network, task.seed)
    network.load_state_dict(load_tensors(data))
    return network.eval().requires_grad_(False)


def _stars(
    survey: Path, spec: InputSpec, config: TrainConfig, data: str
) -> tuple[Scaled, Scaled, dict[str, Tensor], Facts]:
    """Scaled training and validation stars, scalings and facts; kept for this process's next."""
    return _scaled_stars(survey, spec, config.model_dump_json(include={"split", "network"}), data)


@lru_cache(maxsize=1)
def _scaled_stars(
    survey: Path, spec: InputSpec, settings: str, data: str
) -> tuple[Scaled, Scaled, dict[str, Tensor], Facts]:
    # ``data``, a digest, is part of the key: another survey under the same name is another one.
    config = TrainConfig.model_validate_json(settings)
    store = Store.open(survey, "survey")
    train = read_labelled(store, spec, config.split, Part.TRAIN)
    validation = read_labelled(store, spec, config.split, Part.VALIDATION)
    network = build_network(spec, config.network, seed=0)
    fit_scaling(network, train.inputs, train.label)
    scaling = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if name.startswith(("inputs.", "labels."))
    }
    facts = Facts.of(store, train)
    return scale_stars(network, train), scale_stars(network, validation), scaling, facts
