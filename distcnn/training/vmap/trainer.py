"""Fast path of training members one by one: all members of a device in one vmapped pass.

Same results, tested in ``tests/training/test_training_vmap.py`` (members agree with those trained
alone to the rounding of float32); measured gain: none on a CPU (0.67 to 0.83 of the speed of one
member per core, so ``auto`` does not take it there), not measured yet on the GPU it is meant for,
which one small network cannot fill.

Stars lie on the
device once, members draw their own batches from them. A member that has stopped leaves the
stacked parameters; the others do not notice. What is left behind is what ``loop.member`` leaves,
and while the training runs, a checkpoint of all members together.

Settings and the plan that a package was begun with call this strategy ``fused``.
"""

import copy
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distcnn import hashing
from distcnn.errors import TrainingError
from distcnn.files import remove_leftovers
from distcnn.model import Network, build_network
from distcnn.model.devices import open_device, worker_threads
from distcnn.training.data.augment import Augment, SurveyProperties
from distcnn.training.data.loader import derived_seed, known_snr
from distcnn.training.data.tensors import Scaled
from distcnn.training.loop import checkpoint
from distcnn.training.loop.checkpoint import CHECKPOINT, MemberState
from distcnn.training.loop.conv_matmul import convs_as_matmuls
from distcnn.training.loop.fit import check_finite, is_finished, one_cycle
from distcnn.training.loop.member import MemberResult, MemberTask, finish_member
from distcnn.training.loop.precision import (
    Arithmetic,
    choose_precision,
    float32_heads,
    name_of,
)
from distcnn.training.loop.progress import PROGRESS, append_progress
from distcnn.training.vmap.stacked import GraphedStep, StackedMembers

MAX_CHECKPOINT_TIME_FRACTION = 0.1
"""Largest part of the time spent on checkpoints: a GPU ends an epoch faster than a disk writes."""
PRECISION_TEST_STARS = 512
"""Stars on which precision is chosen: once for all members, so more than for one alone."""


@dataclass(frozen=True)
class VmapTask:
    """Members to train together; they differ in their numbers only."""

    members: tuple[MemberTask, ...]

    @property
    def name(self) -> str:
        numbers = [member.number for member in self.members]
        return f"fused_{numbers[0]:02d}_{numbers[-1]:02d}_{hashing.of_value(numbers)[:8]}"

    @property
    def folder(self) -> Path:
        """Where the checkpoint of all members is while they train."""
        return self.members[0].partial / self.name


def run_vmapped(task: VmapTask) -> list[MemberResult]:
    """Train the members of a task, or go on with them; one result per member.

    Raises
    ------
    TrainingError : a loss is not finite, or the device is not there or too small.
    """
    device = open_device(task.members[0].config.distribute.device)
    for folder in (task.folder, *(member.folder for member in task.members)):
        folder.mkdir(parents=True, exist_ok=True)
    with worker_threads(), _enough_memory(device):
        data = task.members[0].source.in_memory()
        networks = [_network(member, data.scaling) for member in task.members]
        trainer = VmapTrainer(
            task, networks, data.train.to(device), data.validation.to(device), data.properties
        )
        trainer.train()
    results = [
        _finish(member, network, state, trainer.arithmetic)
        for member, network, state in zip(task.members, networks, trainer.states, strict=True)
    ]
    remove_leftovers(task.folder)
    return results


def _network(member: MemberTask, scaling: dict[str, Tensor]) -> Network:
    network = build_network(member.spec, member.config.network, member.seed)
    network.load_state_dict(scaling, strict=False)
    return network


def _finish(
    task: MemberTask, network: Network, state: MemberState, arithmetic: Arithmetic
) -> MemberResult:
    """Write a finished member as ``run_member`` does."""
    network.layers.load_state_dict(state.weights, strict=False)
    return MemberResult.of(task, state, finish_member(task, network), arithmetic)


class VmapTrainer:
    """The members of a task on one device.

    ``active`` are the places in ``task.members`` of those that still train: row k of the stacked
    parameters is member ``active[k]``. ``best`` has their best parameters so far, stacked alike.
    """

    def __init__(
        self,
        task: VmapTask,
        networks: list[Network],
        train: Scaled,
        validation: Scaled,
        properties: SurveyProperties,
    ) -> None:
        first, device = task.members[0], train.spectrum.device
        self.task, self.config = task, first.config
        self.stars, self.validation = train, validation
        self.pool = known_snr(train.snr).to(device)
        # One set of layers computes for all members; which parameters it uses is passed in.
        template = copy.deepcopy(networks[0]).to(device)
        layers = float32_heads(convs_as_matmuls(template.layers))
        self.augment = Augment(self.config.augment, first.spec, template, properties)
        trial = torch.arange(min(PRECISION_TEST_STARS, len(validation)), device=device)
        precision, self.why = choose_precision(
            layers, validation.take(trial), self.config.precision
        )
        self.stack = StackedMembers(
            layers,
            [dict(network.layers.named_parameters()) for network in networks],
            decay=self.config.weight_decay,
            precision=precision,
        )
        self.active = list(range(len(networks)))
        self.states = [MemberState() for _ in networks]
        self.best = [rows.detach().clone() for rows in self.stack.rows]
        self.step = GraphedStep(self.stack)
        self._lines: list[tuple[int, dict[str, float]]] = []
        self._saved_at, self._save_seconds = time.perf_counter(), 0.0
        self._resume()

    @property
    def arithmetic(self) -> Arithmetic:
        """On what and how precisely the members were computed."""
        device = self.stack.device
        return Arithmetic(
            torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            name_of(self.stack.precision),
            self.why,
            graphed=not self.step.why_not,
            why_not_graphed=self.step.why_not,
        )

    @property
    def epoch(self) -> int:
        """Epochs done by those that still train."""
        return len(self.states[self.active[0]].epochs)

    def train(self) -> None:
        """Until every member has stopped."""
        while self.active:
            clock = time.perf_counter()
            losses = self._epoch()
            self._end_epoch(losses, self.stack.validate(self.validation))
            self._queue_report(time.perf_counter() - clock)
            self._drop_finished()
            self._save_if_due()

    def _epoch(self) -> list[float]:
        """One pass over the training stars; returns each member's mean loss."""
        epoch, device = self.epoch, self.stack.device
        rows, valid = self._orders(epoch)
        steps = len(rows)
        generator = torch.Generator(device).manual_seed(derived_seed(*self._seeds, epoch, 1))
        sums = torch.zeros(len(self.active), 2, dtype=torch.float64, device=device)
        gpus = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpus), self._on_device():
            torch.manual_seed(derived_seed(*self._seeds, epoch, 2))  # for drop-out
            for number in range(steps):
                rate = one_cycle(epoch * steps + number, self.config.epochs * steps)
                self.stack.rate.fill_(self.config.learning_rate * rate)
                sums += self.step(self._batch(rows[number], valid[number], generator))
        return [loss / known for loss, known in sums.tolist()]

    @property
    def _seeds(self) -> list[int]:
        return [self.task.members[place].seed for place in self.active]

    def _on_device(self) -> AbstractContextManager[Any]:
        """Augmentation draws its random numbers where the stars are."""
        return self.stack.device if self.stack.device.type == "cuda" else nullcontext()

    def _orders(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Rows [step,M,B] of every batch, and which of them [step,B] are more than padding.

        Every member has the order that it would have alone. The last batches may have a star
        less; they are padded to one length, since a recorded graph has fixed shapes.
        """
        count, orders = len(self.stars), []
        steps = math.ceil(count / self.config.batch)
        for seed in self._seeds:
            generator = torch.Generator().manual_seed(derived_seed(seed, epoch))
            parts = torch.tensor_split(torch.randperm(count, generator=generator), steps)
            longest = len(parts[0])
            orders.append(
                torch.stack([torch.cat([p, p[:1].expand(longest - len(p))]) for p in parts])
            )
        sizes = torch.tensor([len(part) for part in parts])
        valid = torch.arange(longest) < sizes[:, None]
        device = self.stack.device
        return torch.stack(orders, dim=1).to(device), valid.to(device, torch.float32)

    def _batch(self, rows: Tensor, valid: Tensor, generator: torch.Generator) -> Scaled:
        """Stars [M,B,...], augmented; padding knows no label, so it adds nothing to any sum."""
        stars = self.augment(self.stars.take(rows.flatten()), self.pool, generator)
        stars.known.mul_(valid.repeat(len(rows))[:, None])
        return Scaled(*(t.reshape(*rows.shape, *t.shape[1:]) for t in stars.tensors()))

    def _end_epoch(self, losses: list[float], validations: list[float]) -> None:
        better = []
        for place, loss, validation in zip(self.active, losses, validations, strict=True):
            state = self.states[place]
            whose = f" of member {self.task.members[place].number}"
            check_finite(loss + validation, self.epoch, whose)
            better.append(validation < state.validation)
            state.epochs.append((loss, validation))
            if better[-1]:
                state.best = len(state.epochs) - 1
        # Chosen by ``where`` on the device: no parameter travels to the host between epochs.
        chosen = torch.tensor(better, device=self.stack.device)[:, None]
        self.best = [
            torch.where(chosen, row.detach(), best)
            for row, best in zip(self.stack.rows, self.best, strict=True)
        ]

    def _drop_finished(self) -> None:
        """Members that have stopped leave the stacked parameters, with the best they had."""
        stay = []
        for row, place in enumerate(self.active):
            state = self.states[place]
            if is_finished(state, self.config):
                state.weights = self.stack.state(self.best, row)
            else:
                stay.append(row)
        if len(stay) == len(self.active):
            return
        self.active = [self.active[row] for row in stay]
        if stay:
            self._keep(stay)

    def _keep(self, rows: list[int]) -> None:
        """Go on with some rows of the stacked parameters; their shape changes, so record again."""
        self.stack.keep(rows)
        self.best = [best[rows] for best in self.best]
        self.step = GraphedStep(self.stack)

    def _queue_report(self, seconds: float) -> None:
        for place in self.active:
            loss, validation = self.states[place].epochs[-1]
            line = {
                "epoch": len(self.states[place].epochs),
                "loss": loss,
                "validation": validation,
                "stars_per_second": len(self.stars) / seconds,
            }
            self._lines.append((place, line))

    def _save_if_due(self) -> None:
        """Write a checkpoint if it is time, and report the epochs that it holds.

        Only those: an epoch that a killed run had reported but not saved would be run, and
        reported, a second time.
        """
        begun = time.perf_counter()
        pause = self._save_seconds / MAX_CHECKPOINT_TIME_FRACTION
        if self.active and begun - self._saved_at < pause:
            return
        checkpoint.save(
            self.task.folder / CHECKPOINT,
            {
                "active": self.active,
                "rows": self.stack.tensors() if self.active else [],
                "best": self.best if self.active else [],
                "members": [(s.epochs, s.best, s.weights) for s in self.states],
            },
        )
        for place, line in self._lines:
            append_progress(self.task.members[place].folder / PROGRESS, line)
        self._lines.clear()
        self._saved_at = time.perf_counter()
        self._save_seconds = self._saved_at - begun

    def _resume(self) -> None:
        state = checkpoint.load(self.task.folder / CHECKPOINT)
        if state is None:
            return
        self.active = list(state["active"])
        self.states = [
            MemberState([(float(a), float(b)) for a, b in epochs], best, weights)
            for epochs, best, weights in state["members"]
        ]
        if self.active:
            self._keep(self.active)
            self.stack.restore(state["rows"])
            self.best = [best.to(self.stack.device) for best in state["best"]]


@contextmanager
def _enough_memory(device: torch.device) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"{device} has too little memory ({str(error).splitlines()[0]})",
            expected="room for the training stars and for all members of the pass",
            cure="Lower train.batch, or train with train.distribute.strategy=ensemble.",
        ) from None
