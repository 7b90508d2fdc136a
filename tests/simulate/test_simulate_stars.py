"""The Galaxy, its sky, magnitudes and XP spectra."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from distcnn.config import SimulateConfig
from distcnn.simulate import DR3_GRID, noiseless
from distcnn.simulate.files.apogee import draw_labelled
from distcnn.simulate.galaxy import photometry
from distcnn.simulate.galaxy.sky import (
    LEVEL_8_PIXELS,
    nested_to_angles,
    split_sky,
    to_ecliptic,
    to_galactic,
)
from distcnn.simulate.galaxy.stars import SimulatedStars, draw_stars
from distcnn.simulate.spectrum import xp


@pytest.fixture(scope="module")
def stars() -> SimulatedStars:
    rng = np.random.default_rng(5)
    return draw_stars(rng, split_sky(6000, 6000)[0], SimulateConfig())


@given(stars=st.integers(1, 200_000), per_file=st.integers(1, 5000))
def test_ranges_cover_the_sky_and_the_stars_once(stars: int, per_file: int) -> None:
    ranges = split_sky(stars, max(per_file, stars // 2000))
    assert ranges[0].first == 0
    assert ranges[-1].last == LEVEL_8_PIXELS - 1
    assert all(a.last + 1 == b.first for a, b in pairwise(ranges))
    assert sum(part.stars for part in ranges) == stars
    assert [part.index for part in ranges] == list(range(len(ranges)))


def test_nested_pixels_lie_inside_their_parents_and_have_equal_areas() -> None:
    longitude, latitude = nested_to_angles(np.arange(12 * 4**5), 5)
    children_lat = np.sin(np.deg2rad(latitude)).reshape(-1, 4).mean(axis=1)
    parents = np.sin(np.deg2rad(nested_to_angles(np.arange(12 * 4**4), 4)[1]))
    assert np.abs(children_lat - parents).max() < 2e-3
    # Equal areas: the mean of sin^2(latitude) over the sphere is one third.
    assert np.mean(np.sin(np.deg2rad(latitude)) ** 2) == pytest.approx(1 / 3, abs=1e-3)
    assert np.mean(longitude) == pytest.approx(180, abs=1)


def test_first_pixel_of_each_face_is_where_healpix_puts_it() -> None:
    longitude, latitude = nested_to_angles(np.array([0, 4, 8]), 0)
    np.testing.assert_allclose(longitude, [45, 0, 45])
    np.testing.assert_allclose(latitude, [41.8103, 0, -41.8103], atol=1e-3)


@pytest.mark.real
def test_identifiers_of_real_stars_lead_to_their_places(real_data: Path) -> None:
    for file in sorted((real_data / "gaia_rvs_datalink").glob("*.csv")):
        row = pd.read_csv(file, nrows=1).iloc[0]
        source_id = int(pd.read_csv(file, nrows=1).source_id[0])
        ra, dec = nested_to_angles(np.array([source_id >> 35]), 12)
        assert abs(dec[0] - row.dec) < 0.02
        assert abs(ra[0] - row.ra) * np.cos(np.deg2rad(row.dec)) < 0.02


def test_coordinates_turn_to_known_places() -> None:
    longitude, latitude = to_galactic(np.array([266.405, 192.85948]), np.array([-28.936, 27.12825]))
    assert abs((longitude[0] + 180) % 360 - 180) < 0.01
    np.testing.assert_allclose(latitude, [0.0, 90.0], atol=0.01)
    assert to_ecliptic(np.array([0.0]), np.array([90.0]))[1][0] == pytest.approx(66.56, abs=0.01)


def test_half_are_giants_and_the_three_populations_differ_in_chemistry(
    stars: SimulatedStars,
) -> None:
    labels, population = stars.labels, stars.population
    assert 0.35 < np.mean(labels.logg < 3.5) < 0.65
    share = np.bincount(population, minlength=3) / len(stars)
    assert share[0] > share[1] > share[2] > 0.01
    solar = np.abs(labels.mh + 0.3) < 0.15
    low, high = (np.median(labels.alpham[solar & (population == k)]) for k in (0, 1))
    assert high - low > 0.08
    assert np.median(labels.mh[population == 2]) < -1.0


def test_iron_is_not_a_copy_of_metallicity(stars: SimulatedStars) -> None:
    assert 0.015 < np.std(stars.labels.feh - stars.labels.mh) < 0.04


def test_the_high_alpha_population_reaches_farther_from_the_plane(stars: SimulatedStars) -> None:
    _, latitude = to_galactic(stars.ra, stars.dec)
    height = np.abs(stars.distance * np.sin(np.deg2rad(latitude)))
    assert np.median(height[stars.population == 1]) > 1.5 * np.median(height[stars.population == 0])


def test_sun_and_clump_have_their_known_magnitudes_and_colours() -> None:
    teff, logg = np.array([5772.0, 4800.0]), np.array([4.438, 2.45])
    magnitude = photometry.absolute_magnitude(teff, logg, np.array([1.0, 1.2]))
    np.testing.assert_allclose(magnitude, [4.68, 0.47], atol=0.02)
    colour, _ = photometry.intrinsic_colours(teff, logg, np.zeros(2))
    np.testing.assert_allclose(colour, [0.79, 1.19], atol=0.03)


def test_parallax_magnitude_and_dust_agree_with_the_distance(stars: SimulatedStars) -> None:
    near = (stars.distance < 0.5) & (stars.parallax_error < 0.1)
    np.testing.assert_allclose(1 / stars.parallax[near], stars.distance[near], rtol=0.3)
    assert np.corrcoef(stars.distance, stars.ebv)[0, 1] > 0.1
    red = stars.magnitude["bp"] - stars.magnitude["rp"]
    assert np.corrcoef(red, stars.labels.teff)[0, 1] < -0.8


def residual(features: np.ndarray, label: np.ndarray) -> float:
    """1.48 MAD on held-out stars of a quadratic ridge, over the label's own spread."""
    half = len(label) * 2 // 3
    model = make_pipeline(
        StandardScaler(), PolynomialFeatures(2), StandardScaler(), RidgeCV(np.logspace(-3, 3, 7))
    )
    model.fit(features[:half], label[:half])
    error = model.predict(features[half:]) - label[half:]
    return float(np.median(np.abs(error)) / np.median(np.abs(label[half:] - np.median(label))))


def test_photometry_and_parallax_alone_give_neither_metallicity_nor_alpha(
    stars: SimulatedStars,
) -> None:
    good = np.isfinite(stars.parallax) & (stars.parallax > 0.05) & (stars.labels.teff < 7500)
    m = {band: values[good] for band, values in stars.magnitude.items()}
    absolute = m["g"] + 5 * np.log10(stars.parallax[good]) - 10
    features = np.stack([m["bp"] - m["g"], m["g"] - m["rp"], absolute, m["g"]], axis=1)
    labels = stars.labels
    assert residual(features, labels.mh[good]) > 0.65
    assert residual(features, labels.alpham[good]) > 0.75
    # while temperature and gravity they do give
    assert residual(features, labels.teff[good]) < 0.25
    assert residual(features, labels.logg[good]) < 0.25


def test_noiseless_spectra_give_metallicity_and_alpha(stars: SimulatedStars) -> None:
    some = np.flatnonzero(stars.labels.teff < 7500)[:900]
    names = ("teff", "logg", "mh", "alpham", "feh")
    values = np.stack([getattr(stars.labels, name)[some] for name in names], axis=1)
    flux = noiseless(values, dtype=np.float32)[:, 100:2300:10]
    half = RidgeCV(np.logspace(-5, 1, 7))
    for column, most in ((2, 0.35), (3, 0.5)):
        label = values[:, column]
        error = half.fit(flux[:600], label[:600]).predict(flux[600:]) - label[600:]
        assert np.median(np.abs(error)) < most * np.median(np.abs(label - np.median(label)))


def typical(**changes: float) -> np.ndarray:
    star = {"teff": 5000.0, "logg": 2.6, "mh": -0.2, "alpham": 0.1, "ebv": 0.1} | changes
    return np.array([[value] for value in star.values()])


def clean_coefficients(band: str, truth: np.ndarray) -> np.ndarray:
    seen = (np.array([8.0]), np.array([1.0]))
    noisy = [
        xp.draw_coefficients(np.random.default_rng(k), band, truth, seen, 0.0).value[0]
        for k in range(6)
    ]
    mean = np.mean(noisy, axis=0)
    return np.asarray(mean / mean[0])


def test_the_first_coefficients_hold_the_typical_star() -> None:
    for band in ("bp", "rp"):
        shape = clean_coefficients(band, typical())
        assert np.abs(shape[:6]).sum() > 10 * np.abs(shape[10:]).max()


@pytest.mark.parametrize(
    ("name", "step"), [("teff", 100.0), ("mh", 0.3), ("ebv", 0.05), ("alpham", 0.2), ("logg", 1.0)]
)
def test_coefficients_carry_information_about_every_label_and_dust(name: str, step: float) -> None:
    reference = typical()
    row = ("teff", "logg", "mh", "alpham", "ebv").index(name)
    moved = typical(**{name: float(reference[row, 0]) + step})
    change = clean_coefficients("bp", moved) - clean_coefficients("bp", reference)
    repeat = clean_coefficients("bp", reference) * 0 + 2e-4  # noise of six bright exposures
    assert np.sqrt((change**2).sum()) > 5 * np.sqrt((repeat**2).mean())


def test_xp_noise_grows_towards_faint_stars() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(typical(), 2, axis=1)
    drawn = xp.draw_coefficients(rng, "rp", truth, (np.array([8.0, 14.0]), np.ones(2)), 0.01)
    relative = np.median(drawn.error, axis=1) / np.abs(drawn.value[:, 0])
    assert relative[1] > 3 * relative[0]


@pytest.mark.real
def test_a_real_spectrum_of_known_labels_looks_like_its_simulation(real_data: Path) -> None:
    frame = pd.read_csv(real_data / "gaia_rvs_datalink" / "Kepler-93.csv")
    real = frame.flux.to_numpy()
    ideal = noiseless([5566.0, 4.39, -0.12, 0.03, -0.12])[0]
    seen = np.isfinite(real)
    real = real / np.nanpercentile(real, 85) * np.percentile(ideal, 85)
    assert np.sqrt(np.mean((real - ideal)[seen] ** 2)) < 0.016  # its own noise is 0.008
    for centre in (850.036, 854.444, 866.452):
        near = seen & (np.abs(DR3_GRID.wavelength - centre) < 1.5)
        assert (1 - ideal[near]).sum() == pytest.approx((1 - real[near]).sum(), rel=0.1)


def test_configuration_is_json_like() -> None:
    assert json.loads(SimulateConfig().model_dump_json())["stars_per_file"] == 1000


def test_dr4_has_84_percent_of_its_spectra_below_5_and_brighter_labelled_stars() -> None:
    config = SimulateConfig(minimum_snr=0.5, transits=35, labelled_snr=(2.0, 0.3))
    rng = np.random.default_rng(7)
    stars = draw_stars(rng, split_sky(4000, 4000)[0], config)
    labelled = draw_labelled(rng, stars, config)[0]
    assert stars.wanted is not None
    others = stars.exposure.snr[~stars.wanted]
    assert (others < 5).mean() == pytest.approx(0.84, abs=0.03)
    assert (others > 15).mean() == pytest.approx(0.064, abs=0.02)
    assert others.min() < 0.6
    assert np.median(stars.exposure.transits) == pytest.approx(35, abs=2)
    assert not (labelled & ~stars.wanted).any()
    assert labelled[stars.wanted].mean() > 0.8
    assert stars.exposure.snr[labelled].min() > 2
    assert np.median(stars.exposure.snr[labelled]) > 10
