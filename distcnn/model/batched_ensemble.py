"""Fast path of an ensemble whose members run one after the other; same results within the parity
tolerance, tested in ``tests/inference/test_inference_engines.py``; measured gain: for
distillation's teacher and GPUs one launch serves all members, in float32 on CPUs none (0.8 to 0.9
of eager's speed), so that there the selection takes it only where it is the fastest.

All members see the same scaled inputs, so what they do to them can be done together: in one
product of matrices, in one batch of products (bmm), or one member after the other while the
inputs are in the cache.

Legend: B star, P pixel, C XP coefficient, S scalar feature, M member, L label, K pair of
labels, T sample, N window.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from distcnn.model.networks.covariance import MIN_SIGMA, correlations
from distcnn.model.networks.hybrid import SLOPE, Hybrid, Student, student_as_members

Outputs = tuple[Tensor, Tensor, Tensor]
"""Scaled mean [M,B,L] and sigma [M,B,L], correlation [M,B,L,L]."""


class ModuleListEnsemble(nn.Module):
    """Any networks side by side, one after the other: ``heads`` of all, or rows of a student."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, inputs: dict[str, Tensor]) -> Outputs:
        """Mean [M,B,L], noise before it is made positive [M,B,L], entries of pairs [M,B,K]."""
        each = [cast(Any, layers).heads(inputs) for layers in self.layers]
        if isinstance(self.layers[0], Student):
            return student_as_members(*each[0])
        mean, noise, entries = (torch.stack(column) for column in zip(*each, strict=True))
        return mean, noise, entries


class OutputHead(nn.Module):
    """From heads to outputs, for all members at once, in float32."""

    def forward(self, mean: Tensor, noise: Tensor, entries: Tensor) -> Outputs:
        sigma = functional.softplus(noise.float()) + MIN_SIGMA
        columns = entries.float().permute(2, 0, 1).flatten(1).contiguous()
        matrix = correlations(columns).reshape(*2 * [mean.shape[2]], *mean.shape[:2])
        return mean.float(), sigma, matrix.permute(2, 3, 0, 1)


class BatchedHybrid(nn.Module):
    """``hybrid`` networks as products of matrices, with the weights of all members together.

    Parameters
    ----------
    layers : of every member.
    dtype : of the large products; the heads are always float32.
    loop : one member's convolutions after another (they stay in a CPU's cache) instead of all
        members' in one batch of products (which a GPU needs).
    """

    def __init__(
        self,
        layers: Sequence[Hybrid],
        *,
        dtype: torch.dtype = torch.float32,
        loop: bool = True,
    ) -> None:
        super().__init__()
        first = layers[0]
        self.dtype, self.pairs, self.labels = dtype, first.count, first.mean.out_features
        self.student, self.noises = isinstance(first, Student), first.noise.out_features
        self.with_spectrum, self.with_xp = first.with_spectrum, first.with_xp
        if first.with_spectrum:
            branches = [member.spectrum for member in layers]
            self.convolutions = _SpectrumBranch(branches, dtype, loop=loop)
        if first.with_xp:
            self.xp = _DenseBranch([member.xp for member in layers], dtype)
        self.scalars = _DenseBranch([member.scalars for member in layers], dtype)
        self.join = _DenseBranch([member.join for member in layers], dtype, shared=False)
        weights, biases = zip(*(_heads(member) for member in layers), strict=True)
        self.heads = _MemberLinear(torch.stack(weights), torch.stack(biases), torch.float32)

    def forward(self, inputs: dict[str, Tensor]) -> Outputs:
        """Mean [M,B,L], noise before it is made positive [M,B,L], entries of pairs [M,B,K]."""
        branches = [self.scalars(inputs["scalars"].to(self.dtype))]
        if self.with_spectrum:
            branches.append(self.convolutions(inputs["spectrum"].to(self.dtype)))
        if self.with_xp:
            branches.append(self.xp(inputs["xp"].to(self.dtype)))
        x = self.join(torch.cat(branches, dim=2))
        out = self.heads(x.float())
        mean, noise, entries = out.tensor_split([self.labels, self.labels + self.noises], dim=2)
        entries = entries[:, :, : self.pairs]
        return (
            student_as_members(mean[0], noise[0], entries[0])
            if self.student
            else (mean, noise, entries)
        )


class _SharedInputLinear(nn.Module):
    """A dense layer of every member on what all of them see: [B,I] -> [M,B,O], one product."""

    weight: Tensor
    bias: Tensor

    def __init__(self, layers: Sequence[nn.Linear], dtype: torch.dtype) -> None:
        super().__init__()
        self.members = len(layers)
        self.register_buffer(
            "weight", torch.cat([x.weight for x in layers]).mT.contiguous().to(dtype)
        )
        self.register_buffer("bias", torch.cat([x.bias for x in layers]).to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.addmm(self.bias, x, self.weight)
        # Not len(x), here and below: torch.export would take the number of stars for a constant.
        return y.reshape(x.shape[0], self.members, -1).transpose(0, 1)


class _MemberLinear(nn.Module):
    """A dense layer of every member on what is its own: [M,B,I] -> [M,B,O]."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weights: Tensor, biases: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("weight", weights.mT.contiguous().to(dtype))
        self.register_buffer("bias", biases.unsqueeze(1).to(dtype))

    @classmethod
    def of(cls, layers: Sequence[nn.Linear], dtype: torch.dtype) -> "_MemberLinear":
        weights, biases = ([getattr(x, name) for x in layers] for name in ("weight", "bias"))
        return cls(torch.stack(weights), torch.stack(biases), dtype)

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)


class _DenseBranch(nn.Module):
    """The two dense layers of a branch, of every member: [B,I] or [M,B,I] -> [M,B,O]."""

    def __init__(
        self, branches: Sequence[nn.Module], dtype: torch.dtype, *, shared: bool = True
    ) -> None:
        super().__init__()
        first, second = zip(*(_linear(branch) for branch in branches), strict=True)
        self.first = _SharedInputLinear(first, dtype) if shared else _MemberLinear.of(first, dtype)
        self.second = _MemberLinear.of(second, dtype)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.leaky_relu_(self.first(x), SLOPE)
        out: Tensor = functional.leaky_relu_(self.second(y), SLOPE)
        return out


class _SpectrumBranch(nn.Module):
    """The spectrum branch of every member: [B,P] -> [M,B,hidden]."""

    def __init__(self, branches: Sequence[nn.Module], dtype: torch.dtype, *, loop: bool) -> None:
        super().__init__()
        self.loop = loop
        first, second = zip(*(_convolutions(branch) for branch in branches), strict=True)
        self.first_channels, self.second_channels = first[0].out_channels, second[0].out_channels
        self.first_kernel, self.second_kernel = (
            (c.kernel_size[0], c.stride[0]) for c in (first[0], second[0])
        )
        # Samples lie [T,C] here, windows [N,K*C]: weights are sorted likewise.
        self.first = _MemberLinear(_stacked(first), torch.stack([c.bias for c in first]), dtype)
        self.second = _MemberLinear(_stacked(second), torch.stack([c.bias for c in second]), dtype)
        dense = [_linear(branch)[0] for branch in branches]
        channels = self.second_channels
        weights = torch.stack([d.weight.reshape(len(d.weight), channels, -1) for d in dense])
        biases = torch.stack([d.bias for d in dense])
        self.dense = _MemberLinear(weights.mT.flatten(2), biases, dtype)

    def forward(self, spectrum: Tensor) -> Tensor:
        windows = unfold(spectrum.contiguous().unsqueeze(2), *self.first_kernel)
        if self.loop:
            out = spectrum.new_empty(
                len(self.dense.weight), len(spectrum), self.dense.bias.shape[2]
            )
            for member in range(len(out)):
                self._one_member(member, windows, out)
            return out
        x = windows.flatten(0, 1).expand(len(self.dense.weight), -1, -1)
        x = functional.leaky_relu_(self.first(x), SLOPE)
        x = x.reshape(x.shape[0] * spectrum.shape[0], windows.shape[1], self.first_channels)
        x = unfold(x, *self.second_kernel).reshape(
            len(self.dense.weight), -1, self.second.weight.shape[1]
        )
        x = functional.leaky_relu_(self.second(x), SLOPE)
        x = x.reshape(x.shape[0], spectrum.shape[0], -1)
        return functional.leaky_relu_(self.dense(x), SLOPE)

    def _one_member(self, member: int, windows: Tensor, out: Tensor) -> None:
        """All layers of one member, while what it works on is in the cache."""
        x = self._product(self.first, member, windows.flatten(0, 1))
        x = unfold(x.reshape(*windows.shape[:2], -1), *self.second_kernel)
        x = self._product(self.second, member, x.flatten(0, 1)).reshape(len(windows), -1)
        torch.addmm(self.dense.bias[member], x, self.dense.weight[member], out=out[member])
        functional.leaky_relu_(out[member], SLOPE)

    def _product(self, layer: _MemberLinear, member: int, x: Tensor) -> Tensor:
        y = torch.addmm(layer.bias[member], x, layer.weight[member])
        return functional.leaky_relu_(y, SLOPE)


def _linear(branch: nn.Module) -> list[nn.Linear]:
    return [layer for layer in branch.children() if isinstance(layer, nn.Linear)]


def _convolutions(branch: nn.Module) -> list[nn.Conv1d]:
    return [layer for layer in branch.children() if isinstance(layer, nn.Conv1d)]


def _stacked(layers: Sequence[nn.Conv1d]) -> Tensor:
    """Weights [M,O,C,K] as those of dense layers on windows, [M,O,K*C]."""
    return torch.stack([layer.weight for layer in layers]).mT.flatten(2)


def unfold(x: Tensor, size: int, step: int) -> Tensor:
    """[B,T,C] -> [B,N,size*C], copied: windows of ``size`` samples every ``step``."""
    stars, samples, channels = x.shape
    shape = (stars, (samples - size) // step + 1, size * channels)
    return x.as_strided(shape, (samples * channels, step * channels, 1)).contiguous()


def _heads(member: Hybrid) -> tuple[Tensor, Tensor]:
    """Weights and biases of mean, noise and pairs, one below the other."""
    layers = (member.mean, member.noise, member.pairs)
    return torch.cat([x.weight for x in layers]), torch.cat([x.bias for x in layers])
