"""Recommendations follow from the table of flags; sparse corners of the labels are flagged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distcnn.config import QualityConfig
from distcnn.quality import Quality
from distcnn.quality.recommendation import recommend
from distcnn.quality.training_density import TrainingDensity
from distcnn.schema import Flag, Recommendation

USE, CARE, AVOID = Recommendation


def test_a_star_without_flags_is_to_be_used():
    found = recommend(np.zeros(3, np.uint32), {}, 2)
    assert found.dtype == np.uint8
    assert (found == USE).all()


def test_a_flag_about_one_label_says_less_of_the_others():
    flags = np.array([Flag.LABEL_LIMITS, Flag.POPULATION_LABEL], np.uint32)
    first = np.array([[True, False], [True, False]])
    found = recommend(flags, {Flag.LABEL_LIMITS: first, Flag.POPULATION_LABEL: first}, 2)
    assert found.tolist() == [[AVOID, CARE], [AVOID, USE]]


def test_where_it_is_not_known_which_label_a_flag_is_about_it_counts_for_all():
    flags = np.array([Flag.MEMBERS_DISAGREE], np.uint32)
    assert recommend(flags, {}, 2).tolist() == [[AVOID, AVOID]]


@given(st.integers(0, int(sum(Flag))), st.integers(0, int(sum(Flag))))
def test_a_further_flag_never_makes_a_recommendation_better(one, other):
    few, more = (recommend(np.array([f], np.uint32), {}, 1)[0, 0] for f in (one, one | other))
    assert more >= few


def _kiel(rng, stars):
    """A sequence of dwarfs and one of giants: a box that is mostly empty."""
    dwarf = rng.random(stars) < 0.5
    teff = np.where(dwarf, rng.uniform(4500, 7000, stars), rng.uniform(3900, 5100, stars))
    logg = np.where(dwarf, 4.4 - 0.0001 * (teff - 5500), 0.8 + 0.0022 * (teff - 3900))
    return np.stack([teff, logg], axis=1) + rng.normal(0, (40, 0.08), (stars, 2))


@pytest.fixture(scope="module")
def density():
    rng = np.random.default_rng(2)
    return TrainingDensity.fit(_kiel(rng, 4000)).with_limit(_kiel(rng, 1500), 0.005)


def test_an_empty_corner_inside_every_range_is_sparse(density, rng):
    corner = np.stack([rng.uniform(6000, 6900, 300), rng.uniform(1.0, 3.0, 300)], axis=1)
    assert density.sparse(corner).mean() > 0.99
    assert density.sparse(_kiel(rng, 20_000)).mean() < 0.012


def test_a_density_is_kept_to_the_bit_and_judges_no_missing_label(density):
    same = TrainingDensity.from_arrays(density.to_arrays())
    label = np.array([[5500.0, 4.4], [6500.0, 1.0], [np.nan, 4.0]])
    np.testing.assert_array_equal(same.log_density(label[:2]), density.log_density(label[:2]))
    assert same.sparse(label).tolist() == [False, True, False]


def test_its_integral_over_all_labels_is_one(density):
    teff, logg = np.meshgrid(np.linspace(3000, 8000, 400), np.linspace(-1, 6, 400), indexing="ij")
    scaled = density.log_density(np.stack([teff.ravel(), logg.ravel()], axis=1))
    cell = (5000 / 399 / density.spread[0]) * (7 / 399 / density.spread[1])
    assert np.exp(scaled).sum() * cell == pytest.approx(1, abs=0.01)


def test_too_few_training_stars_have_no_density():
    assert TrainingDensity.fit(np.zeros((50, 2))) is None
    assert TrainingDensity.fit(np.full((500, 2), np.nan)) is None


def _block(rng, label, stars):
    sigma = np.tile([40.0, 0.08], (stars, 1))
    return {
        "snr": np.full(stars, 50.0),
        "reference": label,
        "reference_error": np.zeros_like(label),
        "label": label + sigma * rng.standard_normal(label.shape),
        "noise": sigma,
        "scatter": 0.3 * sigma * rng.uniform(0.5, 1.5, sigma.shape),
    }


def test_sparse_labels_are_flagged_with_care_and_old_packages_flag_none(rng):
    train, calibration = (_block(rng, _kiel(rng, 2000), 2000) for _ in range(2))
    quality = Quality.fit(train, calibration, QualityConfig(), names=("teff", "logg"))
    corner = _block(rng, np.tile([6500.0, 1.8], (50, 1)), 50)
    values = corner, corner["label"], corner["noise"], corner["scatter"]
    judged = quality.assess(*values)
    assert (judged["flags"] & np.uint32(Flag.SPARSE_LABELS) != 0).all()
    assert (judged["flags"] & np.uint32(Flag.LABEL_LIMITS) == 0).all()
    assert (judged["label_recommendation"] >= CARE).all()
    arrays = quality.to_arrays()
    np.testing.assert_array_equal(
        Quality.from_arrays(arrays).assess(*values)["flags"], judged["flags"]
    )
    older = {name: a for name, a in arrays.items() if not name.startswith("density.")}
    judged = Quality.from_arrays(older).assess(*values)
    assert (judged["flags"] & np.uint32(Flag.SPARSE_LABELS) == 0).all()
    usual = quality.assess(
        calibration, *(calibration[name] for name in ("label", "noise", "scatter"))
    )
    assert (usual["label_recommendation"] == USE).mean() > 0.95
