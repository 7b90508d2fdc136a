"""Noise of a survey's pixels: how it is correlated, measured on spectra, and noise like it.

Resampling onto a grid finer than the detector's pixels correlates neighbours: on the grid of
Gaia DR3, 0.01 nm over pixels of 0.0245 nm, by 0.8 at one sample and 0.4 at two. White noise added
to a bright spectrum would average out over a line 3.7 times better than the noise it stands for.

Legend: N star, P pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import linalg
from torch import Tensor
from torch.nn import functional

from distcnn.arrays import Array
from distcnn.survey import Store

NOISE_SPECTRA = 2000
"""How many of the faintest spectra the noise is measured on."""
MIN_NOISE_SPECTRA = 100
"""Spectra without which nothing is measured."""
PIXELS_PER_COMPONENT = 40
"""At most one principal component per so many pixels is taken for stellar signal."""
ROUNDS = 4
"""Times that components are told from noise, each time with what was left before."""
MARGIN = 1.05
"""By how much a component must exceed the largest of noise; one of noise that is taken for signal
makes the next seem too large as well."""
MAX_LAG = 8
"""Pixels apart at which noise may be correlated: beyond, what spectra share are lines."""
SIGNIFICANT = 0.03
"""Correlation below which, from one distance on, there is none."""
_FREQUENCIES = 512

Correlation = tuple[float, ...]
"""Of the noise at 1, 2, ... pixels apart; () = white."""


def measure_correlation(flux: Array, snr: Array) -> Correlation | None:
    """Correlation of the pixels' noise, from what the faintest spectra do not share.

    The faintest, since there noise is most of what is left; what they share is the first principal
    components: stars look alike, their noise does not. Components that noise alone would have too
    are left (parallel analysis, Horn 1965, Psychometrika 30, 179), for they are its slow part.
    None: too few spectra, or too short ones.

    Parameters
    ----------
    flux : [N, P], NaN = missing. ``snr`` : [N], NaN = unknown.
    """
    order = np.argsort(np.nan_to_num(snr, nan=np.inf), kind="stable")
    flux = flux[order[:NOISE_SPECTRA]].astype(np.float64)
    most = flux.shape[1] // PIXELS_PER_COMPONENT
    if len(flux) < MIN_NOISE_SPECTRA or not most:
        return None
    good = np.isfinite(flux)
    centred = np.where(good, flux - np.nanmedian(flux), 0.0)
    centred = np.where(good, centred - centred.mean(axis=0), 0.0)
    left, size, right = np.linalg.svd(centred, full_matrices=False)

    def noise(components: int) -> Array:
        rest = centred - (left[:, :components] * size[:components]) @ right[:components]
        return np.where(good, rest, np.nan)

    # From few components on: what is left of the lines makes noise seem large, so that it is
    # never taken for signal.
    components = 1
    for _ in range(ROUNDS):
        rest = noise(components)
        largest = _largest_of_noise(autocorrelation(rest), np.nanstd(rest, axis=1), flux.shape[1])
        components = int(np.clip((size > MARGIN * largest).sum(), components, most))
    return autocorrelation(noise(components))


def _largest_of_noise(correlation: Correlation, level: Array, pixels: int) -> float:
    """Largest singular value of noise of that correlation, of spectra with these levels [N]."""
    generator = torch.Generator().manual_seed(0)
    drawn = NoiseGenerator.of(correlation).draw((len(level), pixels), generator)
    made = drawn.numpy().astype(np.float64) * level[:, None]
    start = np.ones(min(made.shape))  # or it begins at random
    return float(linalg.svds(made, k=1, v0=start, return_singular_vectors=False)[0])


def autocorrelation(noise: Array) -> Correlation:
    """Correlation of noise [N, P], NaN = missing, up to the last lag at which there is any."""
    good = np.isfinite(noise)
    filled = np.where(good, noise, 0.0)
    variance = max(float(np.square(noise[good]).mean()), 1e-30) if good.any() else 1e-30
    found = []
    for lag in range(1, min(MAX_LAG, noise.shape[1] - 1) + 1):
        both = good[:, lag:] & good[:, :-lag]
        shared = (filled[:, lag:] * filled[:, :-lag])[both].mean() if both.any() else 0.0
        found.append(float(np.clip(shared / variance, -1.0, 1.0)))
    last = max((n for n, value in enumerate(found, 1) if abs(value) >= SIGNIFICANT), default=0)
    return tuple(found[:last])


def correlation_of_length(length: float) -> Correlation:
    """Correlation that falls linearly to none at ``length`` pixels, with 1 + 2 sum = ``length``
    where that is whole; 1 = white.
    """
    return tuple(1 - lag / length for lag in range(1, int(np.ceil(length))))


def length_of(correlation: Correlation) -> float:
    """How many pixels make one independent one: 1 + 2 sum of the correlations."""
    return 1 + 2 * sum(correlation)


def stated_correlation(store: Store) -> Correlation:
    """What the settings of a survey's ingest say of its stored pixels; () where they do not."""
    prepare = store.attrs.get("ingest", {}).get("prepare", {})
    if not isinstance(prepare, dict) or prepare.get("target"):
        return ()
    length = float(prepare.get("noise_correlation", 1.0)) / float(prepare.get("rebin", 1))
    return correlation_of_length(max(length, 1.0))


@dataclass(frozen=True)
class NoiseGenerator:
    """Draws unit noise of a given correlation.

    ``kernel`` : symmetric weights [2 K + 1] that white noise is averaged with; None = white.
    """

    kernel: Tensor | None

    @classmethod
    def of(cls, correlation: Sequence[float]) -> "NoiseGenerator":
        """White noise through the root of the power spectrum that the correlation has."""
        if not any(correlation):
            return cls(None)
        phase = 2 * np.pi * np.arange(_FREQUENCIES) / _FREQUENCIES
        lags = np.arange(1, len(correlation) + 1)
        power = 1 + 2 * np.cos(phase[:, None] * lags) @ np.asarray(correlation, float)
        # A measured correlation need not be one that noise can have; the nearest one is drawn.
        whole = np.fft.ifft(np.sqrt(np.maximum(power, 0.0))).real
        reach = 2 * len(correlation) + 1
        kernel = np.concatenate([whole[-reach:], whole[: reach + 1]])
        kernel /= np.sqrt(np.square(kernel).sum())
        return cls(torch.from_numpy(kernel.astype(np.float32)))

    def draw(
        self, shape: Sequence[int], generator: torch.Generator, device: torch.device | None = None
    ) -> Tensor:
        """Noise [N, P] of variance one; every pixel of it, those at the ends too."""
        rows, pixels = shape
        if self.kernel is None:
            return torch.randn((rows, pixels), generator=generator, device=device)
        more = len(self.kernel) - 1
        white = torch.randn((rows, pixels + more), generator=generator, device=device)
        kernel = self.kernel.to(device)
        return functional.conv1d(white[:, None], kernel[None, None])[:, 0]
