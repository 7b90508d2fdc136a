"""What is expected of a spectrum from the rest of the light: how it is fitted."""

import numpy as np
import pytest

from distcnn.quality.novelty import expected_components
from distcnn.quality.novelty.expected_components import (
    PENALTY,
    ExpectedComponents,
    light_of,
    terms_of,
)

STARS, COMPONENTS = 1501, 20


@pytest.fixture
def light(rng):
    """XP, magnitudes and parallax; a third of the stars have no XP."""
    xp = rng.standard_normal((STARS, 55)) * 10 ** rng.uniform(0, 3, (STARS, 1))
    xp[rng.random(STARS) < 0.3] = np.nan
    found = {
        "xp": xp,
        "photometry": rng.uniform(10, 16, (STARS, 3)),
        "parallax": rng.uniform(0.1, 5, STARS),
        "parallax_error": np.full(STARS, 0.05),
    }
    return {name: values.astype(np.float32) for name, values in found.items()}


@pytest.fixture
def components(rng):
    return rng.standard_normal((STARS, COMPONENTS)).astype(np.float32)


def test_weights_are_those_of_the_columns_that_stars_are_asked_by_to_the_bit(
    light, components, rng
):
    found = ExpectedComponents.fit(light, components, rng.uniform(2, 6, STARS), seed=0)
    whole = np.isfinite(light["xp"]).all(axis=1)
    columns, there = found.columns(light_of(light, whole))
    assert there.all()
    terms = terms_of(np, columns.astype(np.float64), found.products)
    target = components[whole][:, : found.weights.shape[1]].astype(np.float64)
    normal = terms.T @ terms + PENALTY * np.eye(terms.shape[1])
    weights = np.linalg.solve(normal, terms.T @ target).astype(np.float32)
    np.testing.assert_array_equal(found.weights, weights)


def test_columns_are_made_once(light, components, rng, monkeypatch):
    made, original = [], expected_components.raw_columns

    def counted(*given):
        made.append(given)
        return original(*given)

    monkeypatch.setattr(expected_components, "raw_columns", counted)
    assert ExpectedComponents.fit(light, components, rng.uniform(2, 6, STARS), seed=0) is not None
    assert len(made) == 1
