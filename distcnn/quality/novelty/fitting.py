"""Fit of the reference of novelty to training spectra, in two passes."""

from dataclasses import replace
from statistics import NormalDist

import numpy as np

from distcnn.arrays import Array
from distcnn.quality.novelty.blend_patterns import (
    BlendClassifier,
    BlendPatterns,
    imitated_blends,
)
from distcnn.quality.novelty.expected_components import ExpectedComponents, Light, light_of
from distcnn.quality.novelty.principal import fit_principal
from distcnn.quality.novelty.reference import Novelty, blocks_of, rows_of, typical_weight
from distcnn.quality.novelty.weight_bins import weight_bins
from distcnn.quality.training_density import TrainingDensity

_MAX_TRAINING_STARS = 20_000  # training stars that the components are fitted to
_KEPT_FRACTION = 0.97  # of the training stars are kept for the second pass: the rest may be damaged
_DENSITY_COMPONENTS, _MAX_DENSITY_STARS = (1, 3, 6), 6000
"""Mixtures that are tried for the density of components, and most stars they are fitted to."""
TAIL_QUANTILE = 0.95
"""Of a measure among training stars, by which its spread is told."""


def fit_reference(
    flux: Array,
    flux_error: Array | None,
    components: int,
    *,
    light: Light | None = None,
    seed: int = 0,
) -> Novelty:
    """Fit to training spectra [N, P], NaN = missing, in two passes.

    ``light`` : of ``OTHER_LIGHT`` [N, ...] what the survey has.

    The second pass fills missing pixels from the first fit and leaves out the most
    unusual 3 %, so that damaged spectra in training do not become the norm.
    """
    rows = np.random.default_rng(seed).permutation(len(flux))[:_MAX_TRAINING_STARS]
    rows.sort()
    flux = flux[rows].astype(np.float32)
    error, light = rows_of(flux_error, rows), light_of(light, rows)
    components = max(1, min(components, len(flux) // 8, flux.shape[1] // 2))
    first = _of_principal(flux, error, first=None, components=components, seed=seed)
    first = _with_reference_moments(first, flux, error)
    score = first.score(flux, error)
    usable = np.isfinite(score)
    kept = usable & (score <= np.quantile(score[usable], _KEPT_FRACTION))
    flux, error, light = flux[kept], rows_of(error, kept), light_of(light, kept)
    second = _of_principal(flux, error, first=first, components=components, seed=seed)
    fitted = second.fitted_components(flux, error)
    density = TrainingDensity.fit(
        fitted, seed=seed, components=_DENSITY_COMPONENTS, stars=_MAX_DENSITY_STARS
    )
    second = replace(second, density=density)
    if density is not None:
        second = _with_blends(second, flux, error, light, fitted=fitted, seed=seed)
    return _with_reference_moments(second, flux, error, light)


def _of_principal(
    flux: Array,
    flux_error: Array | None,
    *,
    first: Novelty | None,
    components: int,
    seed: int,
) -> Novelty:
    """Components and floor of spectra; the comparison with others is still empty.

    ``first``: an earlier fit, which fills missing pixels.
    """
    model = mean = None
    if first is not None:
        mean = first.mean
        model = first.fitted_components(flux, flux_error) @ first.components
    found = fit_principal(flux, flux_error, components, model=model, mean=mean, seed=seed)
    empty = np.stack([np.zeros((1, 3)), np.ones((1, 3))], axis=1)
    return Novelty(*found, grid=np.zeros(1), reference_moments=empty)


def _with_blends(
    novelty: Novelty,
    flux: Array,
    error: Array | None,
    light: Light,
    *,
    fitted: Array,
    seed: int,
) -> Novelty:
    """With as many patterns of blends as there are components, and the classifier."""
    rng = np.random.default_rng([seed, 1])
    rows, change = imitated_blends(rng, novelty.mean, novelty.components, fitted)
    blended = flux[rows] + change
    for block in blocks_of(len(rows)):
        weight, _ = novelty.weights(blended[block], rows_of(error, rows[block]))
        change[block] -= novelty.fit_weighted(weight, change[block]) @ novelty.components
        change[block] *= weight > 0
    weighted, typical = [], []
    for block in blocks_of(len(flux)):
        weight, residual = novelty.weights(flux[block], rows_of(error, block))
        weighted.append(weight * (residual - fitted[block] @ novelty.components))
        typical.append(typical_weight(weight))
    noise = np.concatenate(typical)
    found = BlendPatterns.fit(
        change, np.concatenate(weighted), noise, len(novelty.components), seed
    )
    expected = ExpectedComponents.fit(light, fitted, noise, seed)
    ready = replace(novelty, blends=found, expected=expected)
    single = ready.features(flux, error, light)
    # The second star is in the spectrum alone.
    mixed = ready.features(blended, rows_of(error, rows), light_of(light, rows))
    return replace(ready, classifier=BlendClassifier.fit(single, mixed, seed))


def _tail_spread(values: Array) -> float:
    """Of a tail at two standard deviations: so that no measure with a long one speaks alone."""
    middle, upper = np.quantile(values, [0.5, TAIL_QUANTILE])
    return max(float(upper - middle) / NormalDist().inv_cdf(TAIL_QUANTILE), 1e-3)


def _with_reference_moments(
    novelty: Novelty, flux: Array, error: Array | None, light: Light | None = None
) -> Novelty:
    """Median and spread of the measures along the typical weight of training stars."""
    measures, weight = novelty.measures(flux, error, light)
    good = np.isfinite(measures).all(axis=1)
    measures, weight = measures[good], weight[good]
    grid, moments = [], []
    for middle, inside in weight_bins(weight):
        columns = measures[inside].T
        grid.append(middle)
        moments.append([[np.median(c) for c in columns], [_tail_spread(c) for c in columns]])
    return replace(novelty, grid=np.array(grid), reference_moments=np.array(moments))
