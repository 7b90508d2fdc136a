import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distcnn.quality import MISSING_MODALITIES, Debiasing
from distcnn.quality.debias import LabelledEstimates, slope, slope_and_error

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
    found = LabelledEstimates(label, error, reference, noise, snr)
    return Debiasing.fit(found, edges=EDGES, population=(reference, noise))


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
    faint = np.array([20.0])
    one, two = (each._at(each.strength, faint, None) for each in (noisy, clean))
    assert one == pytest.approx(two, abs=0.15)


def test_few_stars_leave_the_strength_of_an_ideal_estimate_and_say_how_uncertain_it_is(rng):
    few, many = _fit(rng, 60), _fit(rng, 8000)
    assert np.abs(few.strength[0] - 1).max() < 1.0
    assert (few.strength_error[0, 0] > 2 * many.strength_error[0, 0]).all()
    label, error, _, _, snr, _ = _survey(rng, 2000)
    faint = snr < 25
    wide, narrow = (np.nanmedian(each.apply(label, error, snr)[1][faint]) for each in (few, many))
    assert wide > narrow


def test_slopes_of_many_small_surveys_are_one_within_their_stated_error(rng):
    """The error of k and that of the judged stars together, over surveys of 300 stars."""
    judged = _survey(rng, 20_000)
    pulls = []
    for _ in range(40):
        fitted = _fit(rng, 300)
        label, error, _, _, snr, truth = judged
        found = LabelledEstimates(label, error, truth, np.zeros_like(truth), snr)
        rows = fitted.table(found, names=("mh",), edges=EDGES)
        row = next(row for row in rows if row["snr"] == "15-25")
        pulls.append((row["slope_debiased"] - 1) / row["slope_error"])
    assert np.abs(np.mean(pulls)) < 0.6
    assert 0.3 < np.std(pulls) < 1.4


def test_stars_without_an_input_have_a_strength_of_their_own(rng):
    """Hidden inputs widen the error by more than the estimate is drawn to the mean."""
    fitted = _fit(rng, 8000)
    label, error, reference, noise, snr, truth = _survey(rng, 8000)
    lacking = LabelledEstimates(label, 1.6 * error, reference, noise, snr)
    number = MISSING_MODALITIES.index("no XP")
    own = fitted.with_missing(number, lacking)
    missing = np.full(len(snr), number + 1)
    faint = snr < 25
    for each, expected in ((own, True), (fitted, False)):
        debiased, _ = each.apply(label, 1.6 * error, snr, missing)
        good = faint & np.isfinite(debiased[:, 0])
        found, sampling = slope_and_error(
            debiased[good, 0], truth[good, 0], np.zeros(int(good.sum()))
        )
        assert (abs(found - 1) < 3 * sampling) == expected


def test_what_cannot_be_told_is_not_given(rng):
    fitted = _fit(rng)
    label = np.full((3, 1), 0.5)
    error = np.array([[0.05], [0.29], [1e3]])
    debiased, widened = fitted.apply(label, error, np.full(3, 20.0))
    assert np.isfinite(debiased).ravel().tolist() == [True, False, False]
    assert (np.isfinite(debiased) == np.isfinite(widened)).all()
    unknown = fitted.apply(label, error, np.full(3, np.nan))[0]
    assert np.isfinite(unknown[0])


def test_a_debiasing_of_packages_with_steps_is_still_read():
    arrays = {
        "mean": np.zeros(1),
        "spread": np.ones(1),
        "strength": np.array([[2.0], [1.0], [0.5]]),
        "overall": np.array([1.5]),
        "edges": np.array([15.0, 50.0]),
    }
    fitted = Debiasing.from_arrays(arrays)
    label, error = np.ones((4, 1)), np.full((4, 1), 0.4)
    debiased, widened = fitted.apply(label, error, np.array([10.0, 20.0, 80.0, np.nan]))
    free = 1 - np.array([2.0, 1.0, 0.5, 1.5]) * 0.16
    assert debiased[:, 0] == pytest.approx(1 / free)
    assert widened[:, 0] == pytest.approx(0.4 / np.sqrt(free))


def test_the_table_tells_both_estimates(rng):
    fitted = _fit(rng)
    label, error, reference, noise, snr, _ = _survey(rng, 8000)
    found = LabelledEstimates(label, error, reference, noise, snr)
    row = {row["snr"]: row for row in fitted.table(found, names=("mh",), edges=EDGES)}["15-25"]
    assert row["slope"] == pytest.approx(row["expected"], abs=0.04)
    assert row["slope_debiased"] == pytest.approx(1, abs=3 * row["slope_error"])
    assert row["slope_error"] < 0.05
    assert row["std_debiased"] > row["std"]
    assert row["poor_bias"] > 0.05 > abs(row["poor_bias_debiased"])


@settings(max_examples=8, deadline=None)
@given(st.floats(1e-2, 1e4), st.integers(0, 99))
def test_units_do_not_matter(factor, seed):
    label, error, reference, noise, snr, _ = _survey(np.random.default_rng(seed), 500)

    def debiased(f):
        arrays = [f * array for array in (label, error, reference, noise)]
        found = LabelledEstimates(*arrays, snr)
        fitted = Debiasing.fit(found, edges=EDGES, population=(f * reference, f * noise))
        again = Debiasing.from_arrays(fitted.to_arrays())
        return again.apply(arrays[0], arrays[1], snr)[0]

    assert debiased(factor) == pytest.approx(
        factor * debiased(1.0), rel=1e-3, abs=1e-3 * factor, nan_ok=True
    )
