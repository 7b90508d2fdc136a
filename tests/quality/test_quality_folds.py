"""Quality from stars out of fold, whose labels are the means of fewer members."""

import numpy as np
import pytest

from distcnn.config import QualityConfig
from distcnn.quality import Quality

SETTINGS = QualityConfig(novelty_components=4)
MEMBERS, SEEDS, OWN = 8, 0.06, 0.1


def stars(rng, count, members):
    """Labels that are means of so many members, each off by its seed; ``scatter`` as expected."""
    truth = rng.standard_normal((count, 1))
    label = truth + OWN * rng.standard_normal((count, 1))
    label += SEEDS / np.sqrt(members) * rng.standard_normal((count, 1))
    snr = rng.uniform(20, 100, count)
    found = {
        "reference": truth,
        "reference_error": np.zeros((count, 1)),
        "snr": snr,
        "label": label,
        "noise": np.full((count, 1), 0.12),
        "scatter": np.full((count, 1), SEEDS),
    }
    return {name: array.astype(np.float32) for name, array in found.items()}


def out_of_fold(rng, count):
    excess = SEEDS * np.sqrt(1 - 1 / MEMBERS)
    more = {"fewer_members_error": np.full((count, 1), excess), "fold": rng.integers(0, 8, count)}
    return stars(rng, count, members=1) | more


def test_errors_out_of_fold_hold_for_labels_of_the_whole_ensemble(rng):
    seen = out_of_fold(rng, 4000)
    fitted = Quality.fit(seen, seen, SETTINGS, names=("mh",), members=MEMBERS)
    new = stars(rng, 20_000, members=MEMBERS)
    within = [row["within_68"] for row in fitted.coverage(new, ("mh",)) if row["snr"] == "all"]
    assert within[0] == pytest.approx(0.683, abs=0.02)
    naive = {k: v for k, v in seen.items() if k != "fewer_members_error"}
    wide = Quality.fit(naive, naive, SETTINGS, names=("mh",), members=MEMBERS)
    within = [row["within_68"] for row in wide.coverage(new, ("mh",)) if row["snr"] == "all"]
    assert within[0] > 0.73
    own = [row["within_68"] for row in fitted.coverage(seen, ("mh",)) if row["snr"] == "all"]
    assert own[0] == pytest.approx(0.683, abs=0.02)


def test_scatter_of_new_stars_is_a_sample_and_seldom_a_disagreement(rng):
    seen = out_of_fold(rng, 4000)
    fitted = Quality.fit(seen, seen, SETTINGS, names=("mh",), members=MEMBERS)
    new = stars(rng, 20_000, members=MEMBERS)
    draw = rng.chisquare(MEMBERS - 1, new["scatter"].shape) / (MEMBERS - 1)
    sampled = new["scatter"] * np.sqrt(draw)
    assert (
        sampled > fitted.disagreement * fitted.calibration.apply(new["noise"], sampled, new["snr"])
    ).mean() == pytest.approx(1 - SETTINGS.disagreement_quantile, abs=0.005)


def test_novelty_of_a_star_is_measured_against_spectra_that_are_not_its_own(rng):
    """In a reference of as many components as there are pixels every own spectrum would fit."""
    count, pixels = 160, 40
    flux = 1 + 0.1 * rng.standard_normal((count, pixels))
    seen = out_of_fold(rng, count) | {
        "flux": flux.astype(np.float32),
        "flux_error": np.full((count, pixels), 0.01, np.float32),
    }
    settings = SETTINGS.model_copy(update={"novelty_components": 20})
    fitted = Quality.fit(seen, seen, settings, names=("mh",), members=MEMBERS)
    new = (1 + 0.1 * rng.standard_normal((4000, pixels))).astype(np.float32)
    score = fitted.novelty.score(new, np.full(new.shape, 0.01, np.float32))
    plain = {k: v for k, v in seen.items() if k != "fold"}
    naive = Quality.fit(plain, plain, settings, names=("mh",), members=MEMBERS)
    beyond = (score > fitted.novelty.threshold).mean()
    assert beyond < 0.5 * (score > naive.novelty.threshold).mean()
