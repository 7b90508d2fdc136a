"""What standard methods are given: spectra with weights, and labels without units.

Legend: N star, P pixel, L label, K label that a method learns, A principal axis of these.
"""

from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.baselines.base import Inputs, LabelledStars
from distcnn.model.quadratic_spectra import weight_with

USUAL_SNR = 100.0
"""Signal to noise that is taken for spectra of which neither errors nor S/N are known."""
LEAST_SHARE = 2e-3
"""Of the variance of all labels, without unit, that an axis must hold to be fitted."""
MARGIN = 0.1
"""Part of the range of training labels that is searched beyond it, on either side."""
LEAST_ERROR = 1e-4
"""Errors are not believed to be smaller, as a fraction of the median flux."""


@dataclass(frozen=True)
class Spectra:
    """``flux`` [N, P], 0 where nothing is known, and ``weight`` [N, P] = 1 / error^2, there 0."""

    flux: Array
    weight: Array

    def __len__(self) -> int:
        return len(self.flux)

    @classmethod
    def of(cls, inputs: Inputs) -> "Spectra":
        """Spectra of stars; errors come from the survey, else from S/N."""
        flux = np.asarray(inputs["flux"], float)
        error = _error(inputs, flux)
        good = np.isfinite(flux) & np.isfinite(error)
        least = LEAST_ERROR * _level(flux)
        weight = np.where(good, 1 / np.square(np.maximum(error, least)), 0.0)
        return cls(np.where(good, flux, 0.0), np.where(np.isfinite(weight), weight, 0.0))

    def take(self, rows: slice | Array) -> "Spectra":
        """The stars at ``rows``."""
        return Spectra(self.flux[rows], self.weight[rows])

    def weight_with(self, variance: Array) -> Array:
        """[N, P] weights with a variance [P] of the model added to that of the noise."""
        return weight_with(self.weight, variance)

    def filled(self, mean: Array) -> Array:
        """[N, P] flux with ``mean`` [P] where nothing is known."""
        return np.where(self.weight > 0, self.flux, mean)


def _error(inputs: Inputs, flux: Array) -> Array:
    given = inputs.get("flux_error")
    if given is not None and given.size:
        error = np.asarray(given, float)
        return np.where(error > 0, error, np.nan)
    snr = np.reshape(inputs.get("snr", np.full(len(flux), np.nan)), -1).astype(float)
    snr = np.where(np.isfinite(snr) & (snr > 0), snr, USUAL_SNR)
    return np.broadcast_to(_level(flux) / snr[:, None], flux.shape)


def _level(flux: Array) -> Array:
    """[N, 1] median of the absolute flux; 1 where there is none."""
    size = np.where(np.isfinite(flux), np.abs(flux), np.nan)
    level = np.ones(len(flux))
    some = np.isfinite(size).any(axis=1)
    level[some] = np.nanmedian(size[some], axis=1)
    return np.where(level > 0, level, 1.0)[:, None]


def mean_spectrum(spectra: Spectra) -> Array:
    """[P] mean flux of the stars that have a pixel; all pixels count alike."""
    known = (spectra.weight > 0).sum(axis=0)
    return np.asarray(spectra.flux.sum(axis=0) / np.maximum(known, 1))


@dataclass(frozen=True)
class LabelAxes:
    """Labels as numbers of unit variance along the principal axes of the training labels.

    Axes along which the population hardly varies are left out: labels that it ties together, such
    as [Fe/H] and [M/H], no spectrum tells apart, and a fit of both would follow the noise.

    Attributes
    ----------
    columns : [K] which of the ``count`` labels are learned: those that training stars have.
    centre : [K] mean label. ``matrix`` : [A, K], label = centre + numbers @ matrix.
    inverse : [K, A]. ``left_out`` : [K] variance of the labels along axes that are left out.
    low, high : [A] range of the numbers in training, widened.
    """

    columns: Array
    count: int
    centre: Array
    matrix: Array
    inverse: Array
    left_out: Array
    low: Array
    high: Array

    @classmethod
    def fit(cls, label: Array, most: int | None = None) -> "LabelAxes":
        """Of labels [N, L], from stars that have all that are learned; at most ``most`` axes."""
        columns = np.flatnonzero(np.isfinite(label).sum(axis=0) > 1)
        some = label[:, columns].astype(float)
        some = some[np.isfinite(some).all(axis=1)]
        centre, scale = some.mean(axis=0), some.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        size, axes = np.linalg.eigh(np.atleast_2d(np.cov(((some - centre) / scale).T, bias=True)))
        kept = np.flatnonzero(size > LEAST_SHARE * size.sum())[::-1][:most]
        dropped = np.setdiff1d(np.arange(len(size)), kept)
        root = np.sqrt(size[kept])[:, None]
        inverse = (axes[:, kept].T / root / scale).T
        numbers = (some - centre) @ inverse
        low, high = numbers.min(axis=0), numbers.max(axis=0)
        room = MARGIN * (high - low)
        left = (np.square(axes[:, dropped]) @ np.maximum(size[dropped], 0.0)) * np.square(scale)
        matrix = axes[:, kept].T * root * scale
        return cls(columns, label.shape[1], centre, matrix, inverse, left, low - room, high + room)

    def numbers(self, label: Array) -> Array:
        """[N, A] of labels [N, L]; NaN where one of the labels learned is missing."""
        return np.asarray((label[:, self.columns] - self.centre) @ self.inverse)

    def labels(self, numbers: Array) -> Array:
        """Float32 [N, L] of numbers [N, A]; NaN where a label is not learned."""
        return self._spread(numbers @ self.matrix + self.centre)

    def errors(self, covariance: Array) -> Array:
        """Standard errors, float32 [N, L], of numbers with a covariance [N, A, A]."""
        along = np.einsum("ak,nab,bk->nk", self.matrix, covariance, self.matrix, optimize=True)
        return self._spread(np.sqrt(along + self.left_out))

    def _spread(self, values: Array) -> Array:
        out = np.full((len(values), self.count), np.nan, np.float32)
        out[:, self.columns] = values
        return out


def complete_stars(
    stars: LabelledStars, most: int | None = None
) -> tuple[Spectra, Array, LabelAxes]:
    """Spectra [N, P] and labels [N, A] as numbers, of stars that have every label learned."""
    axes = LabelAxes.fit(stars.label, most)
    numbers = axes.numbers(stars.label)
    rows = np.flatnonzero(np.isfinite(numbers).all(axis=1))
    return Spectra.of(stars.inputs).take(rows), numbers[rows], axes
