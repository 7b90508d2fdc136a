"""What a layout refuses, and with which words; the formats that it describes."""

import numpy as np
import pytest
from astropy.io import fits
from layout_files import (
    ONE_STAR,
    PIXELS,
    one_block,
    reader_of,
    table_of,
    write,
    write_layout,
)

from distcnn.config import FilesConfig, SpectraFilesConfig, SpectrumLayoutConfig, load_config
from distcnn.errors import ColumnMissing, ConfigError, FileBroken, GridMismatch, ScaleMismatch
from distcnn.ingest.readers import ReadRequest, make_reader

# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["unit", "medium", "frame"])
def test_what_neither_file_nor_configuration_says_is_refused(tmp_path, name):
    path = write(tmp_path / "a.fits", table_of(*np.ones((2, 3)), [5.0, 6.0, 7.0]))
    said = {"unit": "Angstrom", "medium": "vacuum", "frame": "barycentric"}
    del said[name]
    files = SpectraFilesConfig(reader="described", files="*", layout=ONE_STAR)
    grid = load_config(None).ingest.grid.model_validate(said)
    reader = make_reader(files, ReadRequest("spectra", grid))
    with pytest.raises(GridMismatch, match=rf"nothing in it says the {name}") as caught:
        reader.wavelength(path)
    assert f"Set ingest.grid.{name}" in caught.value.cure


def test_the_file_may_say_it_instead(tmp_path):
    table = table_of(*np.ones((2, 3)), [5.0, 6.0, 7.0])
    table.header["TUNIT3"] = "Angstrom"
    table.header["TUCD3"] = "em.wl;obs.atmos"
    path = write(tmp_path / "a.fits", table, SPECSYS="HELIOCEN")
    files = SpectraFilesConfig(reader="described", files="*", layout=ONE_STAR)
    said = make_reader(files, ReadRequest("spectra")).statements(path)
    assert (said.unit.value, said.medium.value, said.frame.value) == (
        "Angstrom",
        "air",
        "barycentric",
    )


def test_a_kind_of_error_that_nothing_tells_is_refused(tmp_path):
    path = write(tmp_path / "a.fits", table_of(*np.ones((2, 3)), [5.0, 6.0, 7.0]))
    with pytest.raises(ScaleMismatch, match=r"nothing in it says what 'sigma' is"):
        reader_of({**ONE_STAR, "error_kind": None}).statements(path)


def test_a_kind_of_error_that_the_file_contradicts_is_refused(tmp_path):
    table = table_of(np.ones(3), np.ones(3), [5.0, 6.0, 7.0], ivar=np.ones(3))
    path = write(tmp_path / "a.fits", table)
    with pytest.raises(ScaleMismatch, match=r"of kind 'inverse variance' \(column ivar\)"):
        reader_of({**ONE_STAR, "error": "ivar"}).statements(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hdu": 5}, "there is no HDU 5 with spectra"),
        ({"hdu": "COADD"}, "there is no HDU 'COADD'"),
        ({"flux": "FLUXX"}, "no column 'FLUXX'"),
        ({"wavelength": None}, "its header gives no wavelengths"),
        ({"id": {"header": "OBSID"}}, "it has no OBSID"),
        ({"id": {"column": "TARGETID"}}, "it has no column 'TARGETID'"),
        ({"id": {"file_name": r"b(.*)\.fits"}}, "it has no the file name"),
        ({"shape": "image_rows", "flux": 0, "error": 1, "wavelength": 2}, "is a table, no image"),
        (
            {"shape": "image_per_quantity", "hdu": None, "flux": 1, "error": 1, "wavelength": 1},
            "is a table, no image",
        ),
    ],
)
def test_an_error_about_a_sound_file_says_what_to_set(tmp_path, change, words):
    path = write(tmp_path / "a.fits", table_of(*np.ones((2, 3)), [5.0, 6.0, 7.0]))
    with pytest.raises((FileBroken, ColumnMissing, GridMismatch)) as caught:
        one_block({**ONE_STAR, **change}, path)
    text = str(caught.value)
    assert words in text
    assert "fetch" not in text.lower()
    assert "layout" in text or "columns" in text


def test_the_reader_of_tables_tells_images_from_damage(tmp_path):
    fits.PrimaryHDU(np.ones((5, 9))).writeto(tmp_path / "a.fits")
    reader = make_reader(FilesConfig(reader="table", files="*"), ReadRequest("spectra"))
    with pytest.raises(FileBroken, match="reader: described") as caught:
        reader.wavelength(tmp_path / "a.fits")
    assert "etch" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"arms": ["B"]}, "arms together with"),
        ({"hdu": "A{arm}"}, "arms together with"),
        ({"flux": 3}, "names of columns"),
        ({"shape": "image_rows"}, "numbers of rows"),
        ({"shape": "image_per_quantity"}, "no hdu"),
        ({"row": 0}, "row with shape"),
        ({"error": None}, "error_kind together"),
        ({"minimum_arms": 2}, "minimum_arms together"),
        ({"masks": [{"place": "m", "drop": ["BAD"]}]}, "a name of 'bits'"),
        ({"id": {"column": "a", "header": "b"}}, "one of column, header"),
        ({"id": {"file_name": "("}}, "a regular expression"),
        ({"id": {"file_name": "a.*"}}, "with a group"),
        ({"overlapp": "first"}, "overlapp"),
    ],
)
def test_a_layout_that_cannot_be_meant_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        SpectrumLayoutConfig.model_validate({**ONE_STAR, **change})


def test_settings_that_the_reader_does_not_use_are_refused(tmp_path):
    layout = SpectrumLayoutConfig.model_validate(ONE_STAR)
    for files, words in (
        (SpectraFilesConfig(reader="described", files="*"), "without a layout"),
        (SpectraFilesConfig(reader="table", files="*", layout=layout), "does not use it"),
        (SpectraFilesConfig(reader="described", files="*", layout=layout, hdu=2), "layout.hdu"),
        (
            SpectraFilesConfig(reader="described", files="*", layout=layout, columns={"flux": "f"}),
            "does not know",
        ),
    ):
        with pytest.raises(ConfigError, match=words):
            make_reader(files, ReadRequest("spectra"))


# --- other formats -----------------------------------------------------------------------------


def test_a_packed_file_and_a_member_of_a_zip_archive_are_read_alike(tmp_path):
    import gzip
    import zipfile

    path, layout, stars = write_layout(
        tmp_path, "image_per_quantity", "ivar", "log_linear", "other_hdu"
    )
    content = path.read_bytes()
    (tmp_path / "spec.fits.gz").write_bytes(gzip.compress(content))
    with zipfile.ZipFile(tmp_path / "spec.zip", "w") as archive:
        archive.writestr("inside/spec.fits", content)
    plain = one_block(layout, path)
    for name in ("spec.fits.gz", "spec.zip"):
        block = one_block(layout, tmp_path / name)
        for column, values in plain.columns.items():
            np.testing.assert_array_equal(block.columns[column], values)
    assert plain.columns["source_id"].tolist() == stars


def test_nested_columns_of_parquet_are_described_by_their_path(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    spectrum = [
        {"flux": [1.0, 2.0, 3.0], "ivar": [4.0, 0.0, 4.0], "lambda": [5.0, 6.0, 7.0]},
        {"flux": [1.0, 2.0], "ivar": [1.0, 1.0], "lambda": [5.0, 6.0]},
    ]
    table = pa.table({"object_id": ["a1", "b2"], "spectrum": spectrum})
    pq.write_table(table, tmp_path / "Npix=1.parquet")
    layout = {
        "shape": "row_per_star",
        "flux": "spectrum.flux",
        "error": "spectrum.ivar",
        "wavelength": "spectrum.lambda",
        "id": {"column": "object_id"},
    }
    block = one_block(layout, tmp_path / "Npix=1.parquet")
    assert block.columns["name"].tolist() == [b"a1", b"b2"]
    np.testing.assert_allclose(block.columns["flux"], [[1, np.nan, 3], [1, 2, np.nan]])
    np.testing.assert_allclose(block.columns["wavelength"], [[5, 6, 7], [5, 6, np.nan]])
    np.testing.assert_allclose(block.columns["flux_error"][0], [0.5, np.nan, 0.5])


def test_a_text_of_one_row_per_pixel_may_hold_several_stars(tmp_path):
    rows = [f"{star},{wave},{star / 100}" for star in (11, 12) for wave in range(5, 9)]
    path = tmp_path / "pixels.csv"
    path.write_text("\n".join(["star,wave,flux", *rows, ""]))
    layout = {
        "shape": "row_per_pixel",
        "flux": "flux",
        "wavelength": "wave",
        "id": {"column": "star"},
    }
    block = one_block(layout, path)
    assert block.columns["source_id"].tolist() == [11, 12]
    np.testing.assert_allclose(block.columns["flux"], [[0.11] * 4, [0.12] * 4])
    assert block.columns["wavelength"].shape == (2, 4)
    assert PIXELS > 4
