"""A value means the same in every format and role; an identifier is the same star."""

import io
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from conformance.reader_checks import read_all
from hypothesis import given
from hypothesis import strategies as st

from distcnn.catalogue.columns import columns
from distcnn.catalogue.rows import _names
from distcnn.config import CutConfig, FilesConfig, GridConfig, IngestConfig
from distcnn.executor import SerialExecutor
from distcnn.ingest import build_survey
from distcnn.ingest.readers import ReadRequest, make_reader
from distcnn.ingest.readers.cleaning import counting
from distcnn.ingest.readers.formats import describe as told
from distcnn.ingest.readers.formats.describe import FORMATS, IDENTIFIERS, ROLES, VALUES
from distcnn.ingest.readers.formats.text.table import (
    TextSelection,
    TextTable,
    _slow_columns,
    scalar_columns,
)
from distcnn.ingest.readers.values.identifiers import KINDS, _one_by_one, classify
from distcnn.survey import Region, Store

SUFFIX = {"fits": "fits", "votable": "vot", "parquet": "parquet", "csv": "csv", "ecsv": "ecsv",
          "hdf5": "h5"}  # fmt: skip
DTYPES = {"float": "f8", "int": "i4", "uint8": "u1", "bool": "?", "text": "U30"}
TNULL = {"int": -77, "uint8": 255}
PIXELS = {"flux": 2, "flux_error": 2, "xp": 110, "xp_error": 110}


def columns_of_values():
    """One column per value, of two rows: the value, and a plain one of the same type."""
    plain = {"float": 1.5, "int": 3, "uint8": 3, "bool": False, "text": "1.5"}
    return {f"v{n}": (row.column, [row.given, plain[row.column]]) for n, row in enumerate(VALUES)}


def masked(kind, values):
    data = [0 if value is None and kind != "text" else value for value in values]
    return MaskedColumn(data, mask=[value is None for value in values], dtype=DTYPES[kind])


def fits_column(name, kind, values):
    codes = {"float": "D", "int": "J", "uint8": "B", "bool": "L", "text": "30A"}
    null = TNULL.get(kind)
    array = [(null if kind in TNULL else 0) if v is None else v for v in values]
    if kind == "bool":
        # astropy cannot write the null of a logical, a byte of zero.
        return fits.Column(name, "L", array=np.array([v is True for v in values]))
    return fits.Column(name, codes[kind], null=null, array=np.array(array, DTYPES[kind]))


def write(path, form, table):
    if form == "fits":
        hdu = fits.BinTableHDU.from_columns([fits_column(n, *c) for n, c in table.items()])
        hdu.writeto(path)
        for name, (kind, values) in table.items():
            if kind == "bool" and None in values:
                write_null_logical(path, name, values.index(None))
    elif form == "parquet":
        kinds = {"float": pa.float64(), "int": pa.int32(), "uint8": pa.uint8(), "bool": pa.bool_()}
        kinds |= {"text": pa.string(), "id": pa.int64()}
        pq.write_table(pa.table({n: pa.array(v, kinds[k]) for n, (k, v) in table.items()}), path)
    elif form == "hdf5":
        write_hdf5(path, table)
    else:
        names = {"votable": "votable", "csv": "ascii.csv", "ecsv": "ascii.ecsv"}
        columns = {n: masked(k, v) for n, (k, v) in table.items()}
        Table(columns).write(path, format=names[form])


def write_hdf5(path, table):
    """Nulls by ``_FillValue`` as in netCDF, and beside logicals by a mask as of astropy."""
    with h5py.File(path, "w") as file:
        for name, (kind, values) in table.items():
            null = TNULL.get(kind, False)
            data = [null if v is None else v for v in values]
            dtype = h5py.string_dtype() if kind == "text" else DTYPES.get(kind)
            dataset = file.create_dataset(name, data=np.array(data, dtype))
            if None in values and kind in TNULL:
                dataset.attrs["_FillValue"] = np.array(null, dataset.dtype)
            elif None in values:
                file[f"{name}.mask"] = [value is None for value in values]


def write_null_logical(path, name, row):
    with fits.open(path, memmap=False) as hdus:
        start, width = hdus[1].fileinfo()["datLoc"], hdus[1].header["NAXIS1"]
        place = hdus[1].columns.dtype.fields[name][1]
    content = bytearray(path.read_bytes())
    content[start + row * width + place] = 0
    path.write_bytes(bytes(content))


def read_role(path, role, column):
    """The column's values [rows], read as ``role``."""
    kind = "spectra" if role in ("flux", "flux_error") else "xp" if role.startswith("xp") else None
    columns: dict[str, object] = {"source_id": "id"}
    request = {"grid": GridConfig(start=1, step=1, size=2)}
    if kind is not None:
        names = ("flux", "flux_error") if kind == "spectra" else ("xp", "xp_error")
        columns |= dict.fromkeys(names, (column,) * PIXELS[role])
    elif role in ("photometry", "parallax", "parallax_error", "snr"):
        kind, request = "source", {"bands": ("G",)}
        columns = {"source_id": "id", "photometry": (column,)}
        columns |= {} if role == "photometry" else {role: column}
    else:
        kind = "labels"
        request = {"labels": ("teff",), "cuts": (CutConfig(column=column, minimum=-1e30),)}
        columns |= {"teff": column, "teff_error": column, "label_snr": column}
    reader = make_reader(
        FilesConfig(reader="table", files="*", columns=columns), ReadRequest(kind, **request)
    )
    values = read_all(reader, path).columns[f"cut/{column}" if role == "cut" else role]
    return values.reshape(len(values), -1)[:, 0]


@pytest.fixture(scope="module")
def value_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("values")
    table = {"id": ("int", [11, 12]), **columns_of_values()}
    paths = {form: folder / f"t.{SUFFIX[form]}" for form in FORMATS}
    for form, path in paths.items():
        write(path, form, table)
    return paths


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("form", FORMATS)
def test_a_value_means_the_same_in_every_format_and_role(value_files, form, role):
    for number, row in enumerate(VALUES):
        value = read_role(value_files[form], role, f"v{number}")[0]
        expected = np.nan if row.meaning is None else row.meaning
        np.testing.assert_equal(float(value), expected, f"{row.name} as {role} in {form}")


def id_column(form, value):
    if isinstance(value, str):
        return MaskedColumn([value, "1"], dtype="U70")
    if isinstance(value, float):
        return MaskedColumn([value, 1.0], dtype="f8")
    return MaskedColumn([value, 1], dtype="u8" if value >= 2**63 else "i8")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("row", IDENTIFIERS, ids=lambda row: row.name)
def test_an_identifier_is_the_same_star_in_every_format(tmp_path, form, row):
    if form == "votable" and isinstance(row.given, int) and row.given >= 2**63:
        pytest.skip("VOTable has no unsigned integers of 64 bits")
    path = tmp_path / f"t.{SUFFIX[form]}"
    table = Table({"id": id_column(form, row.given), "G": [9.0, 10.0]})
    if form == "parquet":
        ids = table["id"].tolist() if table["id"].dtype.kind == "U" else np.asarray(table["id"])
        pq.write_table(pa.table({"id": ids, "G": np.asarray(table["G"])}), path)
    elif form == "hdf5":
        with h5py.File(path, "w") as file:
            file["id"] = table["id"].tolist() if table["id"].dtype.kind == "U" else table["id"]
            file["G"] = table["G"]
    else:
        names = {"fits": "fits", "votable": "votable", "csv": "ascii.csv", "ecsv": "ascii.ecsv"}
        table.write(path, format=names[form])
    files = FilesConfig(reader="table", files="*", columns={"source_id": "id", "photometry": "G"})
    reader = make_reader(files, ReadRequest("source", bands=("G",)))
    with counting() as counts:
        block = read_all(reader, path)
    if row.kind is None:
        assert block.columns["source_id"].tolist() == [1]
        assert [rejected.row for rejected in block.rejected] == [1]
        return
    first = int(block.columns["source_id"][0])
    assert KINDS[block.columns["id_kind"][0]] is row.kind
    assert first == row.source_id or (row.source_id == 0 and first > 0)
    named = row.kind in ("designation", "name", "large")
    assert block.columns["name"][0] == (str(row.given).encode() if named else b"")
    assert bool(counts[f"identifier: {row.kind}"]) is (row.kind != "integer")


def test_the_table_is_printed_whole():
    text = told.describe()
    assert all(row.name in text for row in (*VALUES, *IDENTIFIERS))
    assert all(name in text for name in (*ROLES, *FORMATS))


def test_parallax_errors_of_zero_or_less_are_missing_and_counted(tmp_path):
    (tmp_path / "t.csv").write_text("id,parallax_error\n1,0\n2,-0.1\n3,0.1\n4,inf\n")
    with counting() as counts:
        values = read_role(tmp_path / "t.csv", "parallax_error", "parallax_error")
    np.testing.assert_equal(values, [np.nan, np.nan, 0.1, np.nan])
    assert counts["parallax_error: zero or negative"] == 2
    assert counts["parallax_error: infinite"] == 1


FIELDS = st.sampled_from(["1", "2.5", "-9999", "", "nan", "null", "x", "true", "1e3", '"4"', "0"])


@given(st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=6))
def test_text_is_parsed_alike_fast_and_slowly(rows):
    content = "id,G\n" + "".join(f"{a},{b}\n" for a, b in rows)
    selection = TextSelection("id", ("G",))
    results = []
    for parse in (scalar_columns, _slow_columns):
        table = TextTable(Path("t.csv"), io.BytesIO(content.encode()))
        chunk = next(table.chunks())
        numbers, stars, columns, rejected = parse(table, chunk, selection)
        results.append((numbers.tolist(), stars.source_id.tolist(), columns["G"], rejected))
    for fast, slow in zip(*results, strict=True):
        np.testing.assert_equal(fast, slow)


@given(st.lists(st.integers(1, 2**64 - 1), min_size=1), st.booleans())
def test_integers_are_classified_alike_fast_and_one_by_one(values, names):
    fast = classify(np.array(values, np.uint64), names=names)
    slow = _one_by_one(values, names)
    for name in ("source_id", "kind", "name"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(slow, name))
    assert fast.problems.keys() == slow.problems.keys()


def test_names_are_kept_in_the_survey_and_shown_in_catalogues(tmp_path):
    folder = tmp_path / "archive"
    folder.mkdir()
    (folder / "t.csv").write_text("id,G\nHD 1,9.0\nGaia DR3 17,10.0\n18,11.0\n")
    source = {"reader": "table", "files": "t.csv", "columns": {"source_id": "id"}}
    settings = {"spectra": None, "source": source, "xp": None, "labels": None, "bands": ("G",)}
    config = IngestConfig.model_validate(settings)
    build_survey(folder, tmp_path / "s.zarr", config, executor=SerialExecutor())
    store = Store.open(tmp_path / "s.zarr", "survey")
    stored = store.read(Region(0, 3), ["source_id", "name"])
    assert stored["source_id"].tolist()[1:] == [17, 18]
    assert _names(stored["name"]).tolist() == [b"HD 1", b"Gaia DR3 17", b""]
    assert "name" in [column.name for column in columns(["teff"], has_names=True)]
    assert "name" not in [column.name for column in columns(["teff"])]
