"""The scales of one label: along ln S/N and labels, per stratum, for stars that lack inputs.

Each is what holds 68.3 % of the errors on average over what the scale may be.
"""

from dataclasses import dataclass

import numpy as np

from distcnn.arrays import Array
from distcnn.quality.calibration.error_deconvolution import (
    MIN_STARS_FOR_SCALE,
    ReferenceResiduals,
    half_width,
)
from distcnn.quality.calibration.label_nodes import LabelNodes
from distcnn.quality.calibration.smooth_scale import (
    Penalty,
    Residuals,
    SmoothScale,
    differences,
    fit_scale,
    hat_weights,
)
from distcnn.quality.calibration.strata import LABEL_STRATA
from distcnn.stats import WITHIN_95

_STRATUM_SPREAD = 0.2  # of ln s between strata, where the strata are too few to show their own
_WALK_SPREAD = 0.15  # the same along ln S/N, per factor e


@dataclass(frozen=True)
class LabelScales:
    """The scales of one label; see ``Calibration``."""

    scale: Array
    overall: float
    stratum: Array
    along_labels: Array
    degrees: float
    width_95: float
    widening: float
    """Of the interval, for what is not known of the scale."""

    @classmethod
    def unknown(cls, nodes: int, along: LabelNodes) -> "LabelScales":
        """Of a label with too few references."""
        scale, ones = np.full(nodes, np.nan), np.ones(len(LABEL_STRATA))
        return cls(scale, np.nan, ones, np.ones(along.places.size), np.nan, 2.0, 1.0)


@dataclass(frozen=True)
class Cells:
    """Where N stars are among the labels: ``strata`` [N, C] their weights, or [N, 0] for none;
    ``nodes`` along labels, with the stars' ``weights`` [N, A * J].
    """

    strata: Array
    nodes: LabelNodes
    weights: Array

    def take(self, rows: Array) -> "Cells":
        return Cells(self.strata[rows], self.nodes, self.weights[rows])

    @property
    def basis(self) -> Array:
        """[N, C + A * J]."""
        return np.concatenate([self.strata, self.weights], axis=1)


def fit_label(
    found: ReferenceResiduals, k: int, snr: Array, centres: Array, cells: Cells
) -> LabelScales:
    """Fit the scales of label k.

    Parameters
    ----------
    snr : [N]; NaN = unknown.
    centres : [K] ln S/N of the nodes.
    """
    rows = np.flatnonzero(found.known[:, k])
    if len(rows) < MIN_STARS_FOR_SCALE:
        return LabelScales.unknown(len(centres), cells.nodes)
    one = {"hats": np.ones((len(rows), 1)), "centres": np.zeros(1)}
    flat = _along_nodes(found, k, rows, **one, cells=cells.take(rows))
    rows = rows[np.isfinite(snr[rows]) & (snr[rows] > 0)]
    along = flat
    if len(centres) and len(rows) >= MIN_STARS_FOR_SCALE:
        hats = hat_weights(np.log(snr[rows]), centres)
        along = _along_nodes(found, k, rows, hats=hats, centres=centres, cells=cells.take(rows))
    variance = along.typical_variance
    within_68 = half_width(along.degrees, variance)
    width = half_width(along.degrees, variance, WITHIN_95) / within_68
    widening = within_68 / half_width(along.degrees)
    scale = np.resize(along.nodes, len(centres)) if along is flat else along.nodes
    overall = float(flat.nodes[0])
    parts = along.stratum, along.along_labels
    return LabelScales(scale, overall, *parts, along.degrees, width, widening)


@dataclass(frozen=True)
class _NodeScales:
    nodes: Array
    stratum: Array
    along_labels: Array
    degrees: float
    typical_variance: float


def _along_nodes(
    found: ReferenceResiduals, k: int, rows: Array, *, hats: Array, centres: Array, cells: Cells
) -> _NodeScales:
    """Scales at the nodes, for the usual mixture of cells, and further factors of these."""
    nodes, strata = hats.shape[1], cells.strata.shape[1]
    basis = np.concatenate([hats, cells.basis], axis=1)
    penalties = _penalties(centres, strata, basis.shape[1])
    penalties += cells.nodes.penalties(nodes + strata)
    fitted = fit_scale(_residuals(found, k, rows), basis, penalties)
    usual = cells.basis.mean(axis=0)
    scale = [_predictive(fitted, np.concatenate([node, usual])) for node in np.eye(nodes)]
    none, some = np.zeros(nodes), usual[:strata]
    stratum = np.ones(len(LABEL_STRATA))
    for number, one in enumerate(np.eye(strata)):
        contrast = np.concatenate([none, one - some, 0 * usual[strata:]])
        stratum[number] = _predictive(fitted, contrast) / half_width(fitted.degrees)
    contrasts = (
        np.concatenate([none, 0 * some, cells.nodes.contrast(number, usual[strata:])])
        for number in range(cells.nodes.places.size)
    )
    along = [_predictive(fitted, one) / half_width(fitted.degrees) for one in contrasts]
    variance = round(float(fitted.variance(basis).mean()), 4)
    return _NodeScales(np.array(scale), stratum, np.array(along), fitted.degrees, variance)


def fit_missing(
    left: ReferenceResiduals, k: int, snr: Array, centres: Array, degrees: float
) -> Array:
    """[K + 1] further factor of label k at the nodes, and of all stars."""
    rows = np.flatnonzero(left.known[:, k])
    if len(rows) < MIN_STARS_FOR_SCALE or not np.isfinite(degrees):
        return np.ones(len(centres) + 1)
    plain = half_width(degrees)
    level = Penalty(np.ones((1, 1)), 1.0)
    # The residuals are in units of total errors, which are 68 % half-widths.
    shift = -np.log(plain)
    one = np.ones((len(rows), 1))
    flat = fit_scale(_residuals(left, k, rows), one, [level], offset=shift, degrees=degrees)
    overall = _predictive(flat, np.ones(1)) / plain
    at_snr = np.isfinite(snr[rows]) & (snr[rows] > 0)
    if not len(centres) or at_snr.sum() < MIN_STARS_FOR_SCALE:
        return np.full(len(centres) + 1, overall)
    along = fit_scale(
        _residuals(left, k, rows[at_snr]),
        hat_weights(np.log(snr[rows[at_snr]]), centres),
        _penalties(centres, 0, len(centres)),
        offset=shift,
        degrees=degrees,
    )
    scale = [_predictive(along, node) / plain for node in np.eye(len(centres))]
    return np.array([*scale, overall])


def _residuals(found: ReferenceResiduals, k: int, rows: Array) -> Residuals:
    arrays = (found.residual, found.predicted_sigma, found.reference_error)
    return Residuals.clipped(*(array[rows, k].astype(np.float64) for array in arrays))


def _penalties(centres: Array, strata: int, size: int) -> list[Penalty]:
    """A random walk along the nodes; strata around zero; of so many coefficients in all."""
    nodes = len(centres)
    walk = differences(centres, size)
    apart = np.pad(np.eye(strata), ((0, 0), (nodes, size - nodes - strata)))
    chosen = [Penalty(walk, _WALK_SPREAD), Penalty(apart, _STRATUM_SPREAD)]
    return [penalty for penalty in chosen if len(penalty.combinations)]


def _predictive(fitted: SmoothScale, row: Array) -> float:
    """Half-width of the interval that holds 68.3 % of the errors of stars of that basis [P]."""
    variance = round(float(fitted.variance(row[None])[0]), 4)
    return float(np.exp(fitted.coefficients @ row) * half_width(fitted.degrees, variance))
