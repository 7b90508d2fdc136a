"""Inputs of checks: a package on a survey, read and predicted as far as a check asks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from distcnn.arrays import Array
from distcnn.checks.predictor import PackagePredictor, PredictedStars, read_rows
from distcnn.checks.stars import StarTable, read_star_table
from distcnn.config import CatalogueConfig, ChecksConfig, ReportConfig
from distcnn.evaluation import Evaluation, EvaluationData, Sample, evaluate
from distcnn.executor import Executor
from distcnn.location import Address
from distcnn.model import Batch, Package
from distcnn.model.pixel_noise import (
    NOISE_SPECTRA,
    Correlation,
    measure_correlation,
    stated_correlation,
)
from distcnn.quality import Quality
from distcnn.survey import Store

NO_PREDICTIONS = "no predictions were given: name them by --predictions"
"""What a check of finished predictions says without any."""
CatalogueReader = Callable[[CatalogueConfig, Sequence[str]], Mapping[str, Array]]
"""Reads a catalogue's rows and the labels that are asked for; see ``ingest.catalogue_table``."""


@dataclass(frozen=True)
class EvaluatedPredictions:
    """Finished predictions, what an evaluation found in them, and the stars it is about."""

    products: EvaluationData
    numbers: Evaluation
    sample: Sample
    config: ReportConfig


@dataclass(frozen=True)
class CheckInputs:
    """What a check may ask for; whatever is read or predicted once is kept.

    Attributes
    ----------
    package, survey : what is checked, and on which stars.
    truth : table of a simulated survey; None = the survey's labels are the references.
    products : a prediction store of this package, for checks of finished predictions.
    read_catalogue : how catalogues are read; None = they cannot be.
    executor : on whose workers stars go through the networks; None = in this process.
    """

    package: Package
    survey: Store
    config: ChecksConfig = field(default_factory=ChecksConfig)
    report: ReportConfig = field(default_factory=ReportConfig)
    truth: Address | None = None
    products: EvaluationData | None = None
    read_catalogue: CatalogueReader | None = None
    executor: Executor | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the package's labels."""
        return self.package.labels

    @cached_property
    def uncalibrated(self) -> dict[str, int | None]:
        """Labels whose errors no star calibrated: they have none (NaN). By name, how many stars of
        calibration have the label; None where the package does not tell.
        """
        calibration = Quality.from_arrays(self.package.quality_arrays).calibration
        calibrated = np.isfinite(calibration.overall)
        stars = self.package.manifest.label_calibration_stars or [None] * len(self.labels)
        rows = zip(self.labels, calibrated, stars, strict=True)
        return {name: count for name, known, count in rows if not known}

    @cached_property
    def predictor(self) -> PackagePredictor:
        """What the package says of stars."""
        return PackagePredictor(self.package, bands_of(self.survey), self.executor)

    @cached_property
    def table(self) -> StarTable:
        """Stars of the survey, without their spectra."""
        manifest = self.package.manifest
        split = manifest.training_split if manifest.train.get("split") else None
        most = self.config.scanned_stars
        return read_star_table(self.survey, self.labels, split=split, truth=self.truth, most=most)

    @cached_property
    def judged(self) -> StarTable:
        """Stars outside training with a reference and without a defect, as far as is known."""
        table = self.table
        good = table.held_out & np.isfinite(table.reference).any(axis=1) & (table.defect == "")
        return table.drawn(good, self.config.stars)

    @cached_property
    def noise_correlation(self) -> Correlation:
        """Of the noise in pixels 1, 2, ... apart: measured on faint stars of the survey; where
        these are too few, what the settings of its ingest say.
        """
        known = self.table.take(np.isfinite(self.table.snr) & (self.table.defect == ""))
        faint = np.sort(np.argsort(known.snr, kind="stable")[:NOISE_SPECTRA])
        if not len(faint):
            return stated_correlation(self.survey)
        stars = known.take(faint)
        measured = measure_correlation(self.arrays(stars)["flux"], stars.snr)
        return stated_correlation(self.survey) if measured is None else measured

    @cached_property
    def evaluated(self) -> EvaluatedPredictions | None:
        """The prediction store, evaluated; None without one."""
        if self.products is None:
            return None
        return EvaluatedPredictions(
            self.products, *evaluate(self.products, self.report), self.report
        )

    def arrays(self, stars: StarTable) -> dict[str, Array]:
        """Survey variables of stars that the package reads, all at once."""
        parts = list(read_rows(self.survey, stars.row, self.predictor.variables))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def predict(self, stars: StarTable) -> PredictedStars:
        """Predictions of stars, of which there is at least one."""
        variables = self.predictor.variables
        return self.predictor.of_blocks(read_rows(self.survey, stars.row, variables))

    def batches(self, stars: StarTable, size: int) -> Iterator[Batch]:
        """Inputs of the networks, ``size`` stars at a time."""
        return self.predictor.batches(self.survey, stars.row, size)


def bands_of(survey: Store) -> list[str]:
    """Names of the columns of ``photometry``; none if the survey has none."""
    return list(map(str, survey.coordinate("band"))) if "photometry" in survey.variables else []
