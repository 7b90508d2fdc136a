"""Fluxes and errors of any scale are stored as they are, or refused with the setting that helps."""

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st
from tiny_archive import PIXELS, settings

from distcnn.config import PrepareConfig, StoreConfig
from distcnn.errors import ScaleMismatch
from distcnn.executor import SerialExecutor
from distcnn.ingest.build import build_survey
from distcnn.ingest.preprocess.spectra import Preparation
from distcnn.ingest.preview import describe_preview, preview_file
from distcnn.ingest.staging.scale import ErrorRange, FluxEncoding, ScaleOfFile
from distcnn.schema import MaskBit, Reason
from distcnn.survey import Region, Store, float_dtype

STARS = 4
SCALES = {
    "W/m2/Hz": 1e-28,
    "erg/s/cm2/A": 2e-15,
    "1e-17 erg/s/cm2/A": 120.0,
    "normalised": 1.0,
    "counts": 3e6,
    "photons": 1e12,
}
FITS_INT16, FITS_FLOAT16 = {"normalised"}, {"normalised", "1e-17 erg/s/cm2/A"}


def spectra(scale, noise=0.01):
    rng = np.random.default_rng(3)
    flux = 1 + noise * rng.standard_normal((STARS, PIXELS))
    flux[:, 28:34] -= 0.5
    return (flux * scale).astype("f4"), np.full(flux.shape, noise * scale, "f4")


def ingest(tmp_path, flux, error, name="s", **changes):
    folder = tmp_path / name
    folder.mkdir()
    columns = {"source_id": np.arange(1, len(flux) + 1), "flux": flux}
    columns |= {} if error is None else {"flux_error": error}
    Table(columns).write(folder / "s.fits")
    spectra = {"reader": "table", "files": "*.fits"}
    lone = {"source": None, "source_required": False, "xp": None, "labels": None}
    survey = tmp_path / f"{name}.zarr"
    config = settings(spectra=spectra, **lone, **changes)
    summary = build_survey(folder, survey, config, executor=SerialExecutor())
    store = Store.open(survey, "survey")
    return store.read(Region(0, store.stars)), summary


@pytest.mark.parametrize("fault", ["zeros", "missing", "outside", "counts"])
def test_a_preview_shows_what_an_ingest_would_quarantine_or_refuse(tmp_path, fault):
    flux, error = spectra(1.0)
    row = {"zeros": 0.0, "missing": np.nan, "outside": 100.0, "counts": 1.0}[fault]
    flux[1] = row
    flux = flux * 3e6 if fault == "counts" else flux
    path = tmp_path / "s.fits"
    Table({"source_id": np.arange(1, 5), "flux": flux, "flux_error": error}).write(path)
    lone = {"source": None, "source_required": False, "xp": None, "labels": None}
    config = settings(spectra={"reader": "table", "files": "*.fits"}, **lone)
    text = describe_preview(preview_file(path, config), config)
    if fault == "counts":
        assert "refused      by an ingest" in text
        assert "ingest.prepare.normalisation" in text
        return
    assert "3 spectra, 1 quarantined" in text
    assert "quarantined  row 2: no pixel can be used" in text
    assert [line.split()[3] for line in text.splitlines() if line.split()[:1] == ["2"]] == ["0.0%"]


@pytest.mark.parametrize("unit", SCALES)
@pytest.mark.parametrize("encoding", ["int16", "float16", "float32"])
@pytest.mark.parametrize("with_error", [True, False])
def test_a_scale_is_held_by_the_encoding_or_refused(tmp_path, unit, encoding, with_error):
    flux, error = spectra(SCALES[unit])
    changes = {"store__flux_encoding": encoding, "prepare__rebin": 1}
    held = {"int16": FITS_INT16, "float16": FITS_FLOAT16, "float32": set(SCALES)}[encoding]
    if unit not in held:
        with pytest.raises(ScaleMismatch, match=r"4 of 4 stars cannot be stored") as caught:
            ingest(tmp_path, flux, error if with_error else None, **changes)
        assert "ingest.prepare.normalisation" in caught.value.cure
        assert "ingest.store.flux_encoding = float32" in caught.value.cure
        return
    stars, _ = ingest(tmp_path, flux, error if with_error else None, **changes)
    np.testing.assert_allclose(stars["flux"], flux, rtol=1e-3)
    if with_error:
        np.testing.assert_allclose(stars["flux_error"], error, rtol=1e-3)


@pytest.mark.parametrize("unit", SCALES)
def test_a_normalised_survey_is_the_same_in_every_unit(tmp_path, unit):
    changes = {"prepare__normalisation": "median"}
    stars, _ = ingest(tmp_path, *spectra(SCALES[unit]), name="scaled", **changes)
    plain, _ = ingest(tmp_path, *spectra(1.0), name="plain", **changes)
    np.testing.assert_allclose(stars["flux"], plain["flux"], atol=1.1e-4)
    np.testing.assert_allclose(stars["flux_error"], plain["flux_error"], rtol=2e-3)


def test_one_star_of_another_scale_is_quarantined_and_the_others_stay(tmp_path):
    flux, error = spectra(1.0)
    flux[2] *= 1e-15
    error[2] *= 1e-15
    stars, summary = ingest(tmp_path, flux, error)
    assert stars["source_id"].tolist() == [1, 2, 4]
    assert summary.reasons == {Reason.ALL_MISSING: 1}


def test_errors_of_normalised_fluxes_are_still_held_in_two_bytes(tmp_path):
    ingest(tmp_path, *spectra(1.0))
    store = Store.open(tmp_path / "s.zarr", "survey")
    assert store.read_stored(Region(0, STARS), ["flux_error"])["flux_error"].dtype == np.float16


@pytest.mark.parametrize("value", [1e-9, 1e5])
def test_a_single_error_that_two_bytes_cannot_hold_widens_them_all(tmp_path, value):
    flux, error = spectra(1.0)
    error[1, 7] = value
    stars, _ = ingest(tmp_path, flux, error, prepare__rebin=1)
    assert stars["flux_error"][1, 7] == np.float32(value)


@pytest.mark.parametrize("normalisation", ["none", "median", "running_quantile"])
def test_a_continuum_that_was_subtracted_is_no_small_scale(tmp_path, normalisation):
    flux, error = spectra(1.0)
    if normalisation == "none":
        stars, _ = ingest(tmp_path, flux - 1, error)
        assert len(stars["source_id"]) == STARS
    encoding = FluxEncoding.of(StoreConfig())
    scale = ScaleOfFile(encoding)
    assert scale.judge(flux - 1, error, encoding.beyond(flux - 1)) == {}
    assert not scale.unfit


@given(st.floats(1e-36, 1e36), st.floats(1.0, 100.0))
def test_the_type_of_errors_holds_them_to_three_percent(low, spread):
    errors = np.float32([low, low * spread])
    found = ErrorRange()
    found.include(errors[None])
    held = errors.astype(float_dtype(found.low, found.high))
    np.testing.assert_allclose(held, errors, rtol=0.03)


@given(st.integers(-90, 90))
def test_rebinned_errors_scale_with_the_flux(exponent):
    factor = np.float32(2.0**exponent)
    flux, error = spectra(1.0)
    error[:, ::3] *= 2
    grid = settings().grid
    config = PrepareConfig(rebin=3, outlier_sigma=None)
    preparation = Preparation.for_grid(846 + 0.01 * np.arange(PIXELS), grid, config)
    plain = preparation.apply(flux, error)
    scaled = preparation.apply(flux * factor, error * factor)
    np.testing.assert_allclose(scaled.flux, plain.flux * factor, rtol=1e-6)
    np.testing.assert_allclose(scaled.error, plain.error * factor, rtol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 2e-15, 3e6])
def test_a_spike_is_an_outlier_in_physical_units_too(scale):
    flux, error = spectra(1.0)
    flux[0, 10] = 3.0
    grid = settings().grid
    preparation = Preparation.for_grid(846 + 0.01 * np.arange(PIXELS), grid, PrepareConfig())
    mask = preparation.apply(flux * np.float32(scale), error * np.float32(scale)).mask
    assert np.argwhere(mask == MaskBit.OUTLIER).tolist() == [[0, 10]]
