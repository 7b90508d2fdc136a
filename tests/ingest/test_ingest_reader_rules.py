"""What the conformance kit of readers cannot know: fields, names, headers, the registry."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from conformance.reader_checks import read_all
from hypothesis import given
from hypothesis import strategies as st
from readers_of_archives import BANDS, CENTRES, GRID, STARS, reader_for, spectra_table
from tiny_archive import LABELS, TinyArchive

from distcnn.config import FilesConfig, GridConfig
from distcnn.errors import ColumnMissing, ConfigError, FileBroken, GridMismatch
from distcnn.ingest.readers import READERS, Reader, ReadRequest, SpectraReader, make_reader
from distcnn.ingest.readers.formats.text.fields import _to_array_slowly, split_row, to_array
from distcnn.ingest.readers.registry import known_variables
from distcnn.schema import Reason


def test_text_identifiers_get_the_same_number_everywhere(tmp_path):
    names = ["Sun", "HD 1", "17", "Sun"]
    Table({"star": names, "teff": [1.0, 2.0, 3.0, 4.0]}).write(tmp_path / "a.fits")
    (tmp_path / "a.csv").write_text("star,teff\n" + "".join(f"{n},1\n" for n in names))
    request = ReadRequest("labels", labels=("teff",))
    files = FilesConfig(reader="table", files="*", columns={"source_id": "star"})
    reader = make_reader(files, request)
    fits, csv = (
        read_all(reader, tmp_path / name).columns["source_id"] for name in ("a.fits", "a.csv")
    )
    assert fits.tolist() == csv.tolist()
    assert fits[2] == 17
    assert fits[0] == fits[3] == 7104055018443921519
    assert (fits > 0).all()


@pytest.mark.parametrize(
    "header",
    [
        {"CRVAL1": 846.0, "CDELT1": 0.01},
        {"CRVAL1": 846.02, "CD1_1": 0.01, "CRPIX1": 3},
        {"WAVE0": 846.0, "DWAVE": 0.01},
        {"COEFF0": np.log10(846.0), "COEFF1": 0.01 / 846 / np.log(10)},
    ],
)
def test_the_grid_may_stand_in_the_header(tmp_path, header):
    table = spectra_table()
    table.meta.update(header)
    table.write(tmp_path / "s.fits")
    files = FilesConfig(reader="table", files="*", columns={"source_id": "name", "flux": "spec"})
    reader = make_reader(files, ReadRequest("spectra", GridConfig()))
    np.testing.assert_allclose(reader.wavelength(tmp_path / "s.fits"), CENTRES, atol=3e-4)


def test_a_header_that_contradicts_the_declared_grid_is_refused(tmp_path):
    table = spectra_table()
    table.meta.update({"CRVAL1": 500.0, "CDELT1": 0.01})
    table.write(tmp_path / "s.fits")
    reader = reader_for("table", "spectra", columns={"source_id": "name", "flux": "spec"})
    with pytest.raises(GridMismatch, match=r"s\.fits, row 0.*500") as caught:
        read_all(reader, tmp_path / "s.fits")
    assert "ingest.grid" in caught.value.cure


def test_scalar_columns_can_make_up_a_spectrum(tmp_path):
    table = Table({"source_id": STARS, **{f"p{i}": np.full(6, float(i)) for i in range(3)}})
    table.write(tmp_path / "s.fits")
    files = FilesConfig(reader="table", files="*", columns={"flux": ("p0", "p1", "p2")})
    reader = make_reader(files, ReadRequest("spectra", GridConfig(start=1, step=1, size=3)))
    assert read_all(reader, tmp_path / "s.fits").columns["flux"].tolist() == [[0, 1, 2]] * 6


@pytest.mark.parametrize("token", ["1.", ".5", "1e-3", "-7", "inf"])
def test_numbers_that_json_does_not_know_are_numbers_all_the_same(token):
    assert to_array(f"[1.0,{token}]".encode(), 2, "flux")[1] == float(token)


FIELDS = st.lists(st.text('abc ,[1.5]"NaN-', max_size=12), min_size=2, max_size=6)


@given(FIELDS)
def test_fields_are_those_of_the_csv_module(values):
    stream = io.StringIO()
    csv.writer(stream, lineterminator="").writerow(values)
    assert split_row(stream.getvalue().encode()) == [value.encode() for value in values]


NUMBERS = st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))


@given(st.lists(NUMBERS, min_size=1, max_size=30), st.sampled_from(["[]", "()"]))
def test_arrays_are_parsed_alike_fast_and_slowly(values, brackets):
    texts = ("NaN" if np.isnan(value) else str(np.float32(value)) for value in values)
    text = f"{brackets[0]}{','.join(texts)}{brackets[1]}".encode()
    fast, slow = (parse(text, len(values), "flux") for parse in (to_array, _to_array_slowly))
    np.testing.assert_array_equal(fast, slow)
    np.testing.assert_array_equal(fast.astype("f4"), np.array(values, "f4"))


def test_quoted_quotes_do_not_confuse_the_fields():
    assert split_row(b'1,"a ""b"", c",2') == [b"1", b'a "b", c', b"2"]
    assert split_row(b'"[1,2]","[3]",,"",x') == [b"[1,2]", b"[3]", b"", b"", b"x"]


@pytest.mark.parametrize(
    ("kind", "name", "column"),
    [
        ("spectra", "gaia_rvs", "flux_error"),
        ("source", "gaia_source", "parallax"),
        ("source", "gaia_source", "phot_bp_mean_mag"),
        ("xp", "gaia_xp", "rp_coefficients"),
    ],
)
def test_a_missing_column_is_named_with_what_is_there(archive, kind, name, column):
    starts = {"spectra": "Rvs", "source": "GaiaSource", "xp": "Xp"}[kind]
    file = archive.name(starts)
    archive.headers[file] = archive.headers[file].replace(column, f"my_{column}", 1)
    archive.write()
    with pytest.raises(ColumnMissing, match=f"{file}, row 0") as caught:
        read_all(reader_for(name, kind), archive.folder / file)
    assert repr(column) in str(caught.value)
    assert "source_id" in str(caught.value)
    assert "'columns'" in caught.value.cure


def test_a_missing_column_of_the_label_table_is_named(tmp_path):
    Table({"GAIAEDR3_SOURCE_ID": STARS, "TEFF": np.ones(6)}).write(tmp_path / "allStar.fits")
    with pytest.raises(ColumnMissing, match=r"allStar\.fits.*'LOGG'"):
        read_all(reader_for("apogee", "labels"), tmp_path / "allStar.fits")


def test_columns_may_have_other_names_by_configuration(archive):
    file = archive.name("GaiaSource")
    archive.headers[file] = archive.headers[file].replace("parallax,", "plx,", 1)
    archive.write()
    reader = reader_for("gaia_source", "source", columns={"parallax": "plx"})
    assert np.isfinite(read_all(reader, archive.folder / file).columns["parallax"][0])


def test_a_reader_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(ConfigError, match="one of gaia_rvs, gaia_rvs_datalink, ") as caught:
        reader_for("galah", "spectra")
    for name in ("gaia_rvs", "gaia_rvs_datalink", "table"):
        assert f"{name}: {READERS[name].sentence}" in caught.value.cure
    assert "registry.py" in caught.value.cure
    with pytest.raises(ConfigError, match=r"ingest\.xp\.reader"):
        reader_for("apogee", "xp")


WITH_COLUMNS = {name: row for name, row in READERS.items() if name != "described"}
"""Readers that are told by columns; of the other the layout has all: test_ingest_layout_rules."""


@pytest.mark.parametrize("name", sorted(WITH_COLUMNS))
def test_every_row_of_the_registry_makes_a_reader_of_each_of_its_kinds(name):
    for kind in READERS[name].variables:
        reader = reader_for(name, kind)
        assert isinstance(reader, SpectraReader if kind == "spectra" else Reader)


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, row in WITH_COLUMNS.items() for kind in row.variables]
)
def test_a_variable_that_a_reader_does_not_know_is_refused_with_those_it_knows(name, kind):
    for wrong in ("spam", "flux_err", "teff_err"):
        with pytest.raises(ConfigError, match=f"columns names '{wrong}'") as caught:
            reader_for(name, kind, columns={wrong: "x"})
        assert "source_id" in caught.value.expected
    with pytest.raises(ConfigError, match="Did you mean 'source_id'"):
        reader_for(name, kind, columns={"sourceid": "x"})
    with pytest.raises(ConfigError, match="the name of one column"):
        reader_for(name, kind, columns={"source_id": ("a", "b")})


@pytest.mark.parametrize("name", sorted(READERS.keys() - {"table"}))
def test_every_variable_that_a_reader_is_said_to_know_is_looked_for(name):
    (kind,) = READERS[name].variables
    request = ReadRequest(kind, GRID, BANDS, tuple(LABELS))
    known = known_variables(READERS[name], request)
    for variable in known:
        if variable.removesuffix("_error") in LABELS or kind != "labels":
            reader = reader_for(name, kind, columns={variable: "own"})
            assert "'own'" in repr(vars(reader.reader)), variable


def test_a_file_of_no_known_format_is_refused(tmp_path):
    (tmp_path / "x.doc").write_bytes(b"...")
    with pytest.raises(FileBroken, match="'doc' is no known format"):
        read_all(reader_for("gaia_source", "source"), tmp_path / "x.doc")


def test_a_table_with_a_header_only_is_refused(tmp_path, archive: TinyArchive):
    for kind, name in (("spectra", "gaia_rvs"), ("source", "gaia_source"), ("xp", "gaia_xp")):
        file = archive.name({"spectra": "Rvs", "source": "Gaia", "xp": "Xp"}[kind])
        path = tmp_path / f"{name}.csv"
        path.write_text(archive.headers[file] + "\n")
        with pytest.raises(FileBroken, match=rf"{path.name}, row 0.*no rows"):
            read_all(reader_for(name, kind), path)


def test_a_folder_of_rows_is_read_with_the_row_of_every_problem(archive: TinyArchive):
    file = archive.name("GaiaSource")
    lines = archive.lines[file]
    lines[2] = lines[2].replace(",0.02,", ",small,")
    lines[5] = lines[5].rsplit(",", 1)[0]
    lines[8] = lines[8].replace(str(archive.source_id[4]), "-4")
    archive.write()
    block = read_all(reader_for("gaia_source", "source"), archive.folder / file)
    assert [(r.row, r.reason) for r in block.rejected] == [
        (3, Reason.NOT_A_NUMBER),
        (6, Reason.MALFORMED),
        (9, Reason.BAD_ID),
    ]
    assert len(block) == 15
    assert "parallax_error is 'small'" in block.rejected[0].detail


def test_unreadable_zip_archives_are_named(tmp_path: Path):
    (tmp_path / "dl.zip").write_bytes(b"PK nothing")
    with pytest.raises(FileBroken, match=r"dl\.zip"):
        read_all(reader_for("gaia_xp", "xp"), tmp_path / "dl.zip")
