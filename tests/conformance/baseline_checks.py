"""Checks that every baseline passes.

class TestMine(BaselineChecks):
    baseline = BASELINES[0]
"""

from dataclasses import replace

import numpy as np
import pytest

from distcnn.baselines import Baseline, LabelledStars

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
    }
    return LabelledStars(inputs, label)


class BaselineChecks:
    """A baseline learns from training stars and is asked for others."""

    baseline: Baseline
    learns: tuple[int, ...]
    """Columns of the label in ``make_stars`` that its inputs tell."""

    @pytest.fixture(scope="class")
    @classmethod
    def parts(cls):
        return make_stars(1, 1500), make_stars(2, 300), make_stars(3, 500)

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, parts):
        return cls.baseline.fit(*parts[:2], seed=0)

    def test_it_learns_what_its_inputs_tell(self, fitted, parts):
        found = fitted.predict(parts[2].inputs)
        assert found.label.shape == parts[2].label.shape
        assert found.label.dtype == np.float32
        residual = (found.label - parts[2].label).std(axis=0)
        assert (residual[list(self.learns)] < 0.3).all()

    def test_it_gives_an_error_for_every_label_or_none_at_all(self, fitted, parts):
        found = fitted.predict(parts[2].inputs)
        assert found.error is None or (found.error.shape == found.label.shape)
        assert found.error is None or (found.error > 0).all()

    def test_a_star_has_the_same_label_in_any_company(self, fitted, parts):
        whole = fitted.predict(parts[2].inputs).label
        some = {name: values[100:110] for name, values in parts[2].inputs.items()}
        assert fitted.predict(some).label == pytest.approx(whole[100:110], abs=1e-5)

    def test_the_same_seed_gives_the_same_labels(self, parts):
        training, validation = (
            LabelledStars({k: v[:300] for k, v in part.inputs.items()}, part.label[:300])
            for part in parts[:2]
        )
        one, two = (
            self.baseline.fit(training, validation, seed=3).predict(parts[2].inputs).label
            for _ in range(2)
        )
        assert np.array_equal(one, two)

    def test_stars_without_a_label_are_left_out_of_its_fit(self, fitted, parts):
        column = self.learns[0]
        holes = parts[0].label.copy()
        holes[::2, column] = np.nan
        found = self.baseline.fit(replace(parts[0], label=holes), parts[1], seed=0)
        label = found.predict(parts[2].inputs).label
        others = [c for c in range(3) if c != column]
        whole = fitted.predict(parts[2].inputs).label
        assert label[:, others] == pytest.approx(whole[:, others], abs=1e-5)
        assert (label - parts[2].label)[:, column].std() < 0.3

    def test_a_label_that_no_star_has_is_not_predicted(self, parts):
        none = parts[0].label.copy()
        none[:, 2] = np.nan
        found = self.baseline.fit(replace(parts[0], label=none), parts[1], seed=0)
        label = found.predict(parts[2].inputs).label
        assert np.isnan(label[:, 2]).all()
        assert np.isfinite(label[:, :2]).all()

    def test_missing_inputs_never_poison_a_prediction(self, fitted, parts):
        blind = {name: np.full_like(values, np.nan) for name, values in parts[2].inputs.items()}
        assert np.isfinite(fitted.predict(blind).label).all()

    def test_one_of_its_inputs_is_enough(self, parts):
        for name in self.baseline.needs:
            training, validation, test = (
                LabelledStars({name: part.inputs[name]}, part.label) for part in parts
            )
            found = self.baseline.fit(training, validation, seed=0).predict(test.inputs)
            assert np.isfinite(found.label).all()
