"""What is fitted to the map: components of its cells, gradients of its layers, its halo."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr

from distcnn.arrays import Array
from distcnn.config import GalaxyMapConfig
from distcnn.maps.galaxy.mixture import (
    Mixture,
    NoisyStars,
    fit_mixture,
    memberships,
    one_component,
    slope_errors,
    split_by,
)
from distcnn.maps.galaxy.sums import GalaxySums
from distcnn.stats import bin_name

Row = dict[str, Any]
_SPLITS = (0.3, 0.5, 0.7)
"""Quantiles of [alpha/M] at which a second component is begun."""
_HALO_COMPONENTS = 4
_POOR = -1.0
"""[M/H] below which a metal-poor component begins [dex]."""
SEQUENCES = ("low_alpha", "high_alpha", "metal_poor")
"""Components of a layer: of the two richer in metals that with less and with more [alpha/M]."""


def mosaic_rows(sums: GalaxySums, config: GalaxyMapConfig) -> list[Row]:
    """One row per S/N bin and cell: stars, and one against two components of ([M/H], [alpha/M]).

    ``delta_bic`` : BIC of one component less that of two; above 10 two are strongly preferred
    (Kass & Raftery 1995, JASA 90, 773). Means, widths (errors taken off) and shares are those of
    the two, low [alpha/M] first. NaN where there are too few stars.
    """
    rows = []
    shape = sums.mosaic.shape[:3]
    for number in range(int(np.prod(shape))):
        snr, radius, height = (int(k) for k in np.unravel_index(number, shape))
        row = {
            "snr": bin_name(snr + 1, config.snr_edges),
            "radius_low": config.radius_edges[radius],
            "radius_high": config.radius_edges[radius + 1],
            "height_low": config.height_edges[height],
            "height_high": config.height_edges[height + 1],
            "stars": int(sums.mosaic[snr, radius, height].sum()),
        }
        rows.append(row | _components(sums.sample(number), config))
    return rows


def _components(sample: Mapping[str, Array], config: GalaxyMapConfig) -> Row:
    names = ("share", "mh", "alpham", "mh_width", "alpham_width", "correlation")
    unknown = {f"{name}_{kind}": np.nan for kind in ("low", "high") for name in names}
    row: Row = {"fitted": len(sample["mh"]), "delta_bic": np.nan, "components": 0, **unknown}
    if row["fitted"] < config.minimum:
        return row
    stars = _chemistry(sample)
    one = fit_mixture(stars, [one_component(stars)])
    cuts = np.quantile(stars.values[:, 1], _SPLITS)
    starts = [split_by(stars, (stars.values[:, 1] > cut).astype(np.int64), 2) for cut in cuts]
    two = fit_mixture(stars, starts)
    row["delta_bic"] = one.bic - two.bic
    row["components"] = 2 if row["delta_bic"] > 0 else 1
    for kind, number in zip(("low", "high"), np.argsort(two.mean[:, 1, 0]), strict=True):
        width = np.sqrt(np.diag(two.covariance[number]))
        tilt = two.covariance[number, 0, 1] / np.prod(width)
        values = (two.share[0, number], *two.mean[number, :, 0], *width, tilt)
        row |= {f"{name}_{kind}": float(v) for name, v in zip(names, values, strict=True)}
    return row


def _chemistry(sample: Mapping[str, Array]) -> NoisyStars:
    return NoisyStars.of(
        np.stack([sample["mh"], sample["alpham"]], axis=1), _error_covariance(sample)
    )


def _error_covariance(sample: Mapping[str, Array]) -> Array:
    one, other = sample["mh_error"], sample["alpham_error"]
    both = sample["correlation"] * one * other
    return np.asarray(np.array([[one**2, both], [both, other**2]]).transpose(2, 0, 1))


@dataclass(frozen=True)
class LayerSample:
    """Stars of a layer |Z|, of all S/N bins, and the columns R that they lie in."""

    columns: Mapping[str, Array]
    column: Array
    """[n] number of the column."""


def _layer(sums: GalaxySums, height: int) -> LayerSample:
    shape = sums.mosaic.shape[:3]
    parts, place = [], []
    for snr in range(shape[0]):
        for radius in range(shape[1]):
            part = sums.sample(int(np.ravel_multi_index((snr, radius, height), shape)))
            parts.append(part)
            place.append(np.full(len(part["mh"]), radius))
    names = parts[0]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in names}
    return LayerSample(joined, np.concatenate(place))


def gradient_rows(sums: GalaxySums, config: GalaxyMapConfig) -> list[Row]:
    """One row per layer |Z| and sequence: radial gradient of [M/H] [dex/kpc] with its error.

    Three components are fitted to ([M/H], [alpha/M]), whose means run linearly with R and whose
    shares differ from column to column: ``SEQUENCES``. Errors of the labels and of R are part of
    the model, so they neither flatten nor widen anything. ``mh`` is that at the Sun's R.
    """
    rows: list[Row] = []
    for height in range(len(config.height_edges) - 1):
        layer = _layer(sums, height)
        row = {
            "height_low": config.height_edges[height],
            "height_high": config.height_edges[height + 1],
            "stars": len(layer.column),
        }
        if len(layer.column) < 2 * config.minimum:
            rows.append(row | _NO_GRADIENT)
            continue
        rows += [row | found for found in _gradients(layer, config)]
    return rows


def _gradients(layer: LayerSample, config: GalaxyMapConfig) -> list[Row]:
    sample = layer.columns
    from_sun = sample["radius"] - config.sun_radius
    stars = NoisyStars(
        np.stack([sample["mh"], sample["alpham"]], axis=1),
        _error_covariance(sample),
        np.stack([np.ones_like(from_sun), from_sun], axis=1),
        sample["radius_error"],
        layer.column,
        len(config.radius_edges) - 1,
    )
    one = fit_mixture(stars, [one_component(stars)])
    rows = [_of_component("all", stars, one, 0)]
    three = fit_mixture(stars, [_sequences(stars, cut) for cut in (0.10, 0.14, 0.18)])
    poor, *others = np.argsort(three.mean[:, 0, 0])
    others.sort(key=lambda number: three.mean[number, 1, 0])
    return rows + [
        _of_component(name, stars, three, int(number))
        for name, number in zip(SEQUENCES, (*others, poor), strict=True)
    ]


def _sequences(stars: NoisyStars, cut: float) -> Mixture:
    """Where the components start: two sides of a line that falls with [M/H], and what is poor."""
    mh, alpham = stars.values.T
    kind = (alpham > cut - 0.1 * np.minimum(mh, 0.1)).astype(np.int64)
    kind[mh < _POOR] = 2
    return split_by(stars, kind, 3)


def _of_component(name: str, stars: NoisyStars, mixture: Mixture, number: int) -> Row:
    error = slope_errors(stars, mixture)[number, 0]
    mean = mixture.mean[number, 0]
    return {
        "sequence": name,
        "share": float(memberships(stars, mixture)[:, number].mean()),
        "gradient": float(mean[1]),
        "gradient_error": float(error[1]),
        "mh": float(mean[0]),
        "mh_error": float(error[0]),
    }


_NO_GRADIENT = {
    "sequence": "all",
    **dict.fromkeys(("share", "gradient", "gradient_error", "mh", "mh_error"), np.nan),
}


def halo_rows(sums: GalaxySums, config: GalaxyMapConfig) -> list[Row]:
    """One row per S/N bin: stars below ``config.halo`` in [M/H].

    ``counted`` : by their label as it is, with the error of counting. ``expected`` : by the
    distribution that is left when the errors are taken off, which scatter more stars into a
    steep tail than out of it; from a mixture fitted to a sample, scaled to all stars.
    """
    rows: list[Row] = []
    for snr in range(len(config.snr_edges)):
        sample = sums.sample(-1 - snr)
        total, below = (int(count) for count in sums.by_snr[snr])
        found = len(sample["mh"])
        row: Row = {
            "snr": bin_name(snr + 1, config.snr_edges),
            "stars": total,
            "fitted": found,
            "limit": config.halo,
            "counted": below,
            "counted_error": float(np.sqrt(below)),
            "expected": np.nan,
            "expected_error": np.nan,
        }
        if found >= config.minimum:
            share = _deconvolved_share(sample, config.halo)
            error = np.sqrt(max(share * (1 - share), 1 / found) / found)
            row |= {"expected": share * total, "expected_error": float(error * total)}
        rows.append(row)
    return rows


def _deconvolved_share(sample: Mapping[str, Array], limit: float) -> float:
    values = sample["mh"][:, None]
    stars = NoisyStars.of(values, (sample["mh_error"] ** 2)[:, None, None])
    edges = np.quantile(values, [0.02, 0.1, 0.5])
    kind = np.searchsorted(edges, values[:, 0])
    found = fit_mixture(stars, [split_by(stars, kind, _HALO_COMPONENTS)])
    width = np.sqrt(found.covariance[:, 0, 0])
    below = ndtr((limit - found.mean[:, 0, 0]) / width)
    return float((found.share[0] * below).sum())
