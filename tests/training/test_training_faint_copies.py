"""Copies of bright stars are faint in all that they are made of, and keep their labels."""

import numpy as np
import pytest

from distcnn.config import AugmentConfig, NetworkConfig, SplitConfig
from distcnn.model import InputSpec
from distcnn.survey import Store
from distcnn.training import Split
from distcnn.training.data.copies.faint_copies import with_faint_copies
from distcnn.training.data.labelled import read_labelled

MOVING = AugmentConfig(faint_inputs=True, faintest=1.0)


@pytest.fixture(scope="module")
def read(survey):
    store = Store.open(survey, "survey")
    config = NetworkConfig()
    spec = InputSpec.of_survey(store, config, None)
    return store, spec, read_labelled(store, spec, SplitConfig(), Split.TRAIN)


def test_without_the_setting_there_are_none(read):
    store, spec, stars = read
    assert with_faint_copies(stars, store, spec, AugmentConfig()) is stars


def test_every_star_has_a_copy_with_its_labels_and_a_lower_snr(read):
    store, spec, stars = read
    both = with_faint_copies(stars, store, spec, MOVING)
    count = len(stars)
    copies = both.take(slice(count, None))
    np.testing.assert_array_equal(copies.source_id, stars.source_id)
    np.testing.assert_array_equal(copies.label, stars.label)
    before, after = stars.inputs["snr"][:, 0], copies.inputs["snr"][:, 0]
    assert (after <= before).all()
    assert after.min() >= 1.0
    share = np.log(after) / np.log(before)
    np.testing.assert_allclose(np.quantile(share, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.08)
    for name, values in both.take(slice(0, count)).inputs.arrays.items():
        np.testing.assert_array_equal(values, stars.inputs[name])


def test_the_noise_of_a_copy_is_what_its_errors_say(read):
    store, spec, stars = read
    copies = with_faint_copies(stars, store, spec, MOVING).take(slice(len(stars), None))
    ratio = stars.inputs["snr"] / copies.inputs["snr"]
    good = np.isfinite(copies.flux_error)
    assert good.mean() > 0.9
    expected = (stars.flux_error * ratio)[good]
    np.testing.assert_allclose(copies.flux_error[good], expected, rtol=1e-3)
    added = copies.inputs["flux"] - stars.inputs["flux"]
    size = np.sqrt(np.square(copies.flux_error) - np.square(stars.flux_error))
    struck = np.isfinite(added) & (ratio > 1.2)
    assert np.std(added[struck] / size[struck]) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("zero_point", [-0.03, -1.0])
def test_a_copy_is_fainter_by_its_distance_alone(read, zero_point):
    store, spec, stars = read
    moving = MOVING.model_copy(update={"parallax_zero_point": zero_point})
    copies = with_faint_copies(stars, store, spec, moving).take(slice(len(stars), None))
    dimmer = copies.inputs["photometry"] - stars.inputs["photometry"]
    assert (dimmer >= 0).all()
    np.testing.assert_allclose(dimmer, dimmer[:, :1].repeat(3, axis=1), atol=1e-4)
    assert (dimmer[:, 0] > 0.1).mean() > 0.3
    known = np.isfinite(stars.inputs["astrometry"]).all(axis=1) & (dimmer[:, 0] > 0)
    # The zero point is not a part of the parallax that shrinks by distance.
    near = stars.inputs["astrometry"][known, 0] - zero_point
    parallax = zero_point + near * 10 ** (-0.2 * dimmer[known, 0])
    pull = (copies.inputs["astrometry"][known, 0] - parallax) / copies.inputs["astrometry"][
        known, 1
    ]
    assert np.abs(pull).max() < 5
    assert (np.isnan(copies.inputs["xp"]) == np.isnan(stars.inputs["xp"])).all()
