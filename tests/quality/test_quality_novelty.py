import numpy as np
import pytest

from distcnn.quality import Novelty
from distcnn.quality.novelty import fit_reference

PIXELS, COMPONENTS = 240, 8


def _sky(seed=3):
    rng = np.random.default_rng(seed)
    at = np.arange(PIXELS)
    lines = np.exp(-0.5 * ((at - rng.uniform(10, 230, 25)[:, None]) / 2.0) ** 2)
    return lines * rng.uniform(0.05, 0.4, 25)[:, None], rng.standard_normal((4, 25)) * 0.25


def _stars(rng, stars, *, missing=0.01):
    lines, mixing = _sky()
    depth = np.exp(rng.standard_normal((stars, 4)) @ mixing)
    snr = np.minimum(15 * rng.random(stars) ** (-1 / 0.794), 500)
    error = np.repeat(1 / snr[:, None], PIXELS, axis=1)
    flux = 1 - np.clip(depth, 0, 3) @ lines / 2 + error * rng.standard_normal((stars, PIXELS))
    flux[rng.random(flux.shape) < missing] = np.nan
    return flux.astype(np.float32), error.astype(np.float32), snr


@pytest.fixture(scope="module")
def novelty():
    rng = np.random.default_rng(11)
    flux, error, _ = _stars(rng, 3000)
    fitted = fit_reference(flux, error, COMPONENTS)
    flux, error, _ = _stars(rng, 1500)
    return fitted.with_threshold(fitted.score(flux, error), 0.99)


def _flagged(novelty, flux, error):
    return novelty.score(flux, error) > novelty.threshold


def test_stars_like_those_of_training_are_rarely_novel(novelty, rng):
    flux, error, snr = _stars(rng, 2000)
    novel = _flagged(novelty, flux, error)
    assert novel.mean() < 0.03
    assert novel[snr > 60].mean() < 0.05
    assert novel[snr < 25].mean() < 0.05


@pytest.mark.parametrize(("kind", "least"), [("shift", 0.9), ("cosmic", 0.95), ("flat", 0.9)])
def test_damaged_spectra_are_found(novelty, rng, kind, least):
    flux, error, _ = _stars(rng, 500)
    if kind == "shift":
        flux = np.roll(flux, 5, axis=1)
    elif kind == "cosmic":
        flux[:, 100] = 1 + 20 * error[:, 100] + 0.05
    else:
        flux = (1 + error * rng.standard_normal(flux.shape)).astype(np.float32)
    assert _flagged(novelty, flux, error).mean() >= least


def test_missing_pixels_do_not_make_a_star_novel(novelty, rng):
    flux, error, _ = _stars(rng, 1000)
    flux[:, 150:] = error[:, 150:] = np.nan
    assert _flagged(novelty, flux, error).mean() < 0.06


def test_what_stands_in_masked_pixels_does_not_matter(novelty, rng):
    flux, error, _ = _stars(rng, 50, missing=0.0)
    flux[:, ::7] = np.nan
    other = error.copy()
    other[:, ::7] = np.nan
    assert np.array_equal(novelty.score(flux, error), novelty.score(flux, other))


def test_a_star_without_pixels_has_no_score(novelty):
    flux = np.full((2, PIXELS), np.nan, np.float32)
    assert np.isnan(novelty.score(flux, flux)).all()
    assert novelty.score(flux[:0], flux[:0]).shape == (0,)


def test_scores_do_not_depend_on_the_company(novelty, rng):
    flux, error, _ = _stars(rng, 300)
    together = novelty.score(flux, error)
    alone = np.concatenate(
        [novelty.score(flux[i : i + 7], error[i : i + 7]) for i in range(0, 300, 7)]
    )
    assert alone == pytest.approx(together, rel=2e-3, abs=2e-3)


def test_the_same_training_gives_the_same_novelty(rng):
    flux, error, _ = _stars(rng, 400)
    one, two = (fit_reference(flux, error, COMPONENTS, seed=4).to_arrays() for _ in range(2))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_novelty_survives_its_arrays(novelty, rng):
    flux, error, _ = _stars(rng, 100)
    again = Novelty.from_arrays(novelty.to_arrays())
    assert np.array_equal(again.score(flux, error), novelty.score(flux, error))
    assert again.threshold == novelty.threshold


def test_spectra_without_errors_are_judged_by_the_scatter_of_training(rng):
    flux, _, _ = _stars(rng, 1500)
    fitted = fit_reference(flux, None, COMPONENTS)
    flux, _, _ = _stars(rng, 800)
    fitted = fitted.with_threshold(fitted.score(flux, None), 0.99)
    good, _, snr = _stars(rng, 500)
    assert _flagged(fitted, good[snr > 40], None).mean() < 0.05
    assert _flagged(fitted, 1 - 3 * (1 - np.roll(good, 5, axis=1)), None).mean() > 0.9


def test_damaged_spectra_in_training_do_not_become_the_norm(rng):
    flux, error, _ = _stars(rng, 3000)
    flux[:75] = np.roll(flux[:75], 5, axis=1)
    fitted = fit_reference(flux, error, COMPONENTS)
    flux, error, _ = _stars(rng, 1500)
    flux[:60] = np.roll(flux[:60], 5, axis=1)
    fitted = fitted.with_threshold(fitted.score(flux, error), 0.99)
    flux, error, _ = _stars(rng, 600)
    assert _flagged(fitted, np.roll(flux, 5, axis=1), error).mean() > 0.75
    assert _flagged(fitted, flux, error).mean() < 0.05


def test_a_pixel_that_is_never_seen_is_no_trouble(rng):
    flux, error, _ = _stars(rng, 400)
    flux[:, :5] = error[:, :5] = np.nan
    fitted = fit_reference(flux, error, COMPONENTS)
    assert np.isfinite(fitted.score(flux, error)).all()


def test_few_training_stars_give_few_components(rng):
    flux, error, _ = _stars(rng, 40)
    assert len(fit_reference(flux, error, 32).components) == 5


def test_components_that_are_usual_one_by_one_but_not_together_are_found(rng):
    """Stars on a ring in the plane of two components; its middle is the mean of all."""
    shapes = np.linalg.qr(rng.standard_normal((PIXELS, 2)))[0].T

    def stars(count, radius):
        angle = rng.uniform(0, 2 * np.pi, count)
        place = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        error = np.full((count, PIXELS), 0.02, np.float32)
        flux = 1 + place @ shapes + error * rng.standard_normal(error.shape)
        return flux.astype(np.float32), error

    ring = fit_reference(*stars(2000, 3.0), 2)
    ring = ring.with_threshold(ring.score(*stars(1000, 3.0)), 0.99)
    assert _flagged(ring, *stars(500, 0.2)).mean() > 0.95
    assert _flagged(ring, *stars(1000, 3.0)).mean() < 0.03


def test_spectra_of_another_instrument_are_found_by_their_smooth_noise(novelty, rng):
    flux, error, snr = _stars(rng, 600, missing=0.0)
    coarse = np.arange(0, PIXELS, 2)
    pixel = np.arange(PIXELS)
    smooth = np.stack([np.interp(pixel, coarse, row[coarse]) for row in flux]).astype(np.float32)
    assert _flagged(novelty, smooth, error)[snr < 50].mean() > 0.95
    # What remains of them is smaller than usual, not larger.
    assert np.median(novelty.measures(smooth, error)[0][snr < 50, 0]) < 0


def test_blends_are_told_by_more_than_the_size_of_their_residual(novelty, rng):
    flux, error, snr = _stars(rng, 800, missing=0.0)
    second, _, _ = _stars(rng, 800, missing=0.0)
    shifted = np.roll(second, 3, axis=1)
    measure = novelty.measures(flux + 0.3 * (shifted - second), error)[0][:, -1]
    clean = novelty.measures(flux, error)[0][:, -1]
    limit, bright = np.quantile(clean, 0.99), snr > 30
    assert (measure[bright] > limit).mean() > 0.9
    chi2 = novelty.measures(flux + 0.3 * (shifted - second), error)[0][bright, 0]
    by_chi2 = (chi2 > np.quantile(novelty.measures(flux, error)[0][:, 0], 0.99)).mean()
    assert (measure[bright] > limit).mean() > by_chi2


def test_references_made_before_blends_and_before_the_density_keep_their_measures(novelty, rng):
    arrays = novelty.to_arrays()
    flux, error, _ = _stars(rng, 100)
    for prefixes, columns in (
        (("blends.", "classifier."), 4),
        (("blends.", "classifier.", "density."), 3),
    ):
        held = {name: a for name, a in arrays.items() if not name.startswith(prefixes)}
        held["usual"] = np.repeat(arrays["usual"][:, :, :1], columns, axis=2)
        older = Novelty.from_arrays(held)
        assert older.measures(flux, error)[0].shape == (100, columns)
        assert np.isfinite(older.score(flux, error)).all()
    assert novelty.measures(flux, error)[0].shape == (100, 5)


def test_a_package_of_few_stars_has_no_patterns(rng):
    flux, error, _ = _stars(rng, 100)
    few = fit_reference(flux, error, COMPONENTS)
    assert few.blends is None
    assert few.measures(flux, error)[0].shape == (100, 3)


def _lit(rng, stars):
    """Stars whose depths four colours, XP and luminosity tell, with noise."""
    lines, mixing = _sky()
    state = rng.standard_normal((stars, 4))
    snr = np.minimum(15 * rng.random(stars) ** (-1 / 0.794), 500)
    error = np.repeat(1 / snr[:, None], PIXELS, axis=1)
    clean = 1 - np.clip(np.exp(state @ mixing), 0, 3) @ lines / 2
    known = state + 0.05 * rng.standard_normal(state.shape)
    magnitude = 12 + rng.random(stars)
    light = {
        "xp": np.exp(magnitude)[:, None] * np.column_stack([np.ones(stars), 0.1 * known[:, :2]]),
        "photometry": np.column_stack([magnitude, magnitude + known[:, 2], magnitude - 1]),
        "parallax": 10 ** (0.2 * (13 - magnitude)) * np.exp(known[:, 3]),
        "parallax_error": np.full(stars, 0.03),
    }
    return clean, error, snr, {name: v.astype(np.float32) for name, v in light.items()}


@pytest.fixture(scope="module")
def lit():
    rng = np.random.default_rng(12)
    clean, error, _, light = _lit(rng, 3000)
    flux = clean + error * rng.standard_normal(clean.shape)
    return fit_reference(flux, error, COMPONENTS, light=light)


def test_a_second_star_of_the_same_velocity_is_told_by_the_rest_of_the_light(lit, rng):
    clean, error, snr, light = _lit(rng, 1500)
    noise = error * rng.standard_normal(clean.shape)
    flux, second = (clean + noise).astype(np.float32), np.roll(clean, 700, axis=0)
    mixed = (0.6 * clean + 0.4 * second + noise).astype(np.float32)

    def found(given):
        limit = np.quantile(lit.score(flux, error, given), 0.99)
        return (lit.score(mixed, error, given) > limit)[snr > 30].mean()

    assert found(light) > 0.8 > 2 * found({})


def test_nothing_is_expected_of_stars_whose_other_light_is_missing(lit, rng):
    clean, error, _, light = _lit(rng, 60)
    fitted = lit.fitted_components(clean.astype(np.float32), error)
    weight = np.full(60, 5.0)
    for name in light:
        gone = light | {name: np.where(np.arange(60) < 30, np.nan, light[name].T).T}
        off = lit.expected.residual(fitted, weight, gone)
        assert not off[:30].any()
        assert off[30:].any(axis=1).all()
        fewer = {kind: values for kind, values in light.items() if kind != name}
        assert not lit.expected.residual(fitted, weight, fewer).any()


def test_expectations_survive_their_arrays_and_are_not_made_of_few_stars(lit, rng):
    clean, error, _, light = _lit(rng, 100)
    flux = clean.astype(np.float32)
    again = Novelty.from_arrays(lit.to_arrays())
    assert np.array_equal(again.score(flux, error, light), lit.score(flux, error, light))
    assert len(lit.expected.weights) == 1 + 8 + 36
    clean, error, _, light = _lit(rng, 300)
    linear = fit_reference(clean, error, COMPONENTS, light=light).expected
    assert len(linear.weights) == 1 + 8
    assert (
        fit_reference(
            clean[:79], error[:79], 4, light={n: v[:79] for n, v in light.items()}
        ).expected
        is None
    )
