"""Dust layer: what stands before a star that is moved away, on the longer way through the disc.

Labels are those of bright, near stars. Where faint ones are there is more dust, so that networks
which learn from copies of near stars take the dust for a lower temperature.

Legend: N star.
"""

from dataclasses import dataclass, replace

import numpy as np

from distcnn.arrays import Array
from distcnn.config import AugmentConfig
from distcnn.model import InputSpec
from distcnn.simulate.dust import extinction_per_ebv, layer_reddening
from distcnn.simulate.galaxy.sky import to_galactic
from distcnn.survey import Store
from distcnn.training.data.copies.reddened import DustInFront
from distcnn.training.data.labelled import Labelled

USUAL_LATITUDE = 30.0
"""Degrees, of stars whose place on the sky is not known: half of the sky lies nearer the plane."""
PATCHINESS = 0.45
"""Standard deviation of ln of the dust of a sight line over that of the smooth layer."""
LEAST_PARALLAX_MAS = 0.05
"""A smaller one, and one below its error, counts as that much: the star is at least so near."""
MOST_EBV = 1.5
"""More dust hides a star; [mag]."""
_ITERATIONS = 8


@dataclass(frozen=True)
class DustLayer:
    """The layer, and what its dust does to the inputs of a survey.

    ``density`` : E(B-V) in the plane [mag/kpc]. ``extinction`` : A / E(B-V) of the first band,
    whose magnitudes tell how far stars are moved. ``zero_point`` : of parallaxes [mas].
    """

    density: float
    extinction: float
    zero_point: float
    dust: DustInFront

    @classmethod
    def of(cls, store: Store, spec: InputSpec, config: AugmentConfig) -> "DustLayer | None":
        """As the settings say; None without dust, or where no distance is known."""
        known = extinction_per_ebv(spec.bands[0]) if spec.bands and spec.astrometry else 0.0
        if not config.dust_layer or not known:
            return None
        dust = DustInFront.of(store, spec)
        return cls(config.dust_layer, known, config.parallax_zero_point, dust)

    def __call__(self, stars: Labelled, dimmer: Array, rng: np.random.Generator) -> Labelled:
        """The stars behind what lies on the way to where they are ``dimmer`` [N] mag fainter.

        A part of these magnitudes is the dust itself; the rest is left to the distance.
        """
        near = self._distance(stars)
        latitude = to_galactic(*stars.position.T)[1]
        latitude = np.where(np.isfinite(latitude), latitude, USUAL_LATITUDE)
        patchy = rng.lognormal(-(PATCHINESS**2) / 2, PATCHINESS, len(stars))
        before = layer_reddening(near, latitude, self.density)
        ebv = np.zeros(len(stars))
        for _ in range(_ITERATIONS):
            away = near * 10 ** (0.2 * np.maximum(dimmer - self.extinction * ebv, 0.0))
            more = patchy * (layer_reddening(away, latitude, self.density) - before)
            ebv = np.minimum(np.clip(more, 0.0, MOST_EBV), dimmer / self.extinction)
        return replace(stars, inputs=self.dust(stars.inputs, ebv))

    def _distance(self, stars: Labelled) -> Array:
        """[N] kpc, of parallaxes as far as they can be trusted."""
        parallax, error = stars.inputs["astrometry"].T.astype(float)
        least = np.fmax(error, LEAST_PARALLAX_MAS)
        return np.asarray(1.0 / np.fmax(parallax - self.zero_point, least))
