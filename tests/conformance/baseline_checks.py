"""Checks that every baseline passes.

class TestMine(BaselineChecks):
    baseline = BASELINES[0]
"""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from distcnn.baselines import Baseline, LabelledStars
from distcnn.events import Event, StageEnded, StageStarted

PIXELS = 60


def make_stars(seed: int, stars: int) -> LabelledStars:
    """Labels: 0 is in spectrum and colour, 1 in the spectrum alone, 2 in the distance."""
    rng, depths = np.random.default_rng(seed), np.linspace(0.01, 0.05, PIXELS)
    label = rng.standard_normal((stars, 3))
    lines = np.stack([depths, depths[::-1] * np.cos(np.arange(PIXELS))])
    flux = 1 - label[:, :2] @ lines + 0.02 * rng.standard_normal((stars, PIXELS))
    flux[rng.random(flux.shape) < 0.02] = np.nan
    parallax = np.exp(0.3 * label[:, 2])
    magnitude = 5 * np.log10(1 / parallax) + 14
    inputs = {
        "flux": flux.astype(np.float32),
        "photometry": np.stack([magnitude, magnitude + 1 + 0.3 * label[:, 0]], axis=1),
        "parallax": parallax,
        "parallax_error": np.full(stars, 0.02),
        "xp": 1000 * (1.5 + 0.1 * rng.standard_normal((stars, 8))),
        "flux_error": np.where(np.isfinite(flux), 0.02, np.nan),
        "snr": np.full(stars, 50.0),
    }
    return LabelledStars(inputs, label)


class BaselineChecks:
    """A baseline learns from training stars and is asked for others."""

    baseline: Baseline
    events: ClassVar[list[Event]]
    """What its fit has told."""
    learns: tuple[int, ...]
    """Columns of the label in ``make_stars`` that its inputs tell."""
    stars = 1500
    """Training stars."""
    coverage = (0.6, 0.76)
    """Between which the fraction of stars within one quoted error must lie; 0.68 is right."""
    joint = False
    """Whether labels are learned together, from the stars that have all of them."""

    @pytest.fixture(scope="class")
    @classmethod
    def parts(cls):
        return make_stars(1, cls.stars), make_stars(2, 300), make_stars(3, 500)

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, parts):
        cls.events = []
        return cls.baseline.fit(*parts[:2], seed=0, listener=cls.events.append)

    def test_it_learns_what_its_inputs_tell(self, fitted, parts):
        found = fitted.predict(parts[2].inputs)
        assert found.label.shape == parts[2].label.shape
        assert found.label.dtype == np.float32
        residual = (found.label - parts[2].label).std(axis=0)
        assert (residual[list(self.learns)] < 0.3).all()

    def test_it_tells_how_far_its_fit_is(self, fitted):
        """Every step begins with a number of units, and none goes beyond it."""
        begun = [event for event in self.events if isinstance(event, StageStarted)]
        assert begun
        for step in begun:
            mine = [event for event in self.events if event.stage == step.stage]
            assert step.stage.startswith(f"compare {self.baseline.name}: ")
            assert mine[0] is step
            assert isinstance(mine[-1], StageEnded)
            assert 0 < sum(event.count for event in mine[1:-1]) <= step.total

    def test_it_gives_an_error_for_every_label(self, fitted, parts):
        found = fitted.predict(parts[2].inputs)
        assert found.error.shape == found.label.shape
        assert found.error.dtype == np.float32
        assert (found.error > 0).all()

    def test_quoted_errors_hold_for_what_its_inputs_tell(self, fitted, parts):
        found = fitted.predict(parts[2].inputs)
        within = (np.abs(found.label - parts[2].label) <= found.error).mean(axis=0)
        least, most = self.coverage
        assert ((within > least) & (within < most))[list(self.learns)].all()

    def test_a_star_has_the_same_label_in_any_company(self, fitted, parts):
        whole = fitted.predict(parts[2].inputs).label
        some = {name: values[100:110] for name, values in parts[2].inputs.items()}
        assert fitted.predict(some).label == pytest.approx(whole[100:110], abs=1e-5)

    def test_the_same_seed_gives_the_same_labels(self, parts):
        training, validation = (
            LabelledStars({k: v[:150] for k, v in part.inputs.items()}, part.label[:150])
            for part in parts[:2]
        )
        one, two = (
            self.baseline.fit(training, validation, seed=3).predict(parts[2].inputs).label
            for _ in range(2)
        )
        assert np.array_equal(one, two)

    def test_stars_without_a_label_are_left_out_of_its_fit_and_labels_without_stars_too(
        self, fitted, parts
    ):
        column = self.learns[0]
        holes = parts[0].label.copy()
        holes[::2, column] = np.nan
        nobody = 1 if column == 2 else 2
        holes[:, nobody] = np.nan
        found = self.baseline.fit(replace(parts[0], label=holes), parts[1], seed=0)
        label = found.predict(parts[2].inputs).label
        assert np.isnan(label[:, nobody]).all()
        assert (label - parts[2].label)[:, column].std() < 0.35
        other = 3 - column - nobody
        if not self.joint:
            whole = fitted.predict(parts[2].inputs).label
            assert label[:, other] == pytest.approx(whole[:, other], abs=1e-5)
        assert np.isfinite(label[:, [column, other]]).all()

    def test_missing_inputs_never_poison_a_prediction(self, fitted, parts):
        blind = {name: np.full_like(values, np.nan) for name, values in parts[2].inputs.items()}
        assert np.isfinite(fitted.predict(blind).label).all()

    def test_one_of_its_inputs_is_enough(self, parts):
        for name in self.baseline.needs:
            training, validation, test = (
                LabelledStars({name: part.inputs[name][:150]}, part.label[:150]) for part in parts
            )
            found = self.baseline.fit(training, validation, seed=0).predict(test.inputs)
            assert np.isfinite(found.label).all()
