"""The identity of rows: stars, or transits of stars, asked the same questions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distcnn.errors import StoreError
from distcnn.schema import SURVEY_VARIABLES
from distcnn.survey import STAR_KEY, Layout, RowKey, Store, create_store
from distcnn.survey.rows import EPOCH_KEY, digest_of_ids

IDS = st.integers(0, 3) | st.integers(2**62, 2**63 - 1)
ROWS = st.lists(st.tuples(IDS, IDS), max_size=15)
KEYS = pytest.mark.parametrize("key", [STAR_KEY, EPOCH_KEY], ids=str)


def block(rows):
    table = np.array(rows, np.int64).reshape(-1, 2)
    return {"source_id": table[:, 0], "transit_id": table[:, 1]}


def identity(key, row):
    return row[: len(key.names)]


@KEYS
@given(rows=ROWS)
def test_the_first_row_of_a_key_is_kept_and_every_later_one_is_not(key, rows):
    seen = [identity(key, row) for row in rows]
    wanted = [one not in seen[:at] for at, one in enumerate(seen)]
    assert key.first_of_each(block(rows)).tolist() == wanted


@KEYS
@given(rows=ROWS, wanted=ROWS)
def test_a_join_finds_every_row_whose_key_is_there(key, rows, wanted):
    known = [identity(key, row) for row in rows]
    place, found = key.join(block(rows), block(wanted))
    assert found.tolist() == [identity(key, row) in known for row in wanted]
    for row, at, there in zip(wanted, place, found, strict=True):
        assert not there or known[at] == identity(key, row)


@KEYS
@given(rows=ROWS, other=ROWS)
def test_a_digest_is_that_of_the_set_of_keys(key, rows, other):
    assert key.digest(block(rows)) == key.digest(block(rows[::-1]))
    same = sorted(identity(key, r) for r in rows) == sorted(identity(key, r) for r in other)
    assert (key.digest(block(rows)) == key.digest(block(other))) == same


@KEYS
@given(rows=ROWS)
def test_rows_that_differ_are_named(key, rows):
    changed = block(rows)
    assert key.differing(block(rows), changed).size == 0
    changed[key.names[-1]] = changed[key.names[-1]] ^ 1
    assert key.differing(block(rows), changed).tolist() == list(range(len(rows)))


def test_a_star_may_come_again_with_another_transit_only():
    rows = block([(7, 1), (7, 2), (8, 1), (7, 2)])
    with pytest.raises(
        StoreError,
        match=r"source_id 7 again in row 1 \(2 such rows\): .* source_id once",
    ):
        STAR_KEY.check_unique(rows, "survey")
    with pytest.raises(StoreError, match=r"source_id 7, transit_id 2 again in row 3 \(1 such"):
        EPOCH_KEY.check_unique(rows, "survey")
    EPOCH_KEY.check_unique(block([(7, 1), (7, 2), (8, 1)]), "survey")


def test_the_digest_of_stars_is_that_of_the_first_packages():
    assert digest_of_ids([3, 1, 2]) == (
        "c307f363110a88973a46fb3d0f0997039d8974dbca8eb02e2289df2fd0481ee0"
    )


def test_a_key_begins_with_the_star_and_has_identifiers_only():
    for names in ((), ("transit_id",), ("source_id", "ra"), ("source_id", "night")):
        with pytest.raises(StoreError, match="expected source_id, then other identifiers"):
            RowKey(names)


def layout(names, key):
    return Layout(
        kind="survey",
        sizes={"star": 4},
        chunk_stars=2,
        shard_stars=2,
        variables=tuple(SURVEY_VARIABLES[name] for name in names),
        coordinates={},
        attrs={},
        row_key=key,
    )


def test_a_store_remembers_its_key_and_says_nothing_of_the_usual_one(tmp_path):
    names = ("source_id", "transit_id", "snr")
    for key in (STAR_KEY, EPOCH_KEY):
        made = create_store(tmp_path / str(key), layout(names, key))
        again = Store.open(made.location)
        assert again.row_key == key
        assert ("row_key" in again.attrs) == (key == EPOCH_KEY)
        assert again.attrs["coordinates"].split() == list(key.names)


def test_a_store_without_the_variables_of_its_key_is_not_made():
    with pytest.raises(StoreError, match="lack transit_id: expected the row key source_id, trans"):
        layout(("source_id", "snr"), EPOCH_KEY)
