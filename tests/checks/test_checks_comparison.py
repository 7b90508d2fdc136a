"""Labels against other labels: what must pass, and what must fail, with numbers known before."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distcnn.checks import Verdict
from distcnn.checks.comparison.clusters import ALL, cluster_rows, judge_clusters
from distcnn.checks.comparison.external import (
    MatchedStars,
    external_rows,
    judge_external,
    slope,
    trend,
)
from distcnn.checks.comparison.halo import halo_rows, judge_halo
from distcnn.checks.comparison.matching import match_identifiers, match_sky
from distcnn.checks.comparison.repeats import judge_repeats, repeat_deviations, repeat_rows
from distcnn.checks.comparison.stability import judge_stability, stability_rows

NAMES = ("teff", "logg", "mh")
ERRORS = np.array([80.0, 0.15, 0.08])
EDGES = (15.0, 25.0, 50.0)


def stars(rng, count=3000, poor=0.2):
    mh = np.where(
        rng.random(count) < poor, rng.uniform(-2.4, -1, count), rng.normal(-0.2, 0.3, count)
    )
    truth = np.stack([rng.uniform(4000, 6500, count), rng.uniform(0.5, 4.8, count), mh], axis=1)
    error = np.tile(ERRORS, (count, 1))
    return (
        truth,
        truth + error * rng.standard_normal(truth.shape),
        error,
        rng.uniform(15, 60, count),
    )


class TestHalo:
    def test_unbiased_labels_pass_down_to_the_published_limit(self, rng):
        truth, label, error, snr = stars(rng)
        answer = judge_halo(NAMES, halo_rows(NAMES, label, error, truth, snr))
        assert answer.verdict is Verdict.PASSED
        assert "down to [M/H] = -2.4" in answer.sentence

    def test_labels_pulled_to_the_mean_fail_and_the_bias_is_told(self, rng):
        truth, label, error, snr = stars(rng)
        label[:, 2] = -0.2 + 0.5 * (label[:, 2] + 0.2)
        answer = judge_halo(NAMES, halo_rows(NAMES, label, error, truth, snr))
        assert answer.verdict is Verdict.FAILED
        assert "the largest is mh at -2.4 to -2: +1 +-" in answer.sentence

    def test_a_survey_without_halo_stars_decides_nothing_and_says_how_many_there_were(self, rng):
        truth, label, error, snr = stars(rng, poor=0)
        truth[:, 2] = label[:, 2] = np.maximum(truth[:, 2], -0.9)
        answer = judge_halo(NAMES, halo_rows(NAMES, label, error, truth, snr))
        assert answer.verdict is Verdict.UNDECIDED
        assert "the fullest has 0" in answer.sentence

    def test_without_a_metallicity_there_is_no_question(self):
        assert judge_halo(("teff",), ()).verdict is Verdict.UNDECIDED


class TestRepeats:
    def test_repeats_within_their_errors_pass(self, rng):
        star, label, error, snr = self.observed(rng, 1.0)
        rows = repeat_rows(NAMES, star, label, error, snr=snr, edges=EDGES)
        whole = [row for row in rows if row["snr"] == "all"]
        assert [row["ratio"] for row in whole] == pytest.approx([1, 1, 1], abs=0.05)
        assert judge_repeats(rows).verdict is Verdict.PASSED

    def test_errors_that_are_too_small_fail(self, rng):
        star, label, error, snr = self.observed(rng, 1.5)
        answer = judge_repeats(repeat_rows(NAMES, star, label, error, snr=snr, edges=EDGES))
        assert answer.verdict is Verdict.FAILED
        assert "12 of 12" in answer.sentence

    def test_stars_seen_once_decide_nothing(self, rng):
        _truth, label, error, snr = stars(rng, 200)
        rows = repeat_rows(NAMES, np.arange(200), label, error, snr=snr, edges=EDGES)
        assert judge_repeats(rows).verdict is Verdict.UNDECIDED

    @given(st.integers(2, 6), st.integers(0, 2**32 - 1))
    def test_deviations_have_unit_variance_whatever_the_number_of_spectra(self, spectra, seed):
        rng = np.random.default_rng(seed)
        star = np.repeat(np.arange(400), spectra)
        error = rng.uniform(0.5, 2, len(star))
        label = 7.0 * star + error * rng.standard_normal(len(star))
        deviation, free = repeat_deviations(star, label, error)
        assert free.sum() == pytest.approx(400 * (spectra - 1))
        assert np.mean(deviation**2) == pytest.approx(1, abs=6 / np.sqrt(400 * (spectra - 1)))

    @staticmethod
    def observed(rng, width):
        truth, _, error, snr = stars(rng, 4000)
        star = np.tile(np.arange(4000), 3)
        truth, error, snr = (np.concatenate([a] * 3) for a in (truth, error, snr))
        return star, truth + width * error * rng.standard_normal(truth.shape), error, snr


class TestStability:
    def test_two_trainings_within_their_errors_pass(self, rng):
        _, label, error, snr = stars(rng)
        again = label + 0.4 * error * rng.standard_normal(label.shape)
        assert self.judged(label, again, error, snr).verdict is Verdict.PASSED

    def test_another_network_that_only_the_dice_made_fails(self, rng):
        _, label, error, snr = stars(rng)
        again = label.copy()
        again[:, 1] += 2 * error[:, 1] * rng.standard_normal(len(label))
        answer = self.judged(label, again, error, snr)
        assert answer.verdict is Verdict.FAILED
        assert "the largest is logg" in answer.sentence

    def test_a_shift_of_all_stars_fails(self, rng):
        _, label, error, snr = stars(rng)
        answer = self.judged(label, label + 0.9 * error, error, snr)
        assert answer.verdict is Verdict.FAILED

    def test_labels_in_another_order_fail(self, rng):
        _, label, error, snr = stars(rng)
        assert self.judged(label, label[:, ::-1], error, snr).verdict is Verdict.FAILED

    @staticmethod
    def judged(first, second, error, snr):
        rows = stability_rows(
            NAMES, first, second, error=error, scatter=error / 4, snr=snr, edges=EDGES
        )
        json.dumps(rows, allow_nan=False)
        return judge_stability(rows)


class TestMatching:
    def test_rows_of_the_same_identifier_are_paired_and_the_first_of_a_catalogue_counts(self):
        wanted, known = np.array([5, 9, 7, 5]), np.array([7, 5, 5, 1])
        here, there = match_identifiers(wanted, known)
        assert here.tolist() == [0, 2, 3]
        assert there.tolist() == [1, 0, 1]

    def test_an_empty_catalogue_matches_nothing(self):
        here, there = match_identifiers(np.array([1]), np.array([], int))
        assert not len(here)
        assert not len(there)
        assert not len(match_sky(np.ones(1), np.ones(1), np.ones(0), np.ones(0), 1.0)[0])

    @given(st.floats(0, 360), st.floats(-89.9, 89.9), st.floats(0.01, 0.9))
    def test_the_nearest_within_the_radius_is_found_anywhere_on_the_sky(self, ra, dec, offset):
        ra_there = np.array([ra, ra, np.nan])
        dec_there = np.array([dec + offset / 3600, dec + 1.5 / 3600, dec])
        here, there, arcsec = match_sky(
            np.array([ra]), np.array([dec]), ra_there % 360, dec_there, 1.0
        )
        assert (here.tolist(), there.tolist()) == ([0], [0])
        assert arcsec[0] == pytest.approx(offset, rel=1e-4)

    def test_of_two_stars_near_one_row_the_nearer_has_it(self):
        here, there, _ = match_sky(
            np.array([10.0, 10.0001]), np.zeros(2), np.array([10.00009]), np.zeros(1), 2.0
        )
        assert (here.tolist(), there.tolist()) == ([1], [0])


class TestExternal:
    def test_a_catalogue_on_another_scale_within_the_known_systematics_passes(self, rng):
        matched = self.matched(rng)
        moved = replace(matched, reference=matched.reference + np.array([60, 0.1, 0.05]))
        rows = external_rows(moved, EDGES)
        json.dumps(rows, allow_nan=False)
        assert judge_external(rows, "a catalogue").verdict is Verdict.PASSED

    @pytest.mark.parametrize(
        ("name", "spoil"),
        [
            ("offset", lambda label: label + 5 * ERRORS),
            ("slope", lambda label: label.mean(axis=0) + 0.4 * (label - label.mean(axis=0))),
            ("slope", lambda label: label[::-1]),
            ("drifts", lambda label: label + (label[:, :1] - 5250) / 1000 * 4 * ERRORS),
        ],
    )
    def test_a_spoiled_package_fails_and_the_fault_is_named(self, rng, name, spoil):
        matched = self.matched(rng)
        rows = external_rows(replace(matched, label=spoil(matched.label)), EDGES)
        answer = judge_external(rows, "a catalogue")
        assert answer.verdict is Verdict.FAILED
        assert name in answer.sentence

    def test_errors_that_are_too_small_fail_where_the_catalogue_gives_its_own(self, rng):
        matched = self.matched(rng)
        small = replace(matched, label_error=matched.label_error / 20)
        answer = judge_external(external_rows(small, EDGES), "a catalogue")
        assert "errors of both" in answer.sentence
        assert answer.verdict is Verdict.FAILED

    @pytest.mark.parametrize("count", [1, 12])
    def test_few_stars_in_common_decide_nothing(self, rng, count):
        answer = judge_external(external_rows(self.matched(rng, count), EDGES), "a catalogue")
        assert answer.verdict is Verdict.UNDECIDED
        assert f"the most is {count}" in answer.sentence
        json.dumps(answer.rows, allow_nan=False)

    def test_the_slope_is_freed_of_the_errors_of_the_catalogue(self, rng):
        truth = rng.normal(0, 0.3, 20_000)
        error = np.full(len(truth), 0.15)
        reference = truth + error * rng.standard_normal(len(truth))
        assert slope(truth, reference, 0 * error)[0] == pytest.approx(0.8, abs=0.02)
        assert slope(truth, reference, error)[0] == pytest.approx(1, abs=0.02)

    def test_the_error_of_the_slope_is_its_spread_over_samples(self, rng):
        found = []
        for _ in range(200):
            truth = rng.normal(0, 0.3, 400)
            label, reference = (truth + 0.1 * rng.standard_normal(400) for _ in range(2))
            found.append(slope(label, reference, np.full(400, 0.1)))
        values, errors = np.array(found).T
        assert errors.mean() == pytest.approx(values.std(), rel=0.25)

    def test_a_trend_is_the_change_over_the_middle_of_the_stars(self, rng):
        axis = rng.uniform(0, 10, 5000)
        found = trend(axis, 0.2 * axis + 0.1 * rng.standard_normal(5000))
        assert found == pytest.approx(0.2 * 9, rel=0.05)

    @staticmethod
    def matched(rng, count=2000):
        truth, label, error, snr = stars(rng, count)
        theirs = truth + 0.5 * error * rng.standard_normal(truth.shape)
        axes = dict(zip(NAMES, truth.T, strict=True))
        return MatchedStars(NAMES, label, error, theirs, 0.5 * error, snr, axes)


class TestClusters:
    def test_members_that_scatter_as_quoted_pass(self, rng):
        cluster, label, error = self.members(rng, 1.0)
        rows = cluster_rows(NAMES, cluster, label, error)
        assert {row["label"] for row in rows} == {"mh"}
        together = [row for row in rows if row["cluster"] == ALL]
        assert together[0]["dispersion"] == pytest.approx(0.08, abs=0.018)
        assert judge_clusters(rows, "a catalogue").verdict is Verdict.PASSED

    def test_members_that_scatter_more_fail(self, rng):
        rows = cluster_rows(NAMES, *self.members(rng, 3.0))
        assert judge_clusters(rows, "a catalogue").verdict is Verdict.FAILED

    def test_clusters_of_a_few_members_decide_nothing(self, rng):
        cluster, label, error = self.members(rng, 1.0)
        rows = cluster_rows(NAMES, cluster[::20], label[::20], error[::20])
        assert judge_clusters(rows, "a catalogue").verdict is Verdict.UNDECIDED

    @staticmethod
    def members(rng, width):
        cluster = np.repeat([f"cluster {number}" for number in range(12)], 15)
        label = np.stack([rng.uniform(4000, 6000, 180), rng.uniform(1, 5, 180), np.zeros(180)], 1)
        label[:, 2] = np.repeat(rng.normal(-0.1, 0.3, 12), 15) + width * 0.08 * rng.standard_normal(
            180
        )
        return cluster, label, np.tile(ERRORS, (180, 1))
