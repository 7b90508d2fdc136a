"""Arrays of every form, and what they say of themselves, make the same spectra in every format."""

import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units
from astropy.table import Table
from hypothesis import example, given
from hypothesis import strategies as st
from statement_files import (
    FLUX,
    FORMATS,
    IDS,
    LONE,
    PIXELS,
    STARS,
    WAVES,
    content,
    error_of,
    field_text,
    flux_of,
    in_unit,
    ingest,
    table_of,
    write,
)
from tiny_archive import settings

from distcnn.air import to_air, to_vacuum
from distcnn.errors import GridMismatch
from distcnn.executor import SerialExecutor
from distcnn.ingest.build import build_survey
from distcnn.ingest.readers.statements.flux_units import flux_factor
from distcnn.ingest.readers.statements.grids import header_grid
from distcnn.ingest.readers.statements.statements import TableFacts, ecsv_facts, read_statements
from distcnn.schema import Reason
from distcnn.survey import Store, spectra_conditions

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
            ",".join((str(i), field_text(w), field_text(f), field_text(e)))
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
