import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distcnn.quality import (
    LABEL_STRATA,
    MISSING_MAGNITUDES,
    MISSING_MODALITIES,
    Calibration,
    bin_name,
    coverage_table,
    label_strata,
    snr_bins,
)
from distcnn.quality.calibration.error_deconvolution import ReferenceResiduals
from distcnn.quality.calibration.label_nodes import NODE_QUANTILES, LabelNodes
from distcnn.quality.calibration.smooth_scale import nodes_at

NEW = {"width_95", "transition", "along_labels", "label_columns", "label_nodes", "magnitudes"}
"""Arrays that packages of before scales were smooth do not have."""
EDGES = (15.0, 25.0, 50.0, 100.0)


def _survey(rng, stars, *, belief=1.0, knows_reference=True, reference=0.02, labels=2):
    """Residuals, the network's noise and scatter, reference errors, S/N and the true error."""
    snr = np.minimum(15 * rng.random(stars) ** (-1 / 0.794), 600)
    sigma = 0.1 * (20 / snr[:, None]) ** 0.5 * np.ones((1, labels))
    error = np.full((stars, labels), reference)
    residual = np.hypot(sigma, error) * rng.standard_normal((stars, labels))
    learned = sigma if knows_reference else np.hypot(sigma, error)
    scatter = 0.2 * learned
    noise = learned / belief * np.sqrt(1 - 0.04)
    return residual, noise, scatter / belief, error, snr, sigma


def _coverage_of_truth(rng, fitted, **kind):
    _, noise, scatter, _, snr, sigma = _survey(rng, 20_000, **kind)
    truth = sigma * rng.standard_normal(sigma.shape)
    return np.abs(truth) <= fitted.apply(noise, scatter, snr), snr


@pytest.mark.parametrize("belief", [0.5, 1.0, 3.0])
def test_two_thirds_of_true_errors_lie_within_the_calibrated_one(rng, belief):
    kind = {"belief": belief}
    residual, noise, scatter, error, snr, _ = _survey(rng, 2000, **kind)
    fitted = Calibration.fit(residual, noise, scatter, error, snr, edges=EDGES)
    inside, snr = _coverage_of_truth(rng, fitted, **kind)
    assert inside.mean(axis=0) == pytest.approx(0.683, abs=0.035)
    assert inside[(snr > 15) & (snr < 25)].mean(axis=0) == pytest.approx(0.683, abs=0.035)


def test_noise_of_the_references_is_not_charged_to_the_star(rng):
    kind = {"reference": 0.1}
    fitted = Calibration.fit(*_survey(rng, 5000, **kind)[:5], edges=EDGES)
    residual, noise, scatter, _, snr, sigma = _survey(rng, 5000, **kind)
    faint = snr < 25
    quoted = fitted.apply(noise, scatter, snr)[faint]
    assert np.median(quoted / sigma[faint]) == pytest.approx(1.0, abs=0.12)
    assert np.median(quoted / residual[faint].std()) < 0.85


def test_scale_follows_the_snr_where_belief_is_wrong_for_faint_stars_only(rng):
    residual, noise, scatter, error, snr, _ = _survey(rng, 6000)
    faint = snr < 25
    noise[faint] /= 2
    scatter[faint] /= 2
    fitted = Calibration.fit(residual, noise, scatter, error, snr, edges=EDGES)
    assert fitted.scale[0] == pytest.approx(2.0, abs=0.35)
    assert fitted.scale[-1] == pytest.approx(1.0, abs=0.25)


def test_a_thin_bin_goes_with_its_neighbours_as_far_as_its_stars_do_not_tell(rng):
    residual, noise, scatter, error, _, _ = _survey(rng, 1004)
    snr = np.concatenate([np.full(1000, 20.0), np.full(4, 200.0)])
    noise[1000:] *= residual[1000:].std() / 0.1
    residual[1000:] *= 0.1
    fitted = Calibration.fit(residual, noise, scatter, error, snr, edges=EDGES)
    # That four residuals are small is no proof that errors are.
    assert (fitted.scale[-1] > 0.75 * fitted.scale[0]).all()
    assert (fitted.scale[-1] < 1.25 * fitted.scale[0]).all()


def test_few_stars_make_an_interval_that_is_wider_and_right_on_average(rng):
    """Coverage over many calibrations, of errors with tails; a plug-in scale would fall short."""
    truth = _survey(rng, 20_000)
    within_68, within_95, width = [], [], []
    for _ in range(25):
        residual, noise, scatter, error, snr, sigma = _survey(rng, 60, reference=0.0)
        residual = sigma * rng.standard_t(5, residual.shape)
        fitted = Calibration.fit(residual, noise, scatter, error, snr, edges=EDGES)
        quoted = fitted.apply(truth[1], truth[2], truth[4])
        new = np.abs(truth[5] * rng.standard_t(5, quoted.shape))
        within_68.append((new <= quoted).mean())
        within_95.append((new <= fitted.width_95 * quoted).mean())
        width.append(fitted.width_95.mean())
    assert np.mean(within_68) == pytest.approx(0.683, abs=0.03)
    assert np.mean(within_95) == pytest.approx(0.954, abs=0.02)
    assert np.mean(width) > 2.05


def test_references_that_explain_every_residual_leave_a_finite_error(rng):
    _, noise, scatter, _, snr, _ = _survey(rng, 100)
    error = np.full_like(noise, 10.0)
    residual = 3 * rng.standard_normal(noise.shape)
    label = rng.uniform(-2, 5, noise.shape)
    fitted = Calibration.fit(
        residual, noise, scatter, error, snr, edges=EDGES, label=label, names=("logg", "mh")
    )
    ratio = fitted.apply(noise, scatter, snr, label) / np.hypot(noise, scatter)
    assert ((ratio > 0.01) & (ratio < 100)).all()


def test_a_few_references_that_are_wrong_do_not_widen_the_errors_of_their_bin(rng):
    """Networks that say four times too much: 8 of their sigmas are 32 of what is right."""
    residual, noise, scatter, error, snr, _ = _survey(rng, 2000, belief=0.25)
    wrong = np.flatnonzero(snr > 100)[:5]
    residual[wrong] = 10.0
    fitted = Calibration.fit(residual, noise, scatter, error, snr, edges=EDGES)
    inside, snr = _coverage_of_truth(rng, fitted, belief=0.25)
    assert inside[snr > 100].mean(axis=0) == pytest.approx(0.683, abs=0.06)
    assert fitted.width_95 == pytest.approx(2.0, abs=0.2)


def test_errors_of_references_do_not_stretch_the_interval_of_95_percent(rng):
    kind = {"reference": 0.06}
    residual, noise, scatter, error, snr, _ = _survey(rng, 4000, **kind)
    fitted = Calibration.fit(residual, noise, scatter, error, snr, edges=EDGES)
    _, noise, scatter, _, snr, sigma = _survey(rng, 20_000, **kind)
    truth = np.abs(sigma * rng.standard_normal(sigma.shape))
    wide = fitted.width_95 * fitted.apply(noise, scatter, snr)
    assert (truth <= wide).mean(axis=0) == pytest.approx(0.954, abs=0.015)


def test_scales_of_neighbouring_stars_do_not_jump(rng):
    residual, noise, scatter, error, snr, _ = _survey(rng, 3000)
    label = np.stack([rng.uniform(1, 5, 3000), rng.normal(-0.5, 0.6, 3000)], axis=1)
    residual[(snr < 25) | (label[:, 0] < 3.5)] *= 1.6
    fitted = Calibration.fit(
        residual, noise, scatter, error, snr, edges=EDGES, label=label, names=("logg", "mh")
    )
    one = np.ones((400, 2))
    along = np.geomspace(10, 300, 400)
    same = np.tile([4.5, 0.0], (400, 1))
    total = fitted.apply(one, 0 * one, along, same)
    assert np.abs(np.diff(np.log(total), axis=0)).max() < 0.02
    gravity = np.stack([np.linspace(2.5, 4.5, 400), np.zeros(400)], axis=1)
    total = fitted.apply(one, 0 * one, np.full(400, 30.0), gravity)
    assert total[0, 0] > 1.2 * total[-1, 0]
    assert np.abs(np.diff(np.log(total), axis=0)).max() < 0.02


def test_a_calibration_of_packages_before_scales_were_smooth_is_still_read(rng):
    residual, noise, scatter, error, snr, _ = _survey(rng, 400)
    fitted = Calibration.fit(residual, noise, scatter, error, snr, edges=EDGES)
    arrays = fitted.to_arrays()
    old = {k: v for k, v in arrays.items() if k not in NEW}
    assert arrays.keys() >= NEW
    old["hidden"] = np.full((len(MISSING_MODALITIES), 2), 1.5)
    old["cell"] = np.array([[1.0, 1.0], [2.0, 2.0], [1.0, 1.0]])
    again = Calibration.from_arrays(old | {"index": np.array([0, 1])})
    assert again.width_95.tolist() == [2.0, 2.0]
    one, missing = np.ones((2, 2)), np.array([0, 1])
    label = np.array([[3.4999, 0.0], [3.5001, 0.0]])
    total = again.apply(one, 0 * one, np.array([20.0, 20.0]), label, missing)
    assert total[0] / total[1] == pytest.approx(2 / 1.5, rel=1e-5)


def test_a_cell_with_larger_errors_is_given_them(rng):
    residual, noise, scatter, error, snr, _ = _survey(rng, 6000)
    label = np.stack([np.where(rng.random(6000) < 0.3, 2.0, 4.5), np.zeros(6000)], axis=1)
    residual[label[:, 0] < 3.5] *= 2
    fitted = Calibration.fit(
        residual, noise, scatter, error, snr, edges=EDGES, label=label, names=("logg", "mh")
    )
    giant, dwarf = LABEL_STRATA.index("giant"), LABEL_STRATA.index("dwarf")
    assert (fitted.stratum[giant] > 1.3 * fitted.stratum[dwarf]).all()
    # Nobody knows of metal-poor stars here: their errors are wider, not those of the others.
    assert (fitted.stratum[LABEL_STRATA.index("metal-poor")] > 1).all()
    total = fitted.apply(noise, scatter, snr, label)
    plain = fitted.apply(noise, scatter, snr)
    assert (total[label[:, 0] < 3.5] > plain[label[:, 0] < 3.5]).all()


def test_errors_go_with_a_label_inside_a_stratum(rng):
    residual, noise, scatter, error, snr, _ = _survey(rng, 4000, reference=0.01)
    label = np.stack([rng.uniform(4000, 7000, 4000), np.full(4000, 4.5)], axis=1)
    residual *= np.exp((label[:, :1] - 5500) / 3000)
    names = ("teff", "logg")
    fitted = Calibration.fit(
        residual, noise, scatter, error, snr, edges=EDGES, label=label, names=names
    )
    cool, hot = label[:, 0] < 4500, label[:, 0] > 6500
    inside = np.abs(residual) <= np.hypot(fitted.apply(noise, scatter, snr, label), error)
    for rows in (cool, hot):
        assert inside[rows].mean(axis=0) == pytest.approx(0.683, abs=0.05)
    plain = Calibration.fit(residual, noise, scatter, error, snr, edges=EDGES)
    wrong = np.abs(residual) <= np.hypot(plain.apply(noise, scatter, snr), error)
    assert (wrong[cool].mean(axis=0) > 0.75).all()
    assert (wrong[hot].mean(axis=0) < 0.62).all()


def test_label_nodes_interpolate_as_their_weights_say(rng):
    label = np.stack([rng.uniform(4000, 7000, 300), rng.normal(-0.3, 0.5, 300)], axis=1)
    label[0] = np.nan
    nodes = LabelNodes.of(label, ("teff", "feh"))
    log = rng.normal(size=(nodes.places.size, 3))
    assert nodes.columns.tolist() == [0, 1]
    assert nodes.log_factor(label, log) == pytest.approx(nodes.weights(label) @ log)
    assert nodes.weights(label).sum(axis=1) == pytest.approx(2.0)


@pytest.mark.parametrize("alike", [0.0, 0.5, 0.97, 0.999])
def test_nodes_at_quantiles_ascend_in_float32_where_values_repeat(rng, alike):
    values = np.where(rng.random(5000) < alike, 5000.0, rng.normal(5000, 300, 5000))
    places = nodes_at(values.astype(np.float32), NODE_QUANTILES)
    assert (np.diff(places.astype(np.float32)) > 0).all()
    assert np.abs(places - np.quantile(values, NODE_QUANTILES)).max() < 0.01 * np.ptp(values)


def test_labels_that_are_all_alike_or_have_other_names_make_no_axis():
    alike = np.ones((50, 2))
    assert not LabelNodes.of(alike, ("teff", "logg")).columns.size
    assert not LabelNodes.of(np.arange(100.0).reshape(50, 2), ("vsini", "age")).columns.size


def test_cells_are_those_of_gravity_and_metallicity():
    label = np.array([[4.5, 0.0], [2.0, 0.0], [2.0, -1.5]])
    assert label_strata(label, (0, 1)).tolist() == [0, 1, 2]
    assert label_strata(label, (-1, -1)).tolist() == [0, 0, 0]


def test_stars_outside_the_calibrated_snr_are_not_supported(rng):
    fitted = Calibration.fit(*_survey(rng, 500)[:5], edges=EDGES)
    low, high = fitted.snr_range
    snr = np.array([low / 2, low, high, 2 * high, np.nan])
    supported = fitted.supported(snr)
    assert supported[:, 0].tolist() == [False, True, True, False, False]
    assert (supported == supported[:, :1]).all()


def test_a_survey_without_snr_is_calibrated_as_a_whole(rng):
    residual, noise, scatter, error, _, _ = _survey(rng, 500)
    snr = np.full(500, np.nan)
    fitted = Calibration.fit(residual, noise, scatter, error, snr, edges=EDGES)
    assert fitted.counts.sum(axis=0).tolist() == [500, 500]
    assert fitted.supported(snr).all()
    _, noise, scatter, _, _, sigma = _survey(rng, 20_000)
    truth = sigma * rng.standard_normal(sigma.shape)
    inside = np.abs(truth) <= fitted.apply(noise, scatter, np.full(20_000, np.nan))
    assert inside.mean(axis=0) == pytest.approx(0.683, abs=0.05)


def test_a_label_without_references_is_never_supported(rng):
    residual, noise, scatter, error, snr, _ = _survey(rng, 500)
    residual[:, 1] = np.nan
    fitted = Calibration.fit(residual, noise, scatter, error, snr, edges=EDGES)
    assert fitted.supported(snr).all(axis=0).tolist() == [True, False]
    total = fitted.apply(noise, scatter, snr)
    assert np.isfinite(total).all(axis=0).tolist() == [True, False]
    assert np.isnan(total[:, 1]).all()


def test_a_calibration_survives_its_arrays(rng):
    residual, noise, scatter, error, snr, _ = _survey(rng, 800)
    label = rng.uniform(-2, 5, residual.shape)
    fitted = Calibration.fit(
        residual, noise, scatter, error, snr, edges=EDGES, label=label, names=("logg", "mh")
    )
    again = Calibration.from_arrays(fitted.to_arrays())
    assert np.array_equal(
        again.apply(noise, scatter, snr, label), fitted.apply(noise, scatter, snr, label)
    )
    assert np.array_equal(again.supported(snr), fitted.supported(snr))


@settings(max_examples=8, deadline=None)
@given(st.floats(1e-3, 1e4), st.integers(0, 1000))
def test_errors_have_the_unit_of_their_label(factor, seed):
    rng = np.random.default_rng(seed)
    residual, noise, scatter, error, snr, _ = _survey(rng, 300)
    one = Calibration.fit(residual, noise, scatter, error, snr, edges=EDGES)
    two = Calibration.fit(
        factor * residual, factor * noise, factor * scatter, factor * error, snr, edges=EDGES
    )
    assert two.apply(factor * noise, factor * scatter, snr) == pytest.approx(
        factor * one.apply(noise, scatter, snr), rel=1e-4
    )


@settings(max_examples=8, deadline=None)
@given(st.floats(1.0, 5.0), st.integers(0, 1000))
def test_larger_residuals_never_make_smaller_errors(factor, seed):
    rng = np.random.default_rng(seed)
    residual, noise, scatter, _, snr, _ = _survey(rng, 300)
    none = np.zeros_like(residual)
    one = Calibration.fit(residual, noise, scatter, none, snr, edges=EDGES)
    two = Calibration.fit(factor * residual, noise, scatter, none, snr, edges=EDGES)
    assert (two.overall >= one.overall * (1 - 1e-12)).all()


def test_bins_of_snr_have_names():
    snr = np.array([10.0, 15.0, 24.9, 300.0, np.nan, 0.0])
    assert snr_bins(snr, EDGES).tolist() == [0, 1, 1, 4, -1, -1]
    assert [bin_name(n, EDGES) for n in (-1, 0, 1, 4)] == ["unknown", "< 15", "15-25", ">= 100"]


def test_the_coverage_table_tells_true_errors_from_small_ones(rng):
    error = np.full((4000, 2), 0.1)
    residual = error * rng.standard_normal(error.shape) * [1, 3]
    table = coverage_table(
        residual, error, np.zeros_like(error), np.full(4000, 20.0), edges=EDGES, names=("a", "b")
    )
    rows = {(row["label"], row["snr"]): row for row in table}
    assert rows["a", "all"]["within_68"] == pytest.approx(0.683, abs=0.03)
    assert rows["a", "15-25"]["within_95"] == pytest.approx(0.954, abs=0.02)
    assert rows["b", "all"]["within_68"] < 0.35
    assert rows["b", "all"]["pull_mad"] == pytest.approx(3, rel=0.1)


def test_the_coverage_table_counts_nothing_where_nothing_is_known():
    nothing = np.full((5, 1), np.nan)
    table = coverage_table(
        nothing, np.ones((5, 1)), nothing, np.full(5, 20.0), edges=EDGES, names=("a",)
    )
    assert [row["stars"] for row in table] == [0, 0]


def test_stars_that_lack_something_get_an_error_of_their_own(rng):
    residual, noise, scatter, error, snr, _ = _survey(rng, 4000)
    label = np.zeros_like(residual)
    fitted = Calibration.fit(residual, noise, scatter, error, snr, edges=EDGES)
    found = ReferenceResiduals(3 * residual, np.hypot(noise, scatter), 3 * error)
    fitted = fitted.with_missing(1, found, snr, label)
    missing = np.full(4000, MISSING_MODALITIES.index("no parallax") + 1)
    whole = fitted.apply(noise, scatter, snr, label)
    lacking = fitted.apply(noise, scatter, snr, label, missing)
    assert np.median(lacking / whole) == pytest.approx(3, abs=0.15)
    assert fitted.missing_modality[0] == pytest.approx(1)


@pytest.mark.parametrize("times", [1.0, 3.0, 12.0])
def test_stars_that_lack_magnitudes_get_an_error_of_their_own(rng, times):
    residual, noise, scatter, error, snr, _ = _survey(rng, 4000)
    label = np.zeros_like(residual)
    fitted = Calibration.fit(residual, noise, scatter, error, snr, edges=EDGES)
    found = ReferenceResiduals(times * residual, np.hypot(noise, scatter), times * error)
    number = MISSING_MAGNITUDES.index("magnitudes are missing")
    fitted = fitted.with_missing_magnitude(number, found, snr, label)
    again = Calibration.from_arrays(fitted.to_arrays())
    whole = fitted.apply(noise, scatter, snr, label)
    for place in range(len(MISSING_MAGNITUDES)):
        lacks = np.full(4000, place + 1)
        lacking = again.apply(noise, scatter, snr, label, magnitudes=lacks)
        right = times if place == number else 1.0
        assert np.median(lacking / whole) == pytest.approx(right, rel=0.06)


def test_lopsided_residuals_give_a_lopsided_interval(rng):
    residual, noise, scatter, _, snr, _ = _survey(rng, 8000, reference=0.0)
    residual = np.where(residual > 0, 1.5 * residual, residual)
    label = np.stack([np.full(8000, 4.5), np.zeros(8000)], axis=1)
    none = np.zeros_like(residual)
    fitted = Calibration.fit(
        residual, noise, scatter, none, snr, edges=EDGES, label=label, names=("logg", "mh")
    )
    low, high = fitted.interval(fitted.apply(noise, scatter, snr, label), label)
    assert np.median(low / high) == pytest.approx(1.5, abs=0.15)
    # residual = label - truth: the truth lies below a label that is too large.
    assert (residual > low).mean() == pytest.approx(0.159, abs=0.02)
    assert (-residual > high).mean() == pytest.approx(0.159, abs=0.02)
