"""Settings of distillation: one network that does what an ensemble does."""

from typing import Literal

from pydantic import Field

from distcnn.config.base import Bytes, Frozen
from distcnn.config.train import AugmentConfig, NetworkConfig


class StudentConfig(Frozen):
    """Size of the student, a network like ``hybrid``; its inputs are those of the ensemble."""

    width: int = Field(16, ge=4)
    """Channels of the last convolution; the first has half."""
    hidden: int = Field(128, ge=4)
    """Neurons of the joined dense layers."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Drop-out inside the spectrum and XP branches; answers without noise need none."""


class DistilConfig(Frozen):
    """From an ensemble to one student network that answers as it does."""

    network: StudentConfig = StudentConfig()
    """The student."""
    seed: int = 0
    """Seed of weights, batches and views."""
    stars: int = Field(200_000, ge=1)
    """Most stars to learn from, taken evenly from those of the survey that may be seen: all but
    the labelled ones of validation, calibration and test."""
    augment: AugmentConfig = AugmentConfig()
    """How a star is changed, afresh in every epoch, before ensemble and student see it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the arithmetic runs; ``auto`` takes a GPU where the worker has one."""
    memory: Bytes = 1_500_000_000
    """Bytes of stars that are held; more of them are read from the survey anew in every epoch."""
    epochs: int = Field(40, ge=1)
    """Most epochs."""
    patience: int = Field(15, ge=1)
    """Stop after this many epochs without a better validation loss; best weights are kept."""
    batch: int = Field(256, ge=1)
    """Stars per optimiser step."""
    learning_rate: float = Field(3e-3, gt=0)
    """Peak of the one-cycle schedule (AdamW)."""
    weight_decay: float = Field(0.02, ge=0)
    """AdamW weight decay."""


class StudentNetwork(NetworkConfig):
    """What the manifest of a distilled package says of its network."""

    student: Literal[True] = True
    """One network that gives noise and scatter, where an ensemble has members."""
