"""Limits end where labels of unseen stars cease to be right."""

import numpy as np
import pytest

from distcnn.quality.limits import Limits
from distcnn.quality.reliable_range import reliable_range, within_reliable_range


@pytest.fixture
def stars(rng):
    """Temperatures that are right to 100 K below 10,000 K and to 3,000 K above."""
    truth = np.concatenate([rng.uniform(4000, 9500, 900), rng.uniform(10_500, 30_000, 60)])
    label = truth + rng.normal(size=960) * np.where(truth > 10_000, 3000, 100)
    return label, truth


def test_the_range_ends_where_errors_are_of_another_kind(stars):
    low, high = reliable_range(*stars)
    assert np.isnan(low)
    assert 8500 < high < 13_000


def test_the_same_on_the_other_side(stars):
    label, truth = stars
    low, high = reliable_range(-label, -truth)
    assert np.isnan(high)
    assert -13_000 < low < -8500


def test_errors_that_grow_slowly_and_wild_stars_limit_nothing(rng):
    truth = rng.uniform(4000, 7000, 2000)
    label = truth + rng.normal(size=2000) * (truth / 4000) ** 3 * 60
    label[::400] += 1000
    assert np.isnan(reliable_range(label, truth)).all()
    assert np.isnan(reliable_range(label[:90], truth[:90])).all()


def test_limits_are_narrowed_but_never_widened(stars):
    label, truth = (np.stack([values, values / 1000], axis=1) for values in stars)
    truth[:, 1] = np.nan
    limits = Limits(np.array([[4100.0, 29_000], [4.0, 9.0]]), np.zeros(2), np.zeros(2))
    found = within_reliable_range(limits, label, truth).label
    assert found[0, 0] == 4100
    assert found[0, 1] < 13_000
    assert found[1].tolist() == [4.0, 9.0]
