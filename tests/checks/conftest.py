"""Made once: finished predictions, and packages on a survey of lines, sound and spoiled."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from evaluation.products import Products, make_products
from line_survey import SPLIT, build_survey, draw_stars, train
from spoiled import NuisanceSurveys

from distcnn.checks import CheckInputs
from distcnn.config import ChecksConfig
from distcnn.model import Package
from distcnn.survey import Store


@pytest.fixture(scope="session")
def products(tmp_path_factory: pytest.TempPathFactory) -> Products:
    return make_products(tmp_path_factory.mktemp("products"))


@dataclass(frozen=True)
class Lines:
    """A survey with its true labels, and paths of packages that were trained on it."""

    survey: Store
    again: Store
    label: np.ndarray
    snr: np.ndarray
    ids: np.ndarray
    sound: Path
    retrained: Path
    shuffled: Path
    swapped: Path
    borrowed: Path
    noiseless: Path

    def inputs(self, package: str = "sound", **config: object) -> CheckInputs:
        """One of the packages on the survey."""
        settings = ChecksConfig(stars=2000, **config)
        return CheckInputs(Package.load(getattr(self, package)), self.survey, settings)


@pytest.fixture(scope="session")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Lines:
    folder = tmp_path_factory.mktemp("lines")
    label, snr, ids = draw_stars(2400)
    survey = build_survey(folder / "survey.zarr", label, snr, ids)
    again = build_survey(folder / "again.zarr", label, snr, ids, seed=6)
    mixed = label[np.random.default_rng(8).permutation(len(label))]
    spoiled = build_survey(folder / "spoiled.zarr", label, snr, ids, labels=mixed)
    swapped = build_survey(folder / "swapped.zarr", label, snr, ids, labels=label[:, [0, 1, 3, 2]])
    # Stars among which silicon always goes with iron, so that either is read from both.
    usual = label.copy()
    usual[:, 3] = -0.2 * usual[:, 2] + 0.02 * np.random.default_rng(2).standard_normal(len(label))
    borrowed = build_survey(folder / "borrowed.zarr", usual, snr, ids)
    noiseless = build_survey(folder / "noiseless.zarr", label, 20 * snr, ids)
    return Lines(
        survey,
        again,
        label,
        snr,
        ids,
        train(survey, folder / "sound"),
        train(survey, folder / "retrained", seed=7, split=SPLIT.model_copy(update={"seed": 3})),
        train(spoiled, folder / "shuffled", epochs=5),
        train(swapped, folder / "swapped"),
        train(borrowed, folder / "borrowed"),
        train(noiseless, folder / "noiseless"),
    )


@pytest.fixture(scope="session")
def nuisances(tmp_path_factory: pytest.TempPathFactory) -> NuisanceSurveys:
    return NuisanceSurveys(tmp_path_factory.mktemp("nuisances"))
