"""Copies behind more dust: what they are, how they are read, and what networks learn from them."""

import numpy as np
import pytest

from distcnn.config import (
    AugmentConfig,
    NetworkConfig,
    QualityConfig,
    SplitConfig,
    StackingConfig,
    TrainConfig,
)
from distcnn.executor import SerialExecutor
from distcnn.model import InputSpec, Package, predict_members
from distcnn.simulate.dust import EXTINCTION_PER_EBV, redden
from distcnn.survey import Store
from distcnn.training import Split, train_package
from distcnn.training.data.copies.reddened import Reddening
from distcnn.training.data.labelled import find_rows, read_stars
from distcnn.training.data.loader import Sharding
from distcnn.training.data.source import LabelledSource

DUSTY = AugmentConfig(noise=0.0, drop_pixels=0.0, dust=0.6)


@pytest.fixture(scope="module")
def store(survey):
    return Store.open(survey, "survey")


@pytest.fixture(scope="module")
def spec(store):
    return InputSpec.of_survey(store, NetworkConfig())


@pytest.fixture
def stars(store, spec, config):
    return read_stars(store, spec, find_rows(store, spec, config.split, Split.TRAIN))


def test_a_copy_has_the_labels_of_its_star_and_the_magnitudes_of_more_dust(stars, store, spec):
    copies = Reddening.of(store, spec, DUSTY)(stars)
    np.testing.assert_array_equal(copies.source_id, stars.source_id)
    np.testing.assert_array_equal(copies.label, stars.label)
    fainter = copies.inputs["photometry"] - stars.inputs["photometry"]
    ebv = fainter[:, 0] / EXTINCTION_PER_EBV["g"]
    assert 0 <= ebv.min() < 0.05
    assert 0.55 < ebv.max() <= 0.6
    np.testing.assert_allclose(fainter[:, 1], ebv * EXTINCTION_PER_EBV["bp"], atol=1e-5)
    # Each star has its own dust, the same whoever reads it.
    again = Reddening.of(store, spec, DUSTY)(stars.take(slice(5, 9)))
    np.testing.assert_array_equal(again.inputs["photometry"], copies.inputs["photometry"][5:9])


def test_copies_of_observed_stars_lack_xp_and_nobody_asks_for_copies_by_default(stars, store, spec):
    copies = Reddening.of(store, spec, DUSTY)(stars)
    assert np.isnan(copies.inputs["xp"]).all()
    assert np.isfinite(stars.inputs["xp"]).any()
    assert Reddening.of(store, spec, AugmentConfig()) is None


@pytest.mark.parametrize("sharding", [Sharding(2, 0), Sharding(2, 128)])
def test_an_epoch_has_every_star_and_its_copy_wherever_it_is_read(
    survey, store, spec, config, stars, sharding
):
    config = config.model_copy(update={"augment": DUSTY})
    source = LabelledSource(survey, spec, config, "digest")
    whole = source.in_memory().train
    assert len(whole) == 2 * len(stars)
    loader = source.of_rank(sharding, 0, 1).loader
    assert loader.stars == len(whole)
    batches = [micro.stars for step in loader.epoch(1, 0) for micro in step]
    met = np.concatenate([batch.scalars.numpy() for batch in batches])
    wanted = whole.scalars.numpy()
    assert len(met) == len(wanted)
    np.testing.assert_array_equal(met[np.lexsort(met.T)], wanted[np.lexsort(wanted.T)])


@pytest.fixture(scope="module")
def moved(tmp_path_factory, survey, store, spec):
    """Median shift of Teff [K] by 0.3 mag of dust, without and with copies; XP is hidden."""
    found = {}
    for dust in (0.0, 0.6):
        config = TrainConfig(
            members=1,
            epochs=16,
            batch=32,
            learning_rate=0.01,
            network=NetworkConfig(width=16, hidden=16),
            split=SplitConfig(train=0.6, validation=0.15, calibration=0.15),
            augment=AugmentConfig(noise=0.0, drop_xp=0.5, drop_pixels=0.0, dust=dust),
            precision="float32",
            stacking=StackingConfig(methods=("ridge",)),
        )
        path = tmp_path_factory.mktemp("dust") / "package"
        settings = QualityConfig(novelty_components=4)
        train_package(survey, path, config, settings, executor=SerialExecutor())
        package = Package.load(path)
        stars = read_stars(store, spec, find_rows(store, spec, config.split, Split.TEST))
        seen = stars.inputs.without("xp")
        dusty = redden({"photometry": seen["photometry"]}, 0.3, bands=spec.bands, wavelength=None)
        before, after = (
            predict_members(package.networks(), inputs, stacking=package.stacking()).label
            for inputs in (seen, seen.replaced(**dusty))
        )
        found[dust] = float(np.median(after[:, 0] - before[:, 0]))
    return found


def test_labels_of_networks_that_saw_dust_move_less_by_it(moved):
    assert moved[0.0] < -20  # behind dust stars look cooler
    assert abs(moved[0.6]) < 0.6 * abs(moved[0.0])
