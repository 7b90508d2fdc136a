"""Tensors: stars scaled once and kept as the layers take them.

Legend: N or B star, P pixel, C XP coefficient, S scalar feature, L label.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distcnn.model import Network
from distcnn.model.scaling import MIN_FLUX, BranchInputs
from distcnn.training.data.labelled import Labelled

SCALED_AT_ONCE = 2048
"""Stars whose scalings are computed at a time."""


@dataclass(frozen=True)
class Scaled:
    """Stars as the layers of a network see them: everything of order one, nothing missing.

    ``noise [N,P]`` is the standard error of ``spectrum``; ``known [N,L]`` is 1 where a star has
    the label and ``variance [N,L]`` the squared error of ``target [N,L]``, in scaled units.
    """

    spectrum: Tensor
    noise: Tensor
    xp: Tensor
    scalars: Tensor
    target: Tensor
    variance: Tensor
    known: Tensor
    snr: Tensor

    def __len__(self) -> int:
        return int(self.target.shape[0])

    @property
    def branches(self) -> BranchInputs:
        """What the layers of a network are given."""
        return {"spectrum": self.spectrum, "xp": self.xp, "scalars": self.scalars}

    def take(self, rows: Tensor) -> "Scaled":
        return Scaled(*(tensor.index_select(0, rows) for tensor in self.tensors()))

    def to(self, device: torch.device) -> "Scaled":
        return Scaled(*(tensor.to(device, non_blocking=True) for tensor in self.tensors()))

    def tensors(self) -> list[Tensor]:
        return list(vars(self).values())

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors())


def scale_stars(network: Network, stars: Labelled) -> Scaled:
    """Run the scalings of a network, already fitted, over labelled stars."""
    inputs, labels = network.inputs, network.labels
    with torch.no_grad():
        parts = [inputs(batch) for batch in stars.inputs.batches(SCALED_AT_ONCE)]
        by_branch = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        target, error = labels.scaled(
            torch.from_numpy(stars.label), torch.from_numpy(stars.label_error)
        )
        known = torch.isfinite(target)
        return Scaled(
            **by_branch,
            noise=_pixel_noise(stars, network),
            target=torch.nan_to_num(target),
            variance=torch.nan_to_num(error, nan=0.0).square(),
            known=known.to(target.dtype),
            snr=torch.from_numpy(stars.inputs["snr"]),
        )


def concatenate(parts: Sequence[Scaled]) -> Scaled:
    """Parts, at least one, one after the other."""
    if len(parts) == 1:
        return parts[0]
    columns = zip(*(part.tensors() for part in parts), strict=True)
    return Scaled(*(torch.cat(column) for column in columns))


def gather(parts: Iterable[Scaled], stars: int) -> Scaled:
    """Parts one after the other, ``stars`` in all, where they come one by one.

    Unlike ``concatenate`` it never holds all parts beside the whole: the peak is one part more
    than what is returned, half as much.
    """
    whole: list[Tensor] = []
    start = 0
    for part in parts:
        tensors = part.tensors()
        whole = whole or [tensor.new_empty((stars, *tensor.shape[1:])) for tensor in tensors]
        for into, tensor in zip(whole, tensors, strict=True):
            into[start : start + len(part)] = tensor
        start += len(part)
    return Scaled(*whole)


def _pixel_noise(stars: Labelled, network: Network) -> Tensor:
    """Errors of scaled pixels, 0 where a pixel is missing; from the S/N if there are none."""
    flux = torch.from_numpy(stars.inputs["flux"])
    error = torch.from_numpy(stars.flux_error)
    if not error.shape[1] and flux.shape[1]:
        error = (1.0 / torch.from_numpy(stars.inputs["snr"])).expand_as(flux)
    good = torch.isfinite(error) & torch.isfinite(flux)
    if network.inputs.log_flux:
        error = error / torch.clamp(flux, min=MIN_FLUX)
    scale = network.inputs.spectrum_scale
    scaled = error / scale / network.inputs.noise_gain(torch.from_numpy(stars.inputs["snr"]))
    return torch.where(good, scaled, torch.zeros_like(flux))
