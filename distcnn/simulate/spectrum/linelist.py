"""Lines of the RVS range: element, stage, air wavelength, excitation, strength in the Sun.

Strengths are approximate solar equivalent widths, rounded, good to a few tens of per cent:
enough for a survey whose truth is its own. Two fixed forests, drawn once from a fixed seed,
stand for the thousands of weaker lines of iron-peak metals and of CN.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

AIR_TO_VACUUM = 1.0002746
FOREST_SEED = 846870

# element: (first ionisation energy [eV], atomic mass [u])
SPECIES = {
    "Fe": (7.90, 55.8),
    "Ti": (6.83, 47.9),
    "Si": (8.15, 28.1),
    "Mg": (7.65, 24.3),
    "Ca": (6.11, 40.1),
    "Ni": (7.64, 58.7),
    "Cr": (6.77, 52.0),
    "S": (10.36, 32.1),
    "N": (14.53, 14.0),
    "CN": (0.0, 26.0),
}
ALPHA_ELEMENTS = ("Ca", "Si", "Ti", "Mg", "S")
IRON_PEAK = ("Fe", "Ni", "Cr")

# element, air wavelength [Angstrom], lower excitation energy [eV], solar equivalent width [mA]
_NEUTRAL = (
    ("Fe", 8468.41, 2.22, 130.0), ("Fe", 8471.74, 4.96, 45.0), ("Fe", 8481.98, 4.19, 45.0),
    ("Fe", 8497.00, 4.61, 40.0), ("Fe", 8514.07, 2.20, 118.0), ("Fe", 8515.11, 3.02, 92.0),
    ("Fe", 8526.67, 4.91, 68.0), ("Fe", 8527.85, 5.02, 25.0), ("Fe", 8538.02, 4.91, 32.0),
    ("Fe", 8571.80, 5.01, 30.0), ("Fe", 8582.26, 2.99, 88.0), ("Fe", 8592.95, 4.96, 48.0),
    ("Fe", 8598.83, 4.39, 60.0), ("Fe", 8607.08, 5.01, 30.0), ("Fe", 8611.80, 2.85, 104.0),
    ("Fe", 8613.94, 4.99, 38.0), ("Fe", 8616.28, 4.91, 45.0), ("Fe", 8621.60, 2.95, 78.0),
    ("Fe", 8632.41, 4.10, 30.0), ("Fe", 8653.37, 4.99, 20.0), ("Fe", 8674.75, 2.83, 112.0),
    ("Fe", 8679.63, 4.97, 55.0), ("Fe", 8688.62, 2.18, 245.0), ("Fe", 8698.71, 2.99, 35.0),
    ("Fe", 8699.45, 4.96, 70.0),
    ("Ti", 8467.15, 1.88, 18.0), ("Ti", 8518.03, 2.13, 20.0), ("Ti", 8518.37, 1.88, 22.0),
    ("Ti", 8548.07, 1.87, 14.0), ("Ti", 8550.51, 2.17, 10.0), ("Ti", 8618.43, 2.23, 10.0),
    ("Ti", 8675.37, 1.07, 30.0), ("Ti", 8682.98, 1.05, 24.0), ("Ti", 8692.33, 1.05, 18.0),
    ("Si", 8501.54, 5.87, 35.0), ("Si", 8502.22, 5.87, 40.0), ("Si", 8536.16, 6.18, 55.0),
    ("Si", 8556.78, 5.87, 130.0), ("Si", 8595.96, 6.19, 45.0), ("Si", 8606.01, 6.19, 28.0),
    ("Si", 8648.46, 6.21, 128.0), ("Si", 8686.35, 6.21, 40.0), ("Si", 8688.30, 6.20, 15.0),
    ("Mg", 8473.69, 5.93, 40.0), ("Mg", 8609.73, 6.12, 15.0),
    ("Ca", 8525.70, 4.43, 16.0), ("Ca", 8583.30, 4.44, 12.0), ("Ca", 8633.94, 4.45, 34.0),
    ("Ni", 8477.37, 3.66, 8.0), ("Ni", 8579.98, 5.28, 18.0), ("Ni", 8637.02, 3.85, 14.0),
    ("Ni", 8501.83, 3.83, 18.0),
    ("Cr", 8548.86, 2.71, 18.0), ("Cr", 8543.68, 2.71, 14.0), ("Cr", 8643.00, 2.71, 18.0),
    ("S", 8668.44, 7.87, 8.0), ("S", 8678.93, 7.87, 12.0), ("S", 8680.47, 7.87, 20.0),
    ("S", 8694.63, 7.87, 28.0), ("S", 8693.96, 7.87, 12.0),
    ("N", 8680.28, 10.34, 4.0), ("N", 8683.40, 10.33, 3.0), ("N", 8686.15, 10.33, 2.0),
)  # fmt: skip

CALCIUM_TRIPLET = (850.036, 854.444, 866.452)
"""Ca II, vacuum nm; log gf -1.44, -0.50, -0.75."""
CALCIUM_LOG_GF = (-1.44, -0.50, -0.75)
PASCHEN = (846.958, 850.482, 854.773, 860.075, 866.740)
"""Pa17 to Pa13, vacuum nm (NIST)."""
PASCHEN_STRENGTH = (0.62, 0.70, 0.79, 0.89, 1.0)
DIB = 862.32
"""Centre of the diffuse interstellar band, vacuum nm."""


@dataclass(frozen=True)
class LineList:
    """``n`` lines as columns. wavelength: vacuum nm; chi, ionisation: eV; width: solar EW in nm."""

    element: np.ndarray
    wavelength: np.ndarray
    chi: np.ndarray
    ionisation: np.ndarray
    mass: np.ndarray
    width: np.ndarray

    def __len__(self) -> int:
        return len(self.wavelength)


def _forest() -> list[tuple[str, float, float, float]]:
    rng = np.random.default_rng(FOREST_SEED)
    rows = []
    for element, count, typical, chi in (
        ("Fe", 110, 6.0, (2.0, 5.2)),
        ("Ti", 45, 4.0, (0.8, 2.6)),
        ("Ni", 15, 3.0, (2.0, 5.2)),
        ("CN", 170, 1.4, (0.0, 1.0)),
    ):
        wavelength = rng.uniform(8440.0, 8720.0, count)
        energy = rng.uniform(*chi, count)
        width = typical * rng.lognormal(0.0, 0.6, count)
        rows += [(element, *row) for row in zip(wavelength, energy, width, strict=True)]
    return rows


def named_lines() -> list[tuple[str, float, float]]:
    """Element, wavelength in air [Angstrom] and solar equivalent width [mA] of the known lines."""
    return [(element, air, width) for element, air, _, width in _NEUTRAL]


@lru_cache(maxsize=1)
def line_list() -> LineList:
    """Neutral and molecular lines, forests included."""
    rows = [*_NEUTRAL, *_forest()]
    element = np.array([row[0] for row in rows])
    numbers = np.array([row[1:] for row in rows], dtype=np.float64)
    return LineList(
        element=element,
        wavelength=numbers[:, 0] / 10.0 * AIR_TO_VACUUM,
        chi=numbers[:, 1],
        ionisation=np.array([SPECIES[name][0] for name in element]),
        mass=np.array([SPECIES[name][1] for name in element]),
        width=numbers[:, 2] * 1e-4,
    )
