"""Gradients: how much each label of a package changes with the flux of each pixel, by autograd.

Gradients of single stars are noisy and many; what is kept are their means over the stars of a
stellar type, so that a survey of any size takes the memory of one batch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from distcnn.arrays import Array
from distcnn.checks.sensitivity.stellar_types import STELLAR_TYPES, stellar_type
from distcnn.model import Batch, Network
from distcnn.model.ensemble import sequential_layers
from distcnn.model.stacking import Stacking

BATCH_STARS = 256
"""Stars of a batch: all members' activations of a batch are held at once."""


@dataclass(frozen=True)
class Sensitivity:
    """Means over the stars of each type; T types, L labels, P pixels.

    Attributes
    ----------
    labels : names of the labels.
    types : names of the types; stars of no type count in the first one only, that of all stars.
    stars : [T] stars averaged over.
    gradient : [T, L, P] mean change of a label per unit of normalised flux, label units.
    spread : [T, L, P] standard deviation of that change among the stars.
    flux : [T, P] mean flux. NaN where no star of the type has the pixel.
    """

    labels: tuple[str, ...]
    types: tuple[str, ...]
    stars: Array
    gradient: Array
    spread: Array
    flux: Array


def flux_gradients(
    networks: Sequence[Network], batch: Batch, stacking: Stacking | None = None
) -> tuple[Array, Array]:
    """Labels [B, L], as the package gives them, and their gradients [L, B, P] by flux.

    The gradient is 0 at pixels without flux, which the networks see as missing.

    Parameters
    ----------
    networks : members, which share their scalings.
    batch : inputs by modality; ``flux`` [B, P] is not empty.
    stacking : regressions beside the networks, if the package has some.
    """
    flux = batch["flux"].detach()
    # At the very centre of the scaling autograd gives 0, as for |x|; stored flux has few digits
    # and stands there often.
    flux = torch.nextafter(flux, torch.full_like(flux, torch.inf)).requires_grad_()
    first = networks[0]
    inputs = first.inputs({**batch, "flux": flux})
    mean, sigma, _ = sequential_layers(networks)(inputs)
    label = first.labels(mean, sigma)[0].mean(dim=0)
    if stacking is not None:
        label = stacking(inputs, label)
    last = label.shape[1] - 1
    each: list[Tensor] = [
        torch.autograd.grad(label[:, number].sum(), flux, retain_graph=number < last)[0]
        for number in range(label.shape[1])
    ]
    gradient = torch.nan_to_num(torch.stack(each), nan=0.0)
    return label.detach().cpu().numpy(), gradient.cpu().numpy()


class SensitivitySums:
    """Sums over stars, to which batches are added; ``mean`` is what they come to."""

    def __init__(self, labels: Sequence[str], pixels: int) -> None:
        self.labels = tuple(labels)
        types, names = 1 + len(STELLAR_TYPES), len(self.labels)
        self._stars = np.zeros(types, int)
        self._count = np.zeros((types, pixels))
        self._flux = np.zeros((types, pixels))
        self._sum = np.zeros((types, names, pixels))
        self._square = np.zeros((types, names, pixels))

    def add(self, label: Array, gradient: Array, flux: Array) -> None:
        """A batch: labels [B, L], gradients [L, B, P] and flux [B, P], NaN where missing."""
        kind = stellar_type(label, self.labels)
        finite = np.isfinite(label).all(axis=1)
        member = np.stack([finite, *(finite & (kind == n) for n in range(len(STELLAR_TYPES)))])
        weights = member.astype(np.float32)
        there = np.isfinite(flux)
        self._stars += member.sum(axis=1)
        self._count += weights @ there.astype(np.float32)
        self._flux += weights @ np.where(there, flux, 0).astype(np.float32)
        self._sum += np.einsum("tb,lbp->tlp", weights, gradient, optimize=True)
        self._square += np.einsum("tb,lbp->tlp", weights, gradient * gradient, optimize=True)

    def join(self, other: "SensitivitySums") -> None:
        """The stars of ``other`` as well."""
        for name in ("_stars", "_count", "_flux", "_sum", "_square"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def mean(self) -> Sensitivity:
        """Means over the stars that have the pixel."""
        with np.errstate(invalid="ignore", divide="ignore"):
            count = np.where(self._count > 0, self._count, np.nan)
            gradient = self._sum / count[:, None]
            variance = self._square / count[:, None] - gradient**2
            return Sensitivity(
                self.labels,
                ("all stars", *STELLAR_TYPES),
                self._stars.copy(),
                gradient,
                np.sqrt(np.maximum(variance, 0)),
                self._flux / count,
            )


def mean_gradients(
    networks: Sequence[Network],
    labels: Sequence[str],
    batches: Iterable[Batch],
    stacking: Stacking | None = None,
) -> Sensitivity:
    """Mean gradients of all stars in ``batches``, of which there is at least one."""
    return sum_gradients(networks, labels, batches, stacking).mean()


def sum_gradients(
    networks: Sequence[Network],
    labels: Sequence[str],
    batches: Iterable[Batch],
    stacking: Stacking | None = None,
) -> SensitivitySums:
    """Gradients of all stars in ``batches``, of which there is at least one, added up."""
    sums: SensitivitySums | None = None
    for batch in batches:
        label, gradient = flux_gradients(networks, batch, stacking)
        flux = batch["flux"].cpu().numpy()
        sums = sums or SensitivitySums(labels, flux.shape[1])
        sums.add(label, gradient, flux)
    if sums is None:
        raise ValueError("no stars were given")
    return sums
