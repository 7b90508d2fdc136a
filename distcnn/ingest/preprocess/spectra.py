"""Preparation of spectra: pure functions of numpy arrays, nothing constant in code.

In this order: trim, mask what is missing, divide by a continuum, mask what stands out, rebin.
``B`` star, ``P`` input pixel, ``Q`` output pixel.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage, sparse

from distcnn.arrays import Array
from distcnn.config import GridConfig, PrepareConfig
from distcnn.errors import ConfigError, GridMismatch
from distcnn.ingest.preprocess.wavelength import (
    convert_medium,
    convert_unit,
    edges,
    target_pixels,
)
from distcnn.schema import MaskBit

SQUARES_FIT = (1e-12, 1e12)
"""Largest errors between which float32 holds the squares of all errors that matter."""
NORMALISED_LEVELS = (1e-4, 10.0)
"""Mean flux outside of which a spectrum is certainly not normalised."""
MIN_OVERLAP_FRACTION = 1e-9  # fraction of a pixel below which an overlap is rounding


@dataclass(frozen=True)
class Spectra:
    """Prepared spectra: flux [B, Q] and error [B, Q] (NaN where masked), mask [B, Q] of MaskBit."""

    flux: Array
    error: Array | None
    mask: Array


@dataclass(frozen=True)
class Preparation:
    """The preparation of all spectra on one input grid, worked out once.

    ``wavelength`` [Q] is the output grid; ``weights`` [Q, P] the overlap of every output pixel
    with every input pixel in units of wavelength, None if pixels are kept as they are.
    """

    config: PrepareConfig
    wavelength: Array
    weights: "sparse.csr_array | None"
    widths: Array
    pixels: int
    flip: bool = False
    """Whether input pixels stand in order of decreasing wavelength."""

    @classmethod
    def for_grid(cls, wavelength: Array, grid: GridConfig, config: PrepareConfig) -> "Preparation":
        """Work out output grid and weights for input centres [P] in the grid's unit and medium.

        Raises
        ------
        GridMismatch : the wavelengths neither increase nor decrease throughout.
        ConfigError : no pixel is left.
        """
        pixels = len(wavelength)
        if pixels > 1 and np.isfinite(wavelength).all() and (np.diff(wavelength) < 0).all():
            return replace(cls.for_grid(wavelength[::-1], grid, config), flip=True)
        if pixels < 2 or not np.isfinite(wavelength).all() or not (np.diff(wavelength) > 0).all():
            raise GridMismatch(
                "the wavelengths of the spectra neither increase nor decrease throughout",
                expected="at least 2 pixels in order of wavelength",
                cure="Sort the pixels of the file by wavelength.",
            )
        blue, red = config.trim
        kept = wavelength[blue : max(pixels - red, 0)]
        if len(kept) < 2:
            raise ConfigError(
                f"ingest.prepare.trim = {[blue, red]} for {pixels} pixels",
                expected="at least two pixels to be left",
            )
        if config.target is not None:
            return cls._onto_target(kept, grid, config, pixels)
        if config.rebin == 1:
            return cls(config, kept, None, np.diff(edges(kept)), pixels)
        kept = kept[: len(kept) // config.rebin * config.rebin]
        if not len(kept):
            raise ConfigError(
                f"ingest.prepare.rebin = {config.rebin} for {pixels} pixels, trimmed {config.trim}",
                expected="at least one pixel to be left",
                cure="Trim or join fewer pixels.",
            )
        joined = edges(kept)[:: config.rebin]
        centres = kept.reshape(-1, config.rebin).mean(axis=1)
        all_kept = wavelength[blue : pixels - red]
        return cls(config, centres, overlap(edges(all_kept), joined), np.diff(joined), pixels)

    @classmethod
    def _onto_target(
        cls, kept: Array, grid: GridConfig, config: PrepareConfig, pixels: int
    ) -> "Preparation":
        target = config.target
        assert target is not None
        centres, stored = target_pixels(config)
        moved = convert_medium(kept, grid.unit, grid.medium, target.medium)
        moved = convert_unit(moved, grid.unit, target.unit)
        borders = edges(centres)
        weights, widths = overlap(edges(moved), borders), np.diff(borders)
        return cls(config, centres[stored], weights[stored], widths[stored], pixels)

    def apply(self, flux: Array, error: Array | None) -> Spectra:
        """Prepare flux [B, P] and its error [B, P]."""
        config = self.config
        if self.flip:
            flux, error = flux[:, ::-1], None if error is None else error[:, ::-1]
        use = slice(config.trim[0], self.pixels - config.trim[1])
        flux = np.asarray(flux[:, use], np.float32)
        error = None if error is None else np.asarray(error[:, use], np.float32)
        missing = find_missing(flux, error)
        if config.normalisation != "none":
            level = continuum(flux, missing, config)
            flux = flux / level
            error = None if error is None else error / level
            missing = missing | find_missing(flux, error)
        outlier = find_outliers(flux, error, missing, config)
        mask = missing * np.uint8(MaskBit.MISSING) + outlier * np.uint8(MaskBit.OUTLIER)
        if self.weights is None:
            return _blank(flux, error, mask)
        return rebin(_blank(flux, error, mask), self.weights, self.widths, config)


def _blank(flux: Array, error: Array | None, mask: Array) -> Spectra:
    bad = mask != 0
    flux = np.where(bad, np.float32(np.nan), flux)
    error = None if error is None else np.where(bad, np.float32(np.nan), error)
    return Spectra(flux, error, mask)


def find_missing(flux: Array, error: Array | None) -> Array:
    """Pixels [B, P] without a finite flux, or without a positive finite error if there are any."""
    missing: Array = ~np.isfinite(flux)
    if error is not None:
        with np.errstate(invalid="ignore"):
            missing |= ~(np.isfinite(error) & (error > 0))
    return missing


def unusable(flux: Array, mask: Array) -> dict[int, str]:
    """Rows without a pixel that can be used, and why; flux [B, P] of the file, mask [B, Q]."""
    empty = (np.nan_to_num(flux) == 0).all(axis=1)
    masked = (mask != 0).all(axis=1)
    lost = "all are missing, outlying or beyond the range of the store"
    words = {int(row): f"no pixel can be used: {lost}" for row in np.flatnonzero(masked)}
    nothing = "no pixel can be used: all are missing or 0"
    return words | {int(row): nothing for row in np.flatnonzero(empty)}


def find_outliers(flux: Array, error: Array | None, bad: Array, config: PrepareConfig) -> Array:
    """Pixels [B, P] that stand above the running median of the good pixels around them.

    Above by more than ``outlier_floor``, and by ``outlier_sigma`` of their errors if there are
    errors. Absorption lines are never outliers.
    """
    found = np.zeros(flux.shape, bool)
    if config.outlier_sigma is None:
        return found
    half = min(config.outlier_window // 2, flux.shape[1] - 1)
    limit = np.full(flux.shape, config.outlier_floor, np.float32)
    limit *= _floor_scale(flux, bad)
    if error is not None:
        np.fmax(limit, np.float32(config.outlier_sigma) * error, out=limit)
    padded = np.pad(np.where(bad, np.inf, flux), ((0, 0), (half, half)), mode="reflect")
    candidates = _may_stand_out(padded, flux - limit, half) & ~bad
    star, pixel = np.nonzero(candidates)
    padded[np.isinf(padded)] = np.nan
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=1)
    # Some thousands at a time: indexing copies each candidate's whole window.
    for some in np.array_split(np.arange(len(star)), 1 + len(star) // 20_000):
        at = star[some], pixel[some]
        middle = medians_of_rows(windows[at])
        found[at] = flux[at] - middle > limit[at]
    return found


def _floor_scale(flux: Array, bad: Array) -> Array:
    """Unit of the outlier floor [B, 1]: 1, but the star's own level in physical units.

    There the floor for normalised flux would let every spike pass, or none of the noise.
    """
    level = np.where(bad, 0, np.abs(flux)).mean(axis=1, keepdims=True)
    far = (level < NORMALISED_LEVELS[0]) | (level > NORMALISED_LEVELS[1])
    return np.asarray(np.where((level > 0) & far, level, 1)).astype(np.float32)


def _may_stand_out(padded: Array, level: Array, half: int) -> Array:
    """Fast path of testing every pixel; same, tested in test_ingest_prepare.py; 14 times faster.

    Pixels whose window median can lie below ``level``: only they need a median. It lies below
    only if more than half of the window does, hence some pixel on the left and some on the right,
    unless missing pixels (inf in ``padded``) leave one side with the majority.
    """
    width = padded.shape[1]
    # minimum_filter1d looks at [i - size//2, ...]; shifting it gives the least of either side.
    least = ndimage.minimum_filter1d(padded, half, axis=1, mode="nearest")
    centre = np.arange(half, width - half)
    left = least[:, centre - half + half // 2] < level
    right = least[:, centre + 1 + half // 2] < level
    missing = np.isinf(padded)
    if not missing.any():
        return np.asarray(left & right)
    lopsided = ndimage.maximum_filter1d(missing, 2 * half + 1, axis=1, mode="nearest")[:, centre]
    return np.asarray((left & right) | (lopsided & (left | right)))


def continuum(flux: Array, bad: Array, config: PrepareConfig) -> Array:
    """Level [B, P or 1] to divide by: the median, or a running quantile, of the good pixels.

    The quantile is taken at nodes an eighth of the window apart and interpolated linearly.
    Levels that are not positive become NaN, which masks the pixel.
    """
    good = np.where(bad, np.nan, flux)
    good[bad.all(axis=1)] = 0.0
    if config.normalisation == "median":
        level = np.nanmedian(good, axis=1, keepdims=True)
    else:
        level = _running_quantile(good, config.continuum_window, config.continuum_quantile)
    return np.where(level > 0, level, np.nan).astype(np.float32)


def _running_quantile(good: Array, window: int, quantile: float) -> Array:
    pixels = good.shape[1]
    half = min(window // 2, pixels - 1)
    nodes = np.unique(np.linspace(0, pixels - 1, 2 + 8 * pixels // window).astype(int))
    # Windows that reach beyond the ends are filled with NaN, which counts for nothing.
    padded = np.pad(good, ((0, 0), (half, half)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=1)
    out = np.empty(good.shape, np.float32)
    for row, of_row in zip(out, windows, strict=True):
        height = quantile_of_rows(of_row[nodes], quantile)
        known = np.isfinite(height)
        row[:] = np.interp(np.arange(pixels), nodes[known], height[known])
    return out


def quantile_of_rows(values: Array, quantile: float) -> Array:
    """Fast path of ``numpy.nanquantile`` along rows [B, W], in order of size; NaN if all are NaN.

    Same to rounding, tested in test_ingest_prepare.py; 4 to 10 times faster, for numpy takes rows
    one by one.
    """
    ordered = np.sort(values, axis=1)  # NaN last
    last = np.isfinite(ordered).sum(axis=1) - 1
    place = quantile * np.maximum(last, 0)
    low = np.floor(place).astype(int)
    rows = np.arange(len(values))
    below, above = ordered[rows, low], ordered[rows, np.minimum(low + 1, np.maximum(last, 0))]
    return np.asarray(below + (above - below) * (place - low))


def medians_of_rows(values: Array) -> Array:
    """Fast path of ``numpy.nanmedian`` along rows [B, W] of odd W; same, tested in
    test_ingest_prepare.py; 2 to 4 times faster, for few rows have NaN.
    """
    out = np.empty(len(values), values.dtype)
    whole = ~np.isnan(values).any(axis=1)
    half = values.shape[1] // 2
    out[whole] = np.partition(values[whole], half, axis=1)[:, half]
    if not whole.all():
        out[~whole] = np.nanmedian(values[~whole], axis=1)
    return out


def median_of(values: Array) -> float:
    """Fast path of ``numpy.nanmedian`` of values [n]; NaN where none is finite; same, tested in
    test_ingest_prepare.py; twice as fast, for it looks for NaN once.
    """
    there = values[~np.isnan(values)]
    half = len(there) // 2
    if not np.isfinite(there).any():
        return np.nan
    if len(there) % 2:
        return float(np.partition(there, half)[half])
    return float(np.partition(there, (half - 1, half))[half - 1 : half + 1].mean())


def overlap(source: Array, target: Array) -> "sparse.csr_array":
    """Length [Q, P] that the target pixels share with the source pixels, given edges of both.

    Both increase. The two are merged once, and every piece between two edges belongs to one pixel
    of each: a spectrum that is shifted by its own velocity needs weights of its own.
    """
    before = np.searchsorted(source, target, side="right")  # source edges up to a target edge
    place = before + np.arange(len(target))
    is_source = np.ones(len(source) + len(target), bool)
    is_source[place] = False
    points = np.empty(len(is_source))
    points[place], points[is_source] = target, source
    lengths = np.diff(points)
    column = np.cumsum(is_source)[:-1] - 1
    inside = lengths > MIN_OVERLAP_FRACTION * np.diff(target).min()
    inside &= (column >= 0) & (column < len(source) - 1)
    inside[: place[0]] = False
    inside[place[-1] :] = False
    counts = np.concatenate([[0], np.cumsum(inside)])
    first = counts[place]
    shape = (len(target) - 1, len(source) - 1)
    return sparse.csr_array((lengths[inside], column[inside], first), shape=shape)


def rebin(
    spectra: Spectra, weights: "sparse.csr_array", widths: Array, config: PrepareConfig
) -> Spectra:
    """Overlap-weighted means of the good pixels; flux density, hence total flux, is conserved.

    The error of a mean of n pixels is that of white noise times the square root of the noise's
    correlation length, which cannot make it larger than the error of one pixel.
    """
    flux, error, mask = spectra.flux, spectra.error, spectra.mask
    good = mask == 0
    covered = _project(weights, good)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = _project(weights, np.where(good, flux, 0)) / covered
        spread = _variance(error, good, covered, weights, config.noise_correlation)
    thin = covered < np.maximum(config.minimum_coverage, MIN_OVERLAP_FRACTION) * widths
    causes = np.zeros(thin.shape, np.uint8)
    if not good.all():
        for bit in (MaskBit.MISSING, MaskBit.OUTLIER):
            touched = _project(weights, (mask & bit) != 0) > 0
            causes |= touched * np.uint8(bit)
    out = np.where(thin, causes | np.uint8(MaskBit.EDGE), np.uint8(0)).astype(np.uint8)
    return _blank(mean.astype(np.float32), spread, out)


def _variance(
    error: Array | None, good: Array, covered: Array, weights: "sparse.csr_array", length: float
) -> Array | None:
    if error is None:
        return None
    squares = weights.power(2)
    known, scale = _safe_to_square(np.where(good, error, 0))
    white = _project(squares, known**2) / covered**2
    independent = covered**2 / _project(squares, good)
    grown = white * np.minimum(length, independent)
    return np.asarray(np.sqrt(grown) / scale).astype(np.float32)


def _safe_to_square(error: Array) -> tuple[Array, float]:
    """Errors times a power of two, such that float32 holds their squares, and that factor.

    1 for errors near those of normalised fluxes; 1e-20 erg/s/cm2/Hz squared would be 0.
    """
    largest = float(error.max(initial=0.0))
    if largest == 0 or SQUARES_FIT[0] < largest < SQUARES_FIT[1]:
        return error, 1.0
    # float32 holds no power of two beyond 127.
    scale = float(2.0 ** -np.clip(np.floor(np.log2(largest)), -126, 126))
    return error * np.float32(scale), scale


def _project(weights: "sparse.csr_array", values: Array) -> Array:
    product: Array = (weights @ np.ascontiguousarray(values.T, dtype=np.float64)).T
    return product
