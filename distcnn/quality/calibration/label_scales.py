"""The scales of one label: along ln S/N, per stratum, and for stars that lack inputs.

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
    degrees: float
    width_95: float
    widening: float
    """Of the interval, for what is not known of the scale."""

    @classmethod
    def unknown(cls, nodes: int) -> "LabelScales":
        """Of a label with too few references."""
        return cls(np.full(nodes, np.nan), np.nan, np.ones(len(LABEL_STRATA)), np.nan, 2.0, 1.0)


def fit_label(
    found: ReferenceResiduals, k: int, snr: Array, centres: Array, cells: Array
) -> LabelScales:
    """Fit the scales of label k.

    Parameters
    ----------
    snr : [N]; NaN = unknown.
    centres : [K] ln S/N of the nodes.
    cells : [N, C] weights of strata, or [N, 0] for none.
    """
    rows = np.flatnonzero(found.known[:, k])
    if len(rows) < MIN_STARS_FOR_SCALE:
        return LabelScales.unknown(len(centres))
    one = {"hats": np.ones((len(rows), 1)), "centres": np.zeros(1)}
    flat = _along_nodes(found, k, rows, **one, cells=cells[rows])
    rows = rows[np.isfinite(snr[rows]) & (snr[rows] > 0)]
    along = flat
    if len(centres) and len(rows) >= MIN_STARS_FOR_SCALE:
        hats = hat_weights(np.log(snr[rows]), centres)
        along = _along_nodes(found, k, rows, hats=hats, centres=centres, cells=cells[rows])
    variance = along.typical_variance
    within_68 = half_width(along.degrees, variance)
    width = half_width(along.degrees, variance, WITHIN_95) / within_68
    widening = within_68 / half_width(along.degrees)
    scale = np.resize(along.nodes, len(centres)) if along is flat else along.nodes
    overall = float(flat.nodes[0])
    return LabelScales(scale, overall, along.stratum, along.degrees, width, widening)


@dataclass(frozen=True)
class _NodeScales:
    nodes: Array
    stratum: Array
    degrees: float
    typical_variance: float


def _along_nodes(
    found: ReferenceResiduals, k: int, rows: Array, *, hats: Array, centres: Array, cells: Array
) -> _NodeScales:
    """Scales at the nodes, for the usual mixture of strata, and further factors of these."""
    nodes, strata = hats.shape[1], cells.shape[1]
    basis = np.concatenate([hats, cells], axis=1)
    fitted = fit_scale(_residuals(found, k, rows), basis, _penalties(centres, strata))
    usual = cells.mean(axis=0)
    scale = [_predictive(fitted, np.concatenate([node, usual])) for node in np.eye(nodes)]
    stratum = np.ones(len(LABEL_STRATA))
    for number, one in enumerate(np.eye(strata)):
        contrast = np.concatenate([np.zeros(nodes), one - usual])
        stratum[number] = _predictive(fitted, contrast) / half_width(fitted.degrees)
    variance = round(float(fitted.variance(basis).mean()), 4)
    return _NodeScales(np.array(scale), stratum, fitted.degrees, variance)


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
        _penalties(centres, 0),
        offset=shift,
        degrees=degrees,
    )
    scale = [_predictive(along, node) / plain for node in np.eye(len(centres))]
    return np.array([*scale, overall])


def _residuals(found: ReferenceResiduals, k: int, rows: Array) -> Residuals:
    arrays = (found.residual, found.predicted_sigma, found.reference_error)
    return Residuals.clipped(*(array[rows, k].astype(np.float64) for array in arrays))


def _penalties(centres: Array, strata: int) -> list[Penalty]:
    """A random walk along the nodes; strata around zero."""
    nodes = len(centres)
    walk = differences(centres, nodes + strata)
    apart = np.concatenate([np.zeros((strata, nodes)), np.eye(strata)], axis=1)
    chosen = [Penalty(walk, _WALK_SPREAD), Penalty(apart, _STRATUM_SPREAD)]
    return [penalty for penalty in chosen if len(penalty.combinations)]


def _predictive(fitted: SmoothScale, row: Array) -> float:
    """Half-width of the interval that holds 68.3 % of the errors of stars of that basis [P]."""
    variance = round(float(fitted.variance(row[None])[0]), 4)
    return float(np.exp(fitted.coefficients @ row) * half_width(fitted.degrees, variance))
