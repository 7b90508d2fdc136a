"""Loop: one member from its first weights to its best. Knows nothing of other members.

Every epoch draws from a generator seeded by member and epoch, and the learning rate is a
function of the step, so a checkpoint of weights and optimiser says all there is to say: a
run killed and resumed gives the weights of an undisturbed one.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distcnn.config import TrainConfig
from distcnn.errors import TrainingError
from distcnn.model import Network
from distcnn.training import checkpoint
from distcnn.training.augment import Augment
from distcnn.training.batches import Scaled, shuffled
from distcnn.training.loss import training_loss, validation_loss

CHECKPOINT = "checkpoint.pt"
WARM_UP, FIRST, LAST = 0.15, 0.04, 1e-3
"""One cycle: part of the steps that the learning rate rises, where it begins and ends."""
CLIP = 1.0
"""Largest norm of a gradient."""
Report = Callable[[dict[str, float]], None]


@dataclass
class Progress:
    """Where a member stands: ``epochs`` holds (training loss, validation loss) per epoch."""

    epochs: list[tuple[float, float]] = field(default_factory=list)
    best: int = -1
    weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def validation(self) -> float:
        """The best validation loss so far."""
        return self.epochs[self.best][1] if self.best >= 0 else math.inf


def train_member(
    network: Network,
    train: Scaled,
    validation: Scaled,
    *,
    augment: Augment,
    config: TrainConfig,
    seed: int,
    folder: Path,
    report: Report,
) -> Progress:
    """Train ``network`` until its validation loss stops falling; it is left at its best.

    Parameters
    ----------
    network : with scalings fitted; ``train`` and ``validation`` were scaled by them.
    augment : changes a batch in place, afresh in every epoch.
    folder : holds the checkpoint; training goes on from one that is there.
    report : told after every epoch.

    Raises
    ------
    TrainingError : the loss is not finite.
    """
    optimiser = torch.optim.AdamW(
        _groups(network, config.weight_decay), lr=config.learning_rate, fused=True
    )
    progress = _resume(folder / CHECKPOINT, network, optimiser)
    with one_thread():
        while not _finished(progress, config):
            clock = time.perf_counter()
            epoch = len(progress.epochs)
            loss = _epoch(network, optimiser, train, augment, config=config, epoch=epoch, seed=seed)
            _note(progress, network, loss, evaluate(network, validation))
            _store(folder / CHECKPOINT, network, optimiser, progress)
            report(
                {
                    "epoch": len(progress.epochs),
                    "loss": loss,
                    "validation": progress.epochs[-1][1],
                    "stars_per_second": len(train) / (time.perf_counter() - clock),
                }
            )
    network.layers.load_state_dict(progress.weights)
    return progress


def evaluate(network: Network, stars: Scaled, batch: int = 1024) -> float:
    """Mean loss over stars as they are, without augmentation."""
    network.eval()
    total, weight = 0.0, 0.0
    with torch.no_grad():
        for rows in torch.split(torch.arange(len(stars)), batch):
            some = stars.take(rows)
            outputs = network.layers(some.spectrum, some.xp, some.scalars)
            total += float(validation_loss(outputs, some))
            weight += float(some.known.sum())
    return total / max(weight, 1.0)


def one_cycle(step: int, steps: int) -> float:
    """Learning rate as a part of its peak: a linear rise, then half a cosine (Smith 2018)."""
    done = (step + 1) / steps
    if done < WARM_UP:
        return FIRST + (1 - FIRST) * done / WARM_UP
    left = (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2
    return LAST + (1 - LAST) * left


def derived_seed(*numbers: int) -> int:
    """A seed that differs wherever one of the numbers does."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def one_thread() -> Iterator[None]:
    """One core per member: members run beside each other, and sums keep their order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _epoch(
    network: Network,
    optimiser: torch.optim.Optimizer,
    train: Scaled,
    augment: Augment,
    *,
    config: TrainConfig,
    epoch: int,
    seed: int,
) -> float:
    """One pass over the training stars; returns its mean loss."""
    generator = torch.Generator().manual_seed(derived_seed(seed, epoch))
    pool = train.snr[torch.isfinite(train.snr[:, 0])]
    pool = pool if len(pool) else torch.full((1, 1), math.inf)
    steps = math.ceil(len(train) / config.batch)
    network.train()
    total, weight = torch.zeros(()), torch.zeros(())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, epoch, 1))  # for drop-out
        for number, rows in enumerate(shuffled(len(train), config.batch, generator)):
            rate = one_cycle(epoch * steps + number, config.epochs * steps)
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * rate
            stars = augment(train.take(rows), pool, generator)
            outputs = network.layers(stars.spectrum, stars.xp, stars.scalars)
            known = stars.known.sum().clamp(min=1.0)
            loss = training_loss(outputs, stars) / known
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.layers.parameters(), CLIP)
            optimiser.step()
            with torch.no_grad():
                total += validation_loss(outputs, stars)
                weight += known
    return _finite(float(total / weight), epoch)


def _groups(network: Network, decay: float) -> list[dict[str, Any]]:
    """Weights decay, biases do not."""
    parameters = list(network.layers.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _finished(progress: Progress, config: TrainConfig) -> bool:
    done = len(progress.epochs)
    return done >= config.epochs or done - 1 - progress.best >= config.patience


def _note(progress: Progress, network: Network, loss: float, validation: float) -> None:
    _finite(validation, len(progress.epochs))
    better = validation < progress.validation
    progress.epochs.append((loss, validation))
    if better:
        progress.best = len(progress.epochs) - 1
        progress.weights = copy.deepcopy(network.layers.state_dict())


def _finite(loss: float, epoch: int) -> float:
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss of epoch {epoch + 1} is {loss}",
            expected="a finite number",
            cure="Lower train.learning_rate, and look for absurd labels or label errors.",
        )
    return loss


def _store(
    path: Path, network: Network, optimiser: torch.optim.Optimizer, progress: Progress
) -> None:
    checkpoint.save(
        path,
        {
            "layers": network.layers.state_dict(),
            "optimiser": optimiser.state_dict(),
            "epochs": progress.epochs,
            "best": progress.best,
            "weights": progress.weights,
        },
    )


def _resume(path: Path, network: Network, optimiser: torch.optim.Optimizer) -> Progress:
    state = checkpoint.load(path)
    if state is None:
        return Progress()
    network.layers.load_state_dict(state["layers"])
    optimiser.load_state_dict(state["optimiser"])
    epochs = [(float(loss), float(validation)) for loss, validation in state["epochs"]]
    return Progress(epochs, state["best"], state["weights"])
