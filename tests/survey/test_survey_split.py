import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distcnn.config import SplitConfig
from distcnn.errors import ConfigError, TrainingError
from distcnn.hashing import uniform
from distcnn.survey.rows import digest_of_ids
from distcnn.survey.split import groups_digest
from distcnn.training import Split, assign_split

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
    together = assign_split(np.array(ids), SPLIT)
    alone = [assign_split(np.array([i]), SPLIT)[0] for i in ids]
    np.testing.assert_array_equal(together, alone)
    assert set(together) <= set(Split)


def test_parts_have_the_fractions_asked_for():
    parts = assign_split(np.arange(200_000) * 343_597_383_68, SPLIT)
    fractions = np.bincount(parts, minlength=4) / len(parts)
    np.testing.assert_allclose(fractions, [0.5, 0.2, 0.2, 0.1], atol=0.005)


def test_another_seed_is_another_split():
    ids = np.arange(10_000)
    same = assign_split(ids, SPLIT) == assign_split(ids, SPLIT.model_copy(update={"seed": 1}))
    assert 0.25 < same.mean() < 0.45


def test_fractions_that_fill_everything_leave_no_test_star():
    whole = SplitConfig(train=0.7, validation=0.2, calibration=0.1)
    assert Split.TEST not in assign_split(np.arange(100_000), whole)


def test_the_identity_of_a_set_knows_no_order():
    assert digest_of_ids(np.array([3, 1, 2])) == digest_of_ids([1, 2, 3])
    assert digest_of_ids([1, 2]) != digest_of_ids([1, 2, 3])


def test_turning_the_split_tests_every_star_once():
    ids = np.arange(5000) * 7919
    fifth = SplitConfig(train=0.6, validation=0.1, calibration=0.1)
    tested = [
        assign_split(ids, fifth.model_copy(update={"rotate": k / 5})) == Split.TEST
        for k in range(5)
    ]
    np.testing.assert_array_equal(np.sum(tested, axis=0), 1)


def grouped(folder, rows, name="groups.csv", split=SPLIT):
    """A split by a table of rows (source_id, group)."""
    path = Path(folder) / name
    table = pd.DataFrame(rows, columns=["source_id", "group"])
    table.to_parquet(path) if name.endswith("parquet") else table.to_csv(path, index=False)
    return split.model_copy(update={"groups": path})


NAMES = st.sampled_from(["M 67", "NGC 188", "Melotte 25", "IC 4651", "", "nan", "0"])


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.integers(1, 2**62), NAMES, min_size=1), IDS, st.integers(0, 99))
def test_no_group_is_ever_divided_and_the_others_go_by_themselves(listed, others, seed):
    split = SPLIT.model_copy(update={"seed": seed, "rotate": seed / 100})
    with tempfile.TemporaryDirectory() as folder:
        with_groups = grouped(folder, listed.items(), split=split)
        ids = np.array([*listed, *others])
        parts = assign_split(ids, with_groups)
    found = {}
    for source_id, part in zip(ids.tolist(), parts, strict=True):
        found.setdefault(listed.get(source_id) or source_id, set()).add(int(part))
    assert all(len(where) == 1 for where in found.values())
    alone = np.array([not listed.get(source_id) for source_id in ids.tolist()])
    np.testing.assert_array_equal(parts[alone], assign_split(ids, split)[alone])


def test_groups_are_spread_over_the_parts_as_stars_are(tmp_path):
    ids = np.arange(40_000) * 7919 + 1
    split = grouped(tmp_path, zip(ids, [f"cluster {k // 2}" for k in range(40_000)], strict=True))
    parts = assign_split(ids, split)
    np.testing.assert_array_equal(parts[::2], parts[1::2])
    np.testing.assert_allclose(np.bincount(parts) / 40_000, [0.5, 0.2, 0.2, 0.1], atol=0.01)


def test_without_a_table_the_split_is_what_it_always_was(tmp_path):
    ids = 10**15 + np.arange(12) * 7919
    wanted = [int(np.searchsorted([0.5, 0.7, 0.9], uniform([i], 0)[0], "right")) for i in ids]
    assert assign_split(ids, SPLIT).tolist() == wanted
    assert assign_split(ids, grouped(tmp_path, [])).tolist() == wanted
    assert groups_digest(SPLIT) is None


def test_csv_and_parquet_of_one_table_are_one_split_to_the_last_digit(tmp_path):
    ids = 2**62 + np.arange(300)
    rows = list(zip(ids, (np.arange(300) // 2).tolist(), strict=True))
    parts = [assign_split(ids, grouped(tmp_path, rows, name)) for name in ("g.csv", "g.parquet")]
    np.testing.assert_array_equal(*parts)
    np.testing.assert_array_equal(parts[0][::2], parts[0][1::2])


def test_a_table_that_changes_is_another_split_with_another_digest(tmp_path):
    ids = np.arange(1, 400)
    split = grouped(tmp_path, [(i, "one") for i in ids])
    before, digest = assign_split(ids, split), groups_digest(split)
    assert len(set(before)) == 1
    grouped(tmp_path, [(i, f"other {i}") for i in ids])
    assert len(set(assign_split(ids, split))) == 4
    assert groups_digest(split) != digest


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        (None, ConfigError, r"train\.split\.groups = .*No such file.*from where the command runs"),
        ("source_id,cluster\n1,a\n", TrainingError, "no column group.*it has source_id, cluster"),
        ("", TrainingError, "is not readable"),
        ("source_id,group\n5,a\n5,b\n", TrainingError, "star 5 in the groups 'a' and 'b'"),
        ("source_id,group\n5,a\n5,a\n", TrainingError, r"star 5 twice \(1 such rows\)"),
        ("source_id,group\n1,a\n4.5e18,a\n", TrainingError, r"source_id '4.5e18' in row 2"),
    ],
)
def test_a_table_that_cannot_be_used_is_told_with_the_cure(tmp_path, text, error, match):
    path = tmp_path / "groups.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error, match=match):
        assign_split(np.arange(3), SPLIT.model_copy(update={"groups": path}))


def test_a_relative_table_is_found_from_the_folder_of_the_command(tmp_path, monkeypatch):
    grouped(tmp_path, [(1, "a"), (2, "a")])
    monkeypatch.chdir(tmp_path)
    split = SplitConfig.model_validate({"groups": "groups.csv"})
    assert len(set(assign_split(np.array([1, 2]), split))) == 1
    monkeypatch.chdir("/")
    with pytest.raises(ConfigError, match="from the folder / unless"):
        assign_split(np.array([1, 2]), split)
