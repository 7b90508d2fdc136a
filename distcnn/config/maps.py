"""Settings of the maps: of all spectra, and of the Galaxy."""

from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, model_validator

from distcnn.config.base import Frozen


class GalaxyMapConfig(Frozen):
    """``distcnn map galaxy``: distances, places and abundances of the predicted stars."""

    zero_point: Literal["lindegren2021"] | float = "lindegren2021"
    """What is subtracted from parallaxes: the bias of Gaia EDR3 and DR3 by magnitude, colour and
    ecliptic latitude (Lindegren et al. 2021b), or one number for all [mas]; -0.03 of simulated
    surveys."""
    scale_length: float = Field(1.35, gt=0)
    """Scale length L of the prior of distances r [kpc], whose density of stars in space falls as
    exp(-r/L) (Bailer-Jones 2015)."""
    max_distance_error: float = Field(0.2, gt=0)
    """Largest relative error of the distance of stars that are mapped."""
    sun_radius: float = Field(8.2, gt=0)
    """Distance of the Sun from the centre of the Galaxy [kpc]."""
    sun_height: float = 0.02
    """Height of the Sun above the plane of the Galaxy [kpc]."""
    snr_edges: tuple[float, ...] = Field((15.0, 25.0), min_length=1)
    """Lower edges of the S/N bins, each with a mosaic of its own; stars below the first are left
    out."""
    radius_edges: tuple[float, ...] = Field((0.0, 4.0, 7.0, 8.0, 9.0, 11.0, 15.0), min_length=2)
    """Edges of the columns of the mosaic: distance R from the axis of the Galaxy [kpc]."""
    height_edges: tuple[float, ...] = Field((0.0, 0.5, 1.0, 1.5, 5.0), min_length=2)
    """Edges of the rows of the mosaic: distance |Z| from the plane of the Galaxy [kpc]."""
    labels: Literal["debiased", "default"] = "debiased"
    """Which labels are mapped: freed of the pull to the population, as means of groups need, or
    the network's own. Predictions without debiased labels are mapped by their own."""
    halo: float = -1.0
    """Stars below this [M/H] are counted as halo [dex]."""
    sample: int = Field(4000, ge=100)
    """Stars per cell of the mosaic and S/N bin that components and gradients are fitted to, drawn
    by a hash of ``source_id``; everything that is counted is counted of all stars."""
    minimum: int = Field(100, ge=20)
    """Fewest stars that components or a gradient are fitted to."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        for name in ("snr_edges", "radius_edges", "height_edges"):
            edges = getattr(self, name)
            if any(high <= low for low, high in pairwise(edges)):
                raise ValueError(f"{name} that ascend, not {list(edges)}")
        return self


class TsneMapConfig(Frozen):
    """``distcnn map tsne``: training and observed spectra on one map."""

    fitted_stars: int = Field(50_000, ge=100)
    """Stars that the map is fitted to, half of them training stars if there are as many; the
    others are placed on it."""
    components: int = Field(50, ge=2)
    """Principal components of the spectra that distances are taken in."""
    perplexity: float = Field(30.0, gt=1)
    """Perplexity: about how many neighbours of a star count."""
    neighbours: int = Field(10, ge=1)
    """Training stars whose distance on the map says how many of them there are around a star."""
    quantile: float = Field(0.99, gt=0.5, lt=1)
    """Fraction of the training stars that are train-like by definition."""
    seed: int = 0
    """Decides the stars that are fitted and the start of the optimisation."""


class MapsConfig(Frozen):
    """Maps of a survey."""

    tsne: TsneMapConfig = TsneMapConfig()
    """``distcnn map tsne``."""
    galaxy: GalaxyMapConfig = GalaxyMapConfig()
    """``distcnn map galaxy``."""
