import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from distcnn.arrays import find_sorted

identifiers = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20)


@given(table=identifiers.map(sorted), wanted=identifiers)
def test_a_look_up_finds_what_is_there_and_nothing_else(table, wanted):
    place, found = find_sorted(np.array(table, np.int64), np.array(wanted, np.int64))
    assert found.tolist() == [one in table for one in wanted]
    assert [table[at] for at, known in zip(place, found, strict=True) if known] == [
        one for one in wanted if one in table
    ]
