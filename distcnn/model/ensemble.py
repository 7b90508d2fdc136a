"""Ensemble: the members of a package as one network, and the check that they are themselves.

Legend: B star, L label, M member.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from distcnn.arrays import Array
from distcnn.model.batched_ensemble import Outputs
from distcnn.model.inputs import Batch, StarInputs
from distcnn.model.networks.covariance import pack_pairs, pairs
from distcnn.model.networks.hybrid import Network, Student, stack_members
from distcnn.model.package.package import Engine, Package
from distcnn.model.scaling import BranchInputs, InputScaling
from distcnn.model.scaling_cpu import CpuInputScaling
from distcnn.model.stacking import Stacking

Layers = Callable[[BranchInputs], Outputs]
"""What an engine is: scaled inputs by branch -> all members' outputs, scaled, float32. The
tensors it gives may be overwritten by its next call."""


class Prediction(NamedTuple):
    """Labels of N stars, float32 [N,L] in label units.

    ``label``: mean over members, or the stacked one (``stacking``); ``noise``: root mean square of
    the members' learned sigma; ``scatter``: standard deviation between members (0 for a single
    one); ``correlation`` [N,K] of the errors of label pairs (order of ``covariance.pairs``):
    members' noise and scatter.
    """

    label: Array
    noise: Array
    scatter: Array
    correlation: Array

    @classmethod
    def joined(cls, parts: Iterable["Prediction"]) -> "Prediction":
        """Of all stars of the parts, of which there is at least one."""
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@dataclass(frozen=True)
class Parity:
    """How far an engine is from what it must reproduce, in units of a label's typical error
    (correlations: as they are).

    ``rms``: largest of any member and label; ``bias``: largest mean difference of the
    ensemble's label, over the stars.
    """

    rms: float
    bias: float


class Ensemble:
    """All members of a package on one device, run by one engine.

    Parameters
    ----------
    engine : name of one that the package brings, or the layers of all members as another engine
        runs them.
    """

    def __init__(
        self, package: Package, engine: Engine | Layers = "eager", device: str = "cpu"
    ) -> None:
        self.package = package
        self.device = device
        if isinstance(engine, str):
            members = package.members(engine, device)
            self._scaling: Any = members[0]
            self._layers: Layers = sequential_layers(members)
        else:
            self._scaling, self._layers = package.scaling(device), engine
        self._inputs = _inputs_of(self._scaling, device)
        self._stacking = package.stacking(device)

    def predict(self, stars: StarInputs, batch: int = 256) -> Prediction:
        """Labels of all stars, ``batch`` at a time."""
        parts = [_arrays(self.predict_batch(b)) for b in stars.batches(batch, self.device)]
        return _joined(parts, self._scaling)

    def predict_batch(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The fields of ``Prediction`` [B,L] and [B,K], on the device."""
        with torch.inference_mode():
            inputs = self._inputs(batch)
            outputs = self._outputs(inputs)
            label, *others = combine_members(*outputs, student=self.package.student)
            if self._stacking is not None:
                label = self._stacking(inputs, label)
            noise, scatter, correlation = others
            return label, noise, scatter, correlation

    def outputs(self, batch: Batch) -> Outputs:
        """Mean and sigma [M,B,L] and correlation [M,B,L,L] of every member, or row of a student."""
        with torch.inference_mode():
            return self._outputs(self._inputs(batch))

    def _outputs(self, inputs: BranchInputs) -> Outputs:
        mean, sigma, correlation = self._layers(inputs)
        return (*self._scaling.labels(mean, sigma), correlation)

    def parity_outputs(self, batch: Batch) -> Outputs:
        """What ``differences`` compares: ``outputs`` with the correlations of pairs [M,B,K]."""
        mean, sigma, correlation = self.outputs(batch)
        return mean, sigma, pack_pairs(correlation)

    def parity(self) -> Parity:
        """Run the package's fixtures: how far this is from what training wrote."""
        stars, *wanted = self.package.fixtures()
        return self.differences(self.parity_outputs(stars.tensors(device=self.device)), wanted)

    def differences(self, met: Sequence[Tensor], wanted: Sequence[Array | None]) -> Parity:
        """Compare means and sigmas [M,B,L], in label units, and correlations [M,B,K].

        None is not compared: the first packages held no correlations.
        """
        unit = np.asarray(self.package.manifest.label_sigma)
        units = (unit, unit, np.ones(1))[: len(met)]
        rms = bias = 0.0
        for found, right, size in zip(met, wanted, units, strict=True):
            if right is None or not right.size:
                continue
            difference = (found.float().cpu().numpy().astype(np.float64) - right) / size
            # Per member and label over the stars: a single bad member must not average out.
            each = np.sqrt(np.square(difference).mean(axis=1))
            rms = max(rms, float(np.nan_to_num(each, nan=np.inf).max()))
            whole = np.abs(difference.mean(axis=(0, 1)))
            bias = max(bias, float(np.nan_to_num(whole, nan=np.inf).max()))
        return Parity(rms, bias)


def sequential_layers(members: Sequence[Any]) -> Layers:
    """The layers of one network after the other."""

    def layers(inputs: BranchInputs) -> Outputs:
        return stack_members([member.layers(inputs) for member in members])

    return layers


def _inputs_of(scaling: Any, device: str) -> Callable[[Batch], BranchInputs]:
    own = isinstance(scaling, Network) and isinstance(scaling.inputs, InputScaling)
    if own and torch.device(device).type == "cpu":
        return CpuInputScaling(scaling.inputs)
    return lambda batch: cast(BranchInputs, scaling.inputs(batch))


def predict_members(
    members: Sequence[Network],
    stars: StarInputs,
    batch: int = 256,
    device: str = "cpu",
    stacking: Stacking | None = None,
) -> Prediction:
    """Labels of all stars from networks that share their scalings, stacked if told how."""
    layers, student = sequential_layers(members), isinstance(members[0].layers, Student)

    def predicted(tensors: Batch) -> Prediction:
        with torch.inference_mode():
            inputs = members[0].inputs(tensors)
            mean, sigma, correlation = layers(inputs)
            outputs = (*members[0].labels(mean, sigma), correlation)
            label, *others = combine_members(*outputs, student=student)
            return _arrays([label if stacking is None else stacking(inputs, label), *others])

    parts = [predicted(tensors) for tensors in stars.batches(batch, device)]
    return _joined(parts, members[0])


def _joined(parts: Sequence[Prediction], scaling: Any) -> Prediction:
    if not parts:
        labels = scaling.labels.centre.shape[0]
        empty = np.empty((0, labels), np.float32)
        return Prediction(empty, empty, empty, np.empty((0, len(pairs(labels))), np.float32))
    return Prediction.joined(parts)


def predict_each(
    members: Sequence[Network], stars: StarInputs, batch: int = 256
) -> tuple[Array, Array]:
    """Mean and sigma [M,N,L] of every member, float32, label units."""
    layers = sequential_layers(members)
    parts = [_outputs(members[0], layers, b)[:2] for b in stars.batches(batch)]
    mean, sigma = (torch.cat(column, dim=1).numpy() for column in zip(*parts, strict=True))
    return mean, sigma


def _outputs(scaling: Any, layers: Layers, batch: Batch) -> Outputs:
    with torch.inference_mode():
        # The members share their scalings, so inputs and labels are scaled once for all.
        mean, sigma, correlation = layers(scaling.inputs(batch))
        return (*scaling.labels(mean, sigma), correlation)


def combine_members(
    mean: Tensor, sigma: Tensor, correlation: Tensor, *, student: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Label, noise, scatter [B,L] and correlation [B,K] from what an engine gives."""
    if student:
        return mean[0], sigma[0], sigma[1], pack_pairs(correlation[0])
    scatter = mean.std(dim=0) if len(mean) > 1 else torch.zeros_like(mean[0])
    noise = sigma.square().mean(dim=0).sqrt()
    return mean.mean(dim=0), noise, scatter, _correlation(mean, sigma, correlation)


def _arrays(parts: Sequence[Tensor]) -> Prediction:
    return Prediction(*(part.float().cpu().numpy() for part in parts))


def _correlation(mean: Tensor, sigma: Tensor, correlation: Tensor) -> Tensor:
    """[B,K] of the covariance of noise, averaged over members, and of the members' means."""
    # Work in units of the noise: Teff ~ 1e3 and [M/H] ~ 1e-2 would lose digits in float32. Labels
    # come first, so that every operation runs along long rows of stars.
    unit = sigma.square().mean(dim=0).sqrt()
    share = (sigma / unit).permute(2, 0, 1).contiguous()
    residual = ((mean - mean.mean(dim=0)) / unit).permute(2, 0, 1).contiguous()
    each = correlation.permute(2, 3, 0, 1)
    between = max(len(mean) - 1, 1)
    size = (1 + residual.square().sum(dim=1) / between).sqrt()
    out = mean.new_empty(mean.shape[1], len(pairs(mean.shape[2])))
    for number, (row, column) in enumerate(pairs(mean.shape[2])):
        total = (each[row, column] * share[row] * share[column]).mean(dim=0)
        total += (residual[row] * residual[column]).sum(dim=0) / between
        out[:, number] = total / size[row] / size[column]
    return out


def fixture_stars(stars: StarInputs, each: int = 8) -> StarInputs:
    """Stars for parity checks: ``each`` as they are, and again with each modality taken away."""
    base = stars.take(slice(0, each))
    names = [name for name, array in base.arrays.items() if array.shape[1]]
    variants = [base, *(base.without(name) for name in names), base.without(*names)]
    if base["flux"].shape[1]:
        holes = base["flux"].copy()
        holes[:, :: holes.shape[1] // 7 or 1] = np.nan
        holes[:, : holes.shape[1] // 10] = np.nan
        variants.append(base.replaced(flux=holes))
    return StarInputs.joined(variants)
