"""One unit of flux for a survey: that of the first file, into which the others are converted."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from distcnn.config import IngestConfig
from distcnn.errors import ScaleMismatch
from distcnn.ingest.preprocess.statements import Statements
from distcnn.ingest.readers import Block
from distcnn.ingest.readers.statements.flux_units import DIMENSIONLESS, flux_factor


def stored_flux_unit(config: IngestConfig, stated: Statements) -> str:
    """The unit of the fluxes in the store; empty if they are normalised or nothing says."""
    if config.prepare.normalisation != "none" or stated.flux_unit is None:
        return ""
    unit = stated.flux_unit.value
    return "" if unit.lower() in DIMENSIONLESS else unit


def flux_factor_of(
    config: IngestConfig, stated: Statements, first: Statements, path: Path
) -> float:
    """What the fluxes of a file are multiplied by, to have the unit of those of the first file.

    Raises
    ------
    ScaleMismatch : one cannot be had from the other.
    """
    if config.prepare.normalisation != "none" or not (stated.flux_unit and first.flux_unit):
        return 1.0
    unit, target = stated.flux_unit, first.flux_unit
    factor = flux_factor(unit.value, target.value)
    if factor is None:
        raise ScaleMismatch(
            f"{path}: its fluxes are in {unit.value or 'units of the continuum'!r} ({unit.words})",
            expected=f"{target.value or 'units of the continuum'!r}, as in the first file",
            cure="Set ingest.prepare.normalisation to median or running_quantile, or ingest them "
            "as surveys of their own. If a file is wrong, set ingest.override: [flux_unit].",
        )
    return factor


def in_flux_unit(block: Block, factor: float) -> Block:
    """The block with flux and error multiplied."""
    if factor == 1:
        return block
    names = [name for name in ("flux", "flux_error") if name in block.columns]
    scaled = {name: (block.columns[name] * factor).astype(np.float32) for name in names}
    return replace(block, columns={**block.columns, **scaled})
