"""Predictor: rows of a survey in, labels with errors and flags out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from distcnn.arrays import Array
from distcnn.inference.engines import EngineChoice
from distcnn.inference.worker.device_pipeline import DevicePipeline
from distcnn.model import Ensemble, InputSpec, Prediction
from distcnn.quality import InputSummary, Quality
from distcnn.quality.recommendation import recommend
from distcnn.schema import PREDICTION_VARIABLES
from distcnn.survey import Quantised

LABELLED = ("label", "label_noise", "label_scatter")
"""Without a finite value in each of these a star has failed."""
DERIVED = (
    "label_error",
    "label_error_low",
    "label_error_high",
    "label_debiased",
    "label_debiased_error",
    "label_prior_ratio",
)
"""Further variables per label: NaN in failed stars, and where the package gives none (a label that
could not be calibrated has no error, and says so by a flag)."""
CORRELATION, RECOMMENDATION = "label_correlation", "label_recommendation"


@dataclass
class Predictor:
    """An ensemble with its quality. ``batch`` is the largest that fitted in memory so far.

    ``choice`` : the engine, and how it was found. ``fast_path`` : see ``DevicePipeline``.
    ``flag_seconds`` : what quality (errors and flags) took of the last ``predict`` [s].
    """

    spec: InputSpec
    ensemble: Ensemble
    quality: Quality
    choice: EngineChoice
    batch: int | None = None
    fast_path: bool = True
    flag_seconds: float = field(init=False, default=0.0)
    variables: tuple[str, ...] = field(init=False)
    _pipeline: DevicePipeline | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        extra = ("flux_error",) if self.spec.pixels else ()
        self.variables = (*self.spec.variables, *extra)

    def predict(
        self,
        arrays: Mapping[str, Array],
        bands: Sequence[str],
        batch: int,
        quantised: Mapping[str, Quantised],
    ) -> dict[str, Array]:
        """Predict N stars, with errors and flags.

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
        label; ``label_recommendation`` uint8 [N, L]; ``novelty``, ``valid_pixels`` float32 [N];
        ``flags`` uint32 [N].
        """
        if self._pipeline is None or self._pipeline.quantised != dict(quantised):
            given = self.ensemble, self.quality.novelty, self.spec, quantised
            self._pipeline = DevicePipeline(*given, fast_path=self.fast_path)
        predicted = self._pipeline(arrays, bands, batch)
        before = perf_counter()
        out = self._assessed(*predicted)
        self.flag_seconds = perf_counter() - before
        return out

    def _assessed(self, prediction: Prediction, summary: InputSummary) -> dict[str, Array]:
        label, noise, scatter, correlation = prediction
        assessed = self.quality.assess_summary(summary, label, noise, scatter)
        given = {name: values for name, values in assessed.items() if name in PREDICTION_VARIABLES}
        out = {"label": label, "label_noise": noise, "label_scatter": scatter, **given}
        for name in DERIVED:
            values = out.get(name, np.full_like(label, np.nan))
            out[name] = values.astype(PREDICTION_VARIABLES[name].dtype, copy=False)
        if RECOMMENDATION not in out:
            out[RECOMMENDATION] = recommend(out["flags"], {}, label.shape[1])
        if correlation.shape[1]:
            out[CORRELATION] = correlation.astype(PREDICTION_VARIABLES[CORRELATION].dtype)
        return out
