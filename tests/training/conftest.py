import pytest
from simple_survey import build_survey, simple_stars

from distcnn.config import (
    AugmentConfig,
    NetworkConfig,
    QualityConfig,
    SplitConfig,
    StackingConfig,
    TrainConfig,
)


@pytest.fixture(scope="session")
def simple():
    return simple_stars(900)


@pytest.fixture(scope="session")
def survey(tmp_path_factory, simple):
    return build_survey(tmp_path_factory.mktemp("survey") / "survey.zarr", simple)


@pytest.fixture
def quality():
    return QualityConfig(novelty_components=4)


@pytest.fixture
def config():
    return TrainConfig(
        members=2,
        epochs=4,
        patience=4,
        batch=64,
        network=NetworkConfig(width=16, hidden=16, dropout=0.1),
        split=SplitConfig(train=0.6, validation=0.15, calibration=0.15),
        augment=AugmentConfig(noise=0.5, drop_xp=0.1, drop_parallax=0.1, drop_pixels=0.02),
        precision="float32",  # processors with units for bfloat16 would use them
        stacking=StackingConfig(methods=()),  # saves time; it has tests of its own
    )
