"""What a baseline is: fitted on the training stars, asked for labels of stars it never saw.

``inputs`` are named arrays as a survey stores them (``flux``, ``xp``, ``photometry``,
``parallax``, ``parallax_error``; NaN = missing, an absent modality is an absent key), labels
are [N, L] with NaN where a star has none. A baseline is finished when ``BaselineChecks`` pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from distcnn.arrays import Array

Inputs = Mapping[str, Array]


@dataclass(frozen=True)
class LabelledStars:
    """Inputs of N stars and their reference labels [N, L] in label units; NaN = none."""

    inputs: Inputs
    label: Array


@dataclass(frozen=True)
class Estimate:
    """Labels, float32 [N, L] in label units, NaN where a label could not be learned.

    ``error``: their standard errors, None where the method gives none.
    """

    label: Array
    error: Array | None = None


class FittedBaseline(Protocol):
    """A method that has learned its labels."""

    def predict(self, inputs: Inputs) -> Estimate:
        """Labels of stars; missing inputs never make a label NaN that was learned."""
        ...


class Fit(Protocol):
    """How a method learns; the same ``seed`` gives the same labels."""

    def __call__(
        self, training: LabelledStars, validation: LabelledStars, *, seed: int
    ) -> FittedBaseline: ...


@dataclass(frozen=True)
class Baseline:
    """A row of the registry.

    Attributes
    ----------
    title : name of the method in tables and figures.
    needs : inputs of which a survey must have at least one.
    """

    title: str
    needs: tuple[str, ...]
    fit: Fit
