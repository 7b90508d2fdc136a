import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from distcnn import hashing

values = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none())


@given(value=values, name=st.text(max_size=5), pairs=st.dictionaries(st.text(), st.text()))
def test_a_digest_of_many_pairs_is_that_of_the_whole_value(value, name, pairs):
    whole = hashing.of_value(value | {name: pairs})
    assert hashing.of_many(value, name, iter(sorted(pairs.items()))) == whole


def test_splitmix64_gives_the_published_sequence():
    # The first outputs of the reference implementation for seed 0: its state grows by the
    # golden ratio, which the function adds itself.
    golden = np.uint64(0x9E3779B97F4A7C15)
    states = np.arange(3, dtype=np.uint64) * golden
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert hashing.splitmix64(states).tolist() == expected


identifiers = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20)


@given(ids=identifiers, seed=st.none() | st.integers(-5, 5))
def test_a_uniform_number_depends_on_its_identifier_and_the_seed_alone(ids, seed):
    array = np.array(ids, np.int64)
    together = hashing.uniform(array, seed)
    alone = [hashing.uniform(array[at : at + 1], seed)[0] for at in range(len(ids))]
    assert together.tolist() == alone
    assert ((together >= 0) & (together < 1)).all()
    assert (hashing.uniform(array, 12345) != together).all()


def test_uniform_numbers_of_neighbouring_identifiers_spread_evenly():
    counts = np.histogram(hashing.uniform(np.arange(100_000), 7), 10, (0, 1))[0]
    assert np.abs(counts - 10_000).max() < 5 * 100  # five standard deviations of a bin
