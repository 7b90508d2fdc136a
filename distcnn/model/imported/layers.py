"""The layers of a network trained elsewhere, run by torch.

Every layer reads the outputs of others by their numbers. Channels are last, as in Keras, so that
a flattened spectrum has its values in the order that the next layer was trained on.

Legend: B star, T sample, C channel.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from distcnn.config.imported import ImportedNetwork, LayerConfig

Shape = tuple[int, ...]


class ImportedLayers(nn.Module):
    """Spectrum [B,P] and scalars [B,S], scaled as they were in training -> outputs [B,L]."""

    kept: Tensor

    def __init__(self, config: ImportedNetwork) -> None:
        super().__init__()
        shapes = [one.shape for one in config.layers]
        self.steps = nn.ModuleList(
            [_MAKERS[one.kind](one, [shapes[n] for n in one.sources]) for one in config.layers]
        )
        kept = [n for n, output in enumerate(config.meaning.outputs) if output.label is not None]
        self.register_buffer("kept", torch.tensor(kept), persistent=False)

    def forward(self, spectrum: Tensor, scalars: Tensor) -> Tensor:
        values = [spectrum, scalars]
        for step in self.steps:
            values.append(step(values))
        return values[-1].index_select(1, self.kept)


class Step(nn.Module):
    """One layer: what all have; ``shapes`` of what it reads."""

    sources: list[int]

    def __init__(self, config: LayerConfig, shapes: Sequence[Shape]) -> None:
        super().__init__()
        # The first two values are spectrum and scalars.
        self.sources = [number + 2 for number in config.sources]
        self.source = self.sources[0] if self.sources else 0
        self.activation = config.activation
        self.slope = config.slope

    def activated(self, x: Tensor) -> Tensor:
        """The activation of every value; one comparison per call, none in a traced network."""
        name = self.activation
        if name == "linear":
            return x
        if name == "relu":
            return torch.relu(x)
        if name == "leaky_relu":
            return functional.leaky_relu(x, self.slope)
        if name == "elu":
            return functional.elu(x, self.slope)
        return self.smooth(x)

    def smooth(self, x: Tensor) -> Tensor:
        """The rarer ones."""
        name, y = self.activation, torch.exp(x)
        if name == "selu":
            y = functional.selu(x)
        elif name == "gelu":
            y = functional.gelu(x)
        elif name == "tanh":
            y = torch.tanh(x)
        elif name == "sigmoid":
            y = torch.sigmoid(x)
        elif name == "softplus":
            y = functional.softplus(x)
        elif name == "swish":
            y = functional.silu(x)
        elif name == "softmax":
            y = torch.softmax(x, -1)
        return y


class ShapeStep(Step):
    """The same values in another shape; spectrum and scalars begin so."""

    def __init__(self, config: LayerConfig, shapes: Sequence[Shape]) -> None:
        super().__init__(config, shapes)
        if not shapes:
            self.source = 0 if config.kind == "spectrum" else 1
        self.shape = list(config.shape)

    def forward(self, values: list[Tensor]) -> Tensor:
        x = values[self.source]
        return x.reshape([x.shape[0]] + self.shape)  # noqa: RUF005 - TorchScript knows no *


class DenseStep(Step):
    """A product with the last axis."""

    def __init__(self, config: LayerConfig, shapes: Sequence[Shape]) -> None:
        super().__init__(config, shapes)
        made = nn.Linear(shapes[0][-1], config.shape[-1], bias=config.bias)
        self.weight, self.bias = made.weight, made.bias

    def forward(self, values: list[Tensor]) -> Tensor:
        return self.activated(functional.linear(values[self.source], self.weight, self.bias))


class ConvolutionStep(Step):
    """A convolution along the samples."""

    def __init__(self, config: LayerConfig, shapes: Sequence[Shape]) -> None:
        super().__init__(config, shapes)
        self.padding = list(config.padding)
        made = nn.Conv1d(
            shapes[0][1],
            config.shape[1],
            config.kernel,
            config.stride,
            dilation=config.dilation,
            groups=config.groups,
            bias=config.bias,
        )
        self.weight, self.bias = made.weight, made.bias
        self.stride, self.dilation, self.groups = config.stride, config.dilation, config.groups

    def forward(self, values: list[Tensor]) -> Tensor:
        x = functional.pad(values[self.source].transpose(1, 2), self.padding)
        y = functional.conv1d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)
        return self.activated(y.transpose(1, 2))


class PoolingStep(Step):
    """Largest or mean value of some samples."""

    def __init__(self, config: LayerConfig, shapes: Sequence[Shape]) -> None:
        super().__init__(config, shapes)
        self.largest = config.kind == "max_pooling"
        self.kernel, self.stride = config.kernel, config.stride
        self.padding = list(config.padding)

    def forward(self, values: list[Tensor]) -> Tensor:
        x = values[self.source].transpose(1, 2)
        if self.largest:
            padded = functional.pad(x, self.padding, value=float("-inf"))
            return functional.max_pool1d(padded, self.kernel, self.stride).transpose(1, 2)
        return functional.avg_pool1d(x, self.kernel, self.stride).transpose(1, 2)


class GlobalPoolingStep(Step):
    """Largest or mean value of all samples."""

    def __init__(self, config: LayerConfig, shapes: Sequence[Shape]) -> None:
        super().__init__(config, shapes)
        self.largest = config.kind == "global_max_pooling"

    def forward(self, values: list[Tensor]) -> Tensor:
        x = values[self.source]
        return x.amax(1) if self.largest else x.mean(1)


class NormalisationStep(Step):
    """A factor and a term per channel."""

    def __init__(self, config: LayerConfig, shapes: Sequence[Shape]) -> None:
        super().__init__(config, shapes)
        self.weight = nn.Parameter(torch.ones(config.shape[-1]))
        self.bias = nn.Parameter(torch.zeros(config.shape[-1]))

    def forward(self, values: list[Tensor]) -> Tensor:
        return values[self.source] * self.weight + self.bias


class ActivationStep(Step):
    """A function of every value."""

    def forward(self, values: list[Tensor]) -> Tensor:
        return self.activated(values[self.source])


class JoiningStep(Step):
    """Several tensors side by side, or their sum."""

    def __init__(self, config: LayerConfig, shapes: Sequence[Shape]) -> None:
        super().__init__(config, shapes)
        self.side_by_side = config.kind == "concatenate"

    def forward(self, values: list[Tensor]) -> Tensor:
        read = [values[number] for number in self.sources]
        return torch.cat(read, -1) if self.side_by_side else torch.stack(read).sum(0)


_MAKERS: dict[str, Callable[[LayerConfig, Sequence[Shape]], Step]] = {
    "spectrum": ShapeStep,
    "scalars": ShapeStep,
    "flatten": ShapeStep,
    "reshape": ShapeStep,
    "dense": DenseStep,
    "convolution": ConvolutionStep,
    "max_pooling": PoolingStep,
    "average_pooling": PoolingStep,
    "global_max_pooling": GlobalPoolingStep,
    "global_average_pooling": GlobalPoolingStep,
    "normalisation": NormalisationStep,
    "activation": ActivationStep,
    "concatenate": JoiningStep,
    "add": JoiningStep,
}
