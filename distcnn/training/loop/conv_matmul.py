"""Fast path of ``nn.Conv1d`` in training: a convolution as a matrix product (im2col).

Same results, tested in ``tests/training/test_training_vmap.py`` (outputs and gradients of every
preset); measured gain: a training step runs 1.2 (hybrid), 2.0 (rave2020) and 1.4 (hr15n2023) times
as fast on one core of an EPYC with AVX2 (``ours`` over ``ours_conv`` of the committed results).

A strided convolution of few channels is one product of its weights with every window of the input
(unfold). On a CPU the backward pass of torch's own convolution takes about twice as long as that;
on a GPU members get batched products instead of one small grouped convolution each. The form is
for training; packages keep ``nn.Conv1d``, whose parameters have the same names and shapes.

Legend: B star, T sample, C channel in, O channel out, K kernel, N window, G group of outputs.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from distcnn.model.batched_ensemble import unfold

OUTPUTS_PER_WINDOW = 8
"""Neighbouring outputs of a convolution of stride 1 that one product gives together.

One window per output would copy each sample K times, and copying would cost more than arithmetic.
Windows of K+7 samples, eight apart, copy it (K+7)/8 times; the price is a matrix with zeros in it.
"""


class Unfold(torch.autograd.Function):
    """Windows of ``size`` samples every ``step <= size``: [B,T,C] -> [B,N,size*C].

    An autograd function, since the gradient of ``as_strided`` in torch scatters sample by sample
    where adding up a few contiguous slabs is enough, and since ``vmap`` must be told what to do.
    """

    @staticmethod
    def forward(x: Tensor, size: int, step: int) -> Tensor:
        return unfold(x.contiguous(), size, step)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, int], output: Tensor) -> None:
        ctx.shape = inputs[0].shape
        ctx.size, ctx.step = inputs[1:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Add up, per sample, the gradients of all windows that hold it.

        Windows overlap, so they cannot be added in one go. Cut into slabs of ``step`` samples,
        they can: slab k of all windows together covers the input without overlap, shifted by
        k * step. So there is one large addition per slab, ceil(size / step) in all.
        """
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
                # The first slab initialises ``out``, which is uninitialised memory; samples
                # behind the last window are reached by later slabs only, or by none.
                into.copy_(slab)
                out[:, windows * slab.shape[2] :].zero_()
        return out, None, None

    @staticmethod
    def vmap(
        info: Any, where: tuple[int | None, ...], x: Tensor, size: int, step: int
    ) -> tuple[Tensor, int]:
        """Members times stars are just more stars: windows know no weights."""
        x = x.movedim(where[0] or 0, 0)
        out: Tensor = Unfold.apply(x.flatten(0, 1), size, step)  # type: ignore[no-untyped-call]
        return out.reshape(*x.shape[:2], *out.shape[1:]), 0


class ConvAsMatmul(nn.Module):
    """``nn.Conv1d`` without padding or dilation, [B,C,T] -> [B,O,N], as one matrix product.

    The result is a view of [B,N,O]: the product gives samples before channels, and the next
    convolution unfolds them in that order, so nothing is transposed in memory in between.
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
        # The last window may reach behind the input: pad, and drop those outputs again below.
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
        """Weights [G*O, size*C] that give all outputs of a window in one product.

        The kernel stands there once per output, each time a stride further down, zeros around it:
        a banded (Toeplitz) matrix. Made again in every step, so gradients reach the kernel itself.
        """
        kernel = functional.pad(self.weight.mT, (0, 0, 0, size - self.kernel))
        rows = [kernel.roll(place * self.stride, 1) for place in range(self.group)]
        return torch.stack(rows).flatten(2).flatten(0, 1)


class FlattenInPlace(nn.Module):
    """``nn.Flatten`` in the order that samples lie in after a ``ConvAsMatmul``.

    ``nn.Flatten`` would put channels first and so copy every activation, forwards and backwards.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.mT.flatten(1)


class ReorderedLinear(nn.Module):
    """``nn.Linear`` behind ``FlattenInPlace``: its weights are reordered instead of activations.

    They are far fewer numbers, and keep the order of ``nn.Flatten`` in packages.
    """

    def __init__(self, of: nn.Linear, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = of.weight, of.bias
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        rows = self.weight.reshape(len(self.weight), self.channels, -1)
        return functional.linear(x, rows.mT.flatten(1), self.bias)


class PairMaxPool(nn.Module):
    """``nn.MaxPool1d(2)`` that leaves samples in the order they lie in.

    ``where`` and not ``maximum``: of equal neighbours the first gets the whole gradient, as in
    ``nn.MaxPool1d``, while ``maximum`` would give each a half.
    """

    def forward(self, x: Tensor) -> Tensor:
        x = x[..., : x.shape[-1] // 2 * 2]
        first, second = x.reshape(*x.shape[:-1], -1, 2).unbind(-1)
        return torch.where(second > first, second, first)


def convs_as_matmuls(layers: nn.Module) -> nn.Module:
    """Replace convolutions by products, in place; names and values of parameters stay."""
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
    """Fast path of ``nn.Dropout``: 8 random bits per number instead of a random float each.

    Same mean and dropped fraction, rounded to 1/256, tested in
    ``tests/training/test_training_vmap.py``; other random numbers than ``nn.Dropout`` draws. The
    gain is part of that of ``cpu_form``: one draw of 64 bits serves eight activations.
    """

    def __init__(self, part: float) -> None:
        super().__init__()
        self.lost = round(part * 2**8)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.lost:
            return x
        # Signed bytes: a value below the threshold, counted from -128, is dropped.
        words = torch.randint(-(2**63), 2**63 - 1, (-(-x.numel() // 8),))
        bits = words.view(torch.int8)[: x.numel()].view(x.shape)
        keep = (bits >= self.lost - 2**7).to(x.dtype)
        return x * keep.mul_(1 / (1 - self.lost / 2**8))


def cpu_form(layers: nn.Module) -> nn.Module:
    """Bring ``layers`` into the form that a CPU trains fastest, in place."""
    for parent in list(convs_as_matmuls(layers).modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Dropout):
                setattr(parent, name, ByteDropout(child.p))
    return layers


def _is_plain(of: nn.Conv1d) -> bool:
    """Without padding, dilation, groups, or samples that no window covers."""
    covered = of.kernel_size[0] >= of.stride[0]
    return covered and (of.padding, of.dilation, of.groups) == ((0,), (1,), 1)
