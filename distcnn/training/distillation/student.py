"""Student: the training of one network that answers as an ensemble does, by one task.

It learns from all stars of the survey, labelled or not, but for the labelled ones that stop it
(validation), that its errors are fitted on (calibration) or that it is judged by (test). No
reference label is read here. What the task leaves behind is what a member leaves.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from distcnn import hashing
from distcnn.arrays import Array
from distcnn.config import DistilConfig, SplitConfig, StudentNetwork, TrainConfig
from distcnn.location import Address
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
    read_rows,
    read_stars,
)
from distcnn.training.data.loader import TrainLoader, derived_seed, known_snr
from distcnn.training.data.source import MAX_SAMPLE_STARS, ScaledReader, scaling_of
from distcnn.training.data.tensors import Scaled, gather, scale_stars
from distcnn.training.distillation.teacher import DISTILLATION, DistillationTargets, Teacher
from distcnn.training.loop.fit import train_member
from distcnn.training.loop.member import MemberResult, MemberTask, finish_member
from distcnn.training.loop.precision import optimise_layers
from distcnn.training.loop.progress import PROGRESS, append_progress

MAX_VALIDATION_STARS = 8192
"""Most validation stars; each is there twice, as it is and changed."""


@dataclass(frozen=True)
class StudentTask:
    """A student to train: the ensemble, and what a member's task says."""

    teacher: Address
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
        split=teacher.manifest.training_split.held_out(),
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


def run_student(task: StudentTask) -> MemberResult:
    """Train the student, or go on with it."""
    member, device = task.member, open_device(task.config.device)
    member.folder.mkdir(parents=True, exist_ok=True)
    with worker_threads():
        data = DistillationData(task)
        teacher = Teacher(data.teacher, device)
        loader, augment = data.loader(), data.augment()
        validation = data.validation(augment, teacher, loader.pool)
    network = data.network
    network.layers.to(device)
    arithmetic = optimise_layers(network.layers, validation, member.config.precision, ranks=1)
    state = train_member(
        network,
        loader,
        validation,
        augment=DistillationTargets(augment, teacher),
        config=member.config,
        seed=member.seed,
        folder=member.folder,
        on_epoch=lambda epoch: append_progress(member.folder / PROGRESS, epoch),
        precision=arithmetic.dtype,
        loss=DISTILLATION,
    )
    return MemberResult.of(member, state, finish_member(member, network), arithmetic)


class DistillationData:
    """The survey as a student sees it: through the scalings of its teacher."""

    def __init__(self, task: StudentTask) -> None:
        member = task.member
        self.task, self.spec, self.config = task, member.spec, member.config
        self.store = Store.open(member.survey, "survey")
        self.teacher = Package.load(task.teacher)
        self.network = student_network(self.teacher, member)
        self.rows = distillation_rows(self.store, self.config.split, task.config.stars)
        self.sample = read_stars(self.store, self.spec, evenly_spaced(self.rows, MAX_SAMPLE_STARS))
        self.reader = ScaledReader(
            self.store,
            self.spec,
            lambda stars: scale_unlabelled(self.network, stars),
            self.sample.take(np.arange(0)),
        )

    def loader(self) -> TrainLoader:
        """Stars to learn from: in memory, or through a shuffle buffer where they are too many."""
        stars, memory = len(self.rows), self.task.config.memory
        one = max(1, scale_unlabelled(self.network, self.sample.take(slice(0, 1))).bytes)
        buffer = max(1, memory // one) if one * stars > memory else 0
        dataset = self.reader.dataset(self.rows, buffer)
        pool = known_snr(torch.from_numpy(self.sample.inputs["snr"]))
        return TrainLoader({0: dataset}, 1, stars, self.config.batch, pool, streamed=buffer > 0)

    def augment(self) -> Augment:
        properties = SurveyProperties.of(self.store, self.sample)
        return Augment(self.config.augment, self.spec, self.network, properties)

    def validation(self, augment: Augment, teacher: Teacher, pool: Tensor) -> Scaled:
        """Validation stars as they are, then augmented once for all, with the teacher's answers."""
        rows = find_rows(self.store, self.spec, self.config.split, Split.VALIDATION)
        plain = self.reader.read(evenly_spaced(rows, MAX_VALIDATION_STARS))
        changed = Scaled(*(tensor.clone() for tensor in plain.tensors()))
        generator = torch.Generator().manual_seed(derived_seed(self.config.seed, 1))
        both = [plain, augment(changed, pool, generator)]
        return teacher.answer(gather(both, 2 * len(plain)))


def student_network(teacher: Package, member: MemberTask) -> Network:
    """A new student with the scalings of its teacher."""
    network = build_network(member.spec, member.config.network, member.seed)
    network.load_state_dict(scaling_of(teacher.scaling().state_dict()), strict=False)
    return network


def scale_unlabelled(network: Network, stars: Labelled) -> Scaled:
    """Stars without their reference labels: the teacher has an answer for every label of each."""
    found = scale_stars(network, stars)
    empty = torch.empty((len(found), 0))
    return replace(found, target=empty, variance=empty, known=torch.ones_like(found.known))
