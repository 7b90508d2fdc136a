"""What files say of themselves is converted, taken or refused: a table of kind and format."""

import warnings
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.io.votable import from_table
from astropy.io.votable.tree import Param
from astropy.table import Column, Table
from hypothesis import example, given
from hypothesis import strategies as st
from tiny_archive import settings

from distcnn.air import to_air, to_vacuum
from distcnn.errors import GridMismatch, ScaleMismatch
from distcnn.executor import SerialExecutor
from distcnn.ingest.build import build_survey
from distcnn.ingest.readers.statements.flux_units import flux_factor
from distcnn.ingest.readers.statements.grids import header_grid
from distcnn.ingest.readers.statements.statements import TableFacts, ecsv_facts, read_statements
from distcnn.schema import Reason
from distcnn.survey import Region, Store, spectra_conditions

FORMATS = ("fits", "fits.gz", "vot", "parquet", "ecsv")
STARS, PIXELS = 4, 40
IDS = np.arange(11, 11 + STARS)
WAVES = np.round(846.0 + 0.01 * np.arange(PIXELS), 10)
LONE = {"source": None, "source_required": False, "xp": None, "labels": None, "grid": {}}
LONE |= {"prepare__rebin": 1, "block_rows": 3}


def flux_of(stars=STARS, pixels=PIXELS):
    rng = np.random.default_rng(1)
    flux = 1 + 0.01 * rng.standard_normal((stars, pixels))
    flux[:, 18:22] -= 0.4
    return flux


def error_of(flux):
    return np.linspace(0.01, 0.02, flux.shape[1])[None] + 0 * flux


def table_of(waves=WAVES, flux=None, **extra):
    """One row per star, wavelengths in a column; ``extra`` further or other columns."""
    flux = flux_of() if flux is None else flux
    columns = {"source_id": IDS, "flux": flux, "flux_error": error_of(flux)}
    if waves is not None:
        columns["wavelength"] = np.broadcast_to(waves, flux.shape).copy()
    return Table(columns | extra)


def write(table, path: Path):
    """The table in the format of the name, with its units, UCDs (``info.meta``) and metadata."""
    kind = path.suffixes[0].lstrip(".")
    if kind == "parquet":
        _write_parquet(table, path)
    elif kind == "vot":
        _write_votable(table, path)
    elif kind == "ecsv":
        _write_ecsv(table, path)
    else:
        plain = table.copy()
        for number, name in enumerate(plain.colnames, 1):
            if ucd := (plain[name].info.meta or {}).get("ucd"):
                plain.meta[f"TUCD{number}"] = ucd
        plain.write(path)


def _write_parquet(table, path):
    fields, arrays = [], []
    for name in table.colnames:
        values = pa.array(list(table[name].tolist()))
        about = {"unit": str(table[name].unit)} if table[name].unit is not None else {}
        about |= table[name].info.meta or {}
        fields.append(pa.field(name, values.type, metadata=about))
        arrays.append(values)
    meta = {key: str(value) for key, value in table.meta.items()}
    pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=meta)), path)


def _write_votable(table, path):
    document = from_table(table)
    (inner,) = document.iter_tables()
    for field in inner.fields:
        field.ucd = (table[field.name].info.meta or {}).get("ucd")
    for key, value in table.meta.items():
        kind = "double" if isinstance(value, float) else "char"
        size = {} if kind == "double" else {"arraysize": "*"}
        inner.params.append(Param(document, name=key, datatype=kind, value=str(value), **size))
    with warnings.catch_warnings():
        # VOUnit would rather have no Angstrom and no erg; archives have them.
        warnings.simplefilter("ignore", units.UnitsWarning)
        document.to_xml(str(path))


def _write_ecsv(table, path):
    lines = ["# %ECSV 1.0", "# ---", "# delimiter: ','", "# datatype:"]
    for name in table.colnames:
        unit = f", unit: {table[name].unit}" if table[name].unit is not None else ""
        ucd = (table[name].info.meta or {}).get("ucd")
        about = f", meta: {{ucd: {ucd}}}" if ucd else ""
        lines.append(f"# - {{name: {name}, datatype: float64{unit}{about}}}")
    if table.meta:
        lines.append("# meta: !!omap")
        lines += [f"# - {{{key}: {value}}}" for key, value in table.meta.items()]
    lines += ["# schema: astropy-2.0", ",".join(table.colnames)]
    for row in table:
        lines.append(",".join(_field(value) for value in row))
    path.write_text("\n".join(lines) + "\n")


def _field(value):
    if np.ndim(value):
        return '"[' + ",".join(repr(float(v)) for v in value) + ']"'
    return str(value)


def in_unit(values, unit, ucd=None):
    column = Column(values, unit=unit)
    if ucd:
        column.info.meta = {"ucd": ucd}
    return column


def ingest(tmp_path, table, fmt, name="s", **changes):
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    write(table, folder / f"s.{fmt}")
    survey = tmp_path / f"{name}.zarr"
    columns = {"wavelength": "wavelength"} if "wavelength" in table.colnames else {}
    columns |= changes.pop("columns", {})
    spectra = {"reader": "table", "files": "s*", "columns": columns}
    config = settings(**{"spectra": spectra, **LONE, **changes})
    build_survey(folder, survey, config, executor=SerialExecutor())
    return Store.open(survey, "survey")


def content(store):
    return store.read(Region(0, store.stars)) | {"wavelength": store.coordinate("wavelength")}


# --- units of wavelength ----------------------------------------------------------------------


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("unit", ["nm", "Angstrom", "um", "m"])
def test_the_unit_of_a_column_of_wavelengths_is_converted(tmp_path, fmt, unit):
    factor = units.nm.to(units.Unit(unit))
    waves = in_unit(np.broadcast_to(WAVES * factor, (STARS, PIXELS)), unit)
    store = ingest(tmp_path, table_of(None, wavelength=waves), fmt)
    np.testing.assert_allclose(store.coordinate("wavelength"), WAVES, rtol=1e-12)
    assert store.coordinate_attrs("wavelength")["units"] == "nm"


HEADERS = {
    "nothing said": ({"CRVAL1": 846.0, "CDELT1": 0.01}, WAVES),
    "CUNIT1": ({"CRVAL1": 8460.0, "CDELT1": 0.1, "CUNIT1": "Angstrom"}, WAVES),
    "CUNIT1 of IRAF": ({"CRVAL1": 8460.0, "CDELT1": 0.1, "CUNIT1": "angstroms"}, WAVES),
    "CRPIX1": ({"CRVAL1": 846.02, "CD1_1": 0.01, "CRPIX1": 3.0}, WAVES),
    "COEFF0": (
        {"COEFF0": np.log10(8460.0), "COEFF1": 1e-5, "CUNIT1": "Angstrom"},
        846 * 10 ** (1e-5 * np.arange(PIXELS)),
    ),
    "DC-FLAG": (
        {"CRVAL1": np.log10(846.0), "CDELT1": 1e-5, "DC-FLAG": 1.0},
        846 * 10 ** (1e-5 * np.arange(PIXELS)),
    ),
    "log unit": (
        {"CRVAL1": np.log10(8460.0), "CDELT1": 1e-5, "CUNIT1": "log10(Angstrom)"},
        846 * 10 ** (1e-5 * np.arange(PIXELS)),
    ),
    "CTYPE1 log": (
        {"CRVAL1": np.log10(8460.0), "CDELT1": 1e-5, "CTYPE1": "LOG10", "CUNIT1": "Angstrom"},
        846 * 10 ** (1e-5 * np.arange(PIXELS)),
    ),
    "WAVE-LOG": (
        {"CRVAL1": 8460.0, "CDELT1": 0.1, "CTYPE1": "WAVE-LOG", "CUNIT1": "Angstrom"},
        846 * np.exp(0.1 / 8460 * np.arange(PIXELS)),
    ),
    "decreasing": ({"CRVAL1": WAVES[-1], "CDELT1": -0.01}, WAVES),
}


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("kind", HEADERS)
def test_a_grid_in_the_header_is_read_in_its_unit_and_spacing(tmp_path, fmt, kind):
    header, expected = HEADERS[kind]
    if "DC-FLAG" in header and fmt == "fits":
        header = header | {"DC-FLAG": 1}
    table = table_of(None)
    table.meta.update(header)
    store = ingest(tmp_path, table, fmt)
    np.testing.assert_allclose(store.coordinate("wavelength"), expected, rtol=1e-9)


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_column_of_logarithms_is_known_by_its_name_or_unit(tmp_path, fmt):
    named = table_of(None, loglam=np.broadcast_to(np.log10(WAVES), (STARS, PIXELS)).copy())
    columns = {"wavelength": "loglam"}
    store = ingest(tmp_path, named, fmt, columns=columns)
    np.testing.assert_allclose(store.coordinate("wavelength"), WAVES, rtol=1e-12)


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_unit_that_is_none_of_wavelength_is_refused_and_can_be_overridden(tmp_path, fmt):
    waves = in_unit(np.broadcast_to(WAVES, (STARS, PIXELS)), "km / s")
    with pytest.raises(GridMismatch, match="km") as caught:
        ingest(tmp_path, table_of(None, wavelength=waves), fmt)
    assert "ingest.override: [unit]" in caught.value.cure
    store = ingest(tmp_path, table_of(None, wavelength=waves), fmt, "again", override=["unit"])
    np.testing.assert_allclose(store.coordinate("wavelength"), WAVES)


def test_a_declared_grid_of_another_unit_is_refused_with_both(tmp_path):
    table = table_of(None)
    table.meta.update({"CRVAL1": 8460.0, "CDELT1": 0.1, "CUNIT1": "Angstrom"})
    grid = {"start": 8460.0, "step": 0.1, "size": PIXELS}
    with pytest.raises(GridMismatch, match=r"846 to .* nm \(CUNIT1 = 'Angstrom'\)") as caught:
        ingest(tmp_path, table, "fits", grid=grid)
    assert "8460" in caught.value.expected
    ingest(tmp_path, table, "fits", "cured", grid=grid | {"unit": "Angstrom"})


# --- medium and frame -------------------------------------------------------------------------

MEDIA = {
    "AIRORVAC": ({"AIRORVAC": "air"}, "air"),
    "vacuum": ({"AIRORVAC": "vac"}, "vacuum"),
    "VACUUM flag": ({"VACUUM": "F"}, "air"),
    "AWAV": ({"CTYPE1": "AWAV"}, "air"),
    "WAVE": ({"CTYPE1": "WAVE"}, "vacuum"),
}


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("kind", MEDIA)
@pytest.mark.parametrize("configured", [None, "air", "vacuum"])
def test_the_medium_is_taken_from_the_file_or_refused(tmp_path, fmt, kind, configured):
    header, medium = MEDIA[kind]
    table = table_of()
    table.meta.update(header)
    grid = {} if configured is None else {"medium": configured}
    if configured not in (None, medium):
        with pytest.raises(GridMismatch, match=f"wavelengths are in {medium}") as caught:
            ingest(tmp_path, table, fmt, grid=grid)
        assert f"ingest.grid.medium: {medium}" in caught.value.cure
        store = ingest(tmp_path, table, fmt, "forced", grid=grid, override=["medium"])
        assert spectra_conditions(store)["medium"] == configured
        return
    store = ingest(tmp_path, table, fmt, grid=grid)
    assert spectra_conditions(store)["medium"] == medium


@pytest.mark.parametrize("fmt", FORMATS)
def test_wavelengths_in_air_by_ucd_are_converted_onto_a_target_in_vacuum(tmp_path, fmt):
    ucd = "em.wl;obs.atmos"
    air = in_unit(np.broadcast_to(to_air(WAVES), (STARS, PIXELS)), "nm", ucd)
    target = {"start": 846.1, "step": 0.01, "size": 20}
    store = ingest(tmp_path, table_of(None, wavelength=air), fmt, prepare__target=target)
    assert spectra_conditions(store)["medium"] == "vacuum"
    np.testing.assert_allclose(content(store)["flux"], flux_of()[:, 10:30], atol=2e-4)


FRAMES = {
    "SPECSYS": ({"SPECSYS": "BARYCENT"}, "barycentric"),
    "heliocentric": ({"SPECSYS": "HELIOCEN"}, "barycentric"),
    "rest": ({"SPECSYS": "SOURCE"}, "stellar rest"),
    "HELIO": ({"HELIO": "T"}, "barycentric"),
    "HELIO_RV": ({"HELIO_RV": 12.5}, "barycentric"),
}


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("configured", [None, "stellar rest", "topocentric"])
def test_the_frame_is_taken_from_the_file_or_refused(tmp_path, fmt, kind, configured):
    header, frame = FRAMES[kind]
    table = table_of()
    table.meta.update(header)
    grid = {} if configured is None else {"frame": configured}
    if configured not in (None, frame):
        with pytest.raises(GridMismatch, match=frame) as caught:
            ingest(tmp_path, table, fmt, grid=grid)
        assert configured in caught.value.expected
        return
    assert spectra_conditions(ingest(tmp_path, table, fmt, grid=grid))["frame"] == frame


@pytest.mark.parametrize("target", [None, {"start": 846.1, "step": 0.01, "size": 20}])
def test_files_of_two_media_need_a_target(tmp_path, target):
    (tmp_path / "s").mkdir()
    table = table_of(to_air(WAVES))
    table["source_id"] += 100
    table.meta["AIRORVAC"] = "air"
    write(table, tmp_path / "s" / "s2.fits")
    if target is None:
        with pytest.raises(GridMismatch, match="in air") as caught:
            ingest(tmp_path, table_of(), "fits")
        assert "ingest.prepare.target" in caught.value.cure
        return
    flux = content(ingest(tmp_path, table_of(), "fits", prepare__target=target))["flux"]
    np.testing.assert_allclose(flux[:STARS], flux[STARS:], atol=2e-4)


# --- flux and errors --------------------------------------------------------------------------

FLUX = "1e-17 erg / (s cm2 Angstrom)"


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("kind", ["sigma", "variance", "ivar", "sigma in another scale"])
def test_errors_of_every_kind_are_standard_deviations_in_the_unit_of_flux(tmp_path, fmt, kind):
    flux = flux_of()
    sigma = error_of(flux)
    unit = units.Unit(FLUX, format=None)
    values, name = {
        "sigma": (in_unit(sigma, unit), "err"),
        "variance": (in_unit(sigma**2, unit**2), "spread"),
        "ivar": (in_unit(sigma**-2, None), "ivar"),
        "sigma in another scale": (in_unit(sigma * 1e-17, unit / 1e-17), "err"),
    }[kind]
    table = table_of(flux=in_unit(flux, unit), **{name: values})
    table.remove_column("flux_error")
    columns = {"flux_error": name}
    store = ingest(tmp_path, table, fmt, columns=columns)
    np.testing.assert_allclose(content(store)["flux_error"], sigma, rtol=1e-3)


@pytest.mark.parametrize("fmt", FORMATS)
def test_an_inverse_variance_of_zero_is_a_missing_pixel(tmp_path, fmt):
    table = table_of(ivar=error_of(flux_of()) ** -2)
    table["ivar"][1, 5] = 0
    table.remove_column("flux_error")
    stars = content(ingest(tmp_path, table, fmt, columns={"flux_error": "ivar"}))
    assert np.argwhere(np.isnan(stars["flux_error"])).tolist() == [[1, 5]]


@pytest.mark.parametrize("fmt", FORMATS)
def test_an_error_in_a_unit_of_something_else_is_refused(tmp_path, fmt):
    table = table_of(flux=in_unit(flux_of(), units.Unit("erg / (s cm2 Angstrom)")))
    table["flux_error"].unit = "K"
    with pytest.raises(ScaleMismatch, match="K") as caught:
        ingest(tmp_path, table, fmt)
    assert "ingest.override: [error]" in caught.value.cure


@pytest.mark.parametrize("second", ["1e-16 erg / (s cm2 Angstrom)", "mag"])
def test_files_of_other_flux_units_are_converted_or_refused(tmp_path, second):
    (tmp_path / "s").mkdir()
    other = table_of(flux=in_unit(flux_of() / 10, units.Unit(second)))
    other["flux_error"] = error_of(flux_of()) / 10
    other["source_id"] += 100
    write(other, tmp_path / "s" / "s2.fits")
    first = table_of(flux=in_unit(flux_of(), units.Unit(FLUX)))
    if second == "mag":
        with pytest.raises(ScaleMismatch, match="mag"):
            ingest(tmp_path, first, "fits")
        return
    store = ingest(tmp_path, first, "fits")
    flux = content(store)["flux"]
    np.testing.assert_allclose(flux[:STARS], flux[STARS:], atol=1.1e-4)


# --- arrays -----------------------------------------------------------------------------------


_VOTABLE = """<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>
<FIELD name="source_id" datatype="long"/>
<FIELD name="wavelength" datatype="double" arraysize="*" unit="nm"/>
<FIELD name="flux" datatype="double" arraysize="*"/>
<FIELD name="flux_error" datatype="double" arraysize="*"/>
<DATA><TABLEDATA>{}</TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"""


def _row(cells):
    return f"<TR>{''.join(f'<TD>{cell}</TD>' for cell in cells)}</TR>"


def ragged(fmt, folder, lengths=(40, 35, 45, 40)):
    """Rows of their own lengths, as FITS (P), Parquet lists and texts have them."""
    waves = [846 + 0.01 * np.arange(n) for n in lengths]
    flux = [1 + 0.1 * np.sin(20 * w) for w in waves]
    error = [np.full(n, 0.01) for n in lengths]
    folder.mkdir()
    if fmt == "fits":
        from astropy.io import fits

        def column(name, rows):
            return fits.Column(name, "PD()", array=np.array([*rows, None], object)[:-1])

        columns = [fits.Column("source_id", "K", array=IDS), column("wavelength", waves)]
        columns += [column("flux", flux), column("flux_error", error)]
        fits.BinTableHDU.from_columns(columns).writeto(folder / "s.fits")
    elif fmt == "parquet":
        named = {"source_id": IDS, "wavelength": waves, "flux": flux, "flux_error": error}
        pq.write_table(
            pa.table({k: pa.array(list(v)) for k, v in named.items()}), folder / "s.parquet"
        )
    elif fmt == "vot":
        rows = zip(IDS, waves, flux, error, strict=True)
        cells = [[str(i), *(" ".join(map(repr, v.tolist())) for v in some)] for i, *some in rows]
        (folder / "s.vot").write_text(_VOTABLE.format("".join(map(_row, cells))))
    else:
        rows = [
            ",".join((str(i), _field(w), _field(f), _field(e)))
            for i, w, f, e in zip(IDS, waves, flux, error, strict=True)
        ]
        text = "\n".join(["source_id,wavelength,flux,flux_error", *rows]) + "\n"
        (folder / "s.csv").write_text(text)


@pytest.mark.parametrize("fmt", ["fits", "parquet", "csv", "vot"])
@pytest.mark.parametrize("with_target", [True, False])
def test_rows_of_their_own_length_are_rebinned_onto_a_target(tmp_path, fmt, with_target):
    ragged(fmt, tmp_path / "s")
    columns = {"wavelength": "wavelength", "flux_error": "flux_error"}
    spectra = {"reader": "table", "files": "s*", "columns": columns}
    target = {"prepare__target": {"start": 846.05, "step": 0.02, "size": 12}}
    config = settings(spectra=spectra, **LONE, **(target if with_target else {}))
    summary = build_survey(tmp_path / "s", tmp_path / "s.zarr", config, executor=SerialExecutor())
    store = Store.open(tmp_path / "s.zarr", "survey")
    stars = content(store)
    if with_target:
        assert stars["source_id"].tolist() == IDS.tolist()
        expected = 1 + 0.1 * np.sin(20 * stars["wavelength"])
        np.testing.assert_allclose(stars["flux"], np.tile(expected, (STARS, 1)), atol=2e-3)
        assert np.isfinite(stars["flux_error"]).all()
    else:
        assert stars["source_id"].tolist() == [IDS[0], IDS[3]]
        assert summary.reasons == {Reason.GRID: 2}


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_column_per_pixel_makes_up_a_spectrum(tmp_path, fmt):
    flux, grid = flux_of(), {"start": 846.0, "step": 0.01, "size": PIXELS}
    columns = {"source_id": IDS}
    # In another order than that of the pixels.
    for pixel in range(PIXELS)[::-1]:
        columns[f"flux_{pixel}"] = flux[:, pixel]
        columns[f"flux_error_{pixel}"] = np.full(STARS, 0.01)
    stars = content(ingest(tmp_path, Table(columns), fmt, grid=grid))
    np.testing.assert_allclose(stars["flux"], flux, atol=1e-4)
    np.testing.assert_allclose(stars["flux_error"], 0.01, rtol=1e-3)


@pytest.mark.parametrize("fmt", FORMATS)
def test_descending_pixels_are_the_same_as_ascending_ones(tmp_path, fmt):
    flux = flux_of()
    turned = {"flux": flux[:, ::-1].copy(), "flux_error": error_of(flux)[:, ::-1].copy()}
    changes = {"prepare__rebin": 2, "prepare__trim": [3, 0]}
    down = content(ingest(tmp_path, table_of(WAVES[::-1], **turned), fmt, "down", **changes))
    up = content(ingest(tmp_path, table_of(), fmt, "up", **changes))
    for name, values in up.items():
        np.testing.assert_array_equal(down[name], values, err_msg=name)


@given(st.lists(st.floats(300, 1600), min_size=2, max_size=30, unique=True))
def test_air_and_vacuum_are_inverse_to_each_other(values):
    vacuum = np.sort(np.array(values))
    np.testing.assert_allclose(to_vacuum(to_air(vacuum)), vacuum, rtol=1e-12)
    assert (to_air(vacuum) < vacuum).all()


@pytest.mark.parametrize("unit", ["Angstrom", "um"])
def test_the_content_of_a_survey_does_not_depend_on_the_unit_of_the_files(tmp_path, unit):
    target = {"start": 846.05, "step": 0.02, "size": 12}
    factor = units.nm.to(units.Unit(unit))
    waves = in_unit(np.broadcast_to(WAVES * factor, (STARS, PIXELS)), unit)
    other = content(
        ingest(tmp_path, table_of(None, wavelength=waves), "fits", unit, prepare__target=target)
    )
    plain = content(ingest(tmp_path, table_of(), "fits", "nm", prepare__target=target))
    for name, values in plain.items():
        np.testing.assert_allclose(other[name], values, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("fmt", ["ecsv", "fits"])
def test_members_of_a_zip_archive_say_what_they_are_each(tmp_path, fmt):
    (tmp_path / "s").mkdir()
    for number, unit in enumerate(("nm", "Angstrom")):
        factor = units.nm.to(units.Unit(unit))
        waves = in_unit(np.broadcast_to(WAVES * factor, (STARS, PIXELS)), unit)
        table = table_of(None, wavelength=waves)
        table["source_id"] += 100 * number
        write(table, tmp_path / f"m{number}.{fmt}")
    with zipfile.ZipFile(tmp_path / "s" / "s.zip", "w") as archive:
        for path in sorted(tmp_path.glob("m*")):
            archive.write(path, path.name)
    spectra = {"reader": "table", "files": "*.zip", "columns": {"wavelength": "wavelength"}}
    config = settings(spectra=spectra, **LONE)
    build_survey(tmp_path / "s", tmp_path / "s.zarr", config, executor=SerialExecutor())
    stars = content(Store.open(tmp_path / "s.zarr", "survey"))
    assert len(stars["source_id"]) == 2 * STARS
    np.testing.assert_allclose(stars["wavelength"], WAVES, rtol=1e-12)


def test_a_column_of_wavelengths_that_nobody_named_is_compared_with_the_declared_grid(tmp_path):
    table = table_of(WAVES + 1)
    grid = {"start": 846.0, "step": 0.01, "size": PIXELS}
    spectra = {"reader": "table", "files": "s*"}
    with pytest.raises(GridMismatch, match="847"):
        ingest(tmp_path, table, "fits", spectra=spectra, grid=grid)
    table["wavelength"] -= 1
    ingest(tmp_path, table, "fits", "right", spectra=spectra, grid=grid)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize(
    "header", [{"CRVAL1": "much", "CDELT1": "x"}, {"CUNIT1": "1"}, {"SPECSYS": "?"}]
)
def test_metadata_that_mean_nothing_are_as_good_as_none(tmp_path, fmt, header):
    table = table_of()
    table.meta.update(header)
    store = ingest(tmp_path, table, fmt)
    np.testing.assert_allclose(store.coordinate("wavelength"), WAVES)


def test_wavelengths_that_air_does_not_pass_are_not_converted(tmp_path):
    target = {"start": 100.1, "step": 0.01, "size": 20}
    grid = {"medium": "air"}
    with pytest.raises(GridMismatch, match="185 nm or more") as caught:
        ingest(tmp_path, table_of(WAVES - 746), "fits", grid=grid, prepare__target=target)
    assert "unit" in caught.value.cure


@pytest.mark.parametrize("fmt", FORMATS)
def test_the_unit_of_fluxes_that_are_kept_is_kept(tmp_path, fmt):
    table = table_of(flux=in_unit(flux_of(), units.Unit(FLUX)))
    table["flux_error"].unit = units.Unit(FLUX)
    kept = spectra_conditions(ingest(tmp_path, table, fmt))
    assert units.Unit(kept["flux_unit"]) == units.Unit(FLUX)
    normalised = ingest(tmp_path, table, fmt, "n", prepare__normalisation="median")
    assert "flux_unit" not in spectra_conditions(normalised)


@pytest.mark.parametrize("fmt", ["ecsv", "vot", "fits"])
def test_a_datalink_product_in_angstroms_stands_on_the_declared_grid(tmp_path, fmt):
    flux = flux_of(1)[0]
    table = Table({"source_id": np.full(PIXELS, 4295806720), "flux": flux})
    table["wavelength"] = in_unit(WAVES * 10, "Angstrom")
    table["flux_error"] = np.full(PIXELS, 0.01)
    (tmp_path / "s").mkdir()
    write(table, tmp_path / "s" / f"RVS.{fmt}")
    spectra = {"reader": "gaia_rvs_datalink", "files": "RVS*"}
    grid = {"start": 846.0, "step": 0.01, "size": PIXELS}
    config = settings(**{"spectra": spectra, **LONE, "grid": grid})
    build_survey(tmp_path / "s", tmp_path / "s.zarr", config, executor=SerialExecutor())
    stars = content(Store.open(tmp_path / "s.zarr", "survey"))
    np.testing.assert_allclose(stars["flux"][0], flux, atol=1e-4)


@given(st.text(max_size=60))
@example("1D11")
def test_no_text_in_the_place_of_a_unit_or_a_header_raises(text):
    assert flux_factor(text, "Jy") is None or flux_factor(text, "Jy") > 0
    ecsv_facts("a file", text.splitlines())
    facts = TableFacts(
        "a file", {"CUNIT1": "nm", "SPECSYS": text, "AIRORVAC": text, "CRVAL1": text}
    )
    stated = read_statements(facts, {"flux": ["flux"]})
    header_grid(facts, 5, settings().grid, stated)
