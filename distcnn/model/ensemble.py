"""Ensemble: the members of a package as one network, and the check that they are themselves.

Legend: B star, L label, M member.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from distcnn.errors import ParityError
from distcnn.model.covariance import packed, pairs
from distcnn.model.inputs import Array, Batch, StarInputs
from distcnn.model.package import Engine, Package


class Prediction(NamedTuple):
    """Labels of N stars, float32 [N,L] in label units.

    ``label``: mean over members; ``noise``: root mean square of their learned sigma;
    ``scatter``: standard deviation between members (0 for a single one); ``correlation`` [N,K]
    of the errors of label pairs (order of ``covariance.pairs``): members' noise and scatter.
    """

    label: Array
    noise: Array
    scatter: Array
    correlation: Array


class Ensemble:
    """All members of a package on one device, run by one engine."""

    def __init__(self, package: Package, engine: Engine = "eager", device: str = "cpu") -> None:
        self.package = package
        self.engine = engine
        self.device = device
        self._members: list[Any] = list(package.members(engine, device))

    def predict(self, stars: StarInputs, batch: int = 256) -> Prediction:
        """Labels of all stars, ``batch`` at a time."""
        return predict_members(self._members, stars, batch, self.device)

    def outputs(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and sigma [M,B,L] and correlation [M,B,L,L] of every member."""
        return _outputs(self._members, batch)

    def check_parity(self, tolerance: float) -> float:
        """Run the package's fixtures; returns the largest rms difference of any label.

        Parameters
        ----------
        tolerance : largest allowed difference, in units of a label's typical total error.

        Raises
        ------
        ParityError : a member's mean or sigma differs by more, or is not finite.
        """
        stars, mean, sigma = self.package.fixtures()
        met = self.outputs(stars.tensors(device=self.device))[:2]
        unit = np.asarray(self.package.manifest["label_sigma"])
        worst = 0.0
        for found, wanted in zip(met, (mean, sigma), strict=True):
            difference = (found.float().cpu().numpy().astype(np.float64) - wanted) / unit
            # Per member and label over the stars: a single bad member must not average out.
            rms = np.sqrt(np.square(difference).mean(axis=1))
            worst = max(worst, float(np.nan_to_num(rms, nan=np.inf).max()))
        if worst > tolerance:
            raise ParityError(
                f"engine {self.engine} on {self.device} differs from the package's fixtures by "
                f"{worst:.3g} label errors",
                expected=f"at most {tolerance:g}",
                cure="Use another engine (predict.engine=eager), and report this machine.",
            )
        return worst


def predict_members(
    members: Sequence[Any], stars: StarInputs, batch: int = 256, device: str = "cpu"
) -> Prediction:
    """Labels of all stars from networks that share their scalings."""
    parts = [_combine(*_outputs(members, b)) for b in stars.batches(batch, device)]
    if not parts:
        labels = members[0].labels.centre.shape[0]
        empty = np.empty((0, labels), np.float32)
        return Prediction(empty, empty, empty, np.empty((0, len(pairs(labels))), np.float32))
    return Prediction(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def predict_each(
    members: Sequence[Any], stars: StarInputs, batch: int = 256
) -> tuple[Array, Array]:
    """Mean and sigma [M,N,L] of every member, float32, label units."""
    parts = [_outputs(members, b)[:2] for b in stars.batches(batch)]
    mean, sigma = (torch.cat(column, dim=1).numpy() for column in zip(*parts, strict=True))
    return mean, sigma


def _outputs(members: Sequence[Any], batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    with torch.inference_mode():
        # The members share their scalings, so the inputs are scaled once for all.
        scaled = members[0].inputs(*batch)
        found = []
        for member in members:
            mean, sigma, correlation = member.layers(*scaled)
            found.append((*member.labels(mean, sigma), correlation))
        mean, sigma, correlation = (torch.stack(column) for column in zip(*found, strict=True))
        return mean, sigma, correlation


def _combine(mean: Tensor, sigma: Tensor, correlation: Tensor) -> Prediction:
    scatter = mean.std(dim=0) if len(mean) > 1 else torch.zeros_like(mean[0])
    noise = sigma.square().mean(dim=0).sqrt()
    parts = (mean.mean(dim=0), noise, scatter, _correlation(mean, sigma, correlation))
    return Prediction(*(cast(Array, part.float().cpu().numpy()) for part in parts))


def _correlation(mean: Tensor, sigma: Tensor, correlation: Tensor) -> Tensor:
    """[B,K] of the covariance of noise, averaged over members, and of the members' means."""
    # In units of the noise, since labels of thousands and of hundredths meet here.
    unit = sigma.square().mean(dim=0).sqrt()
    share = sigma / unit
    total = (correlation * share.unsqueeze(-1) * share.unsqueeze(-2)).mean(dim=0)
    if len(mean) > 1:
        apart = (mean - mean.mean(dim=0)) / unit
        between = (apart.unsqueeze(-1) * apart.unsqueeze(-2)).sum(dim=0)
        total = total + between / (len(mean) - 1)
    size = torch.diagonal(total, dim1=-2, dim2=-1).sqrt()
    return packed(total / size.unsqueeze(-1) / size.unsqueeze(-2))


def fixture_stars(stars: StarInputs, each: int = 8) -> StarInputs:
    """Stars for parity checks: ``each`` as they are, and again with each modality taken away."""
    base = stars.take(slice(0, each))
    names = [name for name, array in base.arrays().items() if array.shape[1]]
    variants = [base.arrays()]
    for gone in (*([name] for name in names), names):
        blank = {name: np.full_like(base.arrays()[name], np.nan) for name in gone}
        variants.append(base.arrays() | blank)
    if base.flux.shape[1]:
        holes = base.flux.copy()
        holes[:, :: holes.shape[1] // 7 or 1] = np.nan
        holes[:, : holes.shape[1] // 10] = np.nan
        variants.append(base.arrays() | {"flux": holes})
    return StarInputs(*(np.concatenate([v[name] for v in variants]) for name in Batch._fields))
