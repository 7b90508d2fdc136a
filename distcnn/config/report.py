"""Settings of the report page."""

from typing import Literal

from pydantic import Field

from distcnn.config.base import Frozen

FigureName = Literal[
    "kiel",
    "alpha",
    "residuals",
    "precision",
    "coverage",
    "pulls",
    "cells",
    "attenuation",
    "poor",
    "ensemble",
    "novelty",
    "spectra",
    "learning",
    "speed",
]


class ReportConfig(Frozen):
    """One self-contained HTML page."""

    figures: tuple[FigureName, ...] | None = None
    """Figures shown, each where the data allow it; None = all."""
    spectra: int = Field(6, ge=0)
    """Example spectra shown."""
    baselines: bool = True
    """Train ridge and photometry-only baselines on the same split for comparison."""
    snr_edges: tuple[float, ...] = (
        15.0,
        25.0,
        50.0,
        100.0,
    )
    """Edges of the S/N bins in tables and figures."""
    sample: int = Field(200_000, ge=1000)
    """Stars kept in memory for figures and accuracy; counts are always of all stars."""
    coverage_band: tuple[float, float] = (0.64, 0.72)
    """Fraction of residuals within the quoted 68 % interval that counts as calibrated."""
