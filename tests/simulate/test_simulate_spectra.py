"""Line formation, broadening and the ideal spectrum."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distcnn.simulate import DR3_GRID, jacobian, noiseless
from distcnn.simulate.spectrum.linelist import AIR_TO_VACUUM, CALCIUM_TRIPLET, PASCHEN, line_list
from distcnn.simulate.spectrum.lines import TrueLabels, equivalent_widths
from distcnn.simulate.spectrum.synthesis import FINE_WAVELENGTH, broaden, native_matrices

SUN = (5772.0, 4.44, 0.0, 0.0, 0.0)
GIANT = (4800.0, 2.5, -0.2, 0.05, -0.2)
LSF_FWHM = 858.0 / 11_500


def depth_at(flux: np.ndarray, wavelength: float) -> float:
    return float(1 - np.interp(wavelength, DR3_GRID.wavelength, flux))


def equivalent_width(flux: np.ndarray, centre: float, half: float) -> float:
    near = np.abs(DR3_GRID.wavelength - centre) < half
    return float((1 - flux[near]).sum() * 0.01)


@pytest.mark.parametrize(
    "air", [8468.41, 8514.07, 8556.78, 8582.26, 8611.80, 8648.46, 8674.75, 8688.62]
)
def test_strong_metal_lines_stand_at_their_vacuum_wavelengths(air: float) -> None:
    flux = noiseless(SUN)[0]
    vacuum = air / 10 * AIR_TO_VACUUM
    near = np.abs(DR3_GRID.wavelength - vacuum) < 0.08
    deepest = DR3_GRID.wavelength[near][flux[near].argmin()]
    assert abs(deepest - vacuum) < 0.02
    assert depth_at(flux, vacuum) > 0.05


def test_the_calcium_triplet_has_its_order_and_its_place() -> None:
    flux = noiseless(SUN)[0]
    widths = [equivalent_width(flux, centre, 1.0) for centre in CALCIUM_TRIPLET]
    assert widths[1] > widths[2] > widths[0]
    for centre in CALCIUM_TRIPLET:
        near = np.abs(DR3_GRID.wavelength - centre) < 0.3
        assert abs(DR3_GRID.wavelength[near][flux[near].argmin()] - centre) < 0.011


def test_the_sun_shows_the_tabulated_equivalent_widths() -> None:
    lines = line_list()
    widths = equivalent_widths(TrueLabels.of(np.array([[5772.0, 4.438, 0.0, 0.0, 0.0]])))[0]
    np.testing.assert_allclose(widths, lines.width, rtol=0.02)


def test_curve_of_growth_is_linear_for_weak_lines_and_flat_for_strong_ones() -> None:
    poor, poorer = ((5772.0, 4.438, m, 0.0, m) for m in (-2.0, -2.1))
    widths = [equivalent_widths(TrueLabels.of(np.array([star])))[0] for star in (poor, poorer)]
    iron = line_list().element == "Fe"
    weak, strong = widths[0][iron].argmin(), widths[0][iron].argmax()
    slope = np.log10(widths[0][iron] / widths[1][iron]) / 0.1
    assert slope[weak] > slope[strong]
    rich = [
        equivalent_widths(TrueLabels.of(np.array([(5772.0, 4.438, m, 0.0, m)])))[0]
        for m in (0.4, 0.3)
    ]
    saturated = np.log10(rich[0] / rich[1])[iron] / 0.1
    assert saturated[strong] < 0.5 < slope[weak]


@given(teff=st.floats(4000, 6500), logg=st.floats(0.8, 4.7), mh=st.floats(-2.3, 0.3))
@settings(max_examples=15, deadline=None)
def test_calcium_is_deeper_and_wider_in_metal_rich_stars(
    teff: float, logg: float, mh: float
) -> None:
    poor, rich = noiseless([[teff, logg, m, 0.1, m] for m in (mh, mh + 0.2)])
    for centre in CALCIUM_TRIPLET:
        assert equivalent_width(rich, centre, 0.4) > equivalent_width(poor, centre, 0.4)


@given(
    teff=st.floats(3650, 14000),
    logg=st.floats(0.3, 4.9),
    mh=st.floats(-2.6, 0.5),
    alpham=st.floats(-0.1, 0.4),
)
@settings(max_examples=25, deadline=None)
def test_ideal_flux_stays_between_nothing_and_the_continuum(
    teff: float, logg: float, mh: float, alpham: float
) -> None:
    flux = noiseless([[teff, logg, mh, alpham, mh]])
    assert np.isfinite(flux).all()
    assert flux.min() > 0
    assert flux.max() < 1.001


def test_alpha_elements_move_calcium_silicon_titanium_but_not_iron() -> None:
    before, after = (
        equivalent_widths(TrueLabels.of(np.array([(4800.0, 2.5, -0.2, a, -0.2)])))[0]
        for a in (0.0, 0.3)
    )
    element, change = line_list().element, after / before
    for name in ("Ca", "Si", "Ti", "Mg", "S"):
        assert (change[element == name] > 1.05).all()
    for name in ("Fe", "Ni", "Cr"):
        np.testing.assert_allclose(change[element == name], 1.0)
    flux = noiseless([[4800.0, 2.5, -0.2, a, -0.2] for a in (0.0, 0.3)])
    assert depth_at(flux[1], 855.913) - depth_at(flux[0], 855.913) > 0.02
    assert abs(depth_at(flux[1], 861.417) - depth_at(flux[0], 861.417)) < 0.01


def test_iron_lines_follow_iron_and_not_the_other_metals() -> None:
    plain, iron_rich = (
        equivalent_widths(TrueLabels.of(np.array([(5000.0, 3.0, 0.0, 0.0, f)])))[0]
        for f in (0.0, 0.2)
    )
    element = line_list().element
    assert (iron_rich > plain)[element == "Fe"].all()
    np.testing.assert_allclose(iron_rich[element == "Ca"], plain[element == "Ca"])


def test_paschen_lines_show_in_hot_stars_only() -> None:
    warm, hot = noiseless([[5500.0, 4.2, 0.0, 0.0, 0.0], [9500.0, 4.0, 0.0, 0.0, 0.0]])
    assert depth_at(hot, PASCHEN[3]) > 0.15
    assert depth_at(warm, PASCHEN[3]) < 0.05


def test_calcium_is_wider_in_giants_than_in_dwarfs_of_one_temperature() -> None:
    dwarf, giant = noiseless([[5000.0, 4.5, 0.0, 0.0, 0.0], [5000.0, 2.5, 0.0, 0.0, 0.0]])
    assert equivalent_width(giant, 854.444, 0.6) > 1.05 * equivalent_width(dwarf, 854.444, 0.6)


def test_broadening_keeps_equivalent_widths_and_gives_the_instrument_width() -> None:
    narrow = 1 - 0.5 * np.exp(-0.5 * ((FINE_WAVELENGTH - 858.0) / 0.012) ** 2)
    slow, fast = broaden(np.stack([narrow, narrow]), np.array([0.3, 40.0]), np.zeros(2))
    for wide in (slow, fast):
        assert (1 - wide).sum() == pytest.approx((1 - narrow).sum(), rel=2e-4)
    second_moment = ((1 - slow) * (FINE_WAVELENGTH - 858.0) ** 2).sum() / (1 - slow).sum()
    expected = np.hypot(LSF_FWHM / 2.3548, 0.012)
    assert np.sqrt(second_moment) == pytest.approx(expected, rel=0.01)
    assert (1 - fast).max() < 0.6 * (1 - slow).max()


def test_velocity_shifts_lines_to_the_red() -> None:
    narrow = 1 - 0.5 * np.exp(-0.5 * ((FINE_WAVELENGTH - 858.0) / 0.012) ** 2)
    moved = broaden(narrow[None], np.array([4.0]), np.array([100.0]))[0]
    centre = FINE_WAVELENGTH[moved.argmin()]
    assert centre == pytest.approx(858.0 * (1 + 100 / 299_792.458), abs=0.006)


def test_native_pixels_cover_the_archives_grid() -> None:
    to_native, to_archive = native_matrices("float64", DR3_GRID)
    straight = to_archive @ (to_native @ FINE_WAVELENGTH)
    np.testing.assert_allclose(straight, DR3_GRID.wavelength, atol=1e-9)


def test_single_precision_agrees_with_double() -> None:
    stars = np.array([SUN, GIANT])
    difference = noiseless(stars, dtype=np.float32) - noiseless(stars)
    assert np.abs(difference).max() < 2e-4


def cramer_rao(star: tuple[float, ...], snr: float) -> np.ndarray:
    """Bound on teff, logg, mh (iron with it), alpham from independent native pixels."""
    slopes = jacobian(star)[0]
    slopes = np.stack([slopes[0], slopes[1], slopes[2] + slopes[4], slopes[3]])
    native = np.round(np.arange(0, 2400, 2.453)).astype(int)
    return np.sqrt(np.diag(np.linalg.inv(slopes[:, native] @ slopes[:, native].T * snr**2)))


def test_a_giant_at_signal_to_noise_twenty_can_be_measured_about_as_well_as_real_ones() -> None:
    teff, logg, mh, alpham = cramer_rao(GIANT, 20.0)
    assert 60 < teff < 120
    assert 0.15 < logg < 0.32
    assert 0.07 < mh < 0.12
    assert 0.03 < alpham < 0.08
