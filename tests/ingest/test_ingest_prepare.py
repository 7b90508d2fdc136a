"""Preparation conserves flux, and its errors are the scatter that is really there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distcnn.air import to_air, to_vacuum
from distcnn.config import GridConfig, PrepareConfig
from distcnn.errors import ConfigError, GridMismatch
from distcnn.ingest.preprocess.spectra import (
    Preparation,
    continuum,
    find_outliers,
    median_of,
    medians_of_rows,
    overlap,
    quantile_of_rows,
)
from distcnn.ingest.preprocess.velocity import RestFramePreparation
from distcnn.ingest.preprocess.wavelength import convert_unit, edges, wavelengths
from distcnn.schema import MaskBit

GRID = GridConfig(start=846.0, step=0.01, size=300)
CENTRES = wavelengths(GRID)


def plan(grid: GridConfig = GRID, **changes: object) -> Preparation:
    return Preparation.for_grid(
        wavelengths(grid), grid, PrepareConfig.model_validate({"outlier_sigma": None, **changes})
    )


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 999),
    step=st.floats(0.011, 0.2),
    offset=st.floats(0.0, 0.2),
)
def test_rebinning_onto_any_grid_inside_conserves_total_flux(seed, step, offset):
    rng = np.random.default_rng(seed)
    flux = rng.uniform(0.2, 1.2, (3, len(CENTRES)))
    size = int((CENTRES[-1] - CENTRES[0] - offset) / step) - 1
    target = {"start": CENTRES[0] + offset + step, "step": step, "size": max(2, size)}
    work = plan(target=target)
    out = work.apply(flux, None).flux
    borders = edges(work.wavelength)
    cumulative = np.concatenate([np.zeros((3, 1)), np.cumsum(flux * 0.01, axis=1)], axis=1)
    for row in range(3):
        expected = np.interp(borders[[0, -1]], edges(CENTRES), cumulative[row])
        total = np.nansum(out[row] * np.diff(borders))
        assert total == pytest.approx(expected[1] - expected[0], rel=1e-5)


@settings(deadline=None, max_examples=40)
@given(level=st.floats(0.01, 100), factor=st.integers(1, 12), blue=st.integers(0, 9))
def test_a_constant_stays_constant(level, factor, blue):
    flux = np.full((2, 300), level)
    out = plan(rebin=factor, trim=(blue, 3)).apply(flux, 0.1 * flux)
    np.testing.assert_allclose(out.flux, level, rtol=2e-6)
    assert out.mask.max() == 0


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), holes=st.integers(1, 60))
def test_a_constant_stays_constant_where_pixels_are_missing(seed, holes):
    flux = np.ones((1, 300))
    flux[0, np.random.default_rng(seed).choice(300, holes, replace=False)] = np.nan
    out = plan(rebin=3).apply(flux, np.full((1, 300), 0.1))
    good = out.mask == 0
    np.testing.assert_allclose(out.flux[good], 1, rtol=1e-6)
    assert np.isnan(out.flux[~good]).all()
    assert ((out.mask[~good] & MaskBit.EDGE) > 0).all()
    assert ((out.mask[~good] & MaskBit.MISSING) > 0).all()


def test_rvs_pixels_come_out_as_gsp_spec_has_them():
    grid = GridConfig(start=846.0, step=0.01, size=2401)
    centres = plan(grid, rebin=3).wavelength
    assert len(centres) == 800
    assert centres[0] == pytest.approx(846.01)
    assert centres[-1] == pytest.approx(869.98)


def test_errors_are_the_scatter_of_white_noise(rng):
    noise = 0.05 * rng.standard_normal((4000, 300))
    target = {"start": 846.1, "step": 0.037, "size": 60}
    for changes in ({"rebin": 3}, {"target": target}):
        out = plan(**changes).apply(1 + noise, np.full(noise.shape, 0.05))
        ratio = out.flux.std(axis=0) / out.error.mean(axis=0)
        assert ratio.mean() == pytest.approx(1, abs=0.01)
        assert abs(ratio - 1).max() < 0.06


def test_errors_are_the_scatter_of_noise_resampled_from_detector_pixels(rng):
    # Detector pixels of 0.0245 nm interpolated linearly to 0.01 nm, as the Gaia pipeline does.
    detector = np.arange(845.9, 849.2, 0.0245)
    native = rng.standard_normal((4000, len(detector)))
    fine = np.array([np.interp(CENTRES, detector, row) for row in native])
    error = np.broadcast_to(fine.std(axis=0), fine.shape)
    for factor, tolerance in ((1, 0.02), (3, 0.05), (6, 0.20)):
        out = plan(rebin=factor, noise_correlation=2.45).apply(1 + fine, error)
        ratio = np.sqrt((out.flux.std(axis=0) ** 2).mean() / (out.error[0] ** 2).mean())
        assert ratio == pytest.approx(1, abs=tolerance)
        white = plan(rebin=factor).apply(1 + fine, error)
        naive = np.sqrt((white.flux.std(axis=0) ** 2).mean() / (white.error[0] ** 2).mean())
        assert factor == 1 or abs(ratio - 1) < abs(naive - 1) / 3


def test_a_mean_is_never_less_certain_than_one_pixel():
    out = plan(rebin=3, noise_correlation=50).apply(np.ones((1, 300)), np.full((1, 300), 0.1))
    np.testing.assert_allclose(out.error, 0.1, rtol=1e-5)


def test_masked_pixels_do_not_reach_the_stored_flux():
    flux, error = np.ones((1, 300)), np.full((1, 300), 0.01)
    flux[0, 100] = 5.0
    error[0, 200] = np.nan
    out = plan(rebin=3, outlier_sigma=8.0).apply(flux, error)
    np.testing.assert_allclose(out.flux[out.mask == 0], 1, rtol=1e-6)
    assert out.mask[0, 33] == 0
    assert plan(rebin=3, outlier_sigma=8.0, minimum_coverage=0.9).apply(flux, error).mask[
        0, 33
    ] == (MaskBit.OUTLIER | MaskBit.EDGE)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 9999), holes=st.integers(0, 80), window=st.integers(3, 31))
def test_the_quick_search_for_outliers_finds_what_the_plain_one_finds(seed, holes, window):
    rng = np.random.default_rng(seed)
    flux = 1 + 0.05 * rng.standard_normal((2, 120))
    flux[:, 40:50] -= 0.6
    flux[0, rng.choice(120, 6, replace=False)] += rng.uniform(0.1, 1.0, 6)
    bad = np.zeros(flux.shape, bool)
    bad[1, rng.choice(120, holes, replace=False)] = True
    config = PrepareConfig(outlier_sigma=5, outlier_window=window, outlier_floor=0.15)
    error = np.full(flux.shape, 0.04, np.float32)
    half = window // 2
    expected = np.zeros(flux.shape, bool)
    padded = np.pad(np.where(bad, np.nan, flux), ((0, 0), (half, half)), mode="reflect")
    for star, pixel in zip(*np.nonzero(~bad), strict=True):
        middle = np.nanmedian(padded[star, pixel : pixel + 2 * half + 1])
        expected[star, pixel] = flux[star, pixel] - middle > max(0.15, 5 * 0.04)
    found = find_outliers(flux.astype(np.float32), error, bad, config)
    assert (found == expected).mean() > 0.999
    assert found.sum() >= expected.sum() - 1


def test_absorption_lines_are_never_outliers():
    flux = np.ones((1, 300), np.float32)
    flux[0, 100:104] = 0.1
    none = np.zeros(flux.shape, bool)
    assert not find_outliers(flux, np.full_like(flux, 0.01), none, PrepareConfig()).any()


def test_without_errors_the_floor_alone_decides():
    flux = np.ones((1, 300), np.float32)
    flux[0, 7] = 1.2
    found = find_outliers(flux, None, np.zeros(flux.shape, bool), PrepareConfig())
    assert np.flatnonzero(found[0]).tolist() == [7]


@pytest.mark.parametrize("way", ["median", "running_quantile"])
def test_normalised_spectra_do_not_depend_on_brightness(way, rng):
    flux = 1 + 0.01 * rng.standard_normal((2, 300))
    work = plan(normalisation=way, continuum_window=51)
    one, other = work.apply(flux, 0.01 * flux), work.apply(37 * flux, 0.37 * flux)
    np.testing.assert_allclose(one.flux, other.flux, rtol=1e-4)
    np.testing.assert_allclose(one.error, other.error, rtol=1e-4)


def test_a_running_quantile_flattens_a_slope():
    slope = np.linspace(1, 3, 300)[None, :]
    config = PrepareConfig(
        normalisation="running_quantile", continuum_window=41, continuum_quantile=0.5
    )
    level = continuum(slope, np.zeros(slope.shape, bool), config)
    assert (slope / level)[0, 30:-30] == pytest.approx(1, abs=0.01)


def test_a_star_of_negative_flux_is_masked_and_makes_no_noise():
    out = plan(normalisation="median").apply(np.full((1, 300), -1.0), None)
    assert (out.mask == MaskBit.MISSING).all()
    gone = plan(normalisation="running_quantile").apply(np.full((1, 300), np.nan), None)
    assert (gone.mask == MaskBit.MISSING).all()


def test_lines_land_at_their_vacuum_wavelength_after_conversion_from_air():
    # Ca II triplet: air and vacuum wavelengths from NIST (nm).
    air, vacuum = np.array([849.802, 854.209, 866.214]), np.array([850.036, 854.444, 866.452])
    np.testing.assert_allclose(to_vacuum(air), vacuum, atol=2e-3)
    np.testing.assert_allclose(to_air(to_vacuum(air)), air, rtol=1e-12)
    grid = GridConfig(start=8440, step=0.2, size=1500, unit="Angstrom", medium="air")
    flux = 1 - np.exp(-0.5 * ((wavelengths(grid) - 8542.09) / 0.5) ** 2)[None, :]
    target = {"start": 846.0, "step": 0.02, "size": 1200, "medium": "vacuum"}
    work = plan(grid, target=target)
    out = work.apply(flux, None)
    deepest = work.wavelength[np.nanargmin(out.flux[0])]
    assert deepest == pytest.approx(854.444, abs=0.02)
    uncovered = np.isnan(out.flux[0])
    assert (out.mask[0][uncovered] & MaskBit.EDGE).all()


def test_logarithmic_grids_are_declared_in_decades():
    grid = GridConfig(start=1514.0, step=6e-6, size=100, spacing="log")
    ratios = wavelengths(grid)[1:] / wavelengths(grid)[:-1]
    np.testing.assert_allclose(ratios, 10**6e-6, rtol=1e-10)


def test_overlaps_add_up_to_the_pixels():
    source, target = np.linspace(0, 1, 31), np.linspace(0.1, 0.9, 12)
    weights = overlap(source, target).toarray()
    np.testing.assert_allclose(weights.sum(axis=1), np.diff(target))
    assert weights.sum(axis=0).max() <= np.diff(source).max() + 1e-12


def test_wavelengths_in_no_order_are_refused():
    mixed = CENTRES.copy()
    mixed[[3, 7]] = mixed[[7, 3]]
    with pytest.raises(GridMismatch, match="neither increase nor decrease"):
        Preparation.for_grid(mixed, GRID, PrepareConfig())


def test_a_grid_that_is_not_declared_is_refused_with_its_key():
    with pytest.raises(ConfigError, match=r"ingest\.grid"):
        wavelengths(GridConfig())


def test_trimming_everything_away_is_refused():
    with pytest.raises(ConfigError, match=r"trim = \[150, 149\] for 300 pixels"):
        plan(rebin=3, trim=(150, 149))


def test_an_unknown_unit_is_refused_and_every_spelling_of_a_known_one_is_converted():
    with pytest.raises(ConfigError, match=r"unit of wavelength 'furlong'.*Angstrom"):
        convert_unit(np.ones(3), "furlong", "nm")
    for spelling in ("A", "\u00c5", "\u212b", "angstroms"):
        np.testing.assert_allclose(convert_unit(np.array([5000.0]), spelling, "micron"), [0.5])


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.99), st.integers(1, 40))
def test_quantiles_of_rows_are_those_of_numpy(seed, quantile, width):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((5, width)).astype(np.float32)
    values[rng.uniform(size=values.shape) < 0.3] = np.nan
    values[:, 0] = 1.0  # numpy warns of rows of NaN
    expected = np.nanquantile(values, quantile, axis=1)
    np.testing.assert_allclose(quantile_of_rows(values, quantile), expected, rtol=1e-5, atol=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(0, 20), st.floats(0, 0.6))
def test_medians_are_those_of_numpy_to_the_bit(seed, half, missing):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((4, 2 * half + 1)).astype(np.float32)
    values[rng.uniform(size=values.shape) < missing] = np.nan
    values[:, 0] = rng.standard_normal(4)  # numpy warns of rows of NaN
    expected = np.nanmedian(values, axis=1)
    assert medians_of_rows(values).tobytes() == expected.tobytes()
    assert [median_of(row) for row in values] == expected.tolist()


def test_the_median_of_nothing_is_nan():
    assert np.isnan(median_of(np.full(3, np.nan, np.float32)))
    assert np.isnan(median_of(np.array([np.nan, np.inf])))


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(2, 12), st.floats(-30, 30))
def test_overlaps_are_what_each_pair_of_pixels_shares(seed, sources, targets, shift):
    rng = np.random.default_rng(seed)
    # Whole numbers: many edges coincide, and some grids lie apart.
    source = np.unique(rng.integers(0, 30, sources + 2)).astype(float)
    target = np.unique(rng.integers(0, 30, targets + 2)).astype(float) + np.round(shift)
    low = np.maximum(target[:-1, None], source[None, :-1])
    high = np.minimum(target[1:, None], source[None, 1:])
    if min(len(source), len(target)) < 2:
        return
    np.testing.assert_array_equal(overlap(source, target).toarray(), np.maximum(high - low, 0))


def test_the_quantile_of_nothing_is_nan():
    assert np.isnan(quantile_of_rows(np.full((2, 3), np.nan), 0.9)).all()


@pytest.mark.parametrize("kind", [Preparation, RestFramePreparation])
def test_windows_keep_some_pixels_of_the_target_as_they_are_without(kind):
    grid = GridConfig(unit="Angstrom", frame="barycentric")
    target = {"start": 5000.0, "step": 1.5, "size": 100, "unit": "Angstrom"}
    shift = {"velocity": "spectra"} if kind is RestFramePreparation else None
    given_settings = {"target": target, "rest_frame": shift, "outlier_sigma": None}
    whole = PrepareConfig.model_validate(given_settings)
    windows = [[5003.0, 5030.0], [5100.0, 5140.0]]
    some = PrepareConfig.model_validate(given_settings | {"windows": windows})
    wavelength = 4990.0 + 0.4 * np.arange(420)
    rng = np.random.default_rng(5)
    flux = 1 + 0.1 * rng.standard_normal((3, 420))
    flux[1, 100:140] = np.nan
    factors = [np.array([1.0, 1.0001, 0.9998])] if shift else []
    full, part = (kind.for_grid(wavelength, grid, config) for config in (whole, some))
    kept = np.isin(full.wavelength, part.wavelength)
    inside = [(low <= full.wavelength) & (full.wavelength <= high) for low, high in windows]
    np.testing.assert_array_equal(kept, inside[0] | inside[1])
    for one, other in zip(
        vars(full.apply(flux, 0.1 + 0 * flux, *factors)).values(),
        vars(part.apply(flux, 0.1 + 0 * flux, *factors)).values(),
        strict=True,
    ):
        np.testing.assert_array_equal(one[:, kept], other)


@pytest.mark.parametrize(
    ("windows", "words"),
    [
        ([[5.0, 4.0]], "one after the other"),
        ([[1.0, 3.0], [2.0, 4.0]], "one after the other"),
    ],
)
def test_windows_that_overlap_or_run_backwards_are_refused(windows, words):
    target = {"start": 1.0, "step": 1.0, "size": 9}
    with pytest.raises(ValueError, match=words):
        PrepareConfig.model_validate({"target": target, "windows": windows})
    with pytest.raises(ValueError, match="a target with windows"):
        PrepareConfig.model_validate({"windows": [[1.0, 2.0]]})


def test_windows_beside_the_target_are_refused():
    target = {"start": 1.0, "step": 1.0, "size": 9}
    config = PrepareConfig.model_validate({"target": target, "windows": [[20.0, 30.0]]})
    with pytest.raises(ConfigError, match="some pixels of the target, 1 to 9"):
        Preparation.for_grid(np.arange(1.0, 10.0), GridConfig(), config)
