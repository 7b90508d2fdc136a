"""Shift to the rest frame: lines come to rest, whatever gives the velocity, or it is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moving_stars import (
    STARS,
    TARGET,
    VELOCITY_KM_S,
    WAVELENGTH_NM,
    C,
    settings,
    shifts_of,
    spectrum,
    write_one_row_files,
    write_table,
)
from pydantic import ValidationError

from distcnn.air import to_air, to_vacuum
from distcnn.config import GridConfig, PrepareConfig, RestFrameConfig
from distcnn.errors import ColumnMissing, ConfigError, GridMismatch, InputError
from distcnn.executor import SerialExecutor
from distcnn.ingest import build_survey
from distcnn.ingest.preprocess.spectra import Preparation
from distcnn.ingest.preprocess.velocity import (
    RestFramePreparation,
    Velocities,
    doppler_factors,
)
from distcnn.survey import Store, spectra_conditions

LARGEST_ERROR_KM_S = 0.02
"""A six-hundredth of a pixel: what rebinning leaves of a line's centre."""


def survey_of(folder, tmp_path, config, listener=lambda event: None):
    summary = build_survey(
        folder, tmp_path / "s.zarr", config, executor=SerialExecutor(), listener=listener
    )
    store = Store.open(tmp_path / "s.zarr")
    regions = [store.read(region) for region in store.regions()]
    rows = {name: np.concatenate([r[name] for r in regions]) for name in store.variables}
    return summary, store, rows


def at_rest(store, rows):
    shifts = shifts_of(store.coordinate("wavelength"), rows["flux"])
    return bool(np.abs(shifts).max() < LARGEST_ERROR_KM_S)


def moving(*, air=False):
    return [spectrum(1 + v / C, air=air) for v in VELOCITY_KM_S]


@pytest.mark.parametrize("target", ["vacuum", "air"])
@pytest.mark.parametrize("medium", ["vacuum", "air"])
def test_lines_come_to_rest_in_every_medium(tmp_path, medium, target):
    flux = moving(air=medium == "air")
    folder = write_table(tmp_path / "a", flux, rv=VELOCITY_KM_S, rv_error=np.full(STARS, 0.5))
    config = settings(grid__medium=medium, prepare__target=TARGET | {"medium": target})
    _, store, rows = survey_of(folder, tmp_path, config)
    wavelength = store.coordinate("wavelength")
    if target == "air":
        wavelength = to_vacuum(wavelength)
    assert np.abs(shifts_of(wavelength, rows["flux"])).max() < LARGEST_ERROR_KM_S
    np.testing.assert_allclose(rows["velocity"], VELOCITY_KM_S, rtol=1e-6)
    np.testing.assert_allclose(rows["velocity_error"], 0.5)


def test_the_survey_says_that_it_is_at_rest_and_from_which_frame(tmp_path):
    folder = write_table(tmp_path / "a", moving(), rv=VELOCITY_KM_S, rv_error=np.full(STARS, 0.5))
    _, store, _ = survey_of(folder, tmp_path, settings())
    about = store.coordinate_attrs("wavelength")
    assert about["frame"] == "stellar rest"
    assert about["frame_of_files"] == "barycentric"
    assert about["shift"] == "wavelengths in vacuum divided by 1 + velocity / c"
    assert spectra_conditions(store)["frame"] == "stellar rest"
    assert store.variable_attrs("velocity")["units"] == "km/s"


def test_a_velocity_may_be_a_keyword_of_the_header(tmp_path):
    folder = write_one_row_files(tmp_path / "a", moving(), SPECSYS="BARYCENT")
    names = {"source_id": "star", "velocity": "VRAD", "velocity_error": "E_VRAD"}
    grid = {"start": 490.0, "step": 0.02, "size": 2000}
    _, store, rows = survey_of(folder, tmp_path, settings(spectra__columns=names, grid=grid))
    assert at_rest(store, rows)
    np.testing.assert_allclose(rows["velocity_error"], 0.5)
    assert store.coordinate_attrs("wavelength")["frame_of_files"] == "barycentric"


@pytest.mark.parametrize("kind", ["source", "labels"])
def test_a_velocity_may_stand_in_another_table(tmp_path, kind):
    folder = write_table(tmp_path / "a", moving())
    rows = [f"{n},{v},0.5,{5000 + n},80" for n, v in enumerate(VELOCITY_KM_S, 1)][::-1]
    rows.append("999,12.0,0.5,5000,80")
    (folder / "stars.csv").write_text("\n".join(["star,rv,rv_error,teff,snr", *rows, ""]))
    columns = {"source_id": "star", "velocity": "rv", "velocity_error": "rv_error"}
    table = {"reader": "table", "files": "stars.csv", "columns": columns}
    if kind == "labels":
        table |= {"labels": ["teff"], "cuts": [{"column": "snr", "minimum": 90}]}
    config = settings(
        **{kind: table, "spectra__columns": {"source_id": "star"}},
        bands=(),
        prepare__rest_frame={"velocity": kind},
    )
    _, store, found = survey_of(folder, tmp_path, config)
    assert at_rest(store, found), "cuts on labels do not take velocities away"
    np.testing.assert_allclose(found["velocity"], VELOCITY_KM_S, rtol=1e-6)


def test_stars_with_wavelengths_of_their_own_are_shifted_too(tmp_path):
    grids = [WAVELENGTH_NM[n : 1900 + n] for n in range(STARS)]
    shifted = zip(VELOCITY_KM_S, grids, strict=True)
    flux = [spectrum(1 + v / C, wavelength=grid) for v, grid in shifted]
    folder = write_table(
        tmp_path / "a", flux, rv=VELOCITY_KM_S, wavelength=[list(map(float, g)) for g in grids]
    )
    columns = {"source_id": "star", "velocity": "rv", "wavelength": "wavelength"}
    config = settings(spectra__columns=columns, grid={"frame": "barycentric"})
    _, store, rows = survey_of(folder, tmp_path, config)
    assert at_rest(store, rows)
    assert np.isnan(rows["velocity_error"]).all()


@pytest.mark.parametrize(("unit", "scale"), [("m/s", 1e3), ("redshift", 1 / C)])
def test_velocities_in_other_units_are_stored_in_km_s(tmp_path, unit, scale):
    error = np.full(STARS, 0.5)
    folder = write_table(tmp_path / "a", moving(), rv=VELOCITY_KM_S * scale, rv_error=error * scale)
    config = settings(prepare__rest_frame={"velocity": "spectra", "unit": unit})
    _, store, rows = survey_of(folder, tmp_path, config)
    assert at_rest(store, rows)
    np.testing.assert_allclose(rows["velocity"], VELOCITY_KM_S, rtol=1e-6)
    np.testing.assert_allclose(rows["velocity_error"], error, rtol=1e-6)


def test_topocentric_spectra_need_their_barycentric_correction(tmp_path):
    correction = np.linspace(-29, 29, STARS)
    factors = doppler_factors(VELOCITY_KM_S, correction)
    flux = [spectrum(factor) for factor in factors]
    folder = write_table(tmp_path / "a", flux, rv=VELOCITY_KM_S, bc=correction)
    config = settings(
        spectra__columns={"source_id": "star", "velocity": "rv"}, grid__frame="topocentric"
    )
    with pytest.raises(GridMismatch, match="its wavelengths are topocentric"):
        survey_of(folder, tmp_path, config)
    columns = {"source_id": "star", "velocity": "rv", "barycentric_correction": "bc"}
    config = settings(spectra__columns=columns, grid__frame="topocentric")
    _, store, rows = survey_of(folder, tmp_path / "t", config)
    assert at_rest(store, rows)
    np.testing.assert_allclose(rows["velocity"], VELOCITY_KM_S, rtol=1e-6)


# --- stars without a velocity ---------------------------------------------------------------


def without_some(tmp_path):
    """The first star has no velocity, the second one of light, the third an uncertain one."""
    velocity, error = VELOCITY_KM_S.copy(), np.full(STARS, 0.5)
    velocity[0], velocity[1], error[2] = np.nan, 4e5, 30.0
    flux = moving()
    flux[:3] = [spectrum(1.0)] * 3
    return write_table(tmp_path / "a", flux, rv=velocity, rv_error=error)


def test_stars_without_velocity_are_quarantined(tmp_path):
    shift = {"velocity": "spectra", "maximum_error": 10}
    config = settings(prepare__rest_frame=shift)
    summary, store, rows = survey_of(without_some(tmp_path), tmp_path, config)
    assert summary.reasons == {"no_velocity": 3}
    assert rows["source_id"].tolist() == list(range(4, STARS + 1))
    assert at_rest(store, rows)


def test_or_kept_in_the_frame_of_their_file_which_the_survey_says(tmp_path):
    shift = {"velocity": "spectra", "maximum_error": 10, "missing": "keep"}
    told = []
    config = settings(prepare__rest_frame=shift)
    summary, store, rows = survey_of(without_some(tmp_path), tmp_path, config, told.append)
    assert summary.stars == STARS
    assert np.isnan(rows["velocity"][:3]).all()
    assert np.isfinite(rows["velocity"][3:]).all()
    assert at_rest(store, rows)
    assert store.coordinate_attrs("wavelength")["frame_without_velocity"] == "barycentric"
    texts = [getattr(event, "text", "") for event in told]
    assert any("3 of 12 stars have no velocity" in text for text in texts), texts


def test_new_stars_are_not_shifted_by_velocities_of_labels_they_lack(tmp_path):
    folder = write_table(tmp_path / "a", moving())
    labels = {
        "reader": "table",
        "files": "labels.csv",
        "labels": ["teff"],
        "columns": {"source_id": "star", "velocity": "rv"},
    }
    config = settings(
        spectra__columns={"source_id": "star"},
        labels=labels,
        prepare__rest_frame={"velocity": "labels"},
    )
    with pytest.raises(InputError, match="Take velocities from source or spectra"):
        survey_of(folder, tmp_path, config)


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keywords", "problem"),
    [
        ({"SPECSYS": "SOURCE"}, "at rest already .SPECSYS = 'SOURCE'."),
        ({"RVCORR": True}, "at rest already .RVCORR = True."),
        ({"DOPCOR01": "0.0003 all"}, "at rest already .DOPCOR01"),
        ({}, "neither the file nor ingest.grid.frame says"),
        ({"SPECSYS": "GEOCENTR"}, "wavelengths are geocentric"),
    ],
)
def test_a_shift_that_the_file_forbids_is_refused(tmp_path, keywords, problem):
    folder = write_one_row_files(tmp_path / "a", moving(), **keywords)
    columns = {"source_id": "star", "velocity": "VRAD"}
    grid = {"start": 490.0, "step": 0.02, "size": 2000}
    config = settings(spectra__columns=columns, grid=grid)
    with pytest.raises(GridMismatch, match=problem):
        survey_of(folder, tmp_path, config)
    assert not (tmp_path / "s.zarr").exists()


def test_a_target_at_rest_without_a_shift_is_refused(tmp_path):
    folder = write_table(tmp_path / "a", moving())
    target = TARGET | {"frame": "stellar rest"}
    config = settings(
        spectra__columns={"source_id": "star"}, prepare={"target": target, "rest_frame": None}
    )
    with pytest.raises(GridMismatch, match=r"Set ingest\.prepare\.rest_frame"):
        survey_of(folder, tmp_path, config)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"prepare__target": None}, "a target with rest_frame"),
        ({"prepare__target": TARGET | {"frame": "barycentric"}}, "target.frame: stellar rest"),
        ({"prepare__rest_frame": {"velocity": "source"}}, "ingest.source, from which"),
        ({"prepare__rest_frame": {"velocity": "spectra", "unit": "mph"}}, "redshift"),
    ],
)
def test_settings_that_cannot_be_carried_out_are_refused(changes, problem):
    with pytest.raises(ValidationError, match=problem):
        settings(**changes)


def test_velocities_that_the_reader_does_not_give_are_missed(tmp_path):
    folder = write_table(tmp_path / "a", moving())
    with pytest.raises(GridMismatch, match="its reader gives no velocities"):
        survey_of(folder, tmp_path, settings(spectra__columns={"source_id": "star"}))
    with pytest.raises(ColumnMissing, match="there is no column 'rv'"):
        survey_of(folder, tmp_path, settings())


def test_columns_of_velocities_that_nothing_uses_are_refused(tmp_path):
    folder = write_table(tmp_path / "a", moving(), rv=VELOCITY_KM_S, rv_error=VELOCITY_KM_S)
    with pytest.raises(ConfigError, match="names 'velocity'"):
        survey_of(folder, tmp_path, settings(prepare={}))


# --- the formula ----------------------------------------------------------------------------


@given(st.floats(300, 1000), st.floats(-500, 500))
def test_dividing_wavelengths_in_air_would_be_wrong_by_less_than_0_03_km_s(air_nm, velocity):
    right = to_air(to_vacuum(air_nm) / doppler_factors(velocity))
    simple = air_nm / doppler_factors(velocity)
    assert abs(simple / right - 1) * C < 0.03


@given(st.floats(-600, 600))
def test_one_velocity_for_all_is_a_shift_of_the_input_grid(velocity):
    wavelength, factor = np.linspace(490, 530, 400), 1 + velocity / C
    config = PrepareConfig(
        target=GridConfig(start=492.0, step=0.1, size=300),
        rest_frame=RestFrameConfig(velocity="spectra"),
        outlier_sigma=None,
    )
    rng = np.random.default_rng(1)
    flux, error = 1 + 0.1 * rng.standard_normal((3, 400)), np.full((3, 400), 0.1)
    flux[1, 50:60] = np.nan
    shifting = RestFramePreparation.for_grid(wavelength, GridConfig(), config)
    ours = shifting.apply(flux, error, np.full(3, factor))
    plain = config.model_copy(update={"rest_frame": None})
    theirs = Preparation.for_grid(wavelength / factor, GridConfig(), plain).apply(flux, error)
    np.testing.assert_array_equal(ours.mask, theirs.mask)
    np.testing.assert_allclose(ours.flux, theirs.flux, rtol=1e-5)
    np.testing.assert_allclose(ours.error, theirs.error, rtol=1e-5)


def test_an_error_that_is_not_positive_is_unknown():
    columns = {"velocity": np.array([1.0, 2.0]), "velocity_error": np.array([-1.0, 0.5])}
    found = Velocities.of(columns, 2, RestFrameConfig(velocity="spectra"))
    np.testing.assert_array_equal(found.error, [np.nan, 0.5])
    np.testing.assert_array_equal(found.velocity, [1.0, 2.0])
