"""The score of novelty, one star at a time.

Training spectra are described by a mean, a few principal components and a floor: the residual
of each pixel that noise does not explain. A star is fitted with the components (maximum a
posteriori, missing pixels left out). Measures are compared with training stars of the same noise:
what remains in units of its noise, its worst pixel, how few training stars have such components
together, how alike what remains is from pixel to pixel (von Neumann 1941, Ann. Math. Stat. 12,
367: noise of spectra that were resampled elsewhere, and lines that do not fit), and the odds that
it is the light of two stars, to which XP, magnitudes and parallax contribute. The largest is the
score.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.quality.novelty.blend_patterns import (
    BlendClassifier,
    BlendPatterns,
)
from distcnn.quality.novelty.expected_components import (
    ExpectedComponents,
    Light,
    light_of,
)
from distcnn.quality.novelty.weight_bins import along_weight
from distcnn.quality.training_density import TrainingDensity

_BLOCK_STARS = 512  # stars at once: keeps the weighted normal equations in cache
_DENSITY, _BLENDS, _CLASSIFIER, _EXPECTED = "density.", "blends.", "classifier.", "expected."
LEAST_SPARSENESS = 1e-3  # where the density is as high as it can be


@dataclass(frozen=True)
class Novelty:
    """Reference for spectra.

    Attributes
    ----------
    mean, floor : [P] mean spectrum; standard deviation of a pixel beyond the components and noise.
    noise : [P] typical error of a pixel, used where a star has flux but no error.
    components : [k, P] principal components times the standard deviation of training stars.
    grid : [G] ln of the typical weight (1 / variance) of a pixel of ``reference_moments``.
    reference_moments : [G, 2, M] median, spread (axis 1) of the measures (axis 2) in training.
    threshold : raw score that counts as 1.
    density : of the components of training stars; None of few stars, and in packages made before
        it was, which have three measures.
    blends, classifier : patterns of blends, and what tells blends by them; None without a density,
        and in packages of format 3 and before.
    expected : components that the rest of a star's light leads one to expect; None where a survey
        has no such light, and in packages of format 6 and before.
    """

    mean: Array
    floor: Array
    noise: Array
    components: Array
    grid: Array
    reference_moments: Array
    threshold: float = 1.0
    density: TrainingDensity | None = None
    blends: BlendPatterns | None = None
    classifier: BlendClassifier | None = None
    expected: ExpectedComponents | None = None

    def features(self, flux: Array, flux_error: Array | None, light: Light) -> Array:
        """[N, F] what blends are told by, of spectra with at least one pixel."""
        parts = [
            self._parts(flux[b], rows_of(flux_error, b), light_of(light, b))[2]
            for b in blocks_of(len(flux))
        ]
        return np.concatenate([part for part in parts if part is not None])

    def measures(
        self, flux: Array, flux_error: Array | None, light: Light | None = None
    ) -> tuple[Array, Array]:
        """[N, M] logarithms of measures, and [N] ln typical weight.

        ``light`` : the variables of ``OTHER_LIGHT`` of the same stars, bands as in training.

        Of reduced chi2 and the worst pixel; with a density of how far its ln is below its bound
        per component, else of the distance per component; with patterns of blends of how alike
        neighbouring pixels are (2 over the ratio of von Neumann; 1 without errors) and of the
        odds of a blend. Packages made before the patterns have the distance beside the density.
        """
        blocks = [
            self._block(flux[block], rows_of(flux_error, block), light_of(light, block))
            for block in blocks_of(len(flux))
        ]
        measures, weight = (np.concatenate(part) for part in zip(*blocks, strict=True))
        return measures, weight

    def _block(self, flux: Array, flux_error: Array | None, light: Light) -> tuple[Array, Array]:
        measures, typical, features = self._parts(flux, flux_error, light)
        if self.classifier is not None and features is not None:
            odds = self.classifier.log_odds(features)
            measures = np.hstack([measures, odds[:, None].astype(measures.dtype)])
        measures[~np.isfinite(typical)] = np.nan
        return measures, typical

    def _parts(
        self, flux: Array, flux_error: Array | None, light: Light
    ) -> tuple[Array, Array, Array | None]:
        """[N, m] measures but that of the classifier, [N] ln typical weight, [N, F] features."""
        weight, rest = self.weights(flux, flux_error)
        fitted = self.fit_weighted(weight, rest)
        rest -= fitted @ self.components
        valid = (weight > 0).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            typical = typical_weight(weight)
            root = np.sqrt(weight, out=weight)
            rest *= root
            total = np.einsum("np,np->n", rest, rest)
            columns = [total / valid, np.abs(rest).max(axis=1) ** 2]
            if self.blends is None or self.density is None:
                columns.append((fitted**2).mean(axis=1))
            if self.density is not None:
                below = self.density.bound - self.density.log_density(fitted)
                columns.append(np.maximum(below / fitted.shape[1], LEAST_SPARSENESS))
            if self.blends is not None:
                # Where nobody knows the noise, lines that do not fit are told from it by nothing.
                known = 0.0 if flux_error is None else 1.0
                alike = known * np.einsum("np,np->n", rest[:, 1:], rest[:, :-1]) / total
                columns.append(1 / (1 - alike))
            measures = np.log(np.stack(columns, axis=1).astype(np.float32))
            if self.blends is None:
                return measures, typical, None
            rest *= root
            projected = self.blends.projections(rest, typical)
        features = [projected, fitted, measures, typical[:, None]]
        if self.expected is not None:
            features.append(self.expected.residual(fitted, typical, light))
        return measures, typical, np.hstack(features)

    def fitted_components(self, flux: Array, flux_error: Array | None) -> Array:
        """[N, k] components of spectra [N, P] in units of their spread."""
        blocks = [
            self.fit_weighted(*self.weights(flux[block], rows_of(flux_error, block)))
            for block in blocks_of(len(flux))
        ]
        return np.concatenate(blocks)

    def weights(self, flux: Array, flux_error: Array | None) -> tuple[Array, Array]:
        """Weights (0 = missing) and flux minus mean (0 = missing), float32 [N, P]."""
        floor = self.floor * self.floor
        typical = np.float32(1) / (self.noise * self.noise + floor)
        if flux_error is None:
            weight = np.tile(typical, (len(flux), 1))
        else:
            weight = np.square(flux_error, dtype=np.float32)
            weight += floor
            np.reciprocal(weight, out=weight)
            np.copyto(weight, typical, where=~(flux_error > 0))
        residual = np.subtract(flux, self.mean, dtype=np.float32)
        missing = ~np.isfinite(residual)
        np.copyto(weight, 0, where=missing)
        np.copyto(residual, 0, where=missing)
        return weight, residual

    def fit_weighted(self, weight: Array, residual: Array) -> Array:
        """[N, k] components of each star in units of their spread, given a unit Gaussian prior."""
        k = len(self.components)
        normal = np.empty((k, k, len(weight)), np.float32)
        lower = self._products @ weight.T
        for row in range(k):
            normal[row, : row + 1] = lower[row * (row + 1) // 2 :][: row + 1]
            normal[row, row] += 1
        right = (weight * residual) @ self.components.T
        return np.ascontiguousarray(_solve_cholesky(normal, np.ascontiguousarray(right.T)).T)

    @cached_property
    def _products(self) -> Array:
        """[k (k + 1) / 2, P] products of two components, of the lower triangle row by row."""
        row, column = np.tril_indices(len(self.components))
        return np.asarray(self.components[row] * self.components[column])

    def score(self, flux: Array, flux_error: Array | None, light: Light | None = None) -> Array:
        """Raw score, float32 [N]: spreads from the reference median; NaN without a valid pixel."""
        return self.deviation(*self.measures(flux, flux_error, light))

    def deviation(self, measures: Array, weight: Array) -> Array:
        """Raw score, float32 [N], from what ``measures`` gave, here or on another device."""
        at = np.nan_to_num(weight)
        middle, spread = (
            along_weight(at, self.grid, self.reference_moments[:, part]) for part in (0, 1)
        )
        # A spectrum more usual than most is not novel at all: never below zero.
        deviation = np.maximum(((measures - middle) / spread).max(axis=1), 0.0)
        return np.asarray(deviation, np.float32)

    def with_threshold(self, score: Array, quantile: float) -> "Novelty":
        """The limit from raw scores of stars outside training.

        The smaller of their quantile and of what the body of the distribution leads one to
        expect: a calibration split may itself hold damaged spectra, more than 1 - quantile.
        """
        good = score[np.isfinite(score)]
        if not good.size:
            return self
        from_body = np.median(good) + _upper_spread(good) * _quantile_in_spreads(quantile)
        return replace(self, threshold=float(min(np.quantile(good, quantile), from_body)))

    def to_arrays(self) -> dict[str, Array]:
        """Arrays that say everything; undone by ``from_arrays``."""
        names = ("mean", "floor", "noise", "components", "grid")
        return (
            {name: getattr(self, name) for name in names}
            | {"usual": self.reference_moments, "threshold": np.array([self.threshold])}
            | _prefixed(_DENSITY, self.density)
            | _prefixed(_BLENDS, self.blends)
            | _prefixed(_CLASSIFIER, self.classifier)
            | _prefixed(_EXPECTED, self.expected)
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> "Novelty":
        """The reference that ``to_arrays`` described."""
        density, blends, classifier, expected = (
            _with_prefix(prefix, arrays) for prefix in (_DENSITY, _BLENDS, _CLASSIFIER, _EXPECTED)
        )
        values: dict[str, Any] = {name: a for name, a in arrays.items() if "." not in name}
        values["density"] = TrainingDensity.from_arrays(density) if density else None
        values["blends"] = BlendPatterns.from_arrays(blends) if blends else None
        values["classifier"] = BlendClassifier.from_arrays(classifier) if classifier else None
        values["expected"] = ExpectedComponents.from_arrays(expected) if expected else None
        values["reference_moments"] = values.pop("usual")
        return cls(**{**values, "threshold": float(arrays["threshold"][0])})


def typical_weight(weight: Array) -> Array:
    """[N] ln of the mean weight of the pixels that are there; NaN without any."""
    valid = (weight > 0).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log(weight.sum(axis=1) / valid))


def _prefixed(
    prefix: str,
    part: TrainingDensity | BlendPatterns | BlendClassifier | ExpectedComponents | None,
) -> dict[str, Array]:
    own = {} if part is None else part.to_arrays()
    return {f"{prefix}{name}": values for name, values in own.items()}


def _with_prefix(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    named = {name: array for name, array in arrays.items() if name.startswith(prefix)}
    return {name.removeprefix(prefix): array for name, array in named.items()}


def blocks_of(stars: int) -> Iterator[slice]:
    """At least one, empty where there are no stars."""
    for start in range(0, max(stars, 1), _BLOCK_STARS):
        yield slice(start, start + _BLOCK_STARS)


def _solve_cholesky(normal: Array, right: Array) -> Array:
    """Solutions [k, N] of normal equations [k, k, N] (lower triangles), right sides [k, N].

    Cholesky, for all stars at once: a library's solver takes longer to enter than to solve.
    Single precision will do, as components are orthogonal and no star's weights vary so much
    that they cease to be nearly so. Both arguments are overwritten.
    """
    for j in range(len(right)):
        before = normal[j, :j]
        column = normal[j:, j]
        column -= np.einsum("ikn,kn->in", normal[j:, :j], before)
        column /= np.sqrt(column[0])
        right[j] -= np.einsum("kn,kn->n", before, right[:j])
        right[j] /= normal[j, j]
    for j in reversed(range(len(right))):
        right[j] -= np.einsum("kn,kn->n", normal[j + 1 :, j], right[j + 1 :])
        right[j] /= normal[j, j]
    return right


def rows_of(array: Array | None, rows: Array | slice) -> Array | None:
    """Those rows of an array that a survey may not have."""
    return None if array is None else array[rows]


def _quantile_in_spreads(quantile: float) -> float:
    """Where a quantile lies in spreads; a quarter more, as real tails are not Gaussian."""
    return 1.25 * max(NormalDist().inv_cdf(quantile), 0.5)


def _upper_spread(values: Array) -> float:
    middle, upper = np.quantile(values, [0.5, 0.8413])
    return max(float(upper - middle), 1e-3)
