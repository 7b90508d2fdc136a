"""Settings of tuning: which knobs are turned, how far, and what one trial is."""

from typing import Self

from pydantic import Field, model_validator

from distcnn.config.base import Frozen


class Range(Frozen):
    """Where a knob may stand."""

    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    log: bool = False
    """Whether factors count rather than differences; ``low`` must then be above 0."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low = {self.low:g} must be below high = {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low = {self.low:g} must be above 0 where log is true")
        return self


class TuneConfig(Frozen):
    """Trials of other settings, judged by their validation loss.

    A knob that is null stays as ``train`` has it.
    """

    trials: int = Field(30, ge=1)
    """Finished trials at which a study is complete; the first one has the settings of ``train``."""
    seed: int = 0
    """Seed of the choice of settings; all trials share the seeds of ``train``."""
    members: int = Field(1, ge=1)
    """Members trained per trial; their mean validation loss counts."""
    epochs: int = Field(15, ge=1)
    """Epochs of a trial, a whole learning-rate cycle; the best settings keep ``train.epochs``."""
    learning_rate: Range | None = Range(low=1e-3, high=1e-2, log=True)
    """Range of ``train.learning_rate``."""
    weight_decay: Range | None = Range(low=0.05, high=2.0, log=True)
    """Range of ``train.weight_decay``."""
    batch: tuple[int, ...] | None = (64, 128, 256, 512)
    """Values of ``train.batch``."""
    dropout: Range | None = Range(low=0.0, high=0.4)
    """Range of ``train.network.dropout``; turned for ``hybrid`` only."""
    width: tuple[int, ...] | None = (16, 32, 48, 64)
    """Values of ``train.network.width``; turned for ``hybrid`` only."""
    hidden: tuple[int, ...] | None = (64, 128, 256)
    """Values of ``train.network.hidden``; turned for ``hybrid`` only."""
    noise: Range | None = Range(low=0.0, high=1.0)
    """Range of ``train.augment.noise``."""
