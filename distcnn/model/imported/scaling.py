"""What a network trained elsewhere takes of a star, scaled exactly as it was trained.

Nothing is softened or cut here: numbers far outside give what the original would give, and the
flags say so. What is missing is the median of the labelled stars; the original has no rule.
"""

import torch
from torch import Tensor, nn

from distcnn.arrays import Array
from distcnn.config.imported import ImportedConfig, ImportedScalar
from distcnn.errors import PackageError
from distcnn.model.inputs import InputSpec, StarInputs, band_columns

MAX_FLOAT = torch.finfo(torch.float32).max


class ImportedScaling(nn.Module):
    """A star's tensors by modality -> ``spectrum [B,P]``, ``scalars [B,S]``, ``xp [B,0]``."""

    flux_fill: Tensor
    scalar_fill: Tensor
    bands: Tensor
    scalar_low: Tensor
    scalar_scale: Tensor
    absolute: Tensor

    def __init__(self, spec: InputSpec, meaning: ImportedConfig) -> None:
        super().__init__()
        scalars = meaning.scalars
        self.with_parallax = _needs_parallax(spec, scalars)
        self.flux_low, self.flux_scale = meaning.flux.low, meaning.flux.high - meaning.flux.low
        self.least_parallax = meaning.least_parallax
        self.register_buffer("flux_fill", torch.zeros(spec.pixels))
        self.register_buffer("scalar_fill", torch.zeros(len(scalars)))
        columns = band_columns([one.band for one in scalars], spec.bands)
        fixed = {
            "bands": torch.tensor(columns, dtype=torch.long),
            "scalar_low": torch.tensor([one.low for one in scalars]),
            "scalar_scale": torch.tensor([one.high - one.low for one in scalars]),
            "absolute": torch.tensor([1.0 if one.absolute else 0.0 for one in scalars]),
        }
        for name, values in fixed.items():
            self.register_buffer(name, values, persistent=False)

    def forward(self, stars: dict[str, Tensor]) -> dict[str, Tensor]:
        flux, raw = stars["flux"], self.raw_scalars(stars)
        flux = torch.where(torch.isfinite(flux), flux, self.flux_fill)
        raw = torch.where(torch.isfinite(raw), raw, self.scalar_fill)
        return {
            "spectrum": (flux - self.flux_low) / self.flux_scale,
            "scalars": (raw - self.scalar_low) / self.scalar_scale,
            "xp": flux[:, :0],
        }

    def raw_scalars(self, stars: dict[str, Tensor]) -> Tensor:
        """Scalars [B,S] before scaling, NaN where missing."""
        values = stars["photometry"].index_select(1, self.bands)
        if not self.with_parallax:
            return values
        parallax = torch.clamp(stars["astrometry"][:, :1] / 1000.0, min=self.least_parallax)
        return values + self.absolute * (5.0 * (torch.log10(parallax) + 1.0))


def fit_missing(scaling: ImportedScaling, stars: StarInputs) -> None:
    """Set what stands for missing inputs: medians of labelled stars."""
    batch = stars.tensors()
    scaling.flux_fill.copy_(_median(batch["flux"].numpy(), 1.0))
    scaling.scalar_fill.copy_(_median(scaling.raw_scalars(batch).numpy(), 0.0))


def _median(values: Array, otherwise: float) -> Tensor:
    tensor = torch.from_numpy(values)
    return torch.nan_to_num(torch.nanmedian(tensor, dim=0).values, nan=otherwise)


def _needs_parallax(spec: InputSpec, scalars: tuple[ImportedScalar, ...]) -> bool:
    needed = any(one.absolute for one in scalars)
    if needed and not spec.astrometry:
        raise PackageError(
            "absolute magnitudes without parallaxes",
            expected="a survey with parallax and parallax_error",
            cure="Name the columns in ingest.source.columns, or give absolute magnitudes and "
            "absolute: false in imported.scalars.",
        )
    return needed
