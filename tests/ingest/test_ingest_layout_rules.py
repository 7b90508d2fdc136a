"""What a layout says besides places: arms, masks, missing pixels, rows to keep."""

import numpy as np
import pytest
from astropy.io import fits
from conformance.reader_checks import read_all
from layout_files import (
    LINEAR,
    ONE_STAR,
    PIXELS,
    one_block,
    reader_of,
    spectra,
    table_of,
    write,
)

from distcnn.errors import ColumnMissing, GridMismatch
from distcnn.ingest.readers.formats.containers import collecting_notes
from distcnn.ingest.readers.values.identifiers import hash_of_name

# --- arms --------------------------------------------------------------------------------------

ARMS = {**ONE_STAR, "hdu": "ARM_{arm}", "arms": ["B", "R"]}


def arm(name, start, stop, level, step=1.0):
    wave = np.arange(start, stop, step)
    return table_of(np.full(wave.size, level), np.full(wave.size, 0.1), wave, f"ARM_{name}")


@pytest.mark.parametrize(
    ("rule", "from_blue", "from_red"),
    [
        ("middle", [5000, 5014], [5015, 5029]),
        ("first", [5000, 5019], [5020, 5029]),
        ("last", [5000, 5009], [5010, 5029]),
    ],
)
def test_where_arms_overlap_every_pixel_comes_once(tmp_path, rule, from_blue, from_red):
    path = write(tmp_path / "a.fits", arm("R", 5010, 5030, 2.0), arm("B", 5000, 5020, 1.0))
    reader = reader_of({**ARMS, "overlap": rule})
    wavelength, flux = reader.wavelength(path), read_all(reader, path).columns["flux"][0]
    np.testing.assert_array_equal(wavelength, np.arange(5000, 5030))
    for level, (low, high) in ((1.0, from_blue), (2.0, from_red)):
        assert [wavelength[flux == level].min(), wavelength[flux == level].max()] == [low, high]


def test_arms_that_overlap_are_refused_where_asked(tmp_path):
    path = write(tmp_path / "a.fits", arm("B", 5000, 5020, 1.0), arm("R", 5010, 5030, 2.0))
    with pytest.raises(GridMismatch, match=r"arms overlap from 5010 to 5019; set layout\.overlap"):
        reader_of({**ARMS, "overlap": "refuse"}).wavelength(path)


def test_a_gap_between_arms_is_missing_and_not_a_wide_pixel(tmp_path):
    path = write(tmp_path / "a.fits", arm("B", 5000, 5010, 1.0), arm("R", 6000, 6010, 2.0))
    reader = reader_of(ARMS)
    wavelength, flux = reader.wavelength(path), read_all(reader, path).columns["flux"][0]
    gap = wavelength[np.isnan(flux)]
    assert (gap[0], gap[-1], len(gap)) == (5010, 5999, 990)
    assert (np.diff(wavelength) > 0).all()
    assert np.isfinite(flux).sum() == 20


def test_an_arm_may_be_absent_if_the_layout_says_so(tmp_path):
    path = write(tmp_path / "a.fits", arm("R", 6000, 6010, 2.0))
    assert one_block({**ARMS, "minimum_arms": 1}, path).columns["flux"].shape == (1, 10)
    with pytest.raises(ColumnMissing, match=r"there is no arm B; 1 of 2 arms are there") as caught:
        one_block(ARMS, path)
    assert "minimum_arms" in str(caught.value)


def test_an_arm_that_was_not_combined_is_an_empty_extension(tmp_path):
    path = write(tmp_path / "a.fits", fits.ImageHDU(name="ARM_B"), arm("R", 6000, 6010, 2.0))
    assert one_block({**ARMS, "minimum_arms": 1}, path).columns["flux"].shape == (1, 10)


def test_arms_in_files_of_their_own_are_one_star(tmp_path):
    layout = {
        **ONE_STAR,
        "hdu": 1,
        "arms": [1, 2, 3],
        "arm_files": "{star}{arm}.fits",
        "minimum_arms": 1,
        "id": {"file_name": r"(\d+)[123]\.fits"},
    }
    for star in (140205, 140206):
        for number in (1, 2, 3):
            if (star, number) != (140206, 1):
                start = 5000 + 100 * number
                write(tmp_path / f"{star}{number}.fits", arm("X", start, start + 10, number))
    reader = reader_of(layout)
    blocks = {path.name: read_all(reader, path) for path in sorted(tmp_path.iterdir())}
    assert {name for name, block in blocks.items() if len(block)} == {
        "1402051.fits",
        "1402062.fits",
    }
    assert blocks["1402051.fits"].columns["source_id"].tolist() == [140205]
    flux = blocks["1402051.fits"].columns["flux"]
    assert np.isfinite(flux).sum() == 30
    assert np.isfinite(blocks["1402062.fits"].columns["flux"]).sum() == 20
    with pytest.raises(Exception, match=r"does not fit arm_files"):
        read_all(reader, write(tmp_path / "other.fits", arm("X", 1, 5, 1)))


def test_files_that_name_the_same_star_are_its_arms(tmp_path):
    layout = {**ONE_STAR, "id": {"header": "OBJECT"}, "join_files": True}
    for name, star, start in (("ADP.1", "A", 6000), ("ADP.2", "B", 6000), ("ADP.3", "A", 5000)):
        write(tmp_path / f"{name}.fits", arm("X", start, start + 10, start / 5000), OBJECT=star)
    reader = reader_of(layout)
    first, second, third = (
        read_all(reader, tmp_path / f"ADP.{number}.fits") for number in (1, 2, 3)
    )
    assert (len(first), len(second), len(third)) == (1, 1, 0)
    assert np.isfinite(first.columns["flux"]).sum() == 20
    assert first.columns["flux"][0, 0] == 1.0
    assert np.isfinite(second.columns["flux"]).sum() == 10
    with pytest.raises(ColumnMissing, match="no other file of the star; 1 of 2 arms"):
        one_block({**layout, "minimum_arms": 2}, tmp_path / "ADP.2.fits")


def test_several_extensions_give_their_rows_one_after_the_other(tmp_path):
    layout = {**ONE_STAR, "hdu": ["FIRST", "SECOND", "THIRD"], "id": {"column": "star"}}

    def stars(name, *numbers):
        table = table_of(np.ones(4), np.ones(4), np.arange(4) + 5.0)
        columns = [
            fits.Column(c.name, c.format, array=np.repeat(c.array, len(numbers), axis=0))
            for c in table.columns
        ]
        columns.append(fits.Column("star", "K", array=numbers))
        return fits.BinTableHDU.from_columns(columns, name=name)

    path = write(tmp_path / "a.fits", stars("FIRST", 7, 8), stars("SECOND"), stars("THIRD", 9))
    block = one_block(layout, path)
    assert block.columns["source_id"].tolist() == [7, 8, 9]
    assert block.rows.tolist() == [1, 2, 3]
    assert block.columns["wavelength"].shape == (3, 4)


# --- pixels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", ["J", "E", "I"])
def test_bits_are_dropped_by_number_or_name(tmp_path, values):
    mask = np.array([0, 1, 2, 4, 8, 16 + 2])
    flux = np.ones(6)
    table = table_of(flux, flux, np.arange(6) + 5.0)
    columns = [*table.columns, fits.Column("mask", f"6{values}", array=mask[np.newaxis])]
    path = write(tmp_path / "a.fits", fits.BinTableHDU.from_columns(columns))

    def good(**rule):
        block = one_block({**ONE_STAR, "masks": [{"place": "mask", **rule}]}, path)
        return np.isfinite(block.columns["flux"][0]).tolist()

    assert good() == [True, False, False, False, False, False]
    assert good(drop=[1]) == [True, True, False, True, True, False]
    assert good(drop=["LINE", 0], bits={"LINE": 3}) == [True, False, True, True, False, True]


@pytest.mark.parametrize("kind", ["u1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"])
def test_images_of_every_type_are_read_with_their_own_scale(tmp_path, kind):
    values = np.arange(2 * PIXELS, dtype=kind).reshape(2, PIXELS) + np.array(3, kind)
    scaled = fits.PrimaryHDU(np.arange(4, dtype="i2"))
    scaled.header.update({"BSCALE": 7.0, "BZERO": 100.0, "STAR": 5})  # of the primary image alone
    hdus = [scaled, fits.ImageHDU(values, name="F"), fits.ImageHDU(values, name="N")]
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    layout = {
        "shape": "image_per_quantity",
        "flux": "F",
        "error": "N",
        "error_kind": "sigma",
        "row": 1,
        "id": {"header": "STAR"},
    }
    reader = reader_of(layout, start=5000.0, step=1.0, size=PIXELS)
    block = read_all(reader, tmp_path / "a.fits")
    np.testing.assert_array_equal(block.columns["flux"][0], values[1].astype("f4"))


def test_an_undefined_mask_drops_its_pixel(tmp_path):
    table = table_of(np.ones(3), np.ones(3), np.arange(3) + 5.0)
    quality = fits.Column("qual", "3J", array=np.array([[0, -1, 0]]), null=-1)
    path = write(tmp_path / "a.fits", fits.BinTableHDU.from_columns([*table.columns, quality]))
    block = one_block({**ONE_STAR, "masks": [{"place": "qual", "drop": [5]}]}, path)
    assert np.isfinite(block.columns["flux"][0]).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("kind", "error", "expected"),
    [
        ("ivar", [4.0, 0.0, -1.0, np.nan], [0.5, np.nan, np.nan, np.nan]),
        ("variance", [4.0, 0.0, -1.0, np.nan], [2.0, np.nan, np.nan, np.nan]),
        ("sigma", [4.0, 0.0, -1.0, np.nan], [4.0, np.nan, np.nan, np.nan]),
        ("relative", [0.5, 0.0, -1.0, np.nan], [1.5, np.nan, np.nan, np.nan]),
    ],
)
def test_an_error_that_cannot_be_one_is_a_missing_pixel(tmp_path, kind, error, expected):
    path = write(tmp_path / "a.fits", table_of(np.full(4, 3.0), error, np.arange(4) + 5.0))
    block = one_block({**ONE_STAR, "error_kind": kind}, path)
    np.testing.assert_allclose(block.columns["flux_error"][0], expected, rtol=1e-6)
    assert np.isfinite(block.columns["flux"][0]).tolist() == [True, False, False, False]


def test_sentinels_and_padding_are_missing(tmp_path):
    flux, error = [1.0, 0.0, 1.0, 1.0, 1.0, 0.0], [0.1, 0.1, 1e10, 0.1, -1.0, 0.0]
    wave = [5.0, 6.0, 7.0, 8.0, 9.0, 0.0]
    path = write(tmp_path / "a.fits", table_of(flux, error, wave))
    missing = {"flux": [0.0], "error": [-1.0], "error_above": 1e9}
    reader = reader_of({**ONE_STAR, "missing": missing})
    assert reader.wavelength(path).tolist() == [5.0, 6.0, 7.0, 8.0, 9.0]
    found = np.isfinite(read_all(reader, path).columns["flux"][0])
    assert found.tolist() == [True, False, False, True, False]


def test_flux_and_error_are_divided_by_the_continuum(tmp_path):
    table = table_of([2.0, 3.0], [0.2, 0.3], [5.0, 6.0], level=np.array([2.0, 0.0]))
    path = write(tmp_path / "a.fits", table)
    reader = reader_of({**ONE_STAR, "continuum": "level"})
    block = read_all(reader, path)
    np.testing.assert_allclose(block.columns["flux"][0], [1.0, np.nan])
    np.testing.assert_allclose(block.columns["flux_error"][0], [0.1, np.nan], rtol=1e-6)
    assert reader.statements(path).flux_unit.value == ""


# --- values of one number per star ------------------------------------------------------------


def test_names_are_hashed_and_kept(tmp_path):
    path = write(tmp_path / "a.fits", table_of(*np.ones((2, 3)), [5.0, 6.0, 7.0]), STAR="2M0024+53")
    columns = one_block(ONE_STAR, path).columns
    assert columns["source_id"].tolist() == [hash_of_name("2M0024+53")]
    assert columns["name"].tolist() == [b"2M0024+53"]


def test_the_first_place_that_a_file_has_gives_the_identifier(tmp_path):
    layout = {**ONE_STAR, "id": [{"header": "OBSID"}, {"file_name": r"spec-(.*)\.fits"}]}
    table = table_of(*np.ones((2, 3)), [5.0, 6.0, 7.0])
    new = write(tmp_path / "spec-1.fits", table, OBSID=77)
    old = write(tmp_path / "spec-b2.fits", table)
    assert one_block(layout, new).columns["source_id"].tolist() == [77]
    assert one_block(layout, old).columns["name"].tolist() == [b"b2"]


def test_velocities_and_positions_come_with_the_spectra(tmp_path):
    places = {
        "ra": {"header": "RA"},
        "velocity": {"column": "VREL", "hdu": 2},
        "velocity_error": {"header": "VERR", "hdu": 1},
    }
    table = table_of(*np.ones((2, 3)), [5.0, 6.0, 7.0])
    table.header["VERR"] = 0.5
    about = fits.BinTableHDU.from_columns([fits.Column("VREL", "E", array=[-67.5])])
    path = write(tmp_path / "a.fits", table, about, RA=6.25)
    columns = one_block({**ONE_STAR, "values": places}, path).columns
    assert (columns["ra"][0], columns["velocity"][0]) == (6.25, -67.5)
    assert columns["velocity_error"].tolist() == [0.5]


def test_a_value_that_a_file_does_not_have_is_missing_and_told(tmp_path):
    table = table_of(*np.ones((2, 3)), [5.0, 6.0, 7.0])
    path = write(tmp_path / "a.fits", table, VRAD=12.5)
    places = {
        "ra": {"header": "RAA"},
        "velocity": [{"column": "VREL", "hdu": 11}, {"header": "VRAD"}],
    }
    with collecting_notes() as notes:
        columns = one_block({**ONE_STAR, "values": places}, path).columns
    assert np.isnan(columns["ra"]).all()
    assert columns["velocity"].tolist() == [12.5]
    assert [note.where for note in notes.unread] == ["a.fits: ra (RAA)"]


def test_rows_that_are_no_stars_are_left_out_and_told(tmp_path):
    flux, sigma = spectra(3)
    targets = fits.BinTableHDU.from_columns(
        [
            fits.Column("ID", "K", array=[7, -8, 9]),
            fits.Column("KIND", "3A", array=["TGT", "SKY", "TGT"]),
            fits.Column("BITS", "J", array=[0, 0, 4]),
        ],
        name="MAP",
    )
    images = [fits.ImageHDU(a, name=n) for n, a in (("F", flux), ("N", sigma), ("W", LINEAR))]
    path = write(tmp_path / "a.fits", *images, targets)
    layout = {
        "shape": "image_per_quantity",
        "flux": "F",
        "error": "N",
        "error_kind": "sigma",
        "wavelength": "W",
        "id": {"column": "ID", "hdu": "MAP"},
        "keep": [{"column": "KIND", "hdu": "MAP", "equals": ["TGT", "STD"]}],
    }
    with collecting_notes() as notes:
        block = one_block(layout, path)
    assert block.columns["source_id"].tolist() == [7, 9]
    assert block.rows.tolist() == [1, 3]
    assert block.rejected == ()
    assert [note.where for note in notes.unread] == ["a.fits: 1 of 3"]
    layout["keep"].append({"column": "BITS", "hdu": "MAP", "equals": 0})
    assert one_block(layout, path).columns["source_id"].tolist() == [7]
