from hypothesis import given
from hypothesis import strategies as st

from distcnn import hashing

values = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none())


@given(value=values, name=st.text(max_size=5), pairs=st.dictionaries(st.text(), st.text()))
def test_a_digest_of_many_pairs_is_that_of_the_whole_value(value, name, pairs):
    whole = hashing.of_value(value | {name: pairs})
    assert hashing.of_many(value, name, iter(sorted(pairs.items()))) == whole
