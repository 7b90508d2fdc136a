"""Loop: one member from its first weights to its best, on one rank or on many.

Random numbers are seeded by member, epoch and step (see ``data.loader``), and the learning rate is
a function of the step, so a checkpoint of weights, optimiser and position says all there is
to say: a run killed and resumed gives the weights of an undisturbed one.
"""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distcnn.config import TrainConfig
from distcnn.errors import TrainingError
from distcnn.model import Network
from distcnn.model.devices import worker_threads
from distcnn.training.data.loader import MicroBatch, TrainLoader, derived_seed
from distcnn.training.data.tensors import Scaled
from distcnn.training.loop import checkpoint
from distcnn.training.loop.collective import Collective, SingleRank
from distcnn.training.loop.loss import LIKELIHOOD, Loss

__all__ = [
    "CHECKPOINT",
    "MemberState",
    "OnEpoch",
    "check_finite",
    "derived_seed",
    "is_finished",
    "mean_loss",
    "one_cycle",
    "train_member",
]

CHECKPOINT = "checkpoint.pt"
WARM_UP_FRACTION, FIRST_RATE, LAST_RATE = 0.15, 0.04, 1e-3
"""One cycle: part of the steps that the learning rate rises, where it begins and ends."""
MAX_GRADIENT_NORM = 1.0
"""Largest norm of a gradient."""
OnEpoch = Callable[[dict[str, float]], None]
Augmentation = Callable[[Scaled, Tensor, torch.Generator], Scaled]
"""What happens to a batch of its own, given S/N to choose from, before the layers see it."""


@dataclass
class MemberState:
    """Where a member stands: ``epochs`` holds (training loss, validation loss) per epoch.

    ``step`` of the epoch after them is next; ``sums`` are loss and known labels up to there.
    """

    epochs: list[tuple[float, float]] = field(default_factory=list)
    best: int = -1
    weights: dict[str, Tensor] = field(default_factory=dict)
    step: int = 0
    sums: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))

    @property
    def validation(self) -> float:
        """The best validation loss so far."""
        return self.epochs[self.best][1] if self.best >= 0 else math.inf


def train_member(
    network: Network,
    train: Scaled | TrainLoader,
    validation: Scaled,
    *,
    augment: Augmentation,
    config: TrainConfig,
    seed: int,
    folder: Path,
    report: OnEpoch,
    collective: Collective | None = None,
    precision: torch.dtype = torch.float32,
    loss: Loss = LIKELIHOOD,
) -> MemberState:
    """Train ``network`` until its validation loss stops falling; it is left at its best.

    Parameters
    ----------
    network : with scalings fitted; ``train`` and ``validation`` were scaled by them.
    train : stars in memory, or the loader of this rank.
    augment : changes a batch in place, afresh in every epoch.
    folder : holds the checkpoint; training goes on from one that is there.
    report : told after every epoch.
    collective : the other ranks, if any; only the first writes and reports.
    precision : of wide products in training; validation is always in float32.
    loss : what is lowered, and what validation stars are judged by.

    Raises
    ------
    TrainingError : the loss is not finite.
    """
    loader = TrainLoader.in_memory(train, config.batch) if isinstance(train, Scaled) else train
    run = _Trainer(
        network,
        loader,
        augment=augment,
        config=config,
        seed=seed,
        folder=folder,
        collective=collective or SingleRank(),
        precision=precision,
        loss=loss,
    )
    with worker_threads():
        while not is_finished(run.progress, config):
            clock, begun = time.perf_counter(), run.progress.step
            lowered = run.epoch()
            run.note(lowered, mean_loss(network, validation, collective=run.collective, loss=loss))
            run.store()
            if run.collective.is_writer():
                part = 1 - begun / loader.steps
                report(run.told(part, time.perf_counter() - clock))
    network.layers.load_state_dict(run.progress.weights)
    return run.progress


def mean_loss(
    network: Network,
    stars: Scaled,
    batch: int = 1024,
    *,
    collective: Collective | None = None,
    loss: Loss = LIKELIHOOD,
) -> float:
    """Mean loss over stars as they are, without augmentation; ranks micro_batch the batches out."""
    collective = collective or SingleRank()
    network.eval()
    parts = torch.split(torch.arange(len(stars)), batch)
    # A place for every batch: sums are taken in the same order whoever computed what.
    sums = torch.zeros(len(parts), 2, dtype=torch.float64)
    with torch.no_grad():
        for number in range(collective.rank, len(parts), collective.world):
            some = stars.take(parts[number]).to(_device(network))
            outputs = network.layers(some.branches)
            sums[number, 0] = loss.validation(outputs, some).item()
            sums[number, 1] = some.known.sum().item()
    total, weight = map(sum, zip(*collective.all_reduce(sums).tolist(), strict=True))
    return float(total / max(weight, 1.0))


def one_cycle(step: int, steps: int) -> float:
    """Learning rate as a part of its peak: a linear rise, then half a cosine (Smith 2018)."""
    done = (step + 1) / steps
    if done < WARM_UP_FRACTION:
        return FIRST_RATE + (1 - FIRST_RATE) * done / WARM_UP_FRACTION
    left = (1 + math.cos(math.pi * (done - WARM_UP_FRACTION) / (1 - WARM_UP_FRACTION))) / 2
    return LAST_RATE + (1 - LAST_RATE) * left


class _Trainer:
    """One member's training on this rank."""

    def __init__(
        self,
        network: Network,
        loader: TrainLoader,
        *,
        augment: Augmentation,
        config: TrainConfig,
        seed: int,
        folder: Path,
        collective: Collective,
        precision: torch.dtype,
        loss: Loss,
    ) -> None:
        self.precision, self.loss = precision, loss
        self.network, self.loader, self.augment = network, loader, augment
        self.config, self.seed, self.collective = config, seed, collective
        self.path = folder / CHECKPOINT
        self.layers = collective.wrap(network.layers)
        self.optimiser = torch.optim.AdamW(
            _parameter_groups(network, config.weight_decay), lr=config.learning_rate, fused=True
        )
        self.progress = _resume(self.path, network, self.optimiser)
        collective.assert_equal(_global_step(self.progress, loader), "checkpoints")

    def epoch(self) -> float:
        """What is left of one pass over the training stars; returns its mean loss."""
        progress, first = self.progress, self.progress.step
        epoch = len(progress.epochs)
        self.network.train()
        # Those of the steps before are known to all ranks; one of them is enough in the sum.
        before = progress.sums if self.collective.rank == 0 else torch.zeros_like(progress.sums)
        total = torch.zeros((), device=_device(self.network))
        weight = torch.zeros_like(total)
        with torch.random.fork_rng(devices=[]):
            for step, micro_batches in enumerate(self.loader.epoch(self.seed, epoch, first), first):
                if self._due(step):
                    progress.step, progress.sums = step, self._sums(before, total, weight)
                    self.store()
                self._set_rate(epoch * self.loader.steps + step)
                loss, known = self._step(micro_batches)
                total += loss
                weight += known
        sums = self._sums(before, total, weight)
        progress.step, progress.sums = 0, torch.zeros_like(progress.sums)
        return check_finite(float(sums[0] / sums[1]), epoch)

    def _due(self, step: int) -> bool:
        """Whether a long epoch is kept in the middle; by steps, so that all ranks agree."""
        every = self.config.distribute.checkpoint
        return self.loader.reseeds_each_step and step > self.progress.step and step % every == 0

    def _sums(self, before: Tensor, total: Tensor, weight: Tensor) -> Tensor:
        # Every rank knows the number of labels of the whole batches.
        mine = weight if self.collective.rank == 0 else torch.zeros_like(weight)
        return self.collective.all_reduce(before + torch.stack([total, mine]).double().cpu())

    def _set_rate(self, step: int) -> None:
        rate = one_cycle(step, self.config.epochs * self.loader.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * rate

    def _step(self, micro_batches: Sequence[MicroBatch]) -> tuple[Tensor, Tensor]:
        """One step of the optimiser; returns this rank's loss and the batch's known labels."""
        known = torch.stack([micro_batch.stars.known.sum() for micro_batch in micro_batches]).sum()
        known = self.collective.all_reduce(known).clamp(min=1.0).to(_device(self.network))
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros_like(known)
        for number, micro_batch in enumerate(micro_batches, start=1):
            with self.collective.sync_gradients(self.layers, last=number == len(micro_batches)):
                total += self._backward(micro_batch, known)
        torch.nn.utils.clip_grad_norm_(self.network.layers.parameters(), MAX_GRADIENT_NORM)
        self.optimiser.step()
        return total, known

    def _backward(self, micro_batch: MicroBatch, known: Tensor) -> Tensor:
        if micro_batch.seed is not None:
            torch.manual_seed(micro_batch.seed)  # for drop-out
        stars = micro_batch.stars
        if len(stars):  # the last steps of an epoch may leave a virtual rank without
            stars = self.augment(stars, self.loader.pool, micro_batch.generator)
        stars = stars.to(_device(self.network))
        narrow = self.precision != torch.float32
        with torch.autocast(stars.spectrum.device.type, self.precision, enabled=narrow):
            outputs = self.layers(stars.branches)
        outputs = tuple(output.float() for output in outputs)
        # Ranks take the mean of their gradients, what is wanted is the sum.
        loss = self.loss.training(outputs, stars) / known * self.collective.world
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            return self.loss.validation(outputs, stars)

    def note(self, loss: float, validation: float) -> None:
        """An epoch is over."""
        progress = self.progress
        check_finite(validation, len(progress.epochs))
        better = validation < progress.validation
        progress.epochs.append((loss, validation))
        if better:
            progress.best = len(progress.epochs) - 1
            progress.weights = copy.deepcopy(self.network.layers.state_dict())

    def told(self, part: float, seconds: float) -> dict[str, float]:
        """The epoch that has just ended, of which ``part`` was done in those seconds."""
        epochs = self.progress.epochs
        return {
            "epoch": len(epochs),
            "loss": epochs[-1][0],
            "validation": epochs[-1][1],
            "stars_per_second": self.loader.stars * part / seconds,
            "learning_rate": float(self.optimiser.param_groups[0]["lr"]),
            "seconds_left": (self.config.epochs - len(epochs)) * seconds / part,
        }

    def store(self) -> None:
        """Keep where this stands."""
        if self.collective.is_writer():
            _store(self.path, self.network, self.optimiser, self.progress)


def _device(network: Network) -> torch.device:
    return next(network.layers.parameters()).device


def _global_step(progress: MemberState, loader: TrainLoader) -> int:
    return len(progress.epochs) * loader.steps + progress.step


def _parameter_groups(network: Network, decay: float) -> list[dict[str, Any]]:
    """Weights decay, biases do not."""
    parameters = list(network.layers.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def is_finished(progress: MemberState, config: TrainConfig) -> bool:
    """Whether a member has had all its epochs, or no better one for long enough."""
    done = len(progress.epochs)
    return done >= config.epochs or done - 1 - progress.best >= config.patience


def check_finite(loss: float, epoch: int, whose: str = "") -> float:
    """The loss.

    Raises
    ------
    TrainingError : it is not a finite number.
    """
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss of epoch {epoch + 1}{whose} is {loss}",
            expected="a finite number",
            cure="Lower train.learning_rate, and look for absurd labels or label errors.",
        )
    return loss


def _store(
    path: Path, network: Network, optimiser: torch.optim.Optimizer, progress: MemberState
) -> None:
    checkpoint.save(
        path,
        {
            "layers": network.layers.state_dict(),
            "optimiser": optimiser.state_dict(),
            "epochs": progress.epochs,
            "best": progress.best,
            "weights": progress.weights,
            "step": progress.step,
            "sums": progress.sums,
        },
    )


def _resume(path: Path, network: Network, optimiser: torch.optim.Optimizer) -> MemberState:
    state = checkpoint.load(path)
    if state is None:
        return MemberState()
    network.layers.load_state_dict(state["layers"])
    optimiser.load_state_dict(state["optimiser"])
    epochs = [(float(loss), float(validation)) for loss, validation in state["epochs"]]
    return MemberState(epochs, state["best"], state["weights"], state["step"], state["sums"])
