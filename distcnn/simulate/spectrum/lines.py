"""Line strengths of a block of stars: abundances and atmosphere through the curve of growth."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from distcnn.schema import DEFAULT_LABELS, LIGHT_SPEED_KM_S
from distcnn.simulate.spectrum.atmosphere import (
    SOLAR,
    Layer,
    growth,
    growth_inverse,
    line_forming_layer,
    log_ion_ratio,
    log_neutral,
)
from distcnn.simulate.spectrum.linelist import ALPHA_ELEMENTS, IRON_PEAK, line_list

WING_POWER = 0.42
"""Width of the Ca II wings as a power of absorbers times damping."""
CALCIUM_CHI, CALCIUM_IONISATION = 1.70, (6.11, 11.87)


@dataclass(frozen=True)
class TrueLabels:
    """True labels of ``[N]`` stars: teff in K, the others in dex; the names of ``DEFAULT_LABELS``.

    ``elements`` adds to single elements what the labels do not say (name -> ``[N]`` dex).
    """

    teff: np.ndarray
    logg: np.ndarray
    mh: np.ndarray
    alpham: np.ndarray
    feh: np.ndarray
    elements: dict[str, np.ndarray]

    @classmethod
    def of(cls, values: np.ndarray, elements: dict[str, np.ndarray] | None = None) -> "TrueLabels":
        """From an array ``[N, 5]`` in the order of ``DEFAULT_LABELS``."""
        columns = np.asarray(values, dtype=np.float64).reshape(-1, len(DEFAULT_LABELS)).T
        return cls(**dict(zip(DEFAULT_LABELS, columns, strict=True)), elements=elements or {})

    def as_array(self) -> np.ndarray:
        """``[N, 5]`` in the order of ``DEFAULT_LABELS``."""
        return np.stack([getattr(self, name) for name in DEFAULT_LABELS], axis=1)

    def take(self, rows: np.ndarray) -> "TrueLabels":
        """The labels of some stars."""
        elements = {name: value[rows] for name, value in self.elements.items()}
        return TrueLabels.of(self.as_array()[rows], elements)

    def abundance(self, element: str) -> np.ndarray:
        """[X/H] of an element: iron peak follows [Fe/H], alpha elements [M/H] + [alpha/M]."""
        if element in ALPHA_ELEMENTS:
            base = self.mh + self.alpham
        else:
            base = self.feh if element in IRON_PEAK else self.mh
        return np.asarray(base + self.elements.get(element, 0.0))


def _molecular(layer: Layer, labels: TrueLabels) -> np.ndarray:
    """Log strength of CN: grows with cooling until CO binds the carbon, and in giants."""
    growing = 4.0 * (layer.theta - 0.970)
    bound = 2.6 * np.logaddexp(0.0, 20.0 * (layer.theta - 1.39)) / 20.0
    gravity = -0.40 * (labels.logg - 4.438)
    return np.asarray(growing - bound + gravity + 1.5 * labels.abundance("CN"))


def _doppler(layer: Layer, teff: np.ndarray) -> np.ndarray:
    """Doppler width in km/s per star and line, ``[N, n]``."""
    thermal = 0.01663 * teff[:, None] / line_list().mass  # 2kT/m in km2/s2
    return np.asarray(np.sqrt(thermal + layer.turbulence[:, None] ** 2))


def _log_absorbers(layer: Layer, labels: TrueLabels) -> np.ndarray:
    """Log absorbers over continuum opacity, up to a constant per line, ``[N, n]``."""
    lines = line_list()
    result = np.empty((labels.teff.size, len(lines)))
    for element in np.unique(lines.element):
        mine = lines.element == element
        if element == "CN":
            result[:, mine] = _molecular(layer, labels)[:, None]
            continue
        energy = float(lines.ionisation[mine][0])
        common = labels.abundance(str(element)) + log_neutral(layer, energy) - layer.log_kappa
        result[:, mine] = common[:, None] - lines.chi[mine] * layer.theta[:, None]
    return result


@lru_cache(maxsize=1)
def _solar_constants() -> np.ndarray:
    """Per line, what makes the Sun show the tabulated equivalent width."""
    sun = TrueLabels.of(np.array([SOLAR]))
    layer = line_forming_layer(sun.teff, sun.logg, sun.mh)
    lines = line_list()
    doppler = _doppler(layer, sun.teff)[0]
    width = lines.width / (lines.wavelength * doppler / LIGHT_SPEED_KM_S)
    log_tau = growth_inverse(width, float(layer.log_damping[0]))
    constants: np.ndarray = log_tau + np.log10(doppler) - _log_absorbers(layer, sun)[0]
    return constants


def equivalent_widths(labels: TrueLabels) -> np.ndarray:
    """Equivalent widths of all neutral and molecular lines in nm, ``[N, n]``."""
    layer = line_forming_layer(labels.teff, labels.logg, labels.mh)
    doppler = _doppler(layer, labels.teff)
    log_tau = _solar_constants() + _log_absorbers(layer, labels) - np.log10(doppler)
    width: np.ndarray = growth(log_tau, layer.log_damping[:, None]) * doppler
    return width * (line_list().wavelength / LIGHT_SPEED_KM_S)


def _log_calcium(layer: Layer, labels: TrueLabels) -> np.ndarray:
    first, second = (log_ion_ratio(layer, energy) for energy in CALCIUM_IONISATION)
    ten = np.log(10.0)
    # Share of Ca II among Ca I : Ca II : Ca III = 1 : r1 : r1 r2.
    share = -np.logaddexp(np.logaddexp(-ten * first, 0.0), ten * second) / ten
    return np.asarray(labels.abundance("Ca") + share - CALCIUM_CHI * layer.theta - layer.log_kappa)


@lru_cache(maxsize=1)
def _solar_calcium() -> float:
    sun = TrueLabels.of(np.array([SOLAR]))
    return float(_log_calcium(line_forming_layer(sun.teff, sun.logg, sun.mh), sun)[0])


def calcium_wings(labels: TrueLabels) -> np.ndarray:
    """Damping wings of the Ca II triplet relative to the Sun: ``[N]``.

    Pure damping makes the width go as (N gamma)^1/2; real giants show somewhat less. Damping
    grows with gas pressure, weakly, since the layer is shallow.
    """
    layer = line_forming_layer(labels.teff, labels.logg, labels.mh)
    pressure = 0.10 * (labels.logg - SOLAR[1])
    excess = _log_calcium(layer, labels) - _solar_calcium() + pressure
    return np.asarray(np.exp(np.log(10.0) * WING_POWER * excess))


def paschen_depth(labels: TrueLabels) -> np.ndarray:
    """Optical depth of Pa13 at its centre, ``[N]``; 12.09 eV above ground, so only in hot stars."""
    layer = line_forming_layer(labels.teff, labels.logg, labels.mh)
    anchor = line_forming_layer(np.array([9000.0]), np.array([4.0]), np.array([0.0]))
    log_tau = -12.09 * (layer.theta - anchor.theta) - layer.log_kappa + anchor.log_kappa
    neutral = log_neutral(layer, 13.598) - log_neutral(anchor, 13.598)
    return np.asarray(np.exp(np.log(10.0) * (log_tau + neutral)))
