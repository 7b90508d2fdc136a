"""Mixtures behind noise: what was put in comes out, and errors are as large as they say."""

import numpy as np

from distcnn.maps.galaxy.mixture import (
    NoisyStars,
    fit_mixture,
    memberships,
    one_component,
    slope_errors,
    split_by,
)


def _sequences(rng, count, slope=-0.06):
    kind = (rng.random(count) < 0.3).astype(int)
    x = rng.uniform(-3, 3, count)
    mh = np.where(kind, -0.45, -0.05 + slope * x) + np.where(kind, 0.25, 0.2) * rng.standard_normal(
        count
    )
    alpham = np.where(kind, 0.25, 0.06) + 0.03 * rng.standard_normal(count)
    error = np.exp(rng.normal(np.log(0.07), 0.4, count))
    covariance = np.zeros((count, 2, 2))
    covariance[:, 0, 0], covariance[:, 1, 1] = error**2, (0.4 * error) ** 2
    covariance[:, 0, 1] = covariance[:, 1, 0] = -0.3 * 0.4 * error**2
    noise = np.einsum("nij,nj->ni", np.linalg.cholesky(covariance), rng.standard_normal((count, 2)))
    seen_x = x + 0.3 * rng.standard_normal(count)
    return NoisyStars(
        np.stack([mh, alpham], axis=1) + noise,
        covariance,
        np.stack([np.ones(count), seen_x], axis=1),
        np.full(count, 0.3),
        np.zeros(count, int),
    ), kind


def _two(stars):
    return fit_mixture(stars, [split_by(stars, (stars.values[:, 1] > 0.15).astype(int), 2)])


def test_errors_of_the_labels_do_not_widen_the_components(rng):
    stars, kind = _sequences(rng, 6000)
    found = _two(stars)
    np.testing.assert_allclose(np.sqrt(np.diag(found.covariance[0])), [0.2, 0.03], atol=0.012)
    np.testing.assert_allclose(found.mean[:, 1, 0], [0.06, 0.25], atol=0.004)
    np.testing.assert_allclose(found.share[0], [0.7, 0.3], atol=0.02)
    belongs = memberships(stars, found)
    assert ((belongs[:, 1] > 0.5) == kind).mean() > 0.95


def test_slopes_scatter_about_the_truth_as_their_errors_say(rng):
    pulls = []
    for _ in range(25):
        stars, _ = _sequences(rng, 1200)
        found = _two(stars)
        pulls.append((found.mean[0, 0, 1] + 0.06) / slope_errors(stars, found)[0, 0, 1])
    # Distances in R are noise too: they flatten the slope by a few per cent of it, no more.
    assert abs(np.mean(pulls)) < 1.0
    assert 0.6 < np.std(pulls) < 1.5


def test_the_evidence_tells_one_component_from_two(rng):
    stars, _kind = _sequences(rng, 1500)
    one = fit_mixture(stars, [one_component(stars)])
    assert one.bic - _two(stars).bic > 10
    values = rng.normal((-0.1, 0.06), (0.2, 0.04), (1500, 2))
    alone = NoisyStars.of(values, np.tile(1e-4 * np.eye(2), (1500, 1, 1)))
    starts = [split_by(alone, (values[:, 1] > q).astype(int), 2) for q in (0.03, 0.06, 0.09)]
    assert fit_mixture(alone, [one_component(alone)]).bic < fit_mixture(alone, starts).bic


def test_groups_have_shares_of_their_own(rng):
    stars, kind = _sequences(rng, 3000)
    group = np.where(rng.random(3000) < np.where(kind, 0.8, 0.2), 1, 0)
    found = _two(NoisyStars(**{**stars.__dict__, "group": group, "groups": 2}))
    true = [kind[group == number].mean() for number in (0, 1)]
    np.testing.assert_allclose(found.share[:, 1], true, atol=0.04)
