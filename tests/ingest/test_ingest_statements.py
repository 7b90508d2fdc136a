"""What files say of themselves is converted, taken or refused: a table of kind and format."""

import numpy as np
import pytest
from astropy import units
from statement_files import (
    FLUX,
    FORMATS,
    PIXELS,
    STARS,
    WAVES,
    config_of,
    content,
    error_of,
    flux_of,
    in_unit,
    ingest,
    table_of,
    write,
)

from distcnn.air import to_air
from distcnn.errors import GridMismatch, ScaleMismatch
from distcnn.events import Notice
from distcnn.ingest.preview import describe_preview, preview_file
from distcnn.survey import spectra_conditions

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


# --- overrides that no file needs -------------------------------------------------------------


def _told(tmp_path, table, fmt, override, **changes):
    """What ingest warns of overrides."""
    events = []
    ingest(tmp_path, table, fmt, override=override, listener=events.append, **changes)
    texts = [e.text for e in events if isinstance(e, Notice) and e.level == "warning"]
    return [text for text in texts if "ingest.override" in text]


NEEDED = {
    "unit": lambda table: table["wavelength"].__setattr__("unit", "km / s"),
    "medium": lambda table: table.meta.update({"AIRORVAC": "air"}),
    "frame": lambda table: table.meta.update({"SPECSYS": "BARYCENT"}),
    "flux_unit": lambda table: table["flux"].__setattr__("unit", FLUX),
    "error": lambda table: table["flux_error"].__setattr__("unit", FLUX),
}


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("name", NEEDED)
def test_an_override_of_what_a_file_states_is_silent_and_of_anything_else_a_warning(
    tmp_path, fmt, name
):
    table = table_of()
    NEEDED[name](table)
    useless = next(other for other in NEEDED if other not in (name, "unit"))
    (told,) = _told(tmp_path, table, fmt, [name, useless])
    assert told.startswith(f"ingest.override names {useless}, which no file needs: none of")
    config = config_of(table, override=[name, useless])
    text = describe_preview(preview_file(tmp_path / "s" / f"s.{fmt}", config), config)
    shown = [line.split(maxsplit=2)[2] for line in text.splitlines() if "not needed" in line]
    assert shown == [told.rstrip(".")]


def test_one_file_of_several_that_states_it_is_enough(tmp_path):
    stated = table_of()
    stated.meta["AIRORVAC"] = "air"
    (tmp_path / "s").mkdir()
    silent_table = table_of()
    silent_table["source_id"] += 100
    write(silent_table, tmp_path / "s" / "s0.fits")
    assert not _told(tmp_path, stated, "fits", ["medium"])
