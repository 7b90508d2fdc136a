"""Settings of training: split, network, ensemble, loop."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from distcnn.config.base import Frozen
from distcnn.config.distribute import DistributeConfig


class SplitConfig(Frozen):
    """Fractions of the labelled stars, by a hash of source_id: the rest is the test split."""

    train: float = Field(0.65, gt=0, lt=1)
    """Fits the weights."""
    validation: float = Field(0.10, gt=0, lt=1)
    """Stops training and selects members."""
    calibration: float = Field(0.15, gt=0, lt=1)
    """Fits calibration and thresholds of flags."""
    seed: int = 0
    """Seed of the hash."""
    rotate: float = Field(0.0, ge=0, lt=1)
    """Turns the parts around the circle of hashes: k runs turned by 1/k, with a test split of
    1/k, test every star once (cross-validation)."""
    groups: Path | None = None
    """CSV or Parquet with columns source_id, group: stars of one group (a cluster) fall into the
    same part; stars not listed, or with an empty group, go by themselves. A relative path is
    taken from the folder where the command runs."""


class NetworkConfig(Frozen):
    """Which network, and which branches it has."""

    preset: Literal["hybrid", "rave2020", "hr15n2023"] = "hybrid"
    """``hybrid`` is our reconstruction of the Guiglion et al. (2024) design, whose layers are not
    public; ``rave2020`` and ``hr15n2023`` have the published layers of Guiglion et al. (2020)
    and Nepal et al. (2023)."""
    spectrum: bool = True
    """Use the spectrum."""
    xp: bool = True
    """Use XP coefficients."""
    photometry: bool = True
    """Use magnitudes and parallax."""
    flux: Literal["linear", "log"] = "linear"
    """How the network sees the flux; ``log`` suits flux-calibrated spectra, whose slope over the
    whole range is information."""
    width: int = Field(16, ge=4)
    """Channels of the last convolution; the first has half. 32 costs 1.8 times
    the arithmetic for less than 1 % of scatter."""
    hidden: int = Field(128, ge=4)
    """Neurons of the joined dense layers."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Drop-out inside the spectrum and XP branches of ``hybrid``."""


class AugmentConfig(Frozen):
    """What is done to training inputs afresh in every epoch."""

    noise: float = Field(0.7, ge=0, le=1)
    """Probability to add the noise that lowers a spectrum to another training star's S/N."""
    velocity: float = Field(1.5, ge=0)
    """Error of the radial velocity that a spectrum of S/N 20 was shifted by [km/s]; lowered
    spectra get what their S/N adds to it (it goes with 1/S/N)."""
    continuum: float = Field(0.01, ge=0)
    """Relative error of level and tilt of the continuum of a spectrum of S/N 20, likewise."""
    drop_xp: float = Field(0.05, ge=0, lt=1)
    """Probability to hide the XP coefficients of a star."""
    drop_parallax: float = Field(0.05, ge=0, lt=1)
    """Probability to hide the parallax of a star."""
    drop_pixels: float = Field(0.05, ge=0, lt=1)
    """Fraction of pixels hidden, in runs."""


class TrainConfig(Frozen):
    """One ensemble: members differ in seed only."""

    members: int = Field(8, ge=1)
    """Networks in the ensemble (Guiglion et al. 2024: 28)."""
    seed: int = 0
    """Seed of everything; member k uses a seed derived from it and k."""
    network: NetworkConfig = NetworkConfig()
    """The network."""
    split: SplitConfig = SplitConfig()
    """Who is trained on and who is not."""
    augment: AugmentConfig = AugmentConfig()
    """Augmentation."""
    distribute: DistributeConfig = DistributeConfig()
    """Who trains what, and where."""
    epochs: int = Field(40, ge=1)
    """Most epochs."""
    patience: int = Field(15, ge=1)
    """Stop after this many epochs without a better validation loss; best weights are kept."""
    batch: int = Field(256, ge=1)
    """Stars per optimiser step; below some 10,000 training stars take fewer."""
    learning_rate: float = Field(4.2e-3, gt=0)
    """Peak of the one-cycle schedule (AdamW); goes with the root of ``batch``."""
    weight_decay: float = Field(0.2, ge=0)
    """AdamW weight decay."""
    keep: float = Field(1.0, gt=0, le=1)
    """Fraction of members kept, best validation loss first (published practice: 0.8)."""
    labels: tuple[str, ...] | None = None
    """Labels to learn; None = all that the survey has."""
