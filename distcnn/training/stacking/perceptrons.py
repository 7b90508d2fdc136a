"""Fit of small multilayer perceptrons to the columns of the table, those of all folds in one pass.

They are what a network is without its convolutions: principal components know at once what a
spectrum of few labelled stars teaches convolutions late. Weight decay is strong, for some hundred
bright stars are all that tell of bright spectra; and bright stars are drawn more often than faint
ones, of which most surveys have more, since it is theirs that there is most to learn from.

Legend: N star, D column, H neuron, L label, M network (all folds, then none held out; seeds).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from distcnn.arrays import Array

HIDDEN = 64
"""Neurons of both hidden layers."""
SEEDS = 2
"""Networks that differ in seed alone, whose mean is the answer."""
EPOCHS, BATCH = 60, 128
MAX_STEPS = 6000
RATE, WEIGHT_DECAY = 3e-3, 0.3
"""Peak of the one-cycle schedule of AdamW, and its decay of weights."""
WARM_UP = 0.15
SNR_POWER = 0.5
"""Stars are drawn in proportion to their S/N to this power."""
MAX_TIMES_OFTEN = 30.0
"""The brightest stars are drawn at most so much more often than the faintest."""
LEAST_SIGMA = 0.01
"""Of the noise that is learned beside the labels, in units of their spread."""


@dataclass(frozen=True)
class FittedPerceptrons:
    """``layers`` [M,D,H], [M,1,H], [M,H,H], [M,1,H], [M,H,L], [M,1,L] of the networks that saw all
    stars, and ``out_of_fold`` [N,L] of those that did not see the star.
    """

    layers: tuple[Array, ...]
    out_of_fold: Array


def fit_perceptrons(
    seen: Array, target: Array, fold: Array, log_snr: Array | None, seed: int
) -> FittedPerceptrons:
    """Fit to columns ``seen`` [N,D] of order one and labels [N,L] with gaps.

    ``log_snr`` [N], any unit and zero of its own; None = all stars alike.
    """
    names = np.unique(fold)
    held_out = np.concatenate([np.repeat(names, SEEDS), np.full(SEEDS, -1)])
    chance = _chances(log_snr, len(seen))
    chances = np.where(fold == held_out[:, None], 0.0, chance)
    layers = _train(seen, target, chances, seed)
    with torch.no_grad():
        answer = _answer(layers, torch.from_numpy(seen.astype(np.float32)))[..., : target.shape[1]]
    out_of_fold = answer[-SEEDS:].mean(dim=0).double().numpy()
    for number, name in enumerate(names):
        own = answer[number * SEEDS : (number + 1) * SEEDS].mean(dim=0).double().numpy()
        out_of_fold[fold == name] = own[fold == name]
    labels = target.shape[1]
    kept = [layer[-SEEDS:].detach().numpy() for layer in layers]
    # The last layer gives noise beside labels, which training alone needs.
    kept[4:] = [array[..., :labels] for array in kept[4:]]
    return FittedPerceptrons(tuple(kept), out_of_fold)


def _chances(log_snr: Array | None, stars: int) -> Array:
    """[N] how often a star is drawn, relative to others."""
    if log_snr is None:
        return np.ones(stars)
    power = SNR_POWER * np.log(10.0) * (log_snr - np.nanmin(log_snr))
    return np.asarray(np.exp(np.nan_to_num(np.minimum(power, np.log(MAX_TIMES_OFTEN)))))


def _train(seen: Array, target: Array, chances: Array, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    layers = _first_layers(len(chances), seen.shape[1], target.shape[1], generator)
    inputs = torch.from_numpy(seen.astype(np.float32))
    known = torch.from_numpy(np.isfinite(target))
    labels = torch.from_numpy(np.nan_to_num(target).astype(np.float32))
    draws = torch.from_numpy(chances)
    weights, offsets = layers[::2], layers[1::2]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": WEIGHT_DECAY},
        {"params": offsets, "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=RATE)
    steps = min(EPOCHS * -(-len(seen) // BATCH), MAX_STEPS)
    for step in range(steps):
        rows = torch.multinomial(draws, BATCH, replacement=True, generator=generator)
        for group in optimiser.param_groups:
            group["lr"] = RATE * _cycle((step + 1) / steps)
        loss = _loss(_answer(layers, inputs[rows]), labels[rows], known[rows])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        _clip(layers)
        optimiser.step()
    return layers


def _first_layers(
    networks: int, columns: int, labels: int, generator: torch.Generator
) -> list[Tensor]:
    """Weights and offsets as ``torch.nn.Linear`` draws them."""
    layers = []
    for width, out in ((columns, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 2 * labels)):
        for shape in ((networks, width, out), (networks, 1, out)):
            drawn = (2 * torch.rand(shape, generator=generator) - 1) / width**0.5
            layers.append(drawn.requires_grad_())
    return layers


def _answer(layers: list[Tensor], inputs: Tensor) -> Tensor:
    """[M,B,2 L] labels and noise before it is made positive, of inputs [B,D] or [M,B,D]."""
    x = inputs
    for number in (0, 2):
        x = functional.silu(x @ layers[number] + layers[number + 1])
    return x @ layers[4] + layers[5]


def _loss(answer: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Negative log likelihood in nats, mean over known labels, summed over the networks."""
    mean, noise = answer.chunk(2, dim=-1)
    sigma = functional.softplus(noise) + LEAST_SIGMA
    nats = 0.5 * ((mean - target) / sigma).square() + torch.log(sigma)
    each = (nats * known).sum(dim=(1, 2)) / known.sum(dim=(1, 2)).clamp(min=1)
    return each.sum()


def _clip(layers: list[Tensor]) -> None:
    """Gradients of a network longer than 1 are shortened to it."""
    gradients = [layer.grad for layer in layers if layer.grad is not None]
    square = sum((g.square().sum(dim=(1, 2), keepdim=True) for g in gradients), torch.zeros(()))
    shorter = torch.clamp(square.rsqrt(), max=1.0)
    for gradient in gradients:
        gradient.mul_(shorter)


def _cycle(done: float) -> float:
    """Learning rate as a part of its peak: a linear rise, then half a cosine (Smith 2018)."""
    if done < WARM_UP:
        return done / WARM_UP
    return float(1 + np.cos(np.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2 + 1e-3
