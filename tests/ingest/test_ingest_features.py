"""Every feature of tables works alike in every format and role; what is not read says why.

The files stand in ``table_features.py``; ``test_ingest_values.py`` is the same for values.
"""

import datetime
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from conformance.reader_checks import read_all
from hdf5_features import HDF5
from table_features import FEATURES, FLUX, MAGNITUDES, STARS, hdus, other_table, votable

from distcnn.config import FilesConfig, GridConfig
from distcnn.errors import InputError
from distcnn.ingest.readers import ReadRequest, make_reader
from distcnn.ingest.readers.formats.containers import collecting_notes

GRID = GridConfig(start=1, step=1, size=4)
REQUESTS = {
    "source": ReadRequest("source", bands=("G",)),
    "labels": ReadRequest("labels", labels=("teff",)),
    "spectra": ReadRequest("spectra", grid=GRID),
}
COLUMNS = {"source": {"photometry": "G"}, "labels": {"teff": "G"}, "spectra": {}}
ROLES = [(feature, role) for feature in (*FEATURES, *HDF5) for role in feature.roles]


def reader_for(role, settings=None):
    given = dict(settings or {})
    columns = {"source_id": "source_id", **COLUMNS[role], **given.pop("columns", {})}
    return make_reader(
        FilesConfig(reader="table", files="*", columns=columns, **given), REQUESTS[role]
    )


def read(path, role, **settings):
    return read_all(reader_for(role, settings), path)


@pytest.mark.parametrize(
    ("feature", "role"), ROLES, ids=[f"{feature.title}, {role}" for feature, role in ROLES]
)
def test_a_feature_works_alike_in_every_format_and_role(tmp_path, feature, role):
    path = tmp_path / feature.write(tmp_path, role)
    block = read(path, role, **feature.settings)
    assert [row.detail for row in block.rejected] == []
    assert block.columns["source_id"].tolist() == STARS
    if role == "spectra":
        expected = 2 * FLUX if feature.name == "lists of integers" else FLUX
        np.testing.assert_array_equal(block.columns["flux"], expected.astype("f4"))
        assert len(reader_for(role, feature.settings).wavelength(path)) == 4
    else:
        found = block.columns["photometry" if role == "source" else "label"]
        np.testing.assert_array_equal(found[:, 0], MAGNITUDES)


@pytest.mark.parametrize("role", REQUESTS)
def test_a_param_of_a_votable_is_a_column(tmp_path, role):
    (tmp_path / "t.vot").write_text("\n".join(votable(role, param=True)))
    block = read(tmp_path / "t.vot", role)
    assert block.columns["source_id"].tolist() == STARS[:1]


NOT_READ = {
    "UTF-16": ("t.csv", "source_id,G\n1,2\n".encode("utf-16"), "UTF-16 or UTF-32.*as UTF-8"),
    "UTF-16 without a mark": ("t.csv", "source_id,G\n".encode("utf-16-le"), "UTF-16 or UTF-32"),
    "carriage returns": ("t.csv", b"source_id,G\r1,2\r", "carriage return alone.*with LF"),
    "no header": ("t.csv", b"4295806720,9.5\n", "first line holds numbers.*names of the columns"),
    "two columns of the name": ("t.csv", b"source_id,G,G\n1,2,3\n", "2 columns are called 'G'"),
    "HTML": ("t.csv", b"<!DOCTYPE html>\n<html>404</html>", "page of HTML.*asked for a login"),
    "HTML called FITS": ("t.fits", b"<html>404</html>", "page of HTML"),
    "XML": ("t.csv", b"<?xml version='1.0'?><a/>", "it is XML"),
    "text called FITS": ("t.fits", b"source_id,G\n1,2\n", "begins with 'source_id,G'.*call"),
    "text called VOTable": ("t.vot", b"source_id,G\n1,2\n", "not readable as votable: it begins"),
    "text called Parquet": ("t.parquet", b"source_id,G\n1,2\n", "begins with 'source_id,G'"),
    "HDF5 cut off": ("t.h5", b"\x89HDF\r\n\x1a\n" + bytes(64), "not readable as hdf5"),
    "HDF4": ("t.hdf", b"\x0e\x03\x13\x01" + bytes(64), "HDF4.*Write it as Parquet"),
    "netCDF 3": ("t.nc", b"CDF\x01" + bytes(64), "netCDF 3.*Write it as Parquet"),
    "text called HDF5": ("t.h5", b"source_id,G\n1,2\n", "begins with 'source_id,G'"),
    "nothing called HDF5": ("t.h5", b"", r"empty \(0 bytes\)"),
    "Feather": ("t.feather", b"ARROW1" + bytes(64), "Feather"),
    "Avro called CSV": ("t.csv", b"Obj\x01" + bytes(64), "Avro"),
    "NumPy": ("t.npy", b"\x93NUMPY" + bytes(64), "NumPy"),
    "packed by compress": ("t.csv", b"\x1f\x9d" + bytes(64), "packed by compress.*Unpack it"),
    "another suffix": ("t.doc", b"source_id,G\n1,2\n", "'doc' is no known format. Known: csv"),
    "nothing": ("t.csv", b"", r"empty \(0 bytes\)"),
    "nothing called Parquet": ("t.parquet", b"", r"empty \(0 bytes\)"),
    "nothing called FITS": ("t.fits", b"", r"empty \(0 bytes\)"),
    "nothing called VOTable": ("t.vot", b"", r"empty \(0 bytes\)"),
    "two delimiters": ("t.csv", b"source_id;G\tx\n1;2\t3\n", "holds .* and .*'delimiter'"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_READ)
def test_what_is_no_table_says_what_it_is_and_what_to_do(tmp_path, name):
    file, content, words = NOT_READ[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        read(tmp_path / file, "source")
    assert file in str(caught.value) or name == "two columns of the name"


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    (tmp_path / "t.fits").mkdir()
    with pytest.raises(InputError, match="Is a directory"):
        read(tmp_path / "t.fits", "source")


def test_data_outside_a_votable_are_refused_and_never_fetched(tmp_path):
    field = '<FIELD name="source_id" datatype="long"/><FIELD name="G" datatype="double"/>'
    for data in (
        '<BINARY><STREAM href="http://localhost:1/x"/></BINARY>',
        '<FITS extnum="1"><STREAM href="file:///etc/passwd"/></FITS>',
        '<FITS extnum="1"><STREAM encoding="base64">AAAA</STREAM></FITS>',
    ):
        (tmp_path / "t.vot").write_text(
            f'<VOTABLE version="1.3"><RESOURCE><TABLE>{field}<DATA>{data}</DATA></TABLE>'
            "</RESOURCE></VOTABLE>"
        )
        with pytest.raises(InputError, match=r"data are not in the VOTable.*BINARY2"):
            read(tmp_path / "t.vot", "source")


def test_a_workbook_is_named_whatever_it_is_called(tmp_path):
    for name in ("t.xlsx", "t.csv"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("[Content_Types].xml", "<a/>")
            archive.writestr("xl/workbook.xml", "<a/>")
        with pytest.raises(InputError, match=r"workbook of Excel.*as CSV"):
            read(tmp_path / name, "source")


@pytest.mark.parametrize("form", ["fits", "votable"])
def test_a_column_that_is_missing_names_the_further_tables(tmp_path, form):
    path = tmp_path / ("t.fits" if form == "fits" else "t.vot")
    if form == "fits":
        hdus("source", other_table()).writeto(path)
    else:
        path.write_text("\n".join(votable("source", resources=2)))
    words = r"no column 'G'.*further tables \(.*2 \((?i:stars)\)\): choose with 'hdu'"
    with pytest.raises(InputError, match=words), collecting_notes():
        read(path, "source")


def test_a_file_of_images_says_so(tmp_path):
    fits.PrimaryHDU(np.zeros((2, 4))).writeto(tmp_path / "t.fits")
    with pytest.raises(InputError, match="images, or nothing: describe them with reader"):
        read(tmp_path / "t.fits", "spectra")


def test_numbers_with_a_comma_name_the_setting(tmp_path):
    (tmp_path / "t.csv").write_text("source_id;G\n1;9,5\n")
    block = read(tmp_path / "t.csv", "source")
    assert [row.detail for row in block.rejected] == [
        "G is '9,5', not a number; if that is a decimal comma, set decimal: ','"
    ]


@pytest.mark.parametrize("form", ["parquet", "ecsv", "fits"])
def test_masks_in_columns_of_their_own_hide_their_values(tmp_path, form):
    path = tmp_path / f"t.{form}"
    hidden = np.array([[False] * 4, [False, True, False, False], [True] * 4])
    columns = {"source_id": STARS, "G": MAGNITUDES, "G.mask": [True, False, False]}
    columns |= {"flux": FLUX, "flux.mask": hidden}
    Table(columns).write(path)
    found = read(path, "source").columns["photometry"][:, 0]
    np.testing.assert_array_equal(found, [np.nan, *MAGNITUDES[1:]])
    flux = read(path, "spectra").columns["flux"]
    np.testing.assert_array_equal(flux, np.where(hidden, np.nan, FLUX))


def test_masked_arrays_that_astropy_writes_to_parquet_are_missing(tmp_path):
    hidden = FLUX == 6
    table = Table({"source_id": STARS, "flux": MaskedColumn(FLUX, mask=hidden)})
    table.write(tmp_path / "t.parquet")
    flux = read(tmp_path / "t.parquet", "spectra").columns["flux"]
    np.testing.assert_array_equal(flux, np.where(hidden, np.nan, FLUX))


def test_a_struct_names_what_lies_in_it(tmp_path):
    rows = pa.array([{"flux": row, "ivar": row} for row in FLUX.tolist()])
    pq.write_table(pa.table({"source_id": STARS, "flux": rows}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"holds several in each row: flux\.flux, flux\.ivar"):
        read(tmp_path / "t.parquet", "spectra")


def test_dates_are_no_numbers(tmp_path):
    days = pa.array([datetime.datetime(2020, 1, 1)] * 3)
    pq.write_table(pa.table({"source_id": STARS, "G": days}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"holds datetime64.*not numbers"):
        read(tmp_path / "t.parquet", "source")


@pytest.mark.parametrize("unit", ["0.1nm", "0.1 nm", "1e-10 m", "Angstrom", "AA", "10**-10 m"])
def test_multiples_of_units_are_the_unit_that_they_make(tmp_path, unit):
    wave = np.tile(8460.0 + np.arange(4), (3, 1))
    table = Table({"source_id": STARS, "flux": FLUX, "wavelength": wave})
    table["wavelength"].unit = unit
    table.write(tmp_path / "t.ecsv")
    request = ReadRequest("spectra", grid=GridConfig())
    files = FilesConfig(reader="table", files="*", columns={"wavelength": "wavelength"})
    reader = make_reader(files, request)
    np.testing.assert_allclose(reader.wavelength(tmp_path / "t.ecsv"), wave[0] / 10)


@pytest.mark.parametrize(
    ("name", "limit", "words"),
    [
        (
            "votable: by hand",
            "votable._MAX_VOTABLE_BYTES",
            "which is read whole.*to FITS",
        ),
        ("aligned: IPAC", "aligned._MAX_BYTES", "fixed width of more than.*Convert it to Parquet"),
    ],
)
def test_tables_that_are_read_whole_have_a_largest_size(tmp_path, monkeypatch, name, limit, words):
    feature = next(one for one in FEATURES if one.title == name)
    monkeypatch.setattr(f"distcnn.ingest.readers.formats.{limit}", 10)
    path = tmp_path / feature.write(tmp_path, "source")
    with pytest.raises(InputError, match=words):
        read(path, "source")


def test_the_header_of_a_table_of_one_row_names_its_star(tmp_path):
    """As in the spectra of ESO: arrays in one row, the star in the primary header."""
    for number, name in enumerate(("HD 1", "HD 2")):
        made = fits.HDUList([fits.PrimaryHDU(), fits.table_to_hdu(Table({"flux": FLUX[:1]}))])
        made[0].header["OBJECT"], made[0].header["RA"] = name, 10.5 + number
        made.writeto(tmp_path / f"{number}.fits")
        columns = {"source_id": "OBJECT", "ra": "RA"}
        block = read(tmp_path / f"{number}.fits", "spectra", columns=columns)
        assert block.columns["name"].tolist() == [name.encode()]
        assert block.columns["ra"].tolist() == [10.5 + number]
    made = fits.table_to_hdu(Table({"flux": FLUX}))
    made.header["OBJECT"] = "HD 1"
    made.writeto(tmp_path / "many.fits")
    with pytest.raises(InputError, match="no column 'OBJECT'"):
        read(tmp_path / "many.fits", "spectra", columns={"source_id": "OBJECT"})
