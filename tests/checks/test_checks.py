"""Every check of the registry tells a sound package from a spoiled one, and results are kept."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from conformance.science_checks import ScienceChecks
from line_survey import ERRORS, NAMES, build_survey, spectra

from distcnn.checks import (
    CHECKS,
    EvaluatedPredictions,
    Verdict,
)
from distcnn.checks.comparison.answers import answer_of_halves
from distcnn.checks.correlations.nulls import SHUFFLED
from distcnn.checks.correlations.own_variation import OWN_SLOPE
from distcnn.checks.predictions.network_gain import network_gain
from distcnn.checks.predictions.quoted_errors import quoted_errors
from distcnn.checks.predictor import PredictedStars
from distcnn.checks.stars import StarTable
from distcnn.config import CatalogueConfig, ReportConfig
from distcnn.errors import UsageError
from distcnn.evaluation import BaselineLabels, EvaluationData, evaluate
from distcnn.evaluation.metrics import coverage
from distcnn.ingest.catalogue_table import read_catalogue

CONFIG = ReportConfig()


class TestSensitivity(ScienceChecks):
    name = "sensitivity"

    @pytest.fixture
    def good(self, lines):
        return lines.inputs()

    @pytest.fixture
    def bad(self, lines):
        return lines.inputs("shuffled")

    @pytest.fixture
    def nothing(self, lines, tmp_path):
        good = lines.inputs()
        return replace(good, config=good.config, survey=_WithoutFlux(good.survey))

    def test_a_label_that_was_learned_from_its_correlation_with_another_fails(self, lines):
        answer = self.check.answer(lines.inputs("borrowed"))
        assert answer.verdict is Verdict.FAILED
        assert "sife has" in answer.sentence
        assert "feh has" not in answer.sentence


class _WithoutFlux:
    """A survey as it would be without spectra."""

    def __init__(self, survey):
        self.variables = tuple(name for name in survey.variables if name != "flux")


class OnSpectra(ScienceChecks):
    """Checks that ask nothing but spectra with references."""

    spoiled: str

    @pytest.fixture
    def good(self, lines):
        return lines.inputs()

    @pytest.fixture
    def bad(self, lines):
        return lines.inputs(self.spoiled)

    @pytest.fixture
    def nothing(self, lines):
        good = lines.inputs()
        return replace(good, config=good.config, survey=_WithoutFlux(good.survey))


class TestNoise(OnSpectra):
    name = "noise"
    few = True
    spoiled = "noiseless"

    @pytest.mark.parametrize("spoiled", ["swapped", "borrowed"])
    def test_labels_that_are_wrong_everywhere_fail_too(self, lines, spoiled):
        answer = self.check.answer(lines.inputs(spoiled))
        assert answer.verdict is Verdict.FAILED, answer.sentence
        # Swapped labels are wrong in both of them; which is worse is chance.
        assert any(name in answer.sentence for name in ("feh", "sife"))

    def test_spectra_of_another_scale_than_in_training_fail(self, lines, tmp_path):
        made = tuple(1.04 * part for part in spectra(lines.label, lines.snr, 5))
        store = build_survey(tmp_path / "s.zarr", lines.label, lines.snr, lines.ids, made=made)
        answer = self.check.answer(replace(lines.inputs(), survey=store))
        assert answer.verdict is Verdict.FAILED

    def test_a_package_with_a_wrong_scaling_fails(self, lines):
        inputs = lines.inputs()
        inputs.predictor.ensemble = _Scaled(inputs.predictor.ensemble, 1.2)
        answer = self.check.answer(inputs)
        assert answer.verdict is Verdict.FAILED
        assert "teff" in answer.sentence


class _Scaled:
    """An ensemble whose labels were scaled by a wrong factor."""

    def __init__(self, ensemble, factor):
        self.ensemble, self.factor = ensemble, factor

    def predict(self, stars):
        label, *rest = self.ensemble.predict(stars)
        return (self.factor * label, *rest)


class OnNuisances(ScienceChecks):
    """Checks that a package fails whose labels were learned from a nuisance."""

    @pytest.fixture
    def good(self, nuisances):
        return nuisances.inputs("varied", "varied")

    @pytest.fixture
    def bad(self, nuisances):
        return nuisances.inputs("tied", "tied, bright")

    @pytest.fixture
    def nothing(self, good):
        return replace(good, survey=_WithoutFlux(good.survey))


class TestVelocity(OnNuisances):
    name = "velocity"

    def test_it_is_judged_at_the_error_of_the_velocities_to_either_side(self, good):
        rows = self.answer("good", good).rows
        assert {row["level"] for row in rows if row["tolerated"]} == {-2.0, -1.0, 1.0, 2.0}


class TestResolution(OnNuisances):
    name = "resolution"

    @pytest.fixture
    def bad(self, nuisances):
        # Line spread is a weak clue: what it moves, the errors of this small network cover.
        return _with_smaller_errors(nuisances.inputs("tied", "tied, bright"), 0.3)


class TestContinuum(OnNuisances):
    name = "continuum"

    def test_a_survey_without_magnitudes_has_no_switch(self, lines):
        answer = self.check.answer(lines.inputs())
        assert answer.verdict is Verdict.UNDECIDED
        assert "no such switch" in answer.sentence


class TestExtinction(OnNuisances):
    name = "extinction"


class TestCorrelations(OnSpectra):
    name = "correlations"
    spoiled = "borrowed"

    @pytest.mark.parametrize(("spoiled", "test"), [("shuffled", SHUFFLED), ("swapped", OWN_SLOPE)])
    def test_shuffled_and_swapped_labels_fail_and_the_table_says_where(self, lines, spoiled, test):
        answer = self.check.answer(lines.inputs(spoiled))
        assert answer.verdict is Verdict.FAILED
        failed = {row["label"] for row in answer.rows if row["fails"] and test in row["test"]}
        assert {"feh", "sife"} <= failed

    @pytest.fixture
    def nothing(self, lines, tmp_path):
        none = np.full_like(lines.label, np.nan)
        store = build_survey(tmp_path / "s.zarr", lines.label, lines.snr, lines.ids, labels=none)
        return replace(lines.inputs(), survey=store)


class TestBound(OnSpectra):
    name = "bound"
    spoiled = "shuffled"

    @pytest.fixture
    def good(self, lines, tmp_path):
        # Where photons decide, not the few epochs of training.
        snr = np.minimum(lines.snr, 25)
        store = build_survey(tmp_path / "faint.zarr", lines.label, snr, lines.ids)
        return replace(lines.inputs(), survey=store)

    def test_of_a_simulated_survey_the_bound_is_that_of_its_simulation(self, lines, tmp_path):
        truth = _truth(lines, tmp_path)
        inputs = lines.inputs(injected_stars=100)
        unknown = self.check.answer(replace(inputs, truth=truth))
        assert "quadratic model" in unknown.sentence
        (tmp_path / "simulation.json").write_text('{"config": {}}')
        answer = self.check.answer(replace(inputs, truth=truth))
        assert "of the simulation" in answer.sentence
        whole = {row["label"]: row for row in answer.rows if row["snr"] == "all"}
        assert set(whole) == {"teff", "logg", "feh"}
        assert 5 < whole["teff"]["bound"] < 200
        assert {row["bound_of"] for row in unknown.rows} != {row["bound_of"] for row in answer.rows}

    def test_it_says_what_is_photon_noise_and_what_the_package_does_not_follow(self, lines):
        answer, spoiled = (self.check.answer(lines.inputs(*how)) for how in ((), ("shuffled",)))
        assert "of which noise of the spectrum makes" in answer.sentence
        for label in ("teff", "logg", "feh"):
            mine = {row["snr"]: row for row in answer.rows if row["label"] == label}
            assert mine[">= 100"]["photon_scatter"] < 0.5 * mine["15-25"]["photon_scatter"]
            assert mine["all"]["photon_scatter"] < 1.5 * mine["all"]["scatter"]
            assert mine["all"]["own_slope"] > 0.5
        followed = [row["own_slope"] for row in spoiled.rows if row["snr"] == "all"]
        assert max(followed) < 0.3


def _truth(lines, folder):
    """A table of truth of the survey, as a simulation writes it."""
    table = pd.DataFrame(lines.label, columns=list(NAMES))
    alpha = np.random.default_rng(5).normal(0.1, 0.1, len(table))
    table = table.assign(source_id=lines.ids, mh=table["feh"] + 0.02 * alpha, alpham=alpha)
    table["feh"] += 0.02 * np.random.default_rng(6).standard_normal(len(table))
    known = {"grvs": 11.0, "distance_pc": 500.0, "ebv": 0.05, "vsini": 5.0, "trouble": ""}
    table.assign(snr=lines.snr, **known).to_parquet(folder / "truth.parquet")
    return folder / "truth.parquet"


class TestHalo(ScienceChecks):
    name = "halo"
    few = True

    @pytest.fixture
    def good(self, lines):
        return lines.inputs()

    @pytest.fixture
    def bad(self, lines):
        return _with_smaller_errors(lines.inputs("shuffled"), 1.0)

    @pytest.fixture
    def nothing(self, lines, tmp_path):
        none = np.full_like(lines.label, np.nan)
        store = build_survey(tmp_path / "s.zarr", lines.label, lines.snr, lines.ids, labels=none)
        return replace(lines.inputs(), survey=store)


class TestRepeats(ScienceChecks):
    name = "repeats"

    @pytest.fixture
    def good(self, lines):
        return lines.inputs(repeated=str(lines.again.location))

    @pytest.fixture
    def bad(self, good):
        return _with_smaller_errors(good, 0.3)

    @pytest.fixture
    def nothing(self, lines):
        return lines.inputs()

    def test_transits_of_one_survey_are_repeats_too(self, lines, tmp_path):
        stars = slice(0, 600)
        columns = (lines.label[stars], lines.snr[stars], lines.ids[stars])
        label, snr, ids = (np.concatenate([column] * 3) for column in columns)
        transits = np.arange(len(ids)) + 7
        store = build_survey(tmp_path / "s.zarr", label, snr, ids, seed=8, transits=transits)
        inputs = replace(lines.inputs(), survey=store)
        answer = self.check.answer(inputs)
        assert answer.verdict is not Verdict.FAILED, answer.sentence
        whole = [row for row in answer.rows if row["snr"] == "all"]
        assert all(400 < row["stars"] <= 600 for row in whole)
        assert all(row["ratio"] > 0.2 for row in whole)

    def test_predictions_of_another_package_are_refused(self, lines, products):
        with pytest.raises(UsageError, match="was predicted by the package"):
            self.check.answer(lines.inputs(repeated=str(products.data.predictions)))


class TestStability(ScienceChecks):
    name = "stability"
    few = True

    @pytest.fixture
    def good(self, lines):
        return lines.inputs(retrained=str(lines.retrained))

    @pytest.fixture
    def bad(self, lines):
        return lines.inputs(retrained=str(lines.shuffled))

    @pytest.fixture
    def nothing(self, lines):
        return lines.inputs()

    @pytest.mark.parametrize("stacked", [False, True])
    def test_halves_of_an_ensemble_that_share_regressions_say_so(self, stacked):
        label = np.random.default_rng(1).standard_normal((400, 1))
        error, snr = np.ones_like(label), np.full(400, 30.0)
        found = PredictedStars(label, error, error, error, np.zeros(400, np.uint32))
        stars = StarTable(*[snr] * 5, label, error, snr > 0, snr)
        inputs = SimpleNamespace(
            labels=("mh",),
            package=SimpleNamespace(size=2, student=None, stacking=lambda: stacked or None),
            survey=None,
            report=ReportConfig(),
            predict=lambda stars: found,
            predictor=SimpleNamespace(variables=(), halves=lambda blocks: (label, label + 0.1)),
        )
        answer = answer_of_halves(inputs, stars)
        assert answer.verdict is Verdict.PASSED
        assert ("share the regressions" in answer.sentence) is stacked


def _catalogue(lines, path, **columns):
    rng = np.random.default_rng(12)
    theirs = lines.label + 2 * ERRORS * rng.standard_normal(lines.label.shape)
    table = {
        "star": lines.ids,
        "ra": (lines.ids * 0.618) % 360,
        "dec": (lines.ids * 0.377) % 160 - 80,
    }
    table |= {name: theirs[:, number] for number, name in enumerate(NAMES)}
    table |= {f"e_{name}": 2 * ERRORS[number] for number, name in enumerate(NAMES)}
    pd.DataFrame(table | columns).to_parquet(path)
    return path


class TestExternal(ScienceChecks):
    name = "external"

    @pytest.fixture
    def good(self, lines, tmp_path):
        path = _catalogue(lines, tmp_path / "catalogue.parquet")
        named = {name: name for name in NAMES} | {f"{name}_error": f"e_{name}" for name in NAMES}
        by_name = CatalogueConfig(path=path, columns={"source_id": "star"} | named)
        columns = {"ra": "ra", "dec": "dec"} | named
        by_place = CatalogueConfig(path=path, name="by place", match="position", columns=columns)
        inputs = lines.inputs(catalogues=(by_name, by_place))
        return replace(inputs, read_catalogue=read_catalogue)

    @pytest.fixture
    def bad(self, good, lines):
        return replace(good, package=lines.inputs("shuffled").package)

    @pytest.fixture
    def nothing(self, lines):
        return lines.inputs()

    def test_both_ways_of_matching_find_the_same_stars(self, good):
        rows = self.answer("good", good).rows
        whole = {(row["catalogue"], row["label"]): row for row in rows if row["snr"] == "all"}
        for name in NAMES:
            by_name, by_place = whole["catalogue.parquet", name], whole["by place", name]
            assert by_name["stars"] == by_place["stars"] > 1900
            assert by_name["bias"] == by_place["bias"]

    def test_there_is_a_figure_for_each_catalogue(self, good):
        assert list(self.answer("good", good).figures) == ["figure", "figure_2"]


class TestClusters(ScienceChecks):
    name = "clusters"

    @pytest.fixture
    def good(self, lines, tmp_path):
        # Stars of one composition, whatever else they are.
        feh, sife = lines.label[:, 2], lines.label[:, 3]
        alike = (np.abs(feh + 0.2) < 0.06) & (np.abs(sife) < 0.12)
        names = np.where(alike, np.where(lines.ids % 2 == 0, "NGC 1", "NGC 2"), "")
        path = _catalogue(lines, tmp_path / "members.parquet", cluster=names)
        columns = {"source_id": "star", "cluster": "cluster"}
        inputs = lines.inputs(catalogues=(CatalogueConfig(path=path, columns=columns),))
        return replace(inputs, read_catalogue=read_catalogue)

    @pytest.fixture
    def bad(self, good):
        return _with_smaller_errors(good, 0.2)

    @pytest.fixture
    def nothing(self, lines):
        return lines.inputs()


def _with_smaller_errors(inputs, factor):
    """The same package that quotes errors a factor smaller."""
    quality = inputs.predictor.quality
    calibration = quality.calibration

    class Bold:
        def __getattr__(self, name):
            return getattr(calibration, name)

        def apply(self, *given, **more):
            return factor * calibration.apply(*given, **more)

    spoiled = replace(inputs)
    spoiled.predictor.quality = replace(quality, calibration=Bold())
    return spoiled


def evaluated(products, **changes):
    data = replace(products.data, **changes)
    return EvaluatedPredictions(data, *evaluate(data, CONFIG), CONFIG)


class TestQuotedErrors:
    def test_errors_that_hold_pass_and_halves_of_them_fail(self, products):
        good = evaluated(products)
        assert quoted_errors(good).sentence.startswith("0 of 25 bins")
        sample = replace(good.sample, label_error=good.sample.label_error / 2)
        rows = coverage(sample, good.numbers.labels, CONFIG.snr_edges)
        bad = replace(good, sample=sample, numbers=replace(good.numbers, coverage=rows))
        assert quoted_errors(bad).verdict is Verdict.FAILED

    def test_without_references_nothing_is_decided(self, products):
        data = EvaluationData(products.data.predictions)
        alone = EvaluatedPredictions(data, *evaluate(data, CONFIG), CONFIG)
        assert quoted_errors(alone).verdict is Verdict.UNDECIDED


class TestNetworkGain:
    def test_the_lost_label_and_no_other_is_named(self, products):
        assert network_gain(evaluated(products)).verdict is Verdict.PASSED
        label = products.truth + 3 * (products.label - products.truth)
        label[:, 0] = products.truth[:, 0]
        bad = evaluated(products, baselines={"oracle": BaselineLabels(products.ids, label)})
        assert network_gain(bad).sentence == "a baseline is better for teff"

    def test_without_baselines_nothing_is_decided(self, products):
        assert network_gain(evaluated(products, baselines={})).verdict is Verdict.UNDECIDED


def test_every_check_of_the_registry_has_its_conformance_test():
    kits, tested = [ScienceChecks], set()
    while kits:
        kits += (kit := kits.pop()).__subclasses__()
        tested.add(getattr(kit, "name", ""))
    tested.discard("")
    asked_elsewhere = {"quoted-errors", "network-gain"}
    assert tested | asked_elsewhere == {check.name for check in CHECKS}
