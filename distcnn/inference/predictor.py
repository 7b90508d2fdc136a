"""Predictor: rows of a survey in, labels with errors and flags out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from distcnn.arrays import Array
from distcnn.inference.device_pipeline import DevicePipeline
from distcnn.inference.engines import EngineChoice
from distcnn.model import Ensemble, InputSpec, Prediction, star_inputs
from distcnn.model.inputs import band_columns
from distcnn.quality import InputSummary, Quality
from distcnn.schema import PREDICTION_VARIABLES
from distcnn.survey import Quantised, to_float32

LABELLED = ("label", "label_error", "label_noise", "label_scatter")
"""Without a finite value in each of these a star has failed."""
DERIVED = ("label_error_low", "label_error_high", "label_debiased", "label_debiased_error")
"""Further variables per label: NaN in failed stars, and where the package gives none."""
CORRELATION = "label_correlation"

WIDE_AT_ONCE = 1024
"""Stars that are wide at a time, or one batch if that is more."""


@dataclass
class Predictor:
    """An ensemble with its quality. ``batch`` is the largest that fitted in memory so far.

    ``choice`` : the engine, and how it was found.
    """

    spec: InputSpec
    ensemble: Ensemble
    quality: Quality
    choice: EngineChoice
    batch: int | None = None
    variables: tuple[str, ...] = field(init=False)
    _conveyor: DevicePipeline | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        extra = ("flux_error",) if self.spec.pixels else ()
        self.variables = (*self.spec.variables, *extra)

    @property
    def travels(self) -> bool:
        """Whether stars go to another device and come back; else they are computed here."""
        return self.ensemble.device != "cpu"

    def predict(
        self,
        arrays: Mapping[str, Array],
        bands: Sequence[str],
        batch: int,
        quantised: Mapping[str, Quantised],
    ) -> dict[str, Array]:
        """Predict and judge N stars.

        Parameters
        ----------
        arrays : survey variables of N stars (those of ``variables`` that the survey has), as
            ``Store.read_stored`` gives them.
        bands : names of the columns of ``photometry``.
        batch : stars per forward pass.
        quantised : how variables that are held as integers are widened.

        Returns
        -------
        ``label`` and all variables named ``label_*`` float32 [N, L] in label units, NaN where the
        package has nothing to say; ``label_correlation`` float16 [N, K] unless there is but one
        label; ``novelty``, ``valid_pixels`` float32 [N]; ``flags`` uint32 [N].
        """
        if not self.travels:
            prediction, summary = self._at_home(arrays, bands, batch, quantised)
        else:
            if self._conveyor is None or self._conveyor.quantised != dict(quantised):
                places = self.ensemble, self.quality.novelty, self.spec
                self._conveyor = DevicePipeline(*places, quantised)
            columns = band_columns(self.spec.bands, bands) if "photometry" in arrays else []
            prediction, summary = self._conveyor(arrays, columns, batch)
        return self._judged(prediction, summary)

    def _at_home(
        self,
        arrays: Mapping[str, Array],
        bands: Sequence[str],
        batch: int,
        quantised: Mapping[str, Quantised],
    ) -> tuple[Prediction, InputSummary]:
        """Some stars at a time: what is widened stays in the cache for all that is done to it."""
        step = batch * -(-WIDE_AT_ONCE // batch)
        starts = range(0, len(next(iter(arrays.values()))), step)
        parts = [
            self._widened(
                {
                    name: to_float32(arrays[name][start : start + step], quantised.get(name))
                    for name in self.variables
                    if name in arrays
                },
                bands,
                batch,
            )
            for start in starts
        ]
        predictions, summary = zip(*parts, strict=True)
        return Prediction.joined(predictions), InputSummary.joined(summary)

    def _widened(
        self, arrays: Mapping[str, Array], bands: Sequence[str], batch: int
    ) -> tuple[Prediction, InputSummary]:
        inputs = star_inputs(arrays, self.spec, bands)
        known: dict[str, Array] = {"flux": inputs.flux, "xp": inputs.xp, "snr": inputs.snr[:, 0]}
        known["photometry"] = inputs.photometry
        if self.spec.astrometry:
            known["parallax"] = inputs.astrometry[:, 0]
        if self.spec.pixels and "flux_error" in arrays:
            known["flux_error"] = arrays["flux_error"]
        summary = InputSummary.of(known, len(inputs), self.quality.novelty)
        return self.ensemble.predict(inputs, batch), summary

    def _judged(self, prediction: Prediction, summary: InputSummary) -> dict[str, Array]:
        label, noise, scatter, correlation = prediction
        judged = self.quality.judge(summary, label, noise, scatter)
        given = {name: values for name, values in judged.items() if name in PREDICTION_VARIABLES}
        out = {"label": label, "label_noise": noise, "label_scatter": scatter, **given}
        for name in DERIVED:
            out.setdefault(name, np.full_like(label, np.nan))
        if correlation.shape[1]:
            out[CORRELATION] = correlation.astype(PREDICTION_VARIABLES[CORRELATION].dtype)
        return out
