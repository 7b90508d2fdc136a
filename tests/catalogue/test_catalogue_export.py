"""Choosing a writer, refusing what cannot be exported, and the eight tests of flag_boundary."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simple_predictions import FIVE, LIMITS, make_predictions

from distcnn.catalogue import BOUNDARY_TESTS, catalogue_table, export
from distcnn.catalogue.flag_boundary import flag_boundary
from distcnn.catalogue.writers import WRITERS
from distcnn.errors import StoreError, UsageError
from distcnn.events import Advanced, StageEnded, StageStarted
from distcnn.schema import Flag

INSIDE = {
    "label": [[5000.0, 3.0, 0.0, 0.1, 0.0]],
    "novelty": [0.5],
    "reference_magnitude": [10.0],
    "parallax": [1.0],
    "flags": [0],
}


def block(**changes):
    """One star inside all limits, but for the changes."""
    star = {name: np.array(values, "f4") for name, values in {**INSIDE, **changes}.items()}
    star["flags"] = star["flags"].astype("u4")
    return star


def boundary(limits=LIMITS, labels=FIVE, **changes):
    return flag_boundary(block(**changes), labels, limits)[0].decode()


def test_a_star_inside_every_limit_is_all_zeros():
    assert boundary() == "00000000"


@pytest.mark.parametrize("place", range(5))
def test_each_label_has_its_own_character(place):
    for value in (-1e5, 1e5, np.nan):
        label = np.array(INSIDE["label"])
        label[0, place] = value
        expected = "".join("1" if i == place else "0" for i in range(8))
        assert boundary(label=label) == expected


def test_magnitude_parallax_and_spectrum_come_after_the_labels():
    assert boundary(reference_magnitude=[15.0]) == "00000100"
    assert boundary(parallax=[11.0]) == "00000010"
    assert boundary(novelty=[1.5]) == "00000001"
    assert boundary(novelty=[np.nan]) == "00000001"
    assert BOUNDARY_TESTS[5:] == ("reference_magnitude", "parallax", "spectrum")


def test_a_side_without_a_limit_is_open():
    assert boundary(parallax=[-500.0]) == "00000000"


def test_a_label_that_the_ensemble_lacks_is_not_tested():
    limits = {**LIMITS, "label_low": [4000.0, -1.0], "label_high": [6500.0, 0.5]}
    text = boundary(limits=limits, labels=("teff", "mh"), label=[[5000.0, 0.0]])
    assert text == "0-0--000"


def test_the_order_of_labels_in_the_store_does_not_matter():
    labels = tuple(reversed(FIVE))
    limits = {**LIMITS, "label_low": LIMITS["label_low"][::-1]}
    limits["label_high"] = LIMITS["label_high"][::-1]
    label = [INSIDE["label"][0][::-1]]
    label[0][-1] = 9000.0
    assert boundary(limits=limits, labels=labels, label=label) == "10000000"


def test_without_limits_the_flags_speak_for_the_group():
    assert boundary(limits=None) == "00000000"
    assert boundary(limits=None, flags=[Flag.LABEL_LIMITS]) == "11111000"
    assert boundary(limits=None, flags=[Flag.INPUT_LIMITS]) == "00000110"
    assert boundary(limits=None, parallax=[np.nan]) == "00000010"


@given(st.floats(-5, 5), st.floats(0, 3) | st.just(np.nan))
def test_a_character_is_zero_only_if_the_value_is_inside(mh, novelty):
    text = boundary(label=[[5000.0, 3.0, mh, 0.1, 0.0]], novelty=[novelty])
    assert (text[2] == "0") == (-1.0 <= np.float32(mh) <= 0.5)
    assert (text[7] == "0") == (np.float32(novelty) <= 1)


def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path):
    store = make_predictions(tmp_path / "p.zarr", 10)
    with pytest.raises(UsageError, match="does not say which format") as caught:
        export(store.path, tmp_path / "catalogue.csv")
    for suffix in (suffix for entry in WRITERS for suffix in entry.suffixes):
        assert suffix in str(caught.value)
    (tmp_path / "folder.fits").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        export(store.path, tmp_path / "folder.fits")


def test_unfinished_predictions_are_refused_with_the_cure(tmp_path):
    store = make_predictions(tmp_path / "p.zarr", 10, complete=False)
    with pytest.raises(StoreError, match=r"not finished.*Run the same distcnn predict command"):
        export(store.path, tmp_path / "catalogue.fits")
    assert not (tmp_path / "catalogue.fits").exists()


def test_a_target_that_cannot_be_made_is_one_clear_error(tmp_path):
    store = make_predictions(tmp_path / "p.zarr", 10)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        export(store.path, tmp_path / "file" / "catalogue.fits")


def test_progress_is_reported_in_stars(tmp_path, monkeypatch):
    monkeypatch.setattr("distcnn.catalogue.table.BLOCK_ROWS", 100)
    store = make_predictions(tmp_path / "p.zarr", 250)
    events = []
    export(store.path, tmp_path / "new" / "catalogue.FITS", events.append)
    assert events[0] == StageStarted("export", 250, "stars")
    assert [event.count for event in events if isinstance(event, Advanced)] == [100, 100, 50]
    assert isinstance(events[-1], StageEnded)
    assert events[-1].facts["stars"] == 250


def test_provenance_names_package_survey_and_engine(tmp_path):
    table = catalogue_table(make_predictions(tmp_path / "p.zarr", 9))
    entries = {entry.name: entry for entry in table.header}
    assert entries["PACKSHA"].value == "a" * 64
    assert entries["SURVSHA"].value == "b" * 64
    assert entries["FAILED"].value == "1"
    assert all(len(name) <= 8 and entry.description for name, entry in entries.items())
