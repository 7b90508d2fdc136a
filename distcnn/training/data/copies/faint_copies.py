"""Faint copies: labelled stars as they would be observed farther away, with all their errors.

What ``augment`` and ``farther`` do to scaled stars afresh in every epoch is done here once, to the
inputs themselves, with the dust on the longer way: networks, regressions, errors, limits and flags
are fitted on faint stars too, where labels are those of bright ones.

Legend: N star, P pixel, C XP coefficient.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from distcnn.arrays import Array
from distcnn.config import AugmentConfig
from distcnn.model import InputSpec, StarInputs
from distcnn.model.pixel_noise import NoiseGenerator, correlation_of_length
from distcnn.survey import Store
from distcnn.training.data.augment import SurveyProperties
from distcnn.training.data.copies.dust_layer import DustLayer
from distcnn.training.data.farther import ModelStars
from distcnn.training.data.labelled import Labelled, join_stars

COPIES_SEED = 7919
"""Of the noise of copies: theirs is other noise than that of training."""


@dataclass(frozen=True)
class FaintCopies:
    """What makes a fainter copy of every star, which has the star's source_id and labels.

    S/N of copies lie evenly, in their logarithm, between ``least`` and that of the star.
    ``zero_point`` : of parallaxes [mas], which is the same far away. ``dust`` : None = stars keep
    what they have.
    """

    spec: InputSpec
    models: ModelStars
    noise: NoiseGenerator
    least: float
    zero_point: float
    dust: DustLayer | None
    seed: int

    @classmethod
    def of(
        cls,
        store: Store,
        spec: InputSpec,
        config: AugmentConfig,
        stars: Labelled,
        seed: int = COPIES_SEED,
    ) -> "FaintCopies | None":
        """As the settings say; None where they move no star away, or no spectrum has a S/N.

        ``stars`` : some thousands, whose noise tells how that of pixels is correlated. Without
        ``faintest`` the lowest S/N of the survey's models is the least.
        """
        if not config.faint_inputs or not spec.pixels:
            return None
        properties = SurveyProperties.of(store, stars)
        if properties.models is None:
            return None
        given = config.correlation
        known = properties.correlation if given is None else correlation_of_length(given)
        least = config.faintest or float(properties.models.snr.min())
        dust, noise = DustLayer.of(store, spec, config), NoiseGenerator.of(known)
        zero_point = config.parallax_zero_point
        return cls(spec, properties.models, noise, least, zero_point, dust, seed)

    def __call__(self, stars: Labelled) -> Labelled:
        """The copies of some stars. Noise follows from the seed and the first of them."""
        first = int(stars.source_id[0]) if len(stars) else 0
        rng = np.random.default_rng([self.seed, abs(first)])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        before = stars.inputs["snr"]
        after = self.least * np.maximum(before / self.least, 1.0) ** rng.random(before.shape)
        after = np.minimum(np.where(np.isfinite(after), after, before), before).astype(np.float32)
        wanted = torch.from_numpy(np.nan_to_num(after, nan=self.least))
        models = self.models.draw(wanted, generator)
        if self.dust is not None:
            stars = self.dust(stars, self._dimmer(stars.inputs, models), rng)
        drawn = self.noise.draw(models.missing.shape, generator)
        flux, error = _lowered(stars, before / after, models, drawn)
        arrays = {"flux": flux, "snr": after} | self._moved(stars.inputs, models, rng)
        single = {name: np.asarray(values, np.float32) for name, values in arrays.items()}
        return replace(stars, inputs=stars.inputs.replaced(**single), flux_error=error)

    def _dimmer(self, inputs: StarInputs, models: ModelStars) -> Array:
        """[N] by how many magnitudes each model is fainter, 0 where that is not known."""
        if not self.spec.bands or self.spec.bands[0] not in models.bands:
            return np.zeros(len(inputs))
        model = models.magnitudes.numpy()[:, models.bands.index(self.spec.bands[0])]
        fainter = np.maximum(model - inputs["photometry"][:, 0], 0.0)
        return np.asarray(np.nan_to_num(fainter, nan=0.0))

    def _moved(
        self, inputs: StarInputs, models: ModelStars, rng: np.random.Generator
    ) -> dict[str, Array]:
        """Magnitudes, astrometry and XP of the stars where their models are; never nearer."""
        dimmer = self._dimmer(inputs, models)[:, None]
        found: dict[str, Array] = {}
        if self.spec.bands:
            found["photometry"] = inputs["photometry"] + dimmer
        if self.spec.astrometry:
            away = 10 ** (-0.2 * dimmer)
            parallax, own = (inputs["astrometry"] * away).T
            # By distance shrinks what a parallax is without its zero point.
            parallax = parallax + self.zero_point * (1 - away[:, 0])
            error = np.fmax(np.where(dimmer[:, 0] > 0, models.parallax_error.numpy(), np.nan), own)
            added = np.sqrt(np.maximum(np.square(error) - np.square(own), 0.0))
            noisy = parallax + added * rng.standard_normal(len(own))
            found["astrometry"] = np.stack([noisy, error], axis=1)
        if self.spec.coefficients and models.xp_error.shape[1]:
            xp = inputs["xp"] * 10 ** (-0.4 * dimmer)
            norm = np.sqrt(np.nansum(np.square(xp), axis=1, keepdims=True))
            error = np.nan_to_num(models.xp_error.numpy()) * norm * (dimmer > 0)
            found["xp"] = xp + error * rng.standard_normal(xp.shape)
        return found


def with_faint_copies(
    stars: Labelled, store: Store, spec: InputSpec, config: AugmentConfig
) -> Labelled:
    """The stars, and a fainter copy of each, if the settings move lowered stars away."""
    copies = FaintCopies.of(store, spec, config, stars)
    return stars if copies is None else join_stars([stars, copies(stars)])


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
