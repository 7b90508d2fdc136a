"""Products: convolutions as matrix products, with the weights and the results of ``nn.Conv1d``.

A strided convolution of few channels is a product over windows of its input: on a CPU the
library's own backward pass takes about twice as long, and a GPU gets batched products instead
of one small grouped convolution per member. The form is for training; packages keep
``nn.Conv1d``, whose parameters have the same names and shapes.

Legend: B star, T sample, C channel in, O channel out, K kernel, N window, G group of outputs.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from distcnn.model.batched_ensemble import windows_of

OUTPUTS_PER_WINDOW = 8
"""Neighbouring outputs of a convolution of stride 1 that one product gives together: windows
of K+7 samples repeat the input (K+7)/8 times instead of K times."""


class Unfold(torch.autograd.Function):
    """Unfold of ``size`` samples every ``step <= size``: [B,T,C] -> [B,N,size*C]."""

    @staticmethod
    def forward(x: Tensor, size: int, step: int) -> Tensor:
        return windows_of(x.contiguous(), size, step)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, int], output: Tensor) -> None:
        ctx.shape = inputs[0].shape
        ctx.size, ctx.step = inputs[1:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Add the windows up where they overlap: slabs of ``step`` samples do not."""
        stars, samples, channels = ctx.shape
        windows = gradients[0].shape[1]
        each = gradients[0].reshape(stars, windows, ctx.size, channels)
        out = each.new_empty(ctx.shape)
        strides = (samples * channels, ctx.step * channels, channels, 1)
        for first in range(0, ctx.size, ctx.step):
            slab = each[:, :, first : first + ctx.step]
            into = out.as_strided(slab.shape, strides, first * channels)
            if first:
                into.add_(slab)
            else:
                into.copy_(slab)
                out[:, windows * slab.shape[2] :].zero_()
        return out, None, None

    @staticmethod
    def vmap(
        info: Any, where: tuple[int | None, ...], x: Tensor, size: int, step: int
    ) -> tuple[Tensor, int]:
        """A batch of batches is a longer batch."""
        x = x.movedim(where[0] or 0, 0)
        out: Tensor = Unfold.apply(x.flatten(0, 1), size, step)  # type: ignore[no-untyped-call]
        return out.reshape(*x.shape[:2], *out.shape[1:]), 0


class ConvAsMatmul(nn.Module):
    """``nn.Conv1d`` without padding or dilation, [B,C,T] -> [B,O,N], as one matrix product.

    The result is a view of [B,N,O]: the next convolution takes it as it lies in memory.
    """

    def __init__(self, of: nn.Conv1d) -> None:
        super().__init__()
        if of.bias is None or not _is_plain(of):
            raise ValueError(f"only plain convolutions have a product form, not {of}")
        self.weight, self.bias = of.weight, of.bias
        self.kernel, self.stride = of.kernel_size[0], of.stride[0]
        self.group = OUTPUTS_PER_WINDOW if self.stride == 1 else 1

    def forward(self, x: Tensor) -> Tensor:
        outputs = (x.shape[-1] - self.kernel) // self.stride + 1
        groups = -(-outputs // self.group)
        lacking = (groups * self.group - 1) * self.stride + self.kernel - x.shape[-1]
        x = functional.pad(x.mT, (0, 0, 0, lacking)) if lacking > 0 else x.mT
        size = (self.group - 1) * self.stride + self.kernel
        windows: Tensor = Unfold.apply(x, size, self.group * self.stride)  # type: ignore[no-untyped-call]
        if self.group == 1:
            return functional.linear(windows, self.weight.mT.flatten(1), self.bias).mT
        y = functional.linear(windows, self.matrix(size), self.bias.repeat(self.group))
        y = y.reshape(y.shape[0], groups * self.group, -1)
        near: Tensor = y[:, :outputs].mT
        return near

    def matrix(self, size: int) -> Tensor:
        """Weights [G*O, size*C]: the kernel once per output of a group, each a stride later."""
        kernel = functional.pad(self.weight.mT, (0, 0, 0, size - self.kernel))
        rows = [kernel.roll(place * self.stride, 1) for place in range(self.group)]
        return torch.stack(rows).flatten(2).flatten(0, 1)


class FlattenInPlace(nn.Module):
    """``nn.Flatten`` in the order that samples lie in after a ``ConvAsMatmul``: no copy, and
    nothing is sorted back on the way to the gradients.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.mT.flatten(1)


class ReorderedLinear(nn.Module):
    """``nn.Linear`` behind ``FlattenInPlace``: the weights are sorted, far fewer numbers."""

    def __init__(self, of: nn.Linear, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = of.weight, of.bias
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        rows = self.weight.reshape(len(self.weight), self.channels, -1)
        return functional.linear(x, rows.mT.flatten(1), self.bias)


class PairMaxPool(nn.Module):
    """``nn.MaxPool1d(2)``, in whatever order the samples lie."""

    def forward(self, x: Tensor) -> Tensor:
        x = x[..., : x.shape[-1] // 2 * 2]
        first, second = x.reshape(*x.shape[:-1], -1, 2).unbind(-1)
        return torch.where(second > first, second, first)


def convs_as_matmuls(layers: nn.Module) -> nn.Module:
    """Give ``layers`` the product form, in place; names and values of parameters stay."""
    for name, child in layers.named_children():
        if isinstance(child, nn.Conv1d) and child.bias is not None and _is_plain(child):
            setattr(layers, name, ConvAsMatmul(child))
        elif isinstance(child, nn.MaxPool1d) and (child.kernel_size, child.padding) == (2, 0):
            setattr(layers, name, PairMaxPool())
        else:
            convs_as_matmuls(child)
    if isinstance(layers, nn.Sequential):
        _reorder_first_dense(layers)
    return layers


def _reorder_first_dense(layers: nn.Sequential) -> None:
    """Let the first dense layer take the samples of the last convolution as they lie."""
    kinds = [type(layer) for layer in layers]
    if ConvAsMatmul in kinds and nn.Flatten in kinds and nn.Linear in kinds:
        flat, dense = kinds.index(nn.Flatten), kinds.index(nn.Linear)
        last = max(place for place, kind in enumerate(kinds) if kind is ConvAsMatmul)
        if last < flat < dense:
            channels = layers[last].weight.shape[0]  # type: ignore[index]
            layers[dense] = ReorderedLinear(layers[dense], channels)  # type: ignore[arg-type]
            layers[flat] = FlattenInPlace()


class ByteDropout(nn.Module):
    """``nn.Dropout`` by 8 random bits per number instead of a random number for each."""

    def __init__(self, part: float) -> None:
        super().__init__()
        self.lost = round(part * 2**8)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.lost:
            return x
        words = torch.randint(-(2**63), 2**63 - 1, (-(-x.numel() // 8),))
        bits = words.view(torch.int8)[: x.numel()].view(x.shape)
        keep = (bits >= self.lost - 2**7).to(x.dtype)
        return x * keep.mul_(1 / (1 - self.lost / 2**8))


def cpu_form(layers: nn.Module) -> nn.Module:
    """The form in which a CPU trains ``layers`` fastest, in place: products, light drop-out."""
    for parent in list(convs_as_matmuls(layers).modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Dropout):
                setattr(parent, name, ByteDropout(child.p))
    return layers


def _is_plain(of: nn.Conv1d) -> bool:
    """Without padding, dilation, groups, or samples that no window covers."""
    covered = of.kernel_size[0] >= of.stride[0]
    return covered and (of.padding, of.dilation, of.groups) == ((0,), (1,), 1)
