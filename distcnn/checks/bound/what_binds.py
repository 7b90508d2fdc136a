"""What binds: how much of the scatter is photon noise, and how much of a label is its own.

A scatter above the bound has two causes. The label may move with the noise of the spectrum more
than it must; or it does not follow what sets stars apart, whatever the light: then its scatter
stays where photons are many, and more or better training stars help, not more light.

Legend: N star, L label.
"""

import numpy as np
import torch

from distcnn.arrays import Array
from distcnn.checks.correlations.own_variation import independent_spread, own_slopes
from distcnn.checks.decision import MIN_STARS
from distcnn.checks.inputs import CheckInputs
from distcnn.checks.stars import StarTable
from distcnn.model.pixel_noise import NoiseGenerator

NOISE_PART = 0.5
"""Noise that is added, in units of that which is there: less leaves rounding, more is no small
change."""
SEED = 15


def noise_response(inputs: CheckInputs, stars: StarTable, label: Array) -> Array:
    """Changes [N, L] of labels [N, L] as a second draw of the noise of the spectra makes them."""
    arrays = inputs.arrays(stars)
    flux, error = arrays["flux"], arrays["flux_error"]
    noise = NoiseGenerator.of(list(inputs.noise_correlation))
    drawn = noise.draw(flux.shape, torch.Generator().manual_seed(SEED)).numpy()
    noisier = (flux + NOISE_PART * error * drawn).astype(flux.dtype)
    moved = inputs.predictor(arrays | {"flux": noisier})
    return np.asarray((moved.label - label) / NOISE_PART)


def own_parts(label: Array, reference: Array) -> tuple[Array, Array]:
    """[L] spread of each label that the other labels leave, and slope of the predicted label on it.

    NaN of few stars, and where a label does not vary.
    """
    unknown = np.full(label.shape[1], np.nan)
    good = np.isfinite(label).all(axis=1) & np.isfinite(reference).all(axis=1)
    if good.sum() < MIN_STARS or (reference[good].std(axis=0) == 0).any():
        return unknown, unknown
    slope, _ = own_slopes(label[good], reference[good])
    return independent_spread(reference[good]), np.diag(slope).copy()
