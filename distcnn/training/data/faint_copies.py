"""Faint copies: labelled stars as they would be observed farther away, with all their errors.

What ``augment`` and ``farther`` do to scaled stars afresh in every epoch is done here once, to the
inputs themselves, so that errors, limits and flags are fitted on faint stars too where labels are
those of bright ones.

Legend: N star, P pixel, C XP coefficient.
"""

from dataclasses import replace

import numpy as np
import torch

from distcnn.arrays import Array
from distcnn.config import AugmentConfig
from distcnn.model import InputSpec
from distcnn.model.pixel_noise import NoiseGenerator, correlation_of_length
from distcnn.survey import Store
from distcnn.training.data.augment import SurveyProperties
from distcnn.training.data.farther import ModelStars
from distcnn.training.data.labelled import Labelled, join_stars

COPIES_SEED = 7919
"""Of the noise of copies: theirs is other noise than that of training."""


def with_faint_copies(
    stars: Labelled, store: Store, spec: InputSpec, config: AugmentConfig
) -> Labelled:
    """The stars, and a fainter copy of each, if the settings move lowered stars away.

    S/N of copies lie evenly, in their logarithm, between ``faintest`` (without it the lowest S/N of
    the survey's models) and that of the star; the copy has the star's source_id and labels.
    """
    if not config.faint_inputs or not spec.pixels:
        return stars
    properties = SurveyProperties.of(store, stars)
    if properties.models is None:
        return stars
    given = config.correlation
    correlation = properties.correlation if given is None else correlation_of_length(given)
    least = config.faintest or float(properties.models.snr.min())
    copies = _copies(stars, properties.models, spec, NoiseGenerator.of(correlation), least)
    return join_stars([stars, copies])


def _copies(
    stars: Labelled, models: ModelStars, spec: InputSpec, noise: NoiseGenerator, least: float
) -> Labelled:
    rng = np.random.default_rng(COPIES_SEED)
    generator = torch.Generator().manual_seed(COPIES_SEED)
    before = stars.inputs["snr"]
    after = least * np.maximum(before / least, 1.0) ** rng.random(before.shape)
    after = np.minimum(np.where(np.isfinite(after), after, before), before).astype(np.float32)
    drawn = models.draw(torch.from_numpy(np.nan_to_num(after, nan=least)), generator)
    flux, error = _lowered(stars, before / after, drawn, noise.draw(drawn.missing.shape, generator))
    arrays = dict(stars.inputs.arrays) | {"flux": flux, "snr": after}
    arrays |= _moved(arrays, drawn, spec, rng)
    return replace(
        stars,
        inputs=stars.inputs.replaced(**{n: np.asarray(v, np.float32) for n, v in arrays.items()}),
        flux_error=error,
    )


def _lowered(
    stars: Labelled, ratio: Array, models: ModelStars, drawn: torch.Tensor
) -> tuple[Array, Array]:
    """Flux and its error [N, P] at a S/N lower by ``ratio`` [N, 1], with the models' masks."""
    flux, error = stars.inputs["flux"], stars.flux_error
    if not error.shape[1]:
        error = np.broadcast_to(1.0 / stars.inputs["snr"], flux.shape)
    growth = np.sqrt(np.maximum(np.square(ratio) - 1.0, 0.0))
    noisy = flux + np.nan_to_num(error * growth) * drawn.numpy()
    gone = models.missing.numpy()
    wider = np.where(gone, np.nan, error * ratio).astype(np.float32)
    kept = wider if stars.flux_error.shape[1] else stars.flux_error
    return np.where(gone, np.nan, noisy), kept


def _moved(
    arrays: dict[str, Array], models: ModelStars, spec: InputSpec, rng: np.random.Generator
) -> dict[str, Array]:
    """Magnitudes, astrometry and XP of the stars where their models are; never nearer."""
    if not spec.bands or spec.bands[0] not in models.bands:
        return {}
    model = models.magnitudes.numpy()[:, models.bands.index(spec.bands[0])]
    dimmer = np.nan_to_num(np.maximum(model - arrays["photometry"][:, 0], 0.0), nan=0.0)[:, None]
    found = {"photometry": arrays["photometry"] + dimmer}
    if spec.astrometry:
        parallax, own = (arrays["astrometry"] * 10 ** (-0.2 * dimmer)).T
        error = np.fmax(np.where(dimmer[:, 0] > 0, models.parallax_error.numpy(), np.nan), own)
        added = np.sqrt(np.maximum(np.square(error) - np.square(own), 0.0))
        noisy = parallax + added * rng.standard_normal(len(own))
        found["astrometry"] = np.stack([noisy, error], axis=1)
    if spec.coefficients and models.xp_error.shape[1]:
        xp = arrays["xp"] * 10 ** (-0.4 * dimmer)
        norm = np.sqrt(np.nansum(np.square(xp), axis=1, keepdims=True))
        error = np.nan_to_num(models.xp_error.numpy()) * norm * (dimmer > 0)
        found["xp"] = xp + error * rng.standard_normal(xp.shape)
    return found
