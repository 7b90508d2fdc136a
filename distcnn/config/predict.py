"""Settings of prediction and of the flags that come with it."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from distcnn.config.base import Frozen
from distcnn.config.resources import (
    PLANNED_EIGHTHS,
    WORKER_BYTES,
    PlannedMemory,
    ResourceDevice,
)

SNR_EDGES = (15.0, 25.0, 50.0, 100.0)
"""Edges of S/N bins, where nothing else is asked for."""


def _known_engine(name: str) -> str:
    if name == "auto":
        return name
    # As with clusters, an import upwards: that there is no such engine must be said with file and
    # line. It loads torch, so it waits until an engine is named.
    from distcnn.inference.engines.registry import ENGINES

    if name not in ENGINES:
        raise ValueError(f"one of auto, {', '.join(ENGINES)}")
    return name


class PredictConfig(Frozen):
    """From package and survey to predictions."""

    batch: int = Field(1024, ge=1)
    """Stars per forward pass; halved by itself when memory runs out, and said so once."""
    gpu_batch: int = Field(8192, ge=1)
    """The same on a GPU, which wants many at once."""
    engine: Annotated[str, AfterValidator(_known_engine)] = "auto"
    """How the network is run. ``auto``: those that this machine admits are tried on the first
    batch, and the fastest is used; every engine must reproduce the package first. Or one by name,
    as ``distcnn doctor PACKAGE`` lists them."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the wide products; heads and scalings are float32 always."""
    device: ResourceDevice = "auto"
    """Now ``resources.device``."""
    parity: float = Field(0.01, gt=0)
    """Largest rms difference from the fixtures, in units of a label's calibrated error."""
    parity_bias: float = Field(0.002, gt=0)
    """Largest mean difference of the ensemble's label from the fixtures, in the same units."""
    worker_memory: PlannedMemory = WORKER_BYTES * PLANNED_EIGHTHS // 8
    """Now ``resources.planned_memory``."""
    accept: tuple[
        Literal["medium", "frame", "normalisation", "flux_unit", "snr_interval", "release"], ...
    ] = ()
    """What may differ between the survey and the training survey of the package; any other
    difference of these is refused."""
    attempts: int = Field(3, ge=1)
    """Tries per region before its stars are marked failed."""
    verify_sample: int = Field(256, ge=1)
    """Stars that ``verify`` computes again."""
    verify_tolerance: float = Field(0.001, ge=0)
    """Largest difference from the stored value that ``verify`` accepts for them, in units of the
    star's own error; on the machine that predicted, the values are the same to the bit."""


class QualityConfig(Frozen):
    """Limits of trust, fitted at training and shipped in the package."""

    minimum_valid_pixels: float = Field(0.7, ge=0, le=1)
    """Below this fraction of valid pixels a star is flagged FEW_PIXELS."""
    novelty_components: int = Field(32, ge=1)
    """Principal components of the training spectra in the novelty score."""
    novelty_quantile: float = Field(0.99, gt=0, lt=1)
    """Quantile of the calibration split's novelty that becomes 1, the limit."""
    limit_quantile: float = Field(0.001, ge=0, lt=0.5)
    """Tail of the training labels, magnitudes and parallax left outside the limits on each side."""
    density_quantile: float = Field(0.005, ge=0, lt=0.5)
    """Fraction of the calibration stars, those around whose labels the density of training stars
    is lowest, that is flagged SPARSE_LABELS."""
    disagreement_quantile: float = Field(0.995, gt=0, lt=1)
    """Quantile of member scatter in the calibration split above which members disagree."""
    prior_ratio: float = Field(0.71, gt=0)
    """Error over the spread of the population beyond which a label is flagged POPULATION_LABEL; at
    0.71, the root of 1/2, star and population weigh the same in it."""
    snr_edges: tuple[float, ...] = SNR_EDGES
    """Edges of the S/N bins of the calibration and of the published coverage."""
