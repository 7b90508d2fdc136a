import json

import numpy as np
import pytest

from distcnn.config import NetworkConfig
from distcnn.errors import FingerprintMismatch, StoreError, TrainingError
from distcnn.events import Advanced, EpochEnded, StageEnded, StageStarted
from distcnn.flow import SerialFlow
from distcnn.model import Ensemble, Package
from distcnn.quality import Quality
from distcnn.survey import Store
from distcnn.training import Part, assign, train_package
from distcnn.training.data import read_labelled
from tests.training.conftest import LABELS, build_survey


def train(survey, path, config, quality, listener=lambda event: None):
    return train_package(survey, path, config, quality, flow=SerialFlow(), listener=listener)


def test_a_survey_becomes_a_package_that_knows_its_stars(tmp_path, survey, config, quality):
    config = config.model_copy(update={"epochs": 30, "patience": 30, "learning_rate": 0.01})
    summary = train(survey, tmp_path / "package", config, quality)
    package = Package.load(tmp_path / "package")
    assert package.digest == summary.digest
    assert package.labels == LABELS
    test = read_labelled(Store.open(survey), package.spec, config.split, Part.TEST)
    prediction = Ensemble(package, "torchscript").predict(test.inputs)
    spread = np.nanstd(test.label, axis=0)
    scatter = np.nanstd(prediction.label - test.label, axis=0)
    assert (scatter < 0.35 * spread).all()
    rows = {row["label"]: row for row in summary.results if row["snr"] == "all"}
    assert rows["teff"]["std"] == pytest.approx(scatter[0], rel=1e-3)
    assert not (tmp_path / "package.partial").exists()
