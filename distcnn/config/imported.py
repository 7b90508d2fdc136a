"""Settings of networks trained elsewhere: what their inputs and outputs mean, and their layers."""

from typing import Literal, Self

from pydantic import Field, model_validator

from distcnn.config.base import Frozen, LocalPath
from distcnn.config.train import NetworkConfig


class LimitsConfig(Frozen):
    """A number as the network sees it: 0 at ``low``, 1 at ``high``, in between and beyond linear.

    What was standardised is 0 at its mean and 1 one standard deviation above.
    """

    low: float = 0.0
    """Value that the network sees as 0."""
    high: float = 1.0
    """Value that the network sees as 1."""

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.low == self.high:
            raise ValueError(f"low and high are both {self.low:g}")
        return self


class ImportedScalar(LimitsConfig):
    """One number per star that the network takes beside the spectrum."""

    band: str
    """Photometric band of the survey (or whatever else its table of magnitudes has, such as an
    extinction) that it is made of."""
    absolute: bool = False
    """Turn the apparent magnitude m into m + 5 (log10 p + 1), p the parallax in arcseconds and at
    least ``least_parallax``; no extinction is taken off."""


class ImportedOutput(LimitsConfig):
    """One number that the network gives."""

    label: str | None
    """Label that it is; null = nothing that is kept."""


class ImportedConfig(Frozen):
    """What a network trained elsewhere takes and gives; its layers stand in its own file."""

    outputs: tuple[ImportedOutput, ...] = ()
    """Its outputs in their order, with the limits that its labels were scaled by."""
    scalars: tuple[ImportedScalar, ...] = ()
    """Its inputs beside the spectrum in their order, with the limits that they were scaled by."""
    flux: LimitsConfig = LimitsConfig()
    """How the flux was scaled; the default is not at all."""
    least_parallax: float = Field(1e-4, gt=0)
    """Smallest parallax that an absolute magnitude is computed from ["]."""

    trained_on: LocalPath | None = None
    """CSV or Parquet table of the stars that the network was trained on, by ``source_id`` or by
    ``name``. Where one of them would be taken for an unknown star the import is refused: its errors
    would come out too small. None = not known."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that it gives, in their order."""
        return tuple(output.label for output in self.outputs if output.label is not None)

    @model_validator(mode="after")
    def _labels_once(self) -> Self:
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"every label once; they are {', '.join(self.labels)}")
        return self


Activation = Literal[
    "linear",
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "tanh",
    "sigmoid",
    "softplus",
    "swish",
    "softmax",
    "exponential",
]


class LayerConfig(Frozen):
    """One layer of a network trained elsewhere; tensors have their channels last, as in Keras."""

    kind: Literal[
        "spectrum",
        "scalars",
        "dense",
        "convolution",
        "max_pooling",
        "average_pooling",
        "global_max_pooling",
        "global_average_pooling",
        "normalisation",
        "activation",
        "flatten",
        "reshape",
        "concatenate",
        "add",
    ]
    """What it does."""
    sources: tuple[int, ...] = ()
    """Numbers of the layers that it reads."""
    shape: tuple[int, ...]
    """Shape of what it gives for one star."""
    kernel: int = 1
    """Pixels under a kernel or a pool."""
    stride: int = 1
    """Pixels from one place to the next."""
    dilation: int = 1
    """Pixels from one weight of a kernel to the next."""
    groups: int = 1
    """Groups of channels that do not see each other."""
    padding: tuple[int, int] = (0, 0)
    """Zeros before and behind (nothing, in a pool)."""
    activation: Activation = "linear"
    """Function of every value."""
    slope: float = 0.0
    """Of a leaky ReLU below zero, of an ELU its limit."""
    bias: bool = True
    """Whether something is added behind the weights."""


class ImportedNetwork(NetworkConfig):
    """What the manifest of an imported package says of its network."""

    preset: Literal["imported"] = "imported"  # type: ignore[assignment]
    """Layers of its own."""
    meaning: ImportedConfig
    """What it takes and gives."""
    layers: tuple[LayerConfig, ...]
    """Its layers, each behind those that it reads; the last gives the outputs."""
