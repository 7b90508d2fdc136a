"""Scaling: from physical inputs to numbers of order one, and labels back again.

Everything is held in buffers, so a network takes and returns physical units wherever it
runs. NaN becomes zero, which is the training median, and an indicator says so.

Legend: B star, P pixel, C XP coefficient, K band, S scalar feature, L label.
"""

import numpy as np
import torch
from torch import Tensor, nn

from distcnn.arrays import Array
from distcnn.model.inputs import InputSpec, StarInputs
from distcnn.schema import LABELS

LINEAR_LIMIT, MAX_SCALED = 4.0, 16.0
"""Scaled inputs grow as logarithms beyond the first and are cut at the second, in units of
their spread: a hot star's blue pixel still says how hot, a spike says little more than that."""
MIN_FLUX = 0.01
"""Flux, in units of the normalisation, below which its logarithm is cut."""
MAX_STARS_FOR_SCALING = 20_000
"""Most stars that the scaling is fitted on, taken evenly from the training split."""

MAX_GAIN = 1e6
"""Noise over spread beyond which more of it makes no difference."""
BRIGHT_FRACTION, MIN_BRIGHT_STARS = 0.2, 200
"""Part of the stars, those of the highest S/N, on which spreads of pixels are fitted where noise
has a gain of its own; and how many they are at least, or all are taken."""

BranchInputs = dict[str, Tensor]
"""What the layers of a network are given: ``spectrum [B,P]``, ``xp [B,C]``, ``scalars [B,S]``."""


class SpectrumFeatures(nn.Module):
    """``valid_pixels``, ``log_snr``, ``has_snr``."""

    def forward(self, stars: dict[str, Tensor]) -> Tensor:
        snr = stars["snr"]
        valid = torch.isfinite(stars["flux"]).to(snr.dtype).mean(dim=1, keepdim=True)
        return torch.cat([valid, _log10(snr), _present(snr)], dim=1)


class XpFeatures(nn.Module):
    """``xp_norm``, ``has_xp``."""

    def forward(self, stars: dict[str, Tensor]) -> Tensor:
        norm = xp_shape(stars["xp"])[1]
        return torch.cat([_log10(norm), _present(norm)], dim=1)


class PhotometryFeatures(nn.Module):
    """``magnitude`` of the reference band, colours against it, ``has_<band>`` of every band."""

    def forward(self, stars: dict[str, Tensor]) -> Tensor:
        bands = stars["photometry"]
        return torch.cat([bands[:, :1], bands[:, 1:] - bands[:, :1], _present(bands)], dim=1)


class AstrometryFeatures(nn.Module):
    """Parallax over its error, and the astrometry-based luminosity (Arenou & Luri 1999).

    ``parallax[mas] 10^(0.2 G - 2)`` = ``10^(0.2 M_G)`` is linear in the parallax, so its
    noise is Gaussian and a negative parallax is as good as any. A survey without parallax
    errors loses the first two features only.
    """

    def __init__(self, *, luminosity: bool) -> None:
        super().__init__()
        self.luminosity = luminosity

    def forward(self, stars: dict[str, Tensor]) -> Tensor:
        parallax, error = stars["astrometry"][:, :1], stars["astrometry"][:, 1:]
        parallax = torch.where(
            torch.isfinite(parallax), parallax, torch.full_like(parallax, float("nan"))
        )
        columns = [torch.asinh(parallax / error), _log10(error), _present(parallax)]
        if self.luminosity:
            luminosity = parallax * torch.pow(10.0, 0.2 * stars["photometry"][:, :1] - 2.0)
            columns += [luminosity, torch.asinh(luminosity)]
        return torch.cat(columns, dim=1)


class ScalarFeatures(nn.Module):
    """A number and whether it is there: what any modality of one number per star brings."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, stars: dict[str, Tensor]) -> Tensor:
        values = stars[self.name]
        return torch.cat([values, _present(values)], dim=1)


def scalar_features(spec: InputSpec, name: str) -> nn.Module:
    """The module that makes the scalar features of a modality, [B, those of its row]."""
    if name == "flux":
        return SpectrumFeatures()
    if name == "xp":
        return XpFeatures()
    if name == "photometry":
        return PhotometryFeatures()
    if name == "astrometry":
        return AstrometryFeatures(luminosity=bool(spec.bands))
    return ScalarFeatures(name)


class Unchanged(nn.Module):
    """The same gain for every star, 1."""

    def forward(self, snr: Tensor) -> Tensor:
        return torch.ones_like(snr)

    @torch.jit.export
    def told(self, snr: Tensor) -> Tensor:
        """The S/N that the network is told of: itself."""
        return snr


class NoiseGain(nn.Module):
    """By how much more a star's scaled spectrum spreads for its noise, [B,1] from S/N [B,1].

    ``sqrt(1 + (level / S/N)^2)``, ``level`` being the noise at S/N 1 over the spread of pixels
    between stars. Spectra over it are of order one at any S/N: without it those of S/N 1 lie so
    far out that the network sees the logarithm of their noise, or, scaled to fit these, lines of
    bright stars vanish. 1 where the S/N is unknown.

    Below ``lowest``, the lowest S/N of training, the gain grows with 1 / S/N and the network is
    told of that S/N: a spectrum that tells nothing fades away, and does not lead it beyond what it
    knows.
    """

    level: Tensor
    lowest: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("level", torch.zeros(1))
        self.register_buffer("lowest", torch.zeros(1))
        self.most = MAX_GAIN
        self.register_load_state_dict_pre_hook(_without_lowest)  # type: ignore[no-untyped-call]

    def forward(self, snr: Tensor) -> Tensor:
        known = self.told(snr)
        noise = torch.nan_to_num(self.level / known, nan=0.0)
        fading = torch.clamp(torch.nan_to_num(known / snr, nan=1.0), 1.0, self.most)
        return torch.sqrt(1.0 + noise.square()) * torch.where(snr <= 0, self.most, fading)

    @torch.jit.export
    def told(self, snr: Tensor) -> Tensor:
        """The S/N [B,1] that the network is told of: not below ``lowest``; NaN stays NaN."""
        return torch.where(snr < self.lowest, self.lowest, snr)


def _without_lowest(
    module: nn.Module, state: dict[str, Tensor], prefix: str, *rest: object
) -> None:
    """Packages made before ``NoiseGain.lowest`` have none."""
    state.setdefault(f"{prefix}lowest", torch.zeros(1))


class InputScaling(nn.Module):
    """Physical inputs by modality -> what the branches read: ``BranchInputs``."""

    spectrum_centre: Tensor
    spectrum_scale: Tensor
    xp_centre: Tensor
    xp_scale: Tensor
    xp_rotation: Tensor
    feature_centre: Tensor
    feature_scale: Tensor

    def __init__(
        self, spec: InputSpec, *, log_flux: bool = False, scale_by_noise: bool = False
    ) -> None:
        super().__init__()
        self.log_flux = log_flux
        self.noise_gain = NoiseGain() if scale_by_noise and spec.pixels else Unchanged()
        self.min_flux = MIN_FLUX
        self.linear_limit, self.max_scaled = LINEAR_LIMIT, MAX_SCALED
        self.names = spec.features
        makers = (row.name for row in spec.modalities if spec.features_of(row))
        self.features = nn.ModuleList([scalar_features(spec, name) for name in makers])
        widths = {"spectrum": spec.pixels, "xp": spec.coefficients, "feature": len(self.names)}
        for name, width in widths.items():
            self.register_buffer(f"{name}_centre", torch.zeros(width))
            self.register_buffer(f"{name}_scale", torch.ones(width))
        self.register_buffer("xp_rotation", torch.eye(spec.coefficients))

    def forward(self, stars: dict[str, Tensor]) -> dict[str, Tensor]:
        spectrum = self.spectral(stars["flux"])
        raw = self.raw_features(stars)
        return {
            "spectrum": self.soft(
                (spectrum - self.spectrum_centre)
                / self.spectrum_scale
                / self.noise_gain(stars["snr"])
            ),
            "xp": self.soft(self.xp_components(xp_shape(stars["xp"])[0])),
            "scalars": self.scaled(raw, self.feature_centre, self.feature_scale),
        }

    def spectral(self, flux: Tensor) -> Tensor:
        """Flux [B,P] as the network sees it: itself, or its natural logarithm."""
        if self.log_flux:
            return torch.log(torch.clamp(flux, min=self.min_flux))
        return flux

    def scaled(self, values: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
        """Of order one; logarithmic far from the centre; zero where not finite."""
        return self.soft((values - centre) / scale)

    def soft(self, linear: Tensor) -> Tensor:
        """Numbers of order one as they are, larger ones as logarithms, NaN as zero."""
        size = torch.abs(linear)
        beyond = torch.log1p(torch.clamp(size - self.linear_limit, min=0.0))
        soft = torch.sign(linear) * (torch.clamp(size, max=self.linear_limit) + beyond)
        return torch.nan_to_num(torch.clamp(soft, -self.max_scaled, self.max_scaled), nan=0.0)

    def linear(self, soft: Tensor) -> Tensor:
        """Numbers before ``soft`` made logarithms of the large ones; what was cut stays cut."""
        size = torch.abs(soft)
        beyond = torch.expm1(torch.clamp(size - self.linear_limit, min=0.0))
        return torch.sign(soft) * (torch.clamp(size, max=self.linear_limit) + beyond)

    def xp_components(self, shape: Tensor) -> Tensor:
        """Principal components [B,C] of the XP shape, each with the same spread.

        Colour and dust move all coefficients together, a hundred times farther than metals do:
        without this a network spends its training on taking them apart.
        """
        linear = (shape - self.xp_centre) / self.xp_scale
        return torch.nan_to_num(linear, nan=0.0) @ self.xp_rotation

    def raw_features(self, stars: dict[str, Tensor]) -> Tensor:
        """Scalar features [B,S] before scaling, NaN where missing; order of ``names``."""
        snr = stars["snr"]
        columns = [torch.empty((snr.shape[0], 0), dtype=snr.dtype, device=snr.device)]
        told = stars.copy()
        told["snr"] = self.noise_gain.told(snr)
        for made in self.features:
            columns.append(made(told))
        return torch.cat(columns, dim=1)


def xp_shape(xp: Tensor) -> tuple[Tensor, Tensor]:
    """XP coefficients over their norm [B,C], and the norm [B,1].

    A truncated series is used as it is; with a quarter of it missing (BP or RP is gone)
    the norm would mean something else, so the whole counts as missing. Flags and calibration
    ask the same (``modalities.series_used``); TorchScript knows no constants of modules.
    """
    there = torch.isfinite(xp)
    norm = torch.nan_to_num(xp, nan=0.0).square().sum(dim=1, keepdim=True).sqrt()
    good = (norm > 0) & (there.to(xp.dtype).mean(dim=1, keepdim=True) > 0.75)
    norm = torch.where(good, norm, torch.full_like(norm, float("nan")))
    return xp / norm, norm


class LabelScaling(nn.Module):
    """Scaled mean and sigma [B,L] <-> physical units.

    Temperatures are learned as logarithms: their errors grow with them, and a survey may
    get_cached stars of 3,000 and of 30,000 K.
    """

    centre: Tensor
    scale: Tensor
    logarithm: Tensor

    def __init__(self, labels: tuple[str, ...]) -> None:
        super().__init__()
        hot = [1.0 if name in LABELS and LABELS[name].unit == "K" else 0.0 for name in labels]
        self.register_buffer("centre", torch.zeros(len(labels)))
        self.register_buffer("scale", torch.ones(len(labels)))
        self.register_buffer("logarithm", torch.tensor(hot))

    def set_linear(self, low: Tensor, width: Tensor) -> None:
        """Labels [L] are ``low`` at 0 and ``low + width`` at 1, none of them as its logarithm."""
        self.centre.copy_(low)
        self.scale.copy_(width)
        self.logarithm.zero_()

    def forward(self, mean: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        linear = self.centre + self.scale * mean
        # The cut is far above any temperature; it keeps the unused branch finite.
        value = torch.where(self.logarithm > 0, torch.exp(torch.clamp(linear, max=20.0)), linear)
        slope = torch.where(self.logarithm > 0, value, torch.ones_like(value))
        return value, self.scale * sigma * slope

    def transformed(self, y: Tensor) -> Tensor:
        """Labels [N,L], temperatures as their logarithms; NaN where that is not finite."""
        out = torch.where(self.logarithm > 0, torch.log(y), y)
        return torch.where(torch.isfinite(out), out, torch.full_like(out, float("nan")))

    def scaled(self, y: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
        """Labels and their errors [N,L] in scaled units."""
        slope = torch.where(self.logarithm > 0, y, torch.ones_like(y))
        return (self.transformed(y) - self.centre) / self.scale, error / slope / self.scale


def fit_inputs(scaling: InputScaling, stars: StarInputs, faintest: float | None = None) -> None:
    """Set the buffers from training stars: median and half the 16-84 % range of each number.

    ``faintest`` : S/N that training lowers spectra to, if it lies below that of the stars.

    A pixel's spread is at least the median spread of all, so that pixels of pure noise are
    not blown up.
    """
    sample = stars.take(slice(None, None, max(1, -(-len(stars) // MAX_STARS_FOR_SCALING))))
    batch = sample.tensors()
    flux = scaling.spectral(batch["flux"]).numpy()
    gain = scaling.noise_gain
    if isinstance(gain, NoiseGain):
        flux = flux[_brightest(sample["snr"][:, 0])]
    centre, scale = _median_and_spread(flux)
    if scale.size:
        scale = np.maximum(scale, np.median(scale))
    _set(scaling, "spectrum", centre, scale)
    if isinstance(gain, NoiseGain):
        gain.level.fill_(1.0 / float(np.median(scale)))
        known = sample["snr"][sample["snr"] > 0]
        least = [float(value) for value in (faintest, known.min(initial=np.inf)) if value]
        gain.lowest.fill_(min(least) if np.isfinite(min(least)) else 0.0)
    shape = xp_shape(batch["xp"])[0].numpy()
    centre, scale = _median_and_spread(shape)
    _set(scaling, "xp", centre, scale)
    scaling.xp_rotation.copy_(torch.from_numpy(_whitening((shape - centre) / scale)))
    centre, scale = _median_and_spread(scaling.raw_features(batch).numpy())
    # Indicators stay as they are: 0 means missing.
    named = np.array([name.startswith("has_") for name in scaling.names], bool)
    _set(scaling, "feature", np.where(named, 0, centre), np.where(named, 1, scale))


def _brightest(snr: Array) -> Array:
    """Rows of the stars of the highest S/N; all of them where these would be few."""
    known = np.flatnonzero(np.isfinite(snr))
    count = int(BRIGHT_FRACTION * len(known))
    if count < MIN_BRIGHT_STARS:
        return np.arange(len(snr))
    return np.sort(known[np.argsort(snr[known], kind="stable")[-count:]])


def fit_labels(scaling: LabelScaling, y: Array) -> None:
    """Set mean and standard deviation of labels [N,L]; NaN = missing."""
    values = scaling.transformed(torch.tensor(y, dtype=torch.float64)).numpy()
    good = np.isfinite(values)
    count = np.maximum(good.sum(0), 1)
    mean = np.where(good, values, 0).sum(0) / count
    variance = (np.where(good, values - mean, 0) ** 2).sum(0) / count
    scaling.centre.copy_(torch.from_numpy(mean))
    scaling.scale.copy_(torch.from_numpy(np.sqrt(np.where(variance > 0, variance, 1.0))))


def _whitening(values: Array) -> Array:
    """Matrix [C,C] that turns values [N,C] into components of unit spread, widest first.

    The hundredth part of the stars farthest out has no say.
    """
    width = values.shape[1]
    whole = values[np.isfinite(values).all(axis=1)].astype(np.float64)
    if not width or len(whole) <= 2 * width:
        return np.eye(width)
    size = np.square(whole).mean(axis=1)
    inner = whole[size <= np.quantile(size, 0.99)]
    variance, vectors = np.linalg.eigh(inner.T @ inner / len(inner))
    variance, vectors = variance[::-1], vectors[:, ::-1]
    # The sign of an eigenvector is chance; this makes it the same on every machine.
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(width)])
    return np.asarray(vectors / np.sqrt(np.maximum(variance, 1e-9 * variance[0])))


def _set(module: nn.Module, name: str, centre: Array, scale: Array) -> None:
    module.get_buffer(f"{name}_centre").copy_(torch.from_numpy(centre))
    module.get_buffer(f"{name}_scale").copy_(torch.from_numpy(scale))


def _median_and_spread(values: Array) -> tuple[Array, Array]:
    centre, scale = np.zeros(values.shape[1]), np.ones(values.shape[1])
    for column in range(values.shape[1]):
        finite = values[:, column][np.isfinite(values[:, column])]
        if finite.size:
            low, centre[column], high = np.quantile(finite, (0.16, 0.5, 0.84))
            scale[column] = (high - low) / 2
    return centre, np.where(scale > 0, scale, 1.0)


def _log10(values: Tensor) -> Tensor:
    """NaN where not positive."""
    return torch.log10(torch.where(values > 0, values, torch.full_like(values, float("nan"))))


def _present(values: Tensor) -> Tensor:
    return torch.isfinite(values).to(values.dtype)
