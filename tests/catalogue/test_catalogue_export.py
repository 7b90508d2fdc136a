"""Choosing a writer, refusing what cannot be exported, and the eight tests of flag_boundary."""

import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from astropy.units import UnitsWarning
from hypothesis import given
from hypothesis import strategies as st
from simple_predictions import FIVE, LIMITS, make_predictions

from distcnn.catalogue import (
    BOUNDARY_TESTS,
    CovarianceForm,
    Selection,
    catalogue_table,
    describe,
    export,
)
from distcnn.catalogue.flag_boundary import flag_boundary
from distcnn.catalogue.writers import WRITERS
from distcnn.errors import StoreError, UsageError
from distcnn.events import Advanced, Notice, StageEnded, StageStarted
from distcnn.schema import Flag
from distcnn.survey import Region

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


def in_astropy(path):
    """The catalogue as astropy reads it; dex is not a FITS unit, and astropy says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnitsWarning)
        return Table.read(path)


def read(store, target, **wanted):
    count = export(store.path, target, selection=Selection(**wanted))
    table = pq.read_table(target)
    assert table.num_rows == count
    return table


@pytest.fixture
def store(tmp_path):
    return make_predictions(tmp_path / "p.zarr", 1000)


def test_columns_come_as_asked_for_by_name_and_pattern(store, tmp_path):
    table = read(store, tmp_path / "c.parquet", columns=("ra", "source_id", "teff*", "ra"))
    names = table.column_names
    assert names[:3] == ["ra", "source_id", "teff"]
    assert {"teff_error", "teff_logg_corr"} < set(names)
    assert all(name.startswith("teff") for name in names[2:])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"columns": ("tefff",)}, "no column 'tefff'.*one of source_id, .*Did you mean 'teff'"),
        ({"columns": ("gaia*",)}, "no column 'gaia\\*'"),
        ({"where": "flag == 0"}, "no column 'flag'.*Did you mean 'flags'"),
        ({"where": "flags = 0"}, "compared by =="),
    ],
)
def test_a_selection_of_what_is_not_there_leaves_the_old_catalogue(
    store, tmp_path, wanted, message
):
    target = tmp_path / "c.parquet"
    target.write_bytes(b"old")
    with pytest.raises(UsageError, match=message):
        export(store.path, target, selection=Selection(**wanted))
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("suffix", [".fits", ".parquet", ".vot"])
def test_rows_are_those_that_fulfil_the_condition_and_the_header_says_which(
    store, tmp_path, suffix, monkeypatch
):
    monkeypatch.setattr("distcnn.catalogue.table.BLOCK_ROWS", 150)
    wanted = Selection(("source_id", "flag_boundary", "snr"), "snr > 50 and flags & 4 == 0")
    target = tmp_path / f"c{suffix}"
    stored = store.read(Region(0, 1000))
    kept = (stored["snr"] > 50) & (stored["flags"] & 4 == 0)
    assert export(store.path, target, selection=wanted) == kept.sum() > 0
    table = in_astropy(target)
    assert table.colnames == list(wanted.columns)
    np.testing.assert_array_equal(table["source_id"], stored["source_id"][kept])
    text = target.read_bytes()
    assert b"snr > 50 and flags & 4 == 0" in text.replace(b"&amp;", b"&").replace(b"&gt;", b">")
    assert b"ALLSTARS" in text


@pytest.mark.parametrize("suffix", [".fits", ".parquet", ".vot", ".cds"])
def test_a_long_condition_is_told_whole(store, tmp_path, suffix):
    where = " or ".join(f"source_id == {4_000_000_007 * n}" for n in range(1, 30))
    target = tmp_path / f"c{suffix}"
    assert export(store.path, target, selection=Selection(where=where)) == 29
    assert where in describe(target)


def test_what_a_condition_leaves_is_gathered_into_large_row_groups(store, tmp_path, monkeypatch):
    monkeypatch.setattr("distcnn.catalogue.table.BLOCK_ROWS", 100)
    rows = read(store, tmp_path / "c.parquet", where="source_id % 7 == 0").num_rows
    file = pq.ParquetFile(tmp_path / "c.parquet")
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert sizes[:-1] == [100] * (rows // 100)


def test_a_condition_that_no_star_fulfils_gives_an_empty_catalogue(store, tmp_path):
    for suffix in (".fits", ".parquet", ".vot"):
        target = tmp_path / f"c{suffix}"
        assert export(store.path, target, selection=Selection(where="snr > 1e9")) == 0
        assert len(in_astropy(target)) == 0


@pytest.mark.parametrize("suffix", [".fits", ".hats"])
def test_an_empty_catalogue_is_told_with_what_each_part_of_the_condition_leaves(
    store, tmp_path, suffix
):
    heard = []
    where = "source_id % 7 == 0 and (snr > 1e9 or teff < 0) and isfinite(snr)"
    try:
        export(store.path, tmp_path / f"c{suffix}", heard.append, Selection(where=where))
    except UsageError:
        assert suffix == ".hats"
    (told,) = [event for event in heard if isinstance(event, Notice)]
    assert told.level == "warning"
    assert f"No star of {store.stars:,} fulfils '{where}'" in told.text
    parts = "source_id % 7 == 0: 142; snr > 1000000000.0 or teff < 0: 0; isfinite(snr): 1,000."
    assert parts in told.text


def test_only_the_variables_that_are_needed_are_read(store, tmp_path, monkeypatch):
    asked = set()
    read_stored = type(store).read_stored

    def watched(self, region, names):
        asked.update(names)
        return read_stored(self, region, names)

    monkeypatch.setattr(type(store), "read_stored", watched)
    read(store, tmp_path / "c.parquet", columns=("source_id", "teff"), where="flags == 0")
    assert asked == {"source_id", "label", "flags"}


def test_many_labels_have_no_correlations_unless_they_are_asked_for(tmp_path):
    labels = tuple(f"label_{n}" for n in range(24))
    store = make_predictions(tmp_path / "p.zarr", 40, labels, limits=None)
    stored = store.read(Region(0, 40))
    names = read(store, tmp_path / "c.parquet").column_names
    assert not [name for name in names if name.endswith("_corr")]
    assert "label_covariance" not in names
    form = CovarianceForm.COLUMNS
    names = read(store, tmp_path / "c.parquet", covariance=form).column_names
    assert len([name for name in names if name.endswith("_corr")]) == 276
    named = read(store, tmp_path / "c.parquet", columns=("label_3_label_9_corr",))
    assert named.column_names == ["label_3_label_9_corr"]
    assert len(stored["label_correlation"][0]) == 276


@pytest.mark.parametrize("suffix", [".fits", ".parquet", ".vot"])
def test_the_covariance_of_a_star_comes_as_one_array(tmp_path, suffix):
    store = make_predictions(tmp_path / "p.zarr", 40, ("teff", "logg", "mh"), limits=None)
    target = tmp_path / f"c{suffix}"
    export(store.path, target, selection=Selection(covariance=CovarianceForm.ARRAY))
    stored = store.read(Region(0, 40))
    table = in_astropy(target)
    assert not [name for name in table.colnames if name.endswith("_corr")]
    found = np.stack([np.asarray(cell).reshape(3, 3) for cell in table["label_covariance"]])
    error, pairs = stored["label_error"], stored["label_correlation"]
    np.testing.assert_allclose(found[:, 0, 0], error[:, 0] ** 2, rtol=1e-6)
    for place, (one, other) in enumerate([(0, 1), (0, 2), (1, 2)]):
        expected = pairs[:, place] * error[:, one] * error[:, other]
        np.testing.assert_allclose(found[:, one, other], expected, rtol=1e-5)
        np.testing.assert_array_equal(found[:, one, other], found[:, other, one])


@pytest.mark.parametrize(
    ("options", "message"),
    [((" , ", None, None), "names no column"), ((None, None, "matrix"), "none, columns, array")],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Selection.parse(*options)


def test_the_ratio_to_the_population_stands_beside_every_label_and_has_no_unit(tmp_path):
    store = make_predictions(tmp_path / "predictions.zarr")
    export(store.path, tmp_path / "catalogue.vot")
    table = Table.read(tmp_path / "catalogue.vot")
    for name in FIVE:
        column = table[f"{name}_prior_ratio"]
        assert column.unit in (None, "")
        assert "population" in column.description
        ratio = store.read(Region(0, store.stars), ["label_prior_ratio"])["label_prior_ratio"]
        np.testing.assert_array_equal(np.isnan(column.filled(np.nan)), np.isnan(ratio[:, 0]))


def test_predictions_made_before_it_are_exported_without_it(tmp_path):
    store = make_predictions(tmp_path / "predictions.zarr", without=("label_prior_ratio",))
    names = [column.name for column in catalogue_table(store).columns]
    assert "teff_debiased" in names
    assert not [name for name in names if name.endswith("_prior_ratio")]


@pytest.mark.parametrize("suffix", [".fits", ".parquet", ".vot"])
def test_every_label_comes_with_its_recommendation(tmp_path, suffix):
    store = make_predictions(tmp_path / "predictions.zarr")
    export(store.path, tmp_path / f"catalogue{suffix}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnitsWarning)  # dex is beyond the standard of FITS
        table = Table.read(tmp_path / f"catalogue{suffix}")
    stored = store.read(Region(0, store.stars), ["label_recommendation"])["label_recommendation"]
    for index, name in enumerate(FIVE):
        np.testing.assert_array_equal(table[f"{name}_recommendation"], stored[:, index])
    if suffix != ".parquet":
        assert "2 do not use" in table["teff_recommendation"].description


def test_predictions_made_before_recommendations_get_them_from_their_flags(tmp_path):
    store = make_predictions(tmp_path / "predictions.zarr", without=("label_recommendation",))
    (rows,) = catalogue_table(store).blocks()
    flags = rows["flags"].astype(np.uint32)
    assert (rows["teff_recommendation"][flags == 0] == 0).all()
    novel = flags & np.uint32(Flag.NOVEL_SPECTRUM) != 0
    assert novel.any()
    assert (rows["teff_recommendation"][novel] == 2).all()
