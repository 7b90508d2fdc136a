"""Network: from a star's inputs to labels and their noise, in physical units.

Legend: B star, P pixel, C XP coefficient, S scalar feature, L label.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from distcnn.arrays import Array
from distcnn.config import ImportedNetwork, NetworkConfig, StudentNetwork
from distcnn.errors import TrainingError
from distcnn.model.imported.layers import ImportedLayers
from distcnn.model.imported.scaling import ImportedScaling
from distcnn.model.inputs import InputSpec, StarInputs
from distcnn.model.networks.covariance import MIN_SIGMA, Correlation, pairs
from distcnn.model.networks.published import Hr15n2023, Rave2020, WithConstantNoise
from distcnn.model.scaling import InputScaling, LabelScaling, fit_inputs, fit_labels

SLOPE = 0.1


class Hybrid(nn.Module):
    """Spectrum, XP and scalars in three branches, joined; mean, noise and correlations.

    Our reconstruction of the design of Guiglion et al. 2024 (A&A 682, A9), whose layers are
    not public; it is not their network. Two strided convolutions take the place of pooling:
    no sample is computed to be thrown away, channels are multiples of 8, and in_channels x
    kernel is neither 64 nor 128, the shapes that some CPUs compute wrongly in bfloat16.
    """

    def __init__(self, spec: InputSpec, config: NetworkConfig) -> None:
        super().__init__()
        self.with_spectrum = spec.pixels > 0
        self.with_xp = spec.coefficients > 0
        hidden, half = config.hidden, config.hidden // 2
        width = half
        self.spectrum: nn.Module = nn.Identity()
        self.xp: nn.Module = nn.Identity()
        if self.with_spectrum:
            self.spectrum = _spectrum_branch(spec.pixels, config)
            width += hidden
        if self.with_xp:
            self.xp = _dense(spec.coefficients, hidden, half, config.dropout)
            width += half
        self.scalars = _dense(len(spec.features), half, half)
        # No drop-out from here on: it would come back as noise of the labels themselves.
        self.join = _dense(width, hidden, half)
        self.mean = nn.Linear(half, len(spec.labels))
        self.noise = nn.Linear(half, len(spec.labels))
        self.count = len(pairs(len(spec.labels)))
        self.pairs = nn.Linear(half, max(self.count, 1))
        self.correlation = Correlation(len(spec.labels))
        self.least = MIN_SIGMA

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        mean, noise, entries = self.heads(inputs)
        return mean, functional.softplus(noise) + self.least, self.correlation(entries)

    def heads(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Mean [B,L], noise [B,L] before it is made positive, free entries of pairs [B,K]."""
        branches = [self.scalars(inputs["scalars"])]
        if self.with_spectrum:
            branches.append(self.spectrum(inputs["spectrum"].unsqueeze(1)))
        if self.with_xp:
            branches.append(self.xp(inputs["xp"]))
        x = self.join(torch.cat(branches, dim=1))
        return self.mean(x), self.noise(x), self.pairs(x.detach())[:, : self.count]


class Student(Hybrid):
    """``hybrid`` that answers as a whole ensemble does: two rows where members have one each.

    Row 0 is the label with its noise, row 1 the label with the scatter between members; both
    have the correlation of the total error. Its noise layer holds noise and scatter.
    """

    def __init__(self, spec: InputSpec, config: NetworkConfig) -> None:
        super().__init__(spec, config)
        self.noise = nn.Linear(config.hidden // 2, 2 * len(spec.labels))

    def forward(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Scaled mean and sigma [2,B,L], correlation [2,B,L,L]."""
        mean, noise, entries = self.heads(inputs)
        sigma = torch.stack(torch.chunk(functional.softplus(noise) + self.least, 2, dim=1))
        matrix = self.correlation(entries)
        return torch.stack([mean, mean]), sigma, torch.stack([matrix, matrix])


def student_as_members(
    mean: Tensor, noise: Tensor, entries: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Heads [B,L], [B,2L], [B,K] of a student as if of two members: [2,B,L] twice, [2,B,K]."""
    return torch.stack([mean] * 2), torch.stack(noise.chunk(2, dim=1)), torch.stack([entries] * 2)


def stack_members(each: Sequence[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs of members below each other; those of a student, which is alone, are so already."""
    if each[0][0].dim() == 3:
        return each[0]
    mean, sigma, correlation = (torch.stack(column) for column in zip(*each, strict=True))
    return mean, sigma, correlation


class Network(nn.Module):
    """Layers between scalings: physical units in, physical units out.

    ``forward`` takes tensors by modality (``inputs.Batch``), NaN = missing, and gives
    ``mean [B,L]``, ``sigma [B,L]``, the learned noise, and the correlation matrix of that noise
    ``[B,L,L]``. ``layers`` take what the scaling makes of them, by branch.
    """

    def __init__(
        self,
        spec: InputSpec,
        layers: nn.Module,
        *,
        log_flux: bool = False,
        scale_by_noise: bool = False,
        inputs: ImportedScaling | None = None,
    ) -> None:
        super().__init__()
        # Training alone asks for more of the scaling than to be called, and trains ours only.
        own = inputs or InputScaling(spec, log_flux=log_flux, scale_by_noise=scale_by_noise)
        self.inputs = cast(InputScaling, own)
        self.layers = layers
        self.labels = LabelScaling(spec.labels)

    def forward(self, stars: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        mean, sigma, correlation = self.layers(self.inputs(stars))
        label, noise = self.labels(mean, sigma)
        return label, noise, correlation


def build_network(spec: InputSpec, config: NetworkConfig, seed: int) -> Network:
    """A new network with weights drawn from ``seed``; the global random state is untouched.

    Raises
    ------
    TrainingError : the preset needs a spectrum, or a longer one, than the survey has.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(config, ImportedNetwork):
            return _imported(spec, config)
        return Network(
            spec,
            _layers(spec, config),
            log_flux=config.flux == "log",
            scale_by_noise=config.scale_by_noise,
        )


def _imported(spec: InputSpec, config: ImportedNetwork) -> Network:
    layers = WithConstantNoise(ImportedLayers(config), len(spec.labels))
    network = Network(spec, layers, inputs=ImportedScaling(spec, config.meaning))
    used = [output for output in config.meaning.outputs if output.label is not None]
    network.labels.set_linear(
        torch.tensor([one.low for one in used]),
        torch.tensor([one.high - one.low for one in used]),
    )
    return network


def is_student(config: NetworkConfig) -> bool:
    """Whether the network stands for a whole ensemble."""
    return isinstance(config, StudentNetwork)


def fit_scaling(
    network: Network, stars: StarInputs, labels: Array, faintest: float | None = None
) -> None:
    """Set the scalings of a network from training stars and their labels [N,L] (NaN = missing).

    ``faintest`` : lowest S/N that training lowers spectra to.
    """
    fit_inputs(network.inputs, stars, faintest)
    fit_labels(network.labels, labels)


def _layers(spec: InputSpec, config: NetworkConfig) -> nn.Module:
    labels = len(spec.labels)
    if config.preset == "hybrid":
        _check_pixels(spec.pixels or MIN_PIXELS, MIN_PIXELS, "hybrid")
        return Student(spec, config) if is_student(config) else Hybrid(spec, config)
    if config.preset == "rave2020":
        _check_pixels(spec.pixels, Rave2020.min_pixels, "rave2020")
        scalars = len(spec.features)
        return WithConstantNoise(Rave2020(spec.pixels, scalars, labels), labels)
    _check_pixels(spec.pixels, Hr15n2023.min_pixels, "hr15n2023")
    return WithConstantNoise(Hr15n2023(spec.pixels, labels), labels)


FIRST_CONVOLUTION, SECOND_CONVOLUTION = (16, 8), (6, 4)
"""Kernel and stride of the two convolutions of ``hybrid``."""
MIN_PIXELS = FIRST_CONVOLUTION[0] + FIRST_CONVOLUTION[1] * (SECOND_CONVOLUTION[0] - 1)


def _check_pixels(met: int, fewest: int, preset: str) -> None:
    if met < fewest:
        raise TrainingError(
            f"the network {preset} was given spectra of {met} pixels",
            expected=f"at least {fewest} pixels",
            cure="Set train.network.spectrum=false to train on XP and photometry alone."
            if preset == "hybrid"
            else "Use train.network.preset=hybrid.",
        )


def _spectrum_branch(pixels: int, config: NetworkConfig) -> nn.Sequential:
    first, last = config.width // 2, config.width
    samples = pixels
    for kernel, stride in (FIRST_CONVOLUTION, SECOND_CONVOLUTION):
        samples = (samples - kernel) // stride + 1
    return nn.Sequential(
        *(nn.Conv1d(1, first, FIRST_CONVOLUTION[0], FIRST_CONVOLUTION[1]), nn.LeakyReLU(SLOPE)),
        *(
            nn.Conv1d(first, last, SECOND_CONVOLUTION[0], SECOND_CONVOLUTION[1]),
            nn.LeakyReLU(SLOPE),
        ),
        *(nn.Flatten(), nn.Dropout(config.dropout)),
        *(nn.Linear(last * samples, config.hidden), nn.LeakyReLU(SLOPE)),
    )


def _dense(width: int, hidden: int, out: int, dropout: float = 0.0) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(width, hidden), nn.LeakyReLU(SLOPE), nn.Dropout(dropout)),
        *(nn.Linear(hidden, out), nn.LeakyReLU(SLOPE)),
    )
