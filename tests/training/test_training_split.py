import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from distcnn.config import SplitConfig
from distcnn.training import Part, assign
from distcnn.training.split import identity, uniform

SPLIT = SplitConfig(train=0.5, validation=0.2, calibration=0.2)
IDS = st.lists(st.integers(0, 2**62), min_size=1, max_size=50, unique=True)


def splitmix64(z):
    """The reference in plain integers."""
    mask = 2**64 - 1
    z = (z + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


@given(IDS, st.integers(0, 2**31))
def test_the_hash_is_splitmix64(ids, seed):
    expected = [(splitmix64(i ^ splitmix64(seed)) >> 11) / 2**53 for i in ids]
    np.testing.assert_array_equal(uniform(np.array(ids), seed), expected)


@given(IDS)
def test_a_star_falls_into_its_part_whatever_comes_with_it(ids):
    together = assign(np.array(ids), SPLIT)
    alone = [assign(np.array([i]), SPLIT)[0] for i in ids]
    np.testing.assert_array_equal(together, alone)
    assert set(together) <= set(Part)


def test_parts_have_the_fractions_asked_for():
    parts = assign(np.arange(200_000) * 343_597_383_68, SPLIT)
    shares = np.bincount(parts, minlength=4) / len(parts)
    np.testing.assert_allclose(shares, [0.5, 0.2, 0.2, 0.1], atol=0.005)


def test_another_seed_is_another_split():
    ids = np.arange(10_000)
    same = assign(ids, SPLIT) == assign(ids, SPLIT.model_copy(update={"seed": 1}))
    assert 0.25 < same.mean() < 0.45


def test_fractions_that_fill_everything_leave_no_test_star():
    whole = SplitConfig(train=0.7, validation=0.2, calibration=0.1)
    assert Part.TEST not in assign(np.arange(100_000), whole)


def test_the_identity_of_a_set_knows_no_order():
    assert identity(np.array([3, 1, 2])) == identity([1, 2, 3])
    assert identity([1, 2]) != identity([1, 2, 3])


def test_turning_the_split_tests_every_star_once():
    ids = np.arange(5000) * 7919
    fifth = SplitConfig(train=0.6, validation=0.1, calibration=0.1)
    tested = [
        assign(ids, fifth.model_copy(update={"rotate": k / 5})) == Part.TEST for k in range(5)
    ]
    np.testing.assert_array_equal(np.sum(tested, axis=0), 1)
