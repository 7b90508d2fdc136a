"""Fit: one member from its first weights to its best, on one rank or on many.

Random numbers are seeded by member, epoch and step (see ``data.loader``), and the learning rate
is a function of the step, so a checkpoint of weights, optimiser and position says all there is
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
from torch import Tensor, nn

from distcnn.config import TrainConfig
from distcnn.errors import TrainingError
from distcnn.model import Network
from distcnn.model.devices import worker_threads
from distcnn.training.data.loader import MicroBatch, TrainLoader
from distcnn.training.data.tensors import Scaled
from distcnn.training.loop.checkpoint import CHECKPOINT, MemberState
from distcnn.training.loop.collective import Collective, SingleRank
from distcnn.training.loop.loss import LIKELIHOOD, Loss

WARM_UP_FRACTION, FIRST_RATE, LAST_RATE = 0.15, 0.04, 1e-3
"""One cycle: part of the steps that the learning rate rises, where it begins and ends."""
MAX_GRADIENT_NORM = 1.0
"""Gradients longer than this are shortened to it."""

OnEpoch = Callable[[dict[str, float]], None]
"""Takes the numbers of an epoch that has just ended; see ``events.EpochEnded``."""
Augmentation = Callable[[Scaled, Tensor, torch.Generator], Scaled]
"""What happens to a batch of its own, given S/N to choose from, before the layers see it."""


def train_member(
    network: Network,
    train: Scaled | TrainLoader,
    validation: Scaled,
    *,
    augment: Augmentation,
    config: TrainConfig,
    seed: int,
    folder: Path,
    on_epoch: OnEpoch,
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
    on_epoch : called after every epoch.
    collective : the other ranks, if any; only the first writes and reports.
    precision : of wide products in training; validation is always in float32.
    loss : what is lowered, and what validation stars are judged by.

    Raises
    ------
    TrainingError : the loss is not finite.
    """
    loader = TrainLoader.in_memory(train, config.batch) if isinstance(train, Scaled) else train
    with worker_threads():
        trainer = _Trainer(
            network,
            loader,
            augment,
            config,
            seed,
            folder / CHECKPOINT,
            collective or SingleRank(),
            precision,
            loss,
        )
        while not is_finished(trainer.state, config):
            clock, first = time.perf_counter(), trainer.state.step
            lowered = trainer.epoch()
            trainer.end_epoch(lowered, validation)
            if trainer.collective.may_write():
                done = 1 - first / loader.steps
                on_epoch(trainer.numbers(done, time.perf_counter() - clock))
    network.layers.load_state_dict(trainer.state.weights)
    return trainer.state


@dataclass
class _Trainer:
    """One member's training on this rank.

    ``layers`` are those of the network, wrapped so that ``backward`` averages gradients over
    ranks; ``path`` is that of the checkpoint.
    """

    network: Network
    loader: TrainLoader
    augment: Augmentation
    config: TrainConfig
    seed: int
    path: Path
    collective: Collective
    precision: torch.dtype
    loss: Loss
    layers: nn.Module = field(init=False)
    optimiser: torch.optim.Optimizer = field(init=False)
    state: MemberState = field(init=False)

    def __post_init__(self) -> None:
        """Begin, or go on from the checkpoint."""
        self.layers = self.collective.wrap(self.network.layers)
        groups = _parameter_groups(self.network, self.config.weight_decay)
        self.optimiser = torch.optim.AdamW(groups, lr=self.config.learning_rate, fused=True)
        self.state = MemberState.resume(self.path, self.network.layers, self.optimiser)
        # A rank that read an older checkpoint than the others would wait for them forever.
        step = len(self.state.epochs) * self.loader.steps + self.state.step
        self.collective.assert_equal(step, "checkpoints")

    @property
    def device(self) -> torch.device:
        return _device(self.network)

    def epoch(self) -> float:
        """What is left of one pass over the training stars; returns its mean loss."""
        state, first, epoch = self.state, self.state.step, len(self.state.epochs)
        self.network.train()
        # ``state.sums`` came from the checkpoint, the same on every rank and already summed over
        # ranks: rank 0 alone brings them into the next sum, else they count once per rank.
        before = state.sums if self.collective.rank == 0 else torch.zeros_like(state.sums)
        total = torch.zeros((), device=self.device)
        known = torch.zeros_like(total)
        # Drop-out draws from the global generator, which is seeded here and given back after.
        with torch.random.fork_rng(devices=[]):
            for step, batch in enumerate(self.loader.epoch(self.seed, epoch, first), first):
                if self._checkpoint_is_due(step):
                    state.step, state.sums = step, self._sums(before, total, known)
                    self.save()
                self._set_learning_rate(epoch * self.loader.steps + step)
                loss, labels = self._step(batch)
                total += loss
                known += labels
        sums = self._sums(before, total, known)
        state.step, state.sums = 0, torch.zeros_like(state.sums)
        return check_finite(float(sums[0] / sums[1]), epoch)

    def _checkpoint_is_due(self, step: int) -> bool:
        """Whether a long epoch is saved in the middle: by steps, not seconds, so all ranks agree.

        Only where every step has seeds of its own: elsewhere the state of the generator would
        have to be saved as well.
        """
        every = self.config.distribute.checkpoint
        return self.loader.reseeds_each_step and step > self.state.step and step % every == 0

    def _sums(self, before: Tensor, total: Tensor, known: Tensor) -> Tensor:
        """Loss and known labels [2] of this epoch so far, over all ranks.

        ``total`` is of this rank's stars; ``known`` is already summed over ranks (see ``_step``),
        so it is counted once, on rank 0.
        """
        mine = known if self.collective.rank == 0 else torch.zeros_like(known)
        return self.collective.all_reduce(before + torch.stack([total, mine]).double().cpu())

    def _set_learning_rate(self, step: int) -> None:
        rate = one_cycle(step, self.config.epochs * self.loader.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * rate

    def _step(self, batch: Sequence[MicroBatch]) -> tuple[Tensor, Tensor]:
        """One step of the optimiser.

        Returns the validation loss of this rank's stars as a sum, and the number of known labels
        of the whole batch, over all ranks.
        """
        known = torch.stack([part.stars.known.sum() for part in batch]).sum()
        known = self.collective.all_reduce(known).clamp(min=1.0).to(self.device)
        self.optimiser.zero_grad(set_to_none=True)
        total = torch.zeros_like(known)
        for number, part in enumerate(batch, start=1):
            # Gradients add up over the micro-batches here; ranks exchange them once, at the last.
            with self.collective.sync_gradients(self.layers, last=number == len(batch)):
                total += self._backward(part, known)
        torch.nn.utils.clip_grad_norm_(self.network.layers.parameters(), MAX_GRADIENT_NORM)
        self.optimiser.step()
        return total, known

    def _backward(self, part: MicroBatch, known: Tensor) -> Tensor:
        """Add the gradients of a micro-batch; returns its validation loss as a sum."""
        if part.seed is not None:
            torch.manual_seed(part.seed)  # for drop-out
        stars = part.stars
        if len(stars):  # the last steps of an epoch may leave a virtual rank without
            stars = self.augment(stars, self.loader.pool, part.generator)
        stars = stars.to(self.device)
        narrow = self.precision != torch.float32
        with torch.autocast(stars.spectrum.device.type, self.precision, enabled=narrow):
            outputs = self.layers(stars.branches)
        outputs = tuple(output.float() for output in outputs)
        # DDP divides the sum of gradients by the number of ranks. What is wanted is the gradient
        # of sum(loss) / known over the whole batch, so the division is undone here.
        loss = self.loss.training(outputs, stars) / known * self.collective.world
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            return self.loss.validation(outputs, stars)

    def end_epoch(self, lowered: float, validation: Scaled) -> None:
        """Validate, keep the weights if they are the best so far, and save."""
        state = self.state
        found = mean_loss(self.network, validation, collective=self.collective, loss=self.loss)
        check_finite(found, len(state.epochs))
        better = found < state.validation
        state.epochs.append((lowered, found))
        if better:
            state.best = len(state.epochs) - 1
            state.weights = copy.deepcopy(self.network.layers.state_dict())
        self.save()

    def numbers(self, done: float, seconds: float) -> dict[str, float]:
        """Of the epoch that has just ended; the fraction ``done`` of it took that long."""
        epochs = self.state.epochs
        return {
            "epoch": len(epochs),
            "loss": epochs[-1][0],
            "validation": epochs[-1][1],
            "stars_per_second": self.loader.stars * done / seconds,
            "learning_rate": float(self.optimiser.param_groups[0]["lr"]),
            "seconds_left": (self.config.epochs - len(epochs)) * seconds / done,
        }

    def save(self) -> None:
        """Write the checkpoint, if this rank is the one that writes."""
        if self.collective.may_write():
            self.state.save(self.path, self.network.layers, self.optimiser)


def mean_loss(
    network: Network,
    stars: Scaled,
    batch: int = 1024,
    *,
    collective: Collective | None = None,
    loss: Loss = LIKELIHOOD,
) -> float:
    """Mean loss over stars as they are, without augmentation; ranks share the batches out."""
    collective = collective or SingleRank()
    network.eval()
    parts = torch.split(torch.arange(len(stars)), batch)
    # One row per batch, summed at the end: adding up on each rank first would add in another
    # order for another number of ranks, and change the last bits that decide which epoch is best.
    sums = torch.zeros(len(parts), 2, dtype=torch.float64)
    with torch.no_grad():
        for number in range(collective.rank, len(parts), collective.world):
            some = stars.take(parts[number]).to(_device(network))
            outputs = network.layers(some.branches)
            sums[number, 0] = loss.validation(outputs, some).item()
            sums[number, 1] = some.known.sum().item()
    total, known = map(sum, zip(*collective.all_reduce(sums).tolist(), strict=True))
    return float(total / max(known, 1.0))


def one_cycle(step: int, steps: int) -> float:
    """Learning rate as a part of its peak: a linear rise, then half a cosine (Smith 2018)."""
    done = (step + 1) / steps
    if done < WARM_UP_FRACTION:
        return FIRST_RATE + (1 - FIRST_RATE) * done / WARM_UP_FRACTION
    left = (1 + math.cos(math.pi * (done - WARM_UP_FRACTION) / (1 - WARM_UP_FRACTION))) / 2
    return LAST_RATE + (1 - LAST_RATE) * left


def is_finished(state: MemberState, config: TrainConfig) -> bool:
    """Whether a member has had all its epochs, or no better one for long enough."""
    done = len(state.epochs)
    return done >= config.epochs or done - 1 - state.best >= config.patience


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


def _device(network: Network) -> torch.device:
    return next(network.layers.parameters()).device


def _parameter_groups(network: Network, decay: float) -> list[dict[str, Any]]:
    """Weights decay, biases do not: pulling an offset towards zero would bias the labels."""
    parameters = list(network.layers.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
