"""Farther away: a bright star as it would be seen where stars are as faint as its lowered spectrum.

A star that gives labels is bright, and so are its XP spectrum and parallax. Who lowers its spectrum
alone teaches that faint stars have good ones. Moved away, it keeps its labels and colours; its
magnitudes grow, its parallax shrinks, and both parallax and XP get the errors that stars of that
brightness have in the survey. Dust, of which there is more on the way, is left as it is.

Legend: B star of a batch, n model star, P pixel, C XP coefficient, S scalar feature.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from distcnn.arrays import Array
from distcnn.model import InputSpec
from distcnn.model.scaling import InputScaling
from distcnn.survey import Region, Store
from distcnn.training.data.labelled import evenly_spaced, rows_per_read
from distcnn.training.data.tensors import Scaled

BLOCKS = 8
"""Blocks of neighbouring rows, evenly over the survey, that models are taken from."""
STARS_PER_BLOCK = 256
"""Stars in each of them."""
_NEAR_FRACTION = 1 / 50
"""Part of the models, above and below the S/N that is asked for, of which one is taken."""


@dataclass(frozen=True)
class ModelStars:
    """Stars of a survey, labelled or not, by rising S/N: what faint ones are like.

    ``snr`` [n]; ``missing`` [n, P] bool; ``magnitudes`` [n, K] of all bands of the survey;
    ``parallax_error`` [n] mas; ``xp_error`` [n, C] over the norm of the coefficients. NaN =
    missing, width 0 = not in the survey. ``bands``: names of the magnitudes.
    """

    snr: Tensor
    missing: Tensor
    magnitudes: Tensor
    parallax_error: Tensor
    xp_error: Tensor
    bands: tuple[str, ...] = ()

    @classmethod
    def of(cls, store: Store) -> "ModelStars | None":
        """Of some thousand stars of a survey; None if no star has a spectrum and its S/N."""
        found = _read(store)
        missing = ~np.isfinite(found["flux"])
        # A spectrum without a pixel is one that is not there, which is hidden otherwise.
        used = np.isfinite(found["snr"]) & ~missing.all(axis=1)
        if not used.any():
            return None
        order = np.flatnonzero(used)[np.argsort(found["snr"][used], kind="stable")]
        nothing = np.empty((len(missing), 0), np.float32)
        error = found.get("xp_error", nothing)
        if error.size:
            norm = np.sqrt(np.nansum(np.square(found["xp"], dtype=np.float64), axis=1))
            error = error / np.where(norm > 0, norm, np.nan)[:, None].astype(np.float32)
        given = {
            "snr": found["snr"],
            "missing": missing,
            "magnitudes": found.get("photometry", nothing),
            "parallax_error": found.get("parallax_error", np.full(len(missing), np.nan, "f4")),
            "xp_error": error,
        }
        bands = store.coordinate("band") if "photometry" in found else ()
        tensors = {name: torch.from_numpy(values[order]) for name, values in given.items()}
        return cls(**tensors, bands=tuple(map(str, bands)))

    def draw(self, snr: Tensor, generator: torch.Generator) -> "ModelStars":
        """A model for each star, of about its S/N [B, 1], on its device."""
        count, device = len(self.snr), snr.device
        place = torch.searchsorted(self.snr.to(device), snr[:, 0].contiguous())
        reach = max(1, int(count * _NEAR_FRACTION))
        off = torch.randint(-reach, reach + 1, (len(snr),), generator=generator, device=device)
        at = (place + off).clamp(0, count - 1)
        numbers = (self.snr, self.missing, self.magnitudes, self.parallax_error, self.xp_error)
        snrs, missing, magnitudes, parallax, xp = (one.to(device)[at] for one in numbers)
        return ModelStars(snrs, missing, magnitudes, parallax, xp, self.bands)


def _read(store: Store) -> dict[str, Array]:
    size = rows_per_read(store)
    starts = evenly_spaced(np.arange(0, store.stars, size), BLOCKS)
    names = ["snr", "flux", "photometry", "parallax_error", "xp", "xp_error"]
    blocks = []
    for start in starts:
        stop = min(int(start) + min(size, STARS_PER_BLOCK), store.stars)
        region = Region(int(start), stop)
        blocks.append(store.read(region, [name for name in names if name in store.variables]))
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


class FartherAway:
    """Changes scalar features and XP of scaled stars as distance does.

    ``zero_point`` : of parallaxes [mas], the same at all distances.
    """

    def __init__(self, spec: InputSpec, inputs: InputScaling, zero_point: float = 0.0) -> None:
        self.inputs, self.zero_point = inputs, zero_point
        self.band = spec.bands[0] if spec.bands else ""
        self.at = {name: number for number, name in enumerate(spec.features)}
        self.with_xp = spec.coefficients > 0

    def __call__(
        self, stars: Scaled, rows: Tensor, models: ModelStars, generator: torch.Generator
    ) -> None:
        """Move the stars at ``rows``, in place, to where their models are; never nearer."""
        before = stars.scalars[rows]
        raw = self._raw(before)
        moved = raw.clone()
        dimmer = self._dimmer(raw, models)
        if self.band:
            moved[:, self.at["magnitude"]] += dimmer
        if "parallax_snr" in self.at:
            self._parallax(moved, dimmer, models.parallax_error, generator)
        if self.with_xp and models.xp_error.shape[1]:
            there = (dimmer > 0) & (raw[:, self.at["has_xp"]] > 0.5)
            stars.xp[rows] = self._xp(stars.xp[rows], there, models.xp_error, generator)
            # The norm is a flux, and its feature a decimal logarithm.
            moved[:, self.at["xp_norm"]] -= torch.where(there, 0.4 * dimmer, 0.0)
        inputs = self.inputs
        scaled = inputs.soft((moved - inputs.feature_centre) / inputs.feature_scale)
        # What is missing stays zero, and what is not moved keeps its bits.
        changed = (dimmer > 0)[:, None] & (moved != raw) & (before != 0)
        stars.scalars[rows] = torch.where(changed, scaled, before)

    def _raw(self, scaled: Tensor) -> Tensor:
        inputs = self.inputs
        return inputs.linear(scaled) * inputs.feature_scale + inputs.feature_centre

    def _dimmer(self, raw: Tensor, models: ModelStars) -> Tensor:
        """By how many magnitudes [B] each model is fainter, 0 where that is not known."""
        if self.band not in models.bands:
            return torch.zeros(len(raw), device=raw.device)
        model = models.magnitudes[:, models.bands.index(self.band)]
        known = raw[:, self.at[f"has_{self.band}"]] > 0.5
        dimmer = torch.where(known, model - raw[:, self.at["magnitude"]], 0.0)
        return torch.nan_to_num(dimmer, nan=0.0).clamp(min=0.0)

    def _parallax(
        self, moved: Tensor, dimmer: Tensor, wanted: Tensor, generator: torch.Generator
    ) -> None:
        """Parallaxes in ``moved`` [B, S], in place, with errors of ``wanted`` [B] mas and more."""
        column, away = self.at, 10.0 ** (-0.2 * dimmer)
        own = 10.0 ** moved[:, column["log_parallax_error"]] * away
        # By distance shrinks what a parallax is without its zero point.
        kept = self.zero_point * (1 - away)
        parallax = torch.sinh(moved[:, column["parallax_snr"]]) * own + kept
        # The part of its error that shrinks with the parallax is there already.
        error = torch.maximum(torch.nan_to_num(wanted, nan=0.0), own)
        added = (error.square() - own.square()).clamp(min=0.0).sqrt()
        drawn = torch.randn(len(own), generator=generator, device=own.device)
        parallax = parallax + added * drawn
        moved[:, column["parallax_snr"]] = torch.asinh(parallax / error)
        moved[:, column["log_parallax_error"]] = torch.log10(error)
        if "luminosity" in column:
            luminosity = parallax * 10.0 ** (0.2 * moved[:, column["magnitude"]] - 2.0)
            moved[:, column["luminosity"]] = luminosity
            moved[:, column["asinh_luminosity"]] = torch.asinh(luminosity)

    def _xp(
        self, before: Tensor, there: Tensor, error: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Scaled XP [B, C] with noise of ``error`` [B, C] on the shape of those ``there`` [B]."""
        inputs = self.inputs
        drawn = torch.randn(error.shape, generator=generator, device=error.device)
        noise = torch.nan_to_num(error, nan=0.0) * drawn
        more = (noise / inputs.xp_scale) @ inputs.xp_rotation
        return torch.where(there[:, None], inputs.soft(inputs.linear(before) + more), before)
