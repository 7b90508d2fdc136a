"""Parallaxes, distances and places, against published values and other code."""

import astropy.units as u
import numpy as np
from astropy.coordinates import BarycentricTrueEcliptic, Galactocentric, SkyCoord

from distcnn.maps.galaxy.distances import distances
from distcnn.maps.galaxy.place import GalacticFrame
from distcnn.maps.galaxy.zero_point import ecliptic_sine, effective_wavenumber, parallax_bias


def test_the_bias_of_parallaxes_is_that_of_the_code_of_its_authors():
    # Printed by gaiadr3-zeropoint 0.1.0 for solutions with five parameters, in mas.
    magnitude = np.array([7.5, 10.9, 11.5, 12.5, 13.2, 16, 18.5, 20.2])
    wavenumber = np.array([1.35, 1.2, 1.55, 1.45, 1.75, 1.3, 1.6, 1.4])
    latitude = np.deg2rad([-60, 10, 45, 0, 80, -20, 30, -89.0])
    theirs = [-11.051, -53.527, -44.432, -17.482, -19.837, -45.239, -19.013, -5.193]
    found = parallax_bias(magnitude, wavenumber, np.sin(latitude))
    np.testing.assert_allclose(found, np.array(theirs) / 1000, atol=1e-6)


def test_a_star_without_magnitude_has_no_bias_that_could_be_taken_for_one():
    found = parallax_bias(np.array([np.nan, 3.0, 25.0]), np.full(3, 1.5), np.zeros(3))
    assert np.isnan(found[0])
    np.testing.assert_allclose(
        found[1:], parallax_bias(np.array([6.0, 21.0]), np.full(2, 1.5), np.zeros(2))
    )


def test_the_colour_of_the_sun_is_that_of_published_wavenumbers():
    # BP-RP 0.82 of the Sun is about 1.55 per micron, a red giant of 1.4 about 1.43.
    np.testing.assert_allclose(effective_wavenumber(np.array([0.82, 1.4])), [1.55, 1.43], atol=0.02)


def test_ecliptic_latitudes_are_those_of_astropy(rng):
    ra, dec = rng.uniform(0, 360, 200), np.rad2deg(np.arcsin(rng.uniform(-1, 1, 200)))
    theirs = SkyCoord(ra * u.deg, dec * u.deg).transform_to(BarycentricTrueEcliptic())
    np.testing.assert_allclose(ecliptic_sine(ra, dec), np.sin(theirs.lat.rad), atol=3e-4)


def test_distances_drawn_from_the_prior_lie_in_their_intervals_as_often_as_promised(rng):
    true = rng.gamma(3.0, 1.35, 20_000)
    error = np.exp(rng.normal(np.log(0.05), 1.0, true.size))
    found = distances(1 / true + error * rng.standard_normal(true.size), error, 1.35)
    below = (true[:, None] < found).mean(axis=0)
    np.testing.assert_allclose(below, [0.158655, 0.5, 0.841345], atol=0.01)


def test_a_good_parallax_is_inverted_and_a_bad_one_leaves_the_prior(rng):
    good = distances(np.array([10.0]), np.array([0.01]), 1.35)[0]
    np.testing.assert_allclose(good, [0.0999, 0.1, 0.1001], rtol=2e-4)
    vague = distances(np.array([0.0]), np.array([100.0]), 1.35)[0]
    prior = np.quantile(rng.gamma(3.0, 1.35, 400_000), [0.158655, 0.5, 0.841345])
    np.testing.assert_allclose(vague, prior, rtol=0.02)
    missing = distances(np.array([np.nan, 1.0]), np.array([0.1, 0.0]), 1.35)
    assert np.isnan(missing).all()


def test_places_are_those_of_astropy_star_by_star(rng):
    ra, dec = rng.uniform(0, 360, 100), rng.uniform(-90, 90, 100)
    middle = rng.uniform(0.1, 8.0, 100)
    three = np.stack([0.9 * middle, middle, 1.1 * middle], axis=1)
    found = GalacticFrame.of(8.2, 0.02).place(ra, dec, three)
    frame = Galactocentric(galcen_distance=8.2 * u.kpc, z_sun=0.02 * u.kpc)
    theirs = SkyCoord(ra * u.deg, dec * u.deg, middle * u.kpc).transform_to(frame)
    np.testing.assert_allclose(found.x, theirs.x.value, atol=1e-9)
    np.testing.assert_allclose(found.height, theirs.z.value, atol=1e-9)
    np.testing.assert_allclose(found.radius, np.hypot(theirs.x, theirs.y).value, atol=1e-9)
    assert (found.height_error >= 0).all()
    assert (found.radius_error > 0).any()
