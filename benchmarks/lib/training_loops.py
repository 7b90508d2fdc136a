"""Loops that ``training.py`` compares. Each gives ``epoch()``, which trains once over the stars.

- ``notebook``: DataLoader over a TensorDataset, inputs scaled in every forward pass, torch's
  default AdamW.
- ``eager``: the plain loop at its best: inputs scaled beforehand, batches by ``index_select``,
  nothing else that is not needed. Same layers, loss and clipping as ours.
- ``ours``: ``training.loop.train_member`` with validation and checkpoints.
- ``fused``: several members in one pass (``training.fused``).
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from distcnn.config import AugmentConfig, TrainConfig
from distcnn.model import InputSpec, Network, StarInputs, build_network, fit_scaling
from distcnn.training.data.augment import Augment, SurveyProperties
from distcnn.training.data.labelled import Labelled
from distcnn.training.data.loader import derived_seed
from distcnn.training.data.tensors import Scaled, scale_stars
from distcnn.training.loop.conv_matmul import cpu_form
from distcnn.training.loop.fit import MAX_GRADIENT_NORM, one_cycle, train_member
from distcnn.training.loop.loss import training_loss
from distcnn.training.loop.member import MemberTask
from distcnn.training.vmap.trainer import VmapTask, VmapTrainer

LABELS = ("teff", "logg", "mh", "alpham", "feh")
PLAIN = AugmentConfig(noise=0, drop_xp=0, drop_parallax=0, drop_pixels=0)
CUSTOM = {"batch": 128, "learning_rate": 3e-3}
"""The recipe of the plain loops, which ours had too before larger batches were tried."""
FACTS = SurveyProperties(correlation=(0.3,), velocity=9.0)
Epoch = Callable[[], None]


def make_stars(stars: int, pixels: int) -> tuple[InputSpec, Labelled]:
    """Random stars: speed does not depend on what they mean."""
    rng = np.random.default_rng(0)
    spec = InputSpec(pixels, 110, ("g", "bp", "rp"), True, "benchmark", LABELS)
    arrays = {
        "flux": rng.normal(1, 0.05, (stars, pixels)),
        "xp": rng.normal(1, 1, (stars, 110)),
        "photometry": rng.normal(11, 1, (stars, 3)),
        "astrometry": rng.uniform(0.1, 1, (stars, 2)),
        "snr": rng.uniform(15, 100, (stars, 1)),
    }
    inputs = StarInputs({name: array.astype(np.float32) for name, array in arrays.items()})
    label = rng.normal(0, 1, (stars, len(LABELS))).astype(np.float32)
    label[:, 0] = 5000 + 500 * label[:, 0]
    error = np.full((stars, pixels), 0.05, np.float32)
    return spec, Labelled(
        np.arange(stars),
        inputs,
        error,
        label,
        np.full_like(label, 0.1),
        np.full((stars, 2), np.nan),
    )


def make_network(spec: InputSpec, stars: Labelled, config: TrainConfig, seed: int = 0) -> Network:
    """A new network with its scalings fitted."""
    network = build_network(spec, config.network, seed)
    fit_scaling(network, stars.inputs, stars.label)
    return network


def notebook(spec: InputSpec, stars: Labelled, config: TrainConfig) -> Epoch:
    """The loop of a notebook."""
    network = make_network(spec, stars, config)
    label, error = torch.from_numpy(stars.label), torch.from_numpy(stars.label_error)
    data = TensorDataset(*stars.inputs.tensors().values(), label, error)
    loader = DataLoader(data, batch_size=config.batch, shuffle=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def epoch() -> None:
        for *inputs, y, y_error in loader:
            mean, sigma, *_ = network(dict(zip(stars.inputs.arrays, inputs, strict=True)))
            variance = sigma**2 + y_error**2
            loss = (0.5 * ((mean - y) ** 2 / variance + variance.log())).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return epoch


class Eager:
    """The plain eager loop over scaled stars; ``augment`` and the schedule only on request."""

    def __init__(
        self,
        network: Network,
        train: Scaled,
        config: TrainConfig,
        *,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        self.network, self.train, self.config = network, train, config
        self.augment, self.seed, self.done = augment, seed, 0
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [p for p in network.layers.parameters() if p.ndim > 1]},
                {
                    "params": [p for p in network.layers.parameters() if p.ndim <= 1],
                    "weight_decay": 0.0,
                },
            ],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
        )

    def __call__(self) -> None:
        layers, steps = self.network.layers.train(), -(-len(self.train) // self.config.batch)
        dice = torch.Generator().manual_seed(derived_seed(self.seed, self.done))
        torch.manual_seed(derived_seed(self.seed, self.done, 1))
        order = torch.randperm(len(self.train), generator=dice)
        for number, rows in enumerate(torch.tensor_split(order, steps)):
            rate = one_cycle(self.done * steps + number, self.config.epochs * steps)
            for group in self.optimiser.param_groups:
                group["lr"] = self.config.learning_rate * rate
            stars = self.train.take(rows)
            if self.augment is not None:
                stars = self.augment(stars, self.train.snr, dice)
            outputs = layers(stars.branches)
            loss = training_loss(outputs, stars) / stars.known.sum()
            self.optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(layers.parameters(), MAX_GRADIENT_NORM)
            self.optimiser.step()
        self.done = (self.done + 1) % self.config.epochs


def eager(spec: InputSpec, stars: Labelled, config: TrainConfig) -> Epoch:
    """The plain loop at its best."""
    network = make_network(spec, stars, config)
    augment = None if config.augment == PLAIN else Augment(config.augment, spec, network, FACTS)
    return Eager(network, scale_stars(network, stars), config, augment=augment)


def ours(spec: InputSpec, stars: Labelled, config: TrainConfig, *, light: bool) -> Epoch:
    """``train_member``; ``light``: in the form of ``products.cpu_form``."""
    network = make_network(spec, stars, config)
    train = scale_stars(network, stars)
    held_out = train.take(torch.arange(len(stars) // 8))
    if light:
        network.layers = cpu_form(network.layers)
    augment = Augment(config.augment, spec, network, FACTS)
    once = config.model_copy(update={"epochs": 1, "patience": 1})

    def epoch() -> None:
        with tempfile.TemporaryDirectory() as folder:
            train_member(
                network,
                train,
                held_out,
                augment=augment,
                config=once,
                seed=0,
                folder=Path(folder),
                on_epoch=lambda line: None,
            )

    return epoch


def fused(
    spec: InputSpec, stars: Labelled, config: TrainConfig, *, members: int, device: torch.device
) -> tuple[Epoch, VmapTrainer]:
    """Members in one pass on a device, augmentation included; checkpoints are not."""
    nowhere = Path("unused")
    tasks = tuple(MemberTask(nowhere, nowhere, n, spec, config, "") for n in range(members))
    networks = [make_network(spec, stars, config, seed=task.seed) for task in tasks]
    train = scale_stars(networks[0], stars)
    held_out = train.take(torch.arange(len(stars) // 8))
    group = VmapTrainer(VmapTask(tasks), networks, train.to(device), held_out.to(device), FACTS)

    def epoch() -> None:
        group._epoch()
        group.stack.validate(group.validation)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return epoch, group
