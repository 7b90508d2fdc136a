"""What a baseline is: fitted on the training stars, asked for labels of stars it never saw.

``inputs`` are named arrays as a survey stores them: ``flux`` and ``flux_error`` [N, P] (NaN where
masked, so no mask is needed), ``snr``, ``xp``, ``photometry``, ``parallax``, ``parallax_error``;
NaN = missing, an absent modality is an absent key. All stars stand on one wavelength grid. Labels
are [N, L] with NaN where a star has none. A baseline is finished when ``BaselineChecks`` pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from distcnn.arrays import Array
from distcnn.baselines.steps import Steps
from distcnn.events import Listener, silent

Inputs = Mapping[str, Array]


@dataclass(frozen=True)
class LabelledStars:
    """Inputs of N stars and their reference labels [N, L] in label units; NaN = none.

    ``label_error``: standard errors [N, L] of the reference labels, NaN or None = not known.
    """

    inputs: Inputs
    label: Array
    label_error: Array | None = None


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


class Method(Protocol):
    """The class of a method: how it learns; the same ``seed`` gives the same labels.

    A fit that takes more than some seconds tells ``steps`` how far it is.
    """

    def fit(
        self, training: LabelledStars, validation: LabelledStars, *, seed: int, steps: Steps
    ) -> FittedBaseline: ...


@dataclass(frozen=True)
class Baseline:
    """A row of the registry.

    Attributes
    ----------
    name : word for the command line and for files.
    title : name of the method in tables and figures.
    needs : inputs of which a survey must have at least one.
    place : ``module:Class`` below ``baselines.methods``, imported when it is fitted, not before.
    spectroscopic : whether it is a standard method of spectroscopy, which compares spectra with
        models of spectra, and not a regression from inputs to labels.
    source : where the method is published.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    place: str
    spectroscopic: bool = False
    source: str = ""

    def fit(
        self,
        training: LabelledStars,
        validation: LabelledStars,
        *,
        seed: int = 0,
        listener: Listener = silent,
    ) -> FittedBaseline:
        """Learn the labels of the training stars; settings are chosen on the validation stars."""
        module, name = self.place.split(":")
        method = cast(Method, getattr(import_module(f"{__package__}.methods.{module}"), name))
        return method.fit(training, validation, seed=seed, steps=Steps(self.name, listener))
