"""XP coefficients mean the same in every layout, format and reader that take them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from conformance.reader_checks import read_all

from distcnn.config import FilesConfig
from distcnn.errors import ColumnMissing, ScaleMismatch
from distcnn.ingest.readers import ReadRequest, make_reader

STARS = [4295806720, 34361129088, 38655544960]
XP = np.random.default_rng(3).standard_normal((3, 110)).round(4)
ERROR = (0.1 + XP**2).round(4)
SUFFIX = {"fits": "fits", "votable": "vot", "parquet": "parquet", "csv": "csv", "ecsv": "ecsv"}


def per_band(coefficients, errors):
    """One array of each band."""
    halves = {"bp": slice(0, 55), "rp": slice(55, 110)}
    found = {coefficients.format(band): XP[:, half] for band, half in halves.items()}
    return found | {errors.format(band): ERROR[:, half] for band, half in halves.items()}


def wide(coefficients, errors, first=0):
    """A column for each coefficient, numbered from ``first``."""
    found = {}
    for band, start in (("bp", 0), ("rp", 55)):
        for values, pattern in ((XP, coefficients), (ERROR, errors)):
            for n in range(55):
                found[pattern.format(band, n + first)] = values[:, start + n]
    return found


LAYOUTS = {
    "Gaia": per_band("{}_coefficients", "{}_coefficient_errors"),
    "one array of both bands": {"xp": XP, "xp_error": ERROR},
    "one array called coeff": {"coeff": XP, "coeff_error": ERROR},
    "GaiaXPy": wide("{}_coeff_{}", "e_{}_coeff_{}"),
    "arrays exploded by TOPCAT": wide("{}_coefficients_{}", "{}_coefficient_errors_{}", first=1),
    "two letters": wide("{}_{}", "e_{}_{}"),
    "one column of 110 for each": {
        **{f"xp_{n}": XP[:, n] for n in range(110)},
        **{f"xp_error_{n}": ERROR[:, n] for n in range(110)},
    },
    "capital letters": {
        name.upper(): v for name, v in wide("{}_coeff_{}", "e_{}_coeff_{}").items()
    },
}


def text(values, brackets):
    if np.ndim(values) == 1:
        return [str(value) for value in values.tolist()]
    return [f'"{brackets[0]}{", ".join(map(str, row))}{brackets[1]}"' for row in values.tolist()]


def write(path, form, columns, brackets="[]"):
    columns = {"source_id": np.array(STARS), **columns}
    if form == "parquet":
        arrays = {name: pa.array(values.tolist()) for name, values in columns.items()}
        pq.write_table(pa.table(arrays), path)
    elif form == "csv":
        rows = zip(*(text(values, brackets) for values in columns.values()), strict=True)
        path.write_text("\n".join([",".join(columns), *map(",".join, rows), ""]))
    else:
        names = {"fits": "fits", "votable": "votable", "ecsv": "ascii.ecsv"}
        Table(columns).write(path, format=names[form])


def read(path, reader="table", columns=None):
    files = FilesConfig(reader=reader, files="*", columns=columns or {})
    return read_all(make_reader(files, ReadRequest("xp")), path)


@pytest.mark.parametrize("form", SUFFIX)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_coefficients_are_the_same_in_every_layout_and_format(tmp_path, layout, form):
    path = tmp_path / f"x.{SUFFIX[form]}"
    write(path, form, LAYOUTS[layout])
    for reader in ("gaia_xp", "table"):
        block = read(path, reader)
        assert block.columns["source_id"].tolist() == STARS
        assert block.rejected == ()
        np.testing.assert_allclose(block.columns["xp"], XP, rtol=1e-6)
        np.testing.assert_allclose(block.columns["xp_error"], ERROR, rtol=1e-6)


@pytest.mark.parametrize("brackets", ["[]", "()"])
@pytest.mark.parametrize("reader", ["gaia_xp", "table"])
@pytest.mark.parametrize("nothing", ["", "null", "nan"])
def test_arrays_of_text_have_either_brackets_and_may_be_missing(
    tmp_path, reader, brackets, nothing
):
    path = tmp_path / "x.csv"
    write(path, "csv", LAYOUTS["Gaia"], brackets)
    header, first, *rest = path.read_text().splitlines()
    star, *arrays = first.split('"')
    assert header.split(",")[1::2] == ["bp_coefficients", "bp_coefficient_errors"]
    rp, rp_error = arrays[2], arrays[6]
    line = f'{star}{nothing},"{rp}",{nothing},"{rp_error}"'
    path.write_text("\n".join([header, line, *rest, ""]))
    block = read(path, reader)
    assert block.columns["source_id"].tolist() == STARS
    for name, values in (("xp", XP), ("xp_error", ERROR)):
        assert np.isnan(block.columns[name][0, :55]).all()
        np.testing.assert_allclose(block.columns[name][0, 55:], values[0, 55:], rtol=1e-6)
        np.testing.assert_allclose(block.columns[name][1:], values[1:], rtol=1e-6)


def test_bulk_text_is_read_alike_fast_and_in_general(tmp_path):
    path = tmp_path / "x.csv"
    write(path, "csv", LAYOUTS["Gaia"])
    fast, general = read(path, "gaia_xp"), read(path, "table")
    for name in ("source_id", "xp", "xp_error"):
        np.testing.assert_array_equal(fast.columns[name], general.columns[name])


@pytest.mark.parametrize("form", SUFFIX)
def test_errors_may_be_missing_and_a_wrong_length_is_quarantined(tmp_path, form):
    path = tmp_path / f"x.{SUFFIX[form]}"
    write(path, form, {"bp_coefficients": XP[:, :55], "rp_coefficients": XP[:, 55:]})
    block = read(path)
    np.testing.assert_allclose(block.columns["xp"], XP, rtol=1e-6)
    assert np.isnan(block.columns["xp_error"]).all()
    write(tmp_path / f"y.{SUFFIX[form]}", form, {"xp": XP[:, :109]})
    block = read(tmp_path / f"y.{SUFFIX[form]}")
    assert [row.detail for row in block.rejected] == ["xp has 109 values, expected 110"] * 3


def test_inverse_variances_and_units_become_errors_in_the_unit_of_the_coefficients(tmp_path):
    table = Table({"source_id": STARS, "xp": XP, "xp_ivar": 1 / ERROR**2})
    table.write(tmp_path / "x.fits")
    np.testing.assert_allclose(read(tmp_path / "x.fits").columns["xp_error"], ERROR, rtol=1e-5)
    table = Table({"source_id": STARS, "xp": XP, "xp_error": ERROR * 1000})
    table["xp"].unit, table["xp_error"].unit = "W", "mW"
    table.write(tmp_path / "y.fits")
    np.testing.assert_allclose(read(tmp_path / "y.fits").columns["xp_error"], ERROR, rtol=1e-5)
    table["xp_error"].unit = "mag"
    table.write(tmp_path / "z.fits")
    with pytest.raises(ScaleMismatch, match=r"taken for the standard deviation of 'xp'"):
        read(tmp_path / "z.fits")


def test_what_is_not_there_is_named_and_samples_are_called_spectra(tmp_path):
    write(tmp_path / "x.csv", "csv", {"bp": np.full(3, 9.0), "rp": np.full(3, 8.0)})
    with pytest.raises(ColumnMissing, match=r"no columns of XP coefficients.*bp_coeff_0"):
        read(tmp_path / "x.csv")
    write(tmp_path / "s.csv", "csv", {"flux": XP, "flux_error": ERROR})
    with pytest.raises(ColumnMissing, match=r"give their files as ingest\.spectra"):
        read(tmp_path / "s.csv")
    write(tmp_path / "y.csv", "csv", LAYOUTS["Gaia"])
    with pytest.raises(ColumnMissing, match=r"no column 'mine'"):
        read(tmp_path / "y.csv", columns={"xp": "mine"})
    np.testing.assert_array_equal(
        read(tmp_path / "y.csv", columns={"xp": "xp"}).columns["xp"],
        read(tmp_path / "y.csv").columns["xp"],
    )


def test_columns_may_be_named_by_the_beginning_of_their_names_or_one_by_one(tmp_path):
    names = {"xp": "c", "xp_error": [f"s{n}" for n in range(110)]}
    columns = {f"c_{n}": XP[:, n] for n in range(110)} | {f"s{n}": ERROR[:, n] for n in range(110)}
    write(tmp_path / "x.csv", "csv", columns)
    block = read(tmp_path / "x.csv", "gaia_xp", columns=names)
    np.testing.assert_allclose(block.columns["xp"], XP, rtol=1e-6)
    np.testing.assert_allclose(block.columns["xp_error"], ERROR, rtol=1e-6)
