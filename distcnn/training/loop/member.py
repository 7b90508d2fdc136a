"""Members: each trained by one task in one process, or by a group of ranks.

Whoever trains reads the survey itself; nothing but small values passes between driver and
task. What a task leaves behind:

    PACKAGE.partial/member_00/progress.jsonl   a line per epoch, followed by the driver
                              checkpoint.pt    where to go on
                              member.safetensors   the finished network
                              attempt_1/       what the ranks of a group said (see ``ranks``)
"""

from dataclasses import dataclass
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
from distcnn.model.devices import open_device, worker_threads
from distcnn.survey import Store
from distcnn.survey.split import Split
from distcnn.training.data.augment import Augment, SurveyProperties
from distcnn.training.data.labelled import (
    MAX_STARS_IN_MEMORY,
    Labelled,
    evenly_spaced,
    find_rows,
    join,
    read_labels,
    read_rows,
    rows_per_read,
)
from distcnn.training.data.loader import (
    ONE_VIRTUAL_RANK,
    Dataset,
    InMemoryDataset,
    Sharding,
    StreamedDataset,
    TrainLoader,
    known_snr,
    rows_of_virtual_rank,
)
from distcnn.training.data.tensors import Scaled, gather, scale_stars
from distcnn.training.loop import checkpoint
from distcnn.training.loop.collective import Collective, SingleRank
from distcnn.training.loop.conv_matmul import cpu_form
from distcnn.training.loop.fit import (
    CHECKPOINT,
    MemberState,
    derived_seed,
    train_member,
)
from distcnn.training.loop.precision import choose_precision, float32_heads

PROGRESS, WEIGHTS = "progress.jsonl", "member.safetensors"
PRECISION_TEST_STARS = 256
"""Most validation stars on which a reduced precision must agree with float32."""
MAX_SCALING_STARS = 20_000
"""Most training stars on which scalings and the facts of augmentation are measured."""


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


def run_member(task: MemberTask) -> dict[str, Any]:
    """Train one member, or go on with it; returns digest, seed, best epoch and losses."""
    return train_one(task, SingleRank(), open_device(task.config.distribute.device))


def train_one(task: MemberTask, collective: Collective, device: torch.device) -> dict[str, Any]:
    """The part of one rank in a member; only the first rank writes."""
    task.folder.mkdir(parents=True, exist_ok=True)
    with worker_threads():
        loader, validation, scaling, facts = _prepare(task, collective)
    network = build_network(task.spec, task.config.network, task.seed)
    network.load_state_dict(scaling, strict=False)
    augment = Augment(task.config.augment, task.spec, network, facts)
    network.layers.to(device)
    precision, why = optimise_layers(network, validation, collective, task.config.precision)
    progress = train_member(
        network,
        loader,
        validation,
        augment=augment,
        config=task.config,
        seed=task.seed,
        folder=task.folder,
        report=lambda epoch: checkpoint.append_line(task.folder / PROGRESS, epoch),
        collective=collective,
        precision=precision,
    )
    network.layers.to("cpu")
    digest = ""
    if collective.is_writer():
        digest = write_member(task, network)
        (task.folder / CHECKPOINT).unlink()
    return result_of(task, progress, digest) | arithmetic_facts(device, precision, why)


def optimise_layers(
    network: Network, validation: Scaled, collective: Collective, asked: str
) -> tuple[torch.dtype, str]:
    """Bring the layers into the form that trains fastest on a CPU; precision and why."""
    if next(network.layers.parameters()).device.type != "cpu":
        return torch.float32, "a GPU trains members one by one in float32"
    float32_heads(cpu_form(network.layers))
    if collective.world > 1:
        return torch.float32, "ranks may stand on processors of different kinds"
    with worker_threads():
        return choose_precision(
            network.layers,
            validation.take(torch.arange(min(PRECISION_TEST_STARS, len(validation)))),
            asked,
        )


def result_of(task: MemberTask, progress: MemberState, digest: str) -> dict[str, Any]:
    """What is told of a finished member: digest of its weights, seed, best epoch, losses."""
    return {
        "digest": digest,
        "seed": task.seed,
        "best": progress.best,
        "validation": progress.validation,
        "epochs": progress.epochs,
    }


def arithmetic_facts(device: torch.device, precision: torch.dtype, why: str) -> dict[str, Any]:
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


Prepared = tuple[TrainLoader, Scaled, dict[str, Tensor], SurveyProperties]


def _prepare(task: MemberTask, collective: Collective) -> Prepared:
    """Training and validation stars of one rank, scalings and facts."""
    if task.sharding == ONE_VIRTUAL_RANK:
        train, validation, scaling, facts = stars_in_memory(
            task.survey, task.spec, task.config, task.data
        )
        return TrainLoader.in_memory(train, task.config.batch), validation, scaling, facts
    source = _Source(Store.open(task.survey, "survey"), task.spec, task.config)
    facts, pool = source.facts(), known_snr(torch.from_numpy(source.sample.inputs["snr"]))
    source.forget_sample()
    datasets = {
        number: source.dataset(number, task.sharding)
        for number in range(collective.rank, task.sharding.virtual_ranks, collective.world)
    }
    loader = TrainLoader(
        datasets,
        task.sharding.virtual_ranks,
        len(source.train),
        task.config.batch,
        pool,
        streamed=task.sharding.buffer > 0,
    )
    return loader, source.validation(), source.scaling(), facts


def stars_in_memory(
    survey: Path, spec: InputSpec, config: TrainConfig, data: str
) -> tuple[Scaled, Scaled, dict[str, Tensor], SurveyProperties]:
    """Scaled training and validation stars, scalings and facts; kept for this process's next."""
    return _scaled_stars(survey, spec, config.model_dump_json(include={"split", "network"}), data)


@lru_cache(maxsize=1)
def _scaled_stars(
    survey: Path, spec: InputSpec, settings: str, data: str
) -> tuple[Scaled, Scaled, dict[str, Tensor], SurveyProperties]:
    # ``data``, a digest, is part of the key: another survey under the same name is another one.
    source = _Source(Store.open(survey, "survey"), spec, TrainConfig.model_validate_json(settings))
    train = source.scaled(source.train)
    return train, source.validation(), source.scaling(), source.facts()


class _Source:
    """A survey as training sees it: scalings are fitted on an even sample of training stars."""

    def __init__(self, store: Store, spec: InputSpec, config: TrainConfig) -> None:
        self.store, self.spec, self.config = store, spec, config
        self.train = find_rows(store, spec, config.split, Split.TRAIN)
        self.sample = self._read(self.train[:: max(1, -(-len(self.train) // MAX_SCALING_STARS))])
        self.network = build_network(spec, config.network, seed=0)
        fit_scaling(self.network, self.sample.inputs, read_labels(store, spec, self.train))

    def scaled(self, rows: Array) -> Scaled:
        """The stars at those rows."""
        parts = (scale_stars(self.network, part) for part in read_rows(self.store, self.spec, rows))
        if not len(rows):
            return scale_stars(self.network, self.sample.take(slice(0, 0)))
        return gather(parts, len(rows))

    def validation(self) -> Scaled:
        rows = find_rows(self.store, self.spec, self.config.split, Split.VALIDATION)
        return self.scaled(evenly_spaced(rows, MAX_STARS_IN_MEMORY))

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

    def facts(self) -> SurveyProperties:
        return SurveyProperties.of(self.store, self.sample)

    def dataset(self, number: int, sharding: Sharding) -> Dataset:
        rows = rows_of_virtual_rank(self.train, sharding.virtual_ranks, number)
        if not sharding.buffer:
            return InMemoryDataset(self.scaled(rows))
        piece = rows_per_read(self.store)
        return StreamedDataset(rows, self.scaled, piece=piece, buffer=sharding.buffer)

    def _read(self, rows: Array) -> Labelled:
        return join(list(read_rows(self.store, self.spec, rows)))
