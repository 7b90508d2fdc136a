"""Student: the training of one network that answers as an ensemble does, by one task.

It learns from all stars of the survey, labelled or not, but for the labelled ones that stop it
(validation), that its errors are fitted on (calibration) or that it is judged by (test). No
reference label is read here. What the task leaves behind is what a member leaves.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distcnn import hashing
from distcnn.arrays import Array
from distcnn.config import DistilConfig, SplitConfig, StudentNetwork, TrainConfig
from distcnn.modalities import MODALITIES
from distcnn.model import Network, Package, build_network
from distcnn.model.devices import open_device, worker_threads
from distcnn.survey import Store
from distcnn.survey.split import Split, assign_split
from distcnn.training.data.augment import Augment, SurveyProperties
from distcnn.training.data.labelled import (
    Labelled,
    evenly_spaced,
    find_rows,
    join,
    read_rows,
    rows_per_read,
)
from distcnn.training.data.loader import (
    Dataset,
    InMemoryDataset,
    StreamedDataset,
    TrainLoader,
    derived_seed,
    known_snr,
)
from distcnn.training.data.tensors import Scaled, gather, scale_stars
from distcnn.training.distillation.teacher import DISTILLATION, DistillationTargets, Teacher
from distcnn.training.loop import checkpoint
from distcnn.training.loop.collective import SingleRank
from distcnn.training.loop.fit import CHECKPOINT, train_member
from distcnn.training.loop.member import (
    PROGRESS,
    MemberTask,
    arithmetic_facts,
    optimise_layers,
    result_of,
    write_member,
)

MAX_SCALING_STARS = 20_000
"""Most stars on which the facts of augmentation are measured."""
MAX_VALIDATION_STARS = 8192
"""Most validation stars; each is there twice, as it is and changed."""


@dataclass(frozen=True)
class StudentTask:
    """A student to train: the ensemble, and what a member's task says."""

    teacher: Path
    digest: str
    member: MemberTask
    config: DistilConfig

    @property
    def name(self) -> str:
        return self.member.name

    @property
    def number(self) -> int:
        return self.member.number


def train_config(teacher: Package, config: DistilConfig) -> TrainConfig:
    """Settings of the loop: those of the distillation, on the split of the ensemble."""
    switches = {row.switch for row in MODALITIES if row.switch}
    inputs = teacher.network.model_dump(include={*switches, "flux"})
    return TrainConfig(
        members=1,
        seed=config.seed,
        network=StudentNetwork(**inputs, **config.network.model_dump()),
        split=teacher.manifest.training_split,
        augment=config.augment,
        labels=teacher.labels,
        **config.optimiser(),
    )


def distillation_rows(store: Store, split: SplitConfig, most: int) -> Array:
    """Row numbers, int64, of at most ``most`` stars that a student may learn from."""
    found = [np.empty(0, np.int64)]
    for region in store.regions():
        rows = store.read(region, ["source_id", "label"])
        closed = np.isfinite(rows["label"]).any(axis=1)
        closed &= assign_split(rows["source_id"], split) != Split.TRAIN
        found.append(region.start + np.flatnonzero(~closed))
    return evenly_spaced(np.concatenate(found), most)


def data_digest(store: Store, teacher: Package, rows: Array) -> str:
    """Digest of all that the student sees of those stars; their labels are not among it."""
    seen = [
        hashing.of_arrays({**part.inputs.arrays, "flux_error": part.flux_error})
        for part in read_rows(store, teacher.spec, rows)
    ]
    return hashing.of_value(seen)


def run_student(task: StudentTask) -> dict[str, Any]:
    """Train the student, or go on with it; returns digest, seed, best epoch and losses."""
    member, device = task.member, open_device(task.config.device)
    member.folder.mkdir(parents=True, exist_ok=True)
    data = DistillationData(task)
    with worker_threads():
        teacher = Teacher(data.teacher, device)
        loader, augment = data.loader(), data.augment()
        validation = data.validation(augment, teacher, loader.pool)
    network = data.network
    network.layers.to(device)
    precision, why = optimise_layers(network, validation, SingleRank(), member.config.precision)
    progress = train_member(
        network,
        loader,
        validation,
        augment=DistillationTargets(augment, teacher),
        config=member.config,
        seed=member.seed,
        folder=member.folder,
        report=lambda epoch: checkpoint.append_line(member.folder / PROGRESS, epoch),
        precision=precision,
        loss=DISTILLATION,
    )
    network.layers.to("cpu")
    digest = write_member(member, network)
    (member.folder / CHECKPOINT).unlink(missing_ok=True)
    return result_of(member, progress, digest) | arithmetic_facts(device, precision, why)


class DistillationData:
    """The survey as a student sees it: through the scalings of its teacher."""

    def __init__(self, task: StudentTask) -> None:
        member = task.member
        self.task, self.spec, self.config = task, member.spec, member.config
        self.store = Store.open(member.survey, "survey")
        self.teacher = Package.load(task.teacher)
        self.network = student_network(self.teacher, member)
        self.rows = distillation_rows(self.store, self.config.split, task.config.stars)
        self.sample = self._read(evenly_spaced(self.rows, MAX_SCALING_STARS))

    def loader(self) -> TrainLoader:
        """Stars to learn from: in memory, or read again in every epoch where they are too many."""
        dataset: Dataset
        star = max(1, scaled(self.network, self.sample.take(slice(0, 1))).bytes)
        streamed = star * len(self.rows) > self.task.config.memory
        if streamed:
            room = max(1, self.task.config.memory // star)
            dataset = StreamedDataset(
                self.rows, self.read, piece=rows_per_read(self.store), buffer=room
            )
        else:
            dataset = InMemoryDataset(self.read(self.rows))
        pool = known_snr(torch.from_numpy(self.sample.inputs["snr"]))
        return TrainLoader(
            {0: dataset}, 1, len(self.rows), self.config.batch, pool, streamed=streamed
        )

    def augment(self) -> Augment:
        facts = SurveyProperties.of(self.store, self.sample)
        return Augment(self.config.augment, self.spec, self.network, facts)

    def validation(self, augment: Augment, teacher: Teacher, pool: Tensor) -> Scaled:
        """Validation stars as they are, then changed once for all, with the answers."""
        rows = find_rows(self.store, self.spec, self.config.split, Split.VALIDATION)
        plain = self.read(evenly_spaced(rows, MAX_VALIDATION_STARS))
        changed = Scaled(*(tensor.clone() for tensor in plain.tensors()))
        generator = torch.Generator().manual_seed(derived_seed(self.config.seed, 1))
        both = [plain, augment(changed, pool, generator)]
        return teacher.answer(gather(both, 2 * len(plain)))

    def read(self, rows: Array) -> Scaled:
        """The stars at ascending rows."""
        parts: Iterator[Labelled] = read_rows(self.store, self.spec, rows)
        if not len(rows):
            return scaled(self.network, self.sample.take(slice(0, 0)))
        return gather((scaled(self.network, part) for part in parts), len(rows))

    def _read(self, rows: Array) -> Labelled:
        return join(list(read_rows(self.store, self.spec, rows)))


def student_network(teacher: Package, member: MemberTask) -> Network:
    """A new student with the scalings of its teacher."""
    network = build_network(member.spec, member.config.network, member.seed)
    state = {
        name: tensor
        for name, tensor in teacher.scaling().state_dict().items()
        if name.startswith(("inputs.", "labels."))
    }
    network.load_state_dict(state, strict=False)
    return network


def scaled(network: Network, stars: Labelled) -> Scaled:
    """Stars without their reference labels: every label is one to be learned."""
    found = scale_stars(network, stars)
    empty = torch.empty((len(found), 0))
    return replace(found, target=empty, variance=empty, known=torch.ones_like(found.known))
