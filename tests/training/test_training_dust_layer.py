"""Stars that are moved away stand behind the dust of the longer way."""

from dataclasses import replace

import numpy as np
import pytest

from distcnn.config import AugmentConfig, NetworkConfig, SplitConfig, load_config
from distcnn.errors import ConfigError
from distcnn.model import InputSpec
from distcnn.simulate.dust import EXTINCTION_PER_EBV, LAYER_HEIGHT_KPC, layer_reddening
from distcnn.simulate.galaxy.sky import to_galactic
from distcnn.survey import Store
from distcnn.training import Split
from distcnn.training.data.copies import copies_of, dust_layer
from distcnn.training.data.copies.dust_layer import DustLayer
from distcnn.training.data.copies.faint_copies import FaintCopies
from distcnn.training.data.labelled import read_labelled

CLEAR = AugmentConfig(faint_inputs=True, faintest=1.0)
DUSTY = CLEAR.model_copy(update={"dust_layer": 3.0})
BP_RP = EXTINCTION_PER_EBV["bp"] - EXTINCTION_PER_EBV["rp"]


@pytest.fixture(scope="module")
def read(survey):
    store = Store.open(survey, "survey")
    spec = InputSpec.of_survey(store, NetworkConfig(), None)
    return store, spec, read_labelled(store, spec, SplitConfig(), Split.TRAIN)


def colour(stars):
    return stars.inputs["photometry"][:, 1] - stars.inputs["photometry"][:, 2]


def test_the_layer_is_linear_in_the_plane_and_ends_towards_the_pole():
    assert layer_reddening(np.array([2.0]), np.array([0.0]), 0.3) == pytest.approx(0.6, rel=0.02)
    above = layer_reddening(np.array([50.0, 50.0]), np.array([90.0, -30.0]), 0.3)
    assert above == pytest.approx([0.3 * LAYER_HEIGHT_KPC, 0.6 * LAYER_HEIGHT_KPC])


def test_copies_are_as_faint_but_redder_and_nearer_than_without_dust(read):
    store, spec, stars = read
    clear, dusty = (FaintCopies.of(store, spec, config, stars)(stars) for config in (CLEAR, DUSTY))
    np.testing.assert_allclose(
        dusty.inputs["photometry"][:, 0], clear.inputs["photometry"][:, 0], atol=2e-3
    )
    ebv = (colour(dusty) - colour(stars)) / BP_RP
    dimmer = clear.inputs["photometry"][:, 0] - stars.inputs["photometry"][:, 0]
    assert (ebv >= -1e-3).all()
    assert np.allclose(ebv[dimmer == 0], 0, atol=1e-3)
    assert (ebv > 0.01).sum() > 20
    known = np.isfinite(stars.inputs["astrometry"]).all(axis=1) & (dimmer > 0)
    loss = EXTINCTION_PER_EBV["g"] * ebv
    near = stars.inputs["astrometry"][:, 0] - DUSTY.parallax_zero_point
    expected = DUSTY.parallax_zero_point + near * 10 ** (-0.2 * (dimmer - loss))
    pull = (dusty.inputs["astrometry"][:, 0] - expected) / dusty.inputs["astrometry"][:, 1]
    assert np.abs(pull[known]).max() < 5
    # Another release than a simulation: what dust does to XP is not known.
    hidden = np.isnan(dusty.inputs["xp"]).all(axis=1)
    assert hidden[ebv > 1e-2].all() == (not DustLayer.of(store, spec, DUSTY).dust.knows_xp)


def test_the_dust_of_a_star_is_that_of_its_way(read, monkeypatch):
    monkeypatch.setattr(dust_layer, "PATCHINESS", 0.0)
    store, spec, stars = read
    layer, dimmer = DustLayer.of(store, spec, DUSTY), np.full(len(stars), 3.0)
    behind = layer(stars, dimmer, np.random.default_rng(0))
    ebv = (colour(behind) - colour(stars)) / BP_RP
    parallax, error = stars.inputs["astrometry"].T
    good = (parallax > 5 * error) & (parallax > 0.2)
    assert good.sum() > 20
    near = 1 / (parallax - DUSTY.parallax_zero_point)
    far = near * 10 ** (0.2 * (dimmer - EXTINCTION_PER_EBV["g"] * ebv))
    latitude = to_galactic(*stars.position.T)[1]
    way = layer_reddening(far, latitude, 3.0) - layer_reddening(near, latitude, 3.0)
    np.testing.assert_allclose(ebv[good], way[good], atol=0.02)
    assert way[good].max() > 0.1
    nowhere = replace(stars, position=np.full((len(stars), 2), np.nan))
    assert np.isfinite(colour(layer(nowhere, dimmer, np.random.default_rng(0)))).mean() > 0.9


def test_training_has_other_copies_than_calibration(read):
    store, spec, stars = read
    assert copies_of(store, spec, CLEAR, stars) is None
    training = copies_of(store, spec, DUSTY, stars)(stars)
    calibration = FaintCopies.of(store, spec, DUSTY, stars)(stars)
    np.testing.assert_array_equal(training.label, stars.label)
    assert not np.array_equal(training.inputs["snr"], calibration.inputs["snr"])
    again = copies_of(store, spec, DUSTY, stars)(stars)
    np.testing.assert_array_equal(training.inputs["flux"], again.inputs["flux"])


def test_two_kinds_of_copies_are_refused():
    with pytest.raises(ConfigError, match="one of dust"):
        load_config(None, ["train.augment={faint_inputs: true, dust: 0.2, dust_layer: 0.3}"])
