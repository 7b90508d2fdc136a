import numpy as np
import pytest

from distcnn.config import QualityConfig
from distcnn.quality import Limits, Quality
from distcnn.quality.flags import DAMAGED, INPUT_RULES, PREDICTION_RULES
from distcnn.schema import Flag, Recommendation

STARS, PIXELS = 1200, 60
NAMES = ("teff", "logg")


def _block(rng, stars=STARS):
    at = np.arange(PIXELS)
    truth = np.stack([5000 + 300 * rng.standard_normal(stars), rng.uniform(1, 5, stars)], axis=1)
    snr = rng.uniform(15, 150, stars)
    error = np.repeat(1 / snr[:, None], PIXELS, axis=1)
    depth = 0.5 + 0.1 * (truth[:, :1] - 5000) / 300
    flux = (
        1 - depth * np.exp(-0.5 * ((at - 30) / 4) ** 2) + error * rng.standard_normal(error.shape)
    )
    sigma = np.array([60.0, 0.1]) * (20 / snr[:, None]) ** 0.5
    return {
        "flux": flux.astype(np.float32),
        "flux_error": error.astype(np.float32),
        "photometry": 12 + rng.standard_normal((stars, 3)),
        "parallax": 1 + 0.2 * rng.standard_normal(stars),
        "xp": rng.standard_normal((stars, 10)),
        "snr": snr,
        "label": truth + sigma * rng.standard_normal(truth.shape),
        "noise": sigma * rng.uniform(0.9, 1.1, sigma.shape),
        "scatter": 0.3 * sigma * rng.uniform(0.5, 1.5, sigma.shape),
        "reference": truth,
        "reference_error": np.zeros_like(truth),
    }


@pytest.fixture(scope="module")
def quality():
    rng = np.random.default_rng(5)
    return Quality.fit(_block(rng), _block(rng), QualityConfig(novelty_components=4), names=NAMES)


def _flags(quality, block):
    return quality.assess(block, block["label"], block["noise"], block["scatter"])["flags"]


def _has(flags, flag):
    return (flags & np.uint32(flag)) != 0


def test_most_stars_like_the_calibrating_ones_have_no_flag(quality, rng):
    block = _block(rng)
    judged = quality.assess(block, block["label"], block["noise"], block["scatter"])
    assert (judged["flags"] == 0).mean() > 0.9
    assert judged["flags"].dtype == np.uint32
    assert {judged[name].dtype for name in ("label_error", "novelty", "valid_pixels")} == {
        np.dtype(np.float32)
    }
    assert np.isfinite(judged["label_error"]).all()


def _hot(block):
    block["label"][0] = [12_000, 4]


def _bright(block):
    block["photometry"][0] = 1


def _near(block):
    block["parallax"][0] = 700


def _spiked(block):
    block["flux"][0, 20] += 2


def _blind(block):
    block["flux"][0] = np.nan


def _no_xp(block):
    block["xp"][0] = np.nan


def _no_rp(block):
    block["xp"][0, block["xp"].shape[1] // 2 :] = np.nan


def _zero_xp(block):
    block["xp"][0] = 0


def _no_band(block):
    block["photometry"][0, 1] = np.nan


def _no_parallax(block):
    block["parallax"][0] = np.nan


def _half(block):
    block["flux"][0, ::2] = np.nan


def _torn(block):
    block["scatter"][0] *= 4


def _broken(block):
    block["label"][0, 1] = np.nan


def _loud(block):
    block["snr"][0] = 9000


def _vague(block):
    block["noise"][0] *= 30


@pytest.mark.parametrize(
    ("spoil", "flag"),
    [
        (_hot, Flag.LABEL_LIMITS),
        (_bright, Flag.INPUT_LIMITS),
        (_near, Flag.INPUT_LIMITS),
        (_spiked, Flag.NOVEL_SPECTRUM),
        (_blind, Flag.NO_SPECTRUM),
        (_no_xp, Flag.NO_XP),
        (_no_rp, Flag.NO_XP),
        (_zero_xp, Flag.NO_XP),
        (_no_band, Flag.NO_PHOTOMETRY),
        (_no_parallax, Flag.NO_PARALLAX),
        (_half, Flag.FEW_PIXELS),
        (_torn, Flag.MEMBERS_DISAGREE),
        (_broken, Flag.NON_FINITE),
        (_loud, Flag.UNCALIBRATED),
        (_vague, Flag.POPULATION_LABEL),
    ],
)
def test_every_flag_is_raised_by_its_cause_and_by_it_alone(quality, rng, spoil, flag):
    block = _block(rng, 200)
    clean = _flags(quality, block)
    first = int(np.flatnonzero(clean == 0)[0])
    block = {name: np.roll(values, -first, axis=0) for name, values in block.items()}
    spoil(block)
    flags = _flags(quality, block)
    assert flags[0] == np.uint32(flag)
    assert np.array_equal(flags[1:], np.roll(clean, -first)[1:])


def test_every_flag_has_one_rule_and_those_of_damaged_stars_are_told():
    rules = (*INPUT_RULES, *PREDICTION_RULES)
    by_others = [Flag.NOT_COMPUTED, Flag.NOT_AT_REST]  # of the region, of the survey
    assert sorted([*(rule.flag for rule in rules), *by_others]) == sorted(Flag)
    damaged = Flag.NOVEL_SPECTRUM | Flag.NO_SPECTRUM | Flag.FEW_PIXELS | Flag.INPUT_LIMITS
    assert Flag(int(DAMAGED)) == damaged | Flag.NON_FINITE


def test_the_prior_ratio_is_the_error_over_the_spread_of_the_population(quality, rng):
    block = _block(rng, 300)
    last = np.zeros((300, len(NAMES)))
    for factor in (0.5, 1.0, 3.0, 30.0):
        judged = quality.assess(block, block["label"], factor * block["noise"], block["scatter"])
        spread = judged["label_error"] / judged["label_prior_ratio"]
        np.testing.assert_allclose(spread, np.tile([300, 4 / np.sqrt(12)], (300, 1)), rtol=0.1)
        assert (judged["label_prior_ratio"] > last).all()
        last = judged["label_prior_ratio"]
        flagged = _has(judged["flags"], Flag.POPULATION_LABEL)
        np.testing.assert_array_equal(flagged, (last > quality.settings.prior_ratio).any(axis=1))
    assert flagged.all()


def test_a_star_that_is_not_finite_has_no_error(quality, rng):
    block = _block(rng, 3)
    block["noise"][1, 0] = np.inf
    judged = quality.assess(block, block["label"], block["noise"], block["scatter"])
    assert np.isnan(judged["label_error"][1]).all()
    assert np.isfinite(judged["label_error"][[0, 2]]).all()


def test_a_label_without_an_error_says_nothing_against_the_others(rng):
    known = _block(rng)
    known["reference"] = np.array(known["reference"])
    known["reference"][15:, 1] = np.nan
    fitted = Quality.fit(_block(rng), known, QualityConfig(novelty_components=4), names=NAMES)
    block = _block(rng, 200)
    judged = fitted.assess(block, block["label"], block["noise"], block["scatter"])
    assert np.isnan(judged["label_error"]).all(axis=0).tolist() == [False, True]
    alone = judged["flags"] == np.uint32(Flag.UNCALIBRATED)
    assert alone.mean() > 0.8
    assert (
        judged["label_recommendation"][alone] == [Recommendation.USE, Recommendation.CARE]
    ).all()


def test_a_modality_that_the_survey_lacks_is_not_missing(rng):
    def photometric(block):
        return {k: v for k, v in block.items() if k not in ("flux", "flux_error", "xp", "snr")}

    fitted = Quality.fit(photometric(_block(rng)), photometric(_block(rng)), QualityConfig())
    block = photometric(_block(rng, 100))
    judged = fitted.assess(block, block["label"], block["noise"], block["scatter"])
    unseen = Flag.NO_SPECTRUM | Flag.NO_XP | Flag.FEW_PIXELS | Flag.UNCALIBRATED
    assert not _has(judged["flags"], unseen).any()
    assert np.isnan(judged["novelty"]).all()
    assert np.isnan(judged["valid_pixels"]).all()


def test_modalities_of_no_width_count_as_absent(quality, rng):
    block = _block(rng, 50)
    empty = dict(block, xp=np.empty((50, 0)), photometry=np.empty((50, 0)))
    assert not _has(_flags(quality, empty), Flag.NO_XP | Flag.NO_PHOTOMETRY).any()


def test_quality_survives_its_arrays(quality, rng):
    block = _block(rng, 300)
    again = Quality.from_arrays(quality.to_arrays())
    one, two = (
        q.assess(block, block["label"], block["noise"], block["scatter"]) for q in (quality, again)
    )
    assert all(np.array_equal(one[name], two[name], equal_nan=True) for name in one)
    assert again.settings == quality.settings


def test_quality_without_spectra_survives_its_arrays(rng):
    block = {k: v for k, v in _block(rng).items() if not k.startswith("flux")}
    again = Quality.from_arrays(Quality.fit(block, block, QualityConfig()).to_arrays())
    assert again.novelty is None


def test_damaged_stars_do_not_widen_the_errors(rng):
    settings = QualityConfig(novelty_components=4)
    train, held_out = _block(rng), _block(rng)
    sane = Quality.fit(train, held_out, settings, names=NAMES)
    spoilt = {name: values.copy() for name, values in held_out.items()}
    spoilt["flux"][:120, 20] += 3
    spoilt["label"][:120] += [2000, 3]
    fitted = Quality.fit(train, spoilt, settings, names=NAMES)
    assert fitted.calibration.overall == pytest.approx(sane.calibration.overall, rel=0.05)


def test_the_published_coverage_is_near_two_thirds(quality, rng):
    rows = quality.coverage(_block(rng), NAMES)
    whole = [row for row in rows if row["snr"] == row["cell"] == "all"]
    assert [row["label"] for row in whole] == list(NAMES)
    assert all(row["within_68"] == pytest.approx(0.683, abs=0.06) for row in whole)
    assert whole[0]["stars"] < STARS
    everyone = quality.coverage(_block(rng), NAMES, unflagged=False)
    assert everyone[0]["stars"] == STARS


def test_limits_leave_the_tails_outside():
    label = np.arange(1001.0)[:, None]
    limits = Limits.fit(label, None, None, 0.01)
    assert limits.label.tolist() == [[10.0, 990.0]]
    assert limits.labels_outside(np.array([[9.0], [10.0], [990.0], [991.0], [np.nan]]))[
        :, 0
    ].tolist() == [
        True,
        False,
        False,
        True,
        False,
    ]


def test_limits_without_inputs_cannot_judge_inputs():
    limits = Limits.fit(np.zeros((3, 1)), None, None, 0.0)
    with pytest.raises(ValueError, match="neither photometry nor parallax"):
        limits.outside_inputs(None, None)
    assert not limits.outside_inputs(np.full((2, 1), 99.0), np.zeros(2)).any()
