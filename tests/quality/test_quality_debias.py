import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distcnn.quality import Debiasing
from distcnn.quality.debias import MAX_SHRINKAGE, slope

EDGES = (15.0, 25.0, 50.0, 100.0)


def _survey(rng, stars, *, spread=0.3, reference=0.05):
    """Least-squares estimates of a population, their errors, noisy references, S/N, truth."""
    snr = np.minimum(15 * rng.random(stars) ** (-1 / 0.794), 600)
    truth = -0.2 + spread * rng.standard_normal((stars, 1))
    sigma = 2.5 / snr[:, None]
    measured = truth + sigma * rng.standard_normal(truth.shape)
    q = sigma**2 / (sigma**2 + spread**2)
    label, error = measured + q * (-0.2 - measured), sigma * np.sqrt(1 - q)
    noise = np.full(truth.shape, reference)
    return label, error, truth + noise * rng.standard_normal(truth.shape), noise, snr, truth


def _fit(rng, stars=6000, **kind):
    label, error, reference, noise, snr, _ = _survey(rng, stars, **kind)
    population = (reference, noise)
    return Debiasing.fit(label, error, reference, noise, snr, edges=EDGES, population=population)


def test_the_debiased_estimate_has_slope_one_in_every_bin(rng):
    fitted = _fit(rng)
    label, error, _, _, snr, truth = _survey(rng, 40_000)
    debiased, _ = fitted.apply(label, error, snr)
    none = np.zeros(len(truth))
    for low, high in ((15, 25), (25, 50), (50, 600)):
        inside = (snr > low) & (snr < high)
        found = slope(debiased[inside, 0], truth[inside, 0], none[inside])
        assert found == pytest.approx(1, abs=0.03)
    faint = snr < 25
    assert slope(label[faint, 0], truth[faint, 0], none[faint]) < 0.9


def test_its_error_is_what_it_claims_and_larger_than_the_other(rng):
    fitted = _fit(rng)
    label, error, _, _, snr, truth = _survey(rng, 40_000)
    debiased, widened = fitted.apply(label, error, snr)
    assert (widened >= error.astype(np.float32) * (1 - 1e-6)).all()
    pull = (debiased - truth) / widened
    assert pull[snr < 25].std() == pytest.approx(1, abs=0.05)
    assert (debiased - truth)[snr < 25].std() > (label - truth)[snr < 25].std()


def test_errors_of_the_references_do_not_pass_for_attenuation(rng):
    clean, noisy = _fit(rng, 20_000, reference=0.0), _fit(rng, 20_000, reference=0.15)
    assert noisy.spread == pytest.approx(clean.spread, rel=0.03)
    assert noisy.strength[1] == pytest.approx(clean.strength[1], abs=0.15)


def test_a_thin_bin_takes_the_strength_of_all_stars(rng):
    label, error, reference, noise, snr, _ = _survey(rng, 3000)
    snr[snr > 100] = 99.0
    snr[:10] = 300.0
    fitted = Debiasing.fit(
        label, error, reference, noise, snr, edges=EDGES, population=(reference, noise)
    )
    assert fitted.strength[-1] == pytest.approx(fitted.overall)
    unknown = fitted.apply(label, error, np.full(3000, np.nan))[0]
    assert np.isfinite(unknown).all()


def test_a_star_that_tells_nothing_is_not_thrown_to_infinity(rng):
    fitted = _fit(rng)
    label, error = np.full((3, 1), 0.5), np.full((3, 1), 1e3)
    debiased, widened = fitted.apply(label, error, np.full(3, 20.0))
    assert np.abs(debiased + 0.2).max() <= 0.75 / (1 - MAX_SHRINKAGE)
    assert np.isfinite(widened).all()


def test_too_few_stars_leave_the_estimate_as_it_is(rng):
    label, error, reference, noise, snr, _ = _survey(rng, 50)
    fitted = Debiasing.fit(
        label, error, reference, noise, snr, edges=EDGES, population=(reference, noise)
    )
    assert fitted.apply(label, error, snr)[0] == pytest.approx(label, rel=1e-5)


def test_the_table_tells_both_estimates(rng):
    fitted = _fit(rng)
    label, error, reference, noise, snr, _ = _survey(rng, 8000)
    rows = fitted.table(label, error, reference, noise, snr, names=("mh",))
    row = {row["snr"]: row for row in rows}["15-25"]
    assert row["slope"] == pytest.approx(row["expected"], abs=0.04)
    assert row["slope_debiased"] == pytest.approx(1, abs=0.05)
    assert row["std_debiased"] > row["std"]
    assert row["poor_bias"] > 0.05 > abs(row["poor_bias_debiased"])


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-2, 1e4), st.integers(0, 99))
def test_units_do_not_matter(factor, seed):
    label, error, reference, noise, snr, _ = _survey(np.random.default_rng(seed), 500)

    def debiased(f):
        arrays = [f * array for array in (label, error, reference, noise)]
        fitted = Debiasing.fit(*arrays, snr, edges=EDGES, population=(f * reference, f * noise))
        again = Debiasing.from_arrays(fitted.to_arrays())
        return again.apply(arrays[0], arrays[1], snr)[0]

    assert debiased(factor) == pytest.approx(factor * debiased(1.0), rel=1e-3, abs=1e-3 * factor)
