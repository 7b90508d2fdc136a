"""Blend patterns: what the light of a second star leaves in a spectrum that one star should fit.

Training spectra are mixed with those of other training stars at other velocities; what the
principal components cannot imitate of the mixture is spread over few patterns. A spectrum's
residual is projected on them (a matched subspace, Scharf & Friedlander 1994, IEEE Trans. Signal
Process. 42, 2146) in units of the scatter of training stars along each, for these are not noise
alone. A classifier of one hidden layer, which has learned to tell the mixtures from the training
spectra by these projections, the components and the other measures, gives the logarithm of the
odds of a blend (outlier exposure: Hendrycks et al. 2019, ICLR). Where XP, magnitudes or parallax
are there, it is also told by what of the components these do not lead one to expect
(``expected_components``): mixtures keep those of their first star.

Legend: N star, P pixel, k component, r pattern, G bin of weight, F feature, H hidden unit.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.quality.novelty.array_fields import ArrayFields
from distcnn.quality.novelty.principal import leading_vectors
from distcnn.quality.novelty.weight_bins import along_weight, weight_bins

IMITATED_BLENDS = 12_000
"""Mixtures that the patterns are made of."""
LIGHT_SHARE = (0.1, 0.5)
"""Of the second star."""
_LEAST_NOISY = 0.67
"""Quantile of weight above which stars say along which directions training scatters."""


def imitated_blends(
    rng: np.random.Generator, mean: Array, components: Array, fitted: Array
) -> tuple[Array, Array]:
    """Rows [n] of stars, and what a second star changes in the spectrum of each, [n, P].

    Shifts are Gaussian, of the length over which the mean spectrum changes, so nothing need be
    known of wavelengths: patterns hardly depend on it (between half and twice, the same are found).

    Parameters
    ----------
    mean, components, fitted : [P], [k, P], [N, k]; the spectra without their noise.
    """
    count = min(IMITATED_BLENDS, 2 * len(fitted))
    rows, others = (rng.integers(0, len(fitted), count) for _ in range(2))
    pixel = np.arange(len(mean), dtype=float)
    shift = rng.normal(0.0, _scale_length(mean), count)
    share = rng.uniform(*LIGHT_SHARE, count)
    change = np.empty((count, len(mean)), np.float32)
    for number, (row, other) in enumerate(zip(rows, others, strict=True)):
        second = np.interp(pixel - shift[number], pixel, mean + fitted[other] @ components)
        change[number] = share[number] * (second - mean - fitted[row] @ components)
    return rows, change


def _scale_length(mean: Array) -> float:
    """Pixels over which a spectrum changes: spread over spread of the slope."""
    return float(np.std(mean) / max(np.std(np.gradient(mean)), 1e-12))


@dataclass(frozen=True)
class BlendPatterns(ArrayFields):
    """Patterns [r, P], and how training stars scatter along them.

    ``grid`` [G] ln of the typical weight; ``centre``, ``spread`` [G, r] mean and standard
    deviation of the projections of training stars there.
    """

    patterns: Array
    grid: Array
    centre: Array
    spread: Array

    @classmethod
    def fit(
        cls, left: Array, weighted: Array, weight: Array, count: int, seed: int
    ) -> "BlendPatterns":
        """Fit ``count`` patterns.

        Parameters
        ----------
        left : [n, P] what the components leave of imitated blends.
        weighted, weight : [N, P] weight times residual, [N] ln typical weight of training stars.
        """
        patterns = leading_vectors(left, count, seed)
        found = _projected(weighted, weight, patterns)
        clearest = weight >= np.quantile(weight, _LEAST_NOISY)
        # Along these axes the scatter of training is independent, and that of noise anyway.
        _, axes = np.linalg.eigh(np.cov(found[clearest].T))
        found = found @ axes
        bins = [(middle, found[inside]) for middle, inside in weight_bins(weight)]
        return cls(
            patterns=np.ascontiguousarray(axes.T @ patterns, np.float32),
            grid=np.array([middle for middle, _ in bins]),
            centre=np.stack([part.mean(axis=0) for _, part in bins]).astype(np.float32),
            spread=np.stack([np.maximum(p.std(axis=0), 1e-3) for _, p in bins]).astype(np.float32),
        )

    def projections(self, weighted: Array, weight: Array) -> Array:
        """[N, r] projections in units of the scatter of training stars.

        Parameters
        ----------
        weighted : [N, P] weight times residual, 0 = missing.
        weight : [N] ln of the typical weight.
        """
        offset = _projected(weighted, weight, self.patterns)
        offset -= along_weight(weight, self.grid, self.centre)
        offset /= along_weight(weight, self.grid, self.spread)
        return np.asarray(offset, np.float32)


def _projected(weighted: Array, weight: Array, patterns: Array) -> Array:
    """[N, r] projections of residuals, of unit variance if they were noise alone."""
    return np.asarray((weighted @ patterns.T) * np.exp(-0.5 * weight)[:, None])


HIDDEN_UNITS, EPOCHS, PENALTY = 48, 60, 1e-2
MOST_SPREADS = 6.0
"""Features are cut off there: what is so far away is novel by other measures."""


@dataclass(frozen=True)
class BlendClassifier(ArrayFields):
    """Features [F] scaled by ``centre``, ``spread`` [F]; weights and offsets of two layers:
    ``hidden`` [F, H], ``hidden_offset`` [H], ``output`` [H], ``output_offset`` [1].
    """

    centre: Array
    spread: Array
    hidden: Array
    hidden_offset: Array
    output: Array
    output_offset: Array

    @classmethod
    def fit(cls, single: Array, blended: Array, seed: int) -> "BlendClassifier":
        """From features of training spectra [N, F] and of imitated blends [n, F]."""
        from sklearn.neural_network import MLPClassifier

        features = np.concatenate([single, blended])
        centre, spread = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
        kind = np.repeat([0, 1], [len(single), len(blended)])
        network = MLPClassifier(
            (HIDDEN_UNITS,), alpha=PENALTY, early_stopping=True, max_iter=EPOCHS, random_state=seed
        )
        with warnings.catch_warnings():
            # One that could learn more is used as it is.
            warnings.simplefilter("ignore")
            network.fit(_scaled(features, centre, spread), kind)
        first, second = (weights.astype(np.float32) for weights in network.coefs_)
        offsets = [values.astype(np.float32) for values in network.intercepts_]
        scale = centre.astype(np.float32), spread.astype(np.float32)
        return cls(*scale, first, offsets[0], second[:, 0].copy(), offsets[1])

    def log_odds(self, features: Array) -> Array:
        """[N] of a blend, of features [N, F]."""
        scaled = _scaled(features, self.centre, self.spread)
        hidden = np.maximum(scaled @ self.hidden + self.hidden_offset, 0)
        return np.asarray(hidden @ self.output + self.output_offset)


def _scaled(features: Array, centre: Array, spread: Array) -> Array:
    return np.asarray(np.clip((features - centre) / spread, -MOST_SPREADS, MOST_SPREADS))
