"""Simulated 4MOST spectra of stars with 24 labels, as files in the survey's own layout.

A cheap line list, not an atmosphere: every element has lines whose depth grows with its abundance
and changes with Teff and log g, so that all labels can be learned, and no number of these files is
a forecast of the survey's accuracy. What is real is the layout: PHASE3SPECTRUM, one row of arrays
of 23,201 pixels in air, QUAL with null -1, the target in the primary header, the Sun's frame.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from scipy import sparse

from distcnn.air import to_vacuum
from distcnn.schema import LIGHT_SPEED_KM_S

ELEMENTS = (
    *("C", "N", "O", "Na", "Mg", "Al", "Si", "Ca", "Ti", "V", "Cr", "Mn", "Co", "Ni", "Cu", "Zn"),
    *("Sr", "Y", "Zr", "Ba", "La"),
)
LABELS = ("TEFF", "LOGG", "FE_H", *(f"{name.upper()}_FE" for name in ELEMENTS))
ERRORS = (60.0, 0.1, 0.05, *(0.06 for _ in ELEMENTS))
PIXELS = 23_201
WAVE_AIR = 3700 + 0.25 * np.arange(PIXELS)  # Angstrom
RESOLUTION = 6500.0
_REST = np.arange(3680.0, 9530.0, 0.25)  # vacuum, Angstrom
_LINES_OF_IRON, _LINES_OF_OTHERS = 300, 25
_BLOCK_STARS = 200


@dataclass(frozen=True)
class Stars:
    """Labels [n, 24], velocity [n] in km/s and S/N per pixel [n] of simulated stars."""

    uid: list[str]
    label: np.ndarray
    velocity: np.ndarray
    snr: np.ndarray

    @classmethod
    def draw(cls, stars: int, seed: int, name: str) -> "Stars":
        """Dwarfs and giants of the discs, abundances that scatter about their trends."""
        rng = np.random.default_rng(seed)
        giant = rng.uniform(size=stars) < 0.5
        teff = np.where(giant, rng.uniform(3900, 5200, stars), rng.uniform(4600, 6600, stars))
        logg = np.where(giant, (teff - 3900) / 430 + 0.6, 4.6 - (teff - 4600) / 4000)
        logg = logg + 0.15 * rng.standard_normal(stars)
        feh = np.clip(rng.normal(-0.35, 0.45, stars), -2.2, 0.5)
        trends = np.linspace(-0.3, 0.1, len(ELEMENTS))
        scatter = 0.12 * rng.standard_normal((stars, len(ELEMENTS)))
        abundances = trends * feh[:, None] + scatter
        label = np.column_stack([teff, logg, feh, abundances])
        uid = [f"{name}{number:08d}" for number in range(stars)]
        return cls(uid, label, rng.normal(0, 60, stars), rng.uniform(30, 150, stars))


class LineList:
    """Lines of all elements, the same for every call."""

    def __init__(self) -> None:
        rng = np.random.default_rng(4)
        counts = [_LINES_OF_IRON, *[_LINES_OF_OTHERS] * len(ELEMENTS)]
        self.element = np.repeat(np.arange(len(counts)), counts)
        lines = len(self.element)
        self.centre = rng.uniform(3750, 9450, lines)
        self.strength = rng.normal(-0.9, 0.5, lines)
        self.excitation = rng.uniform(-3, 1, lines)
        self.pressure = rng.uniform(-0.25, 0.1, lines)
        width = self.centre / RESOLUTION / 2.355
        near = np.abs(_REST - self.centre[:, None]) < 5 * width[:, None]
        row, column = np.nonzero(near)
        value = np.exp(-0.5 * ((_REST[column] - self.centre[row]) / width[row]) ** 2)
        self.profiles = sparse.csr_array((value, (row, column)), (lines, len(_REST)))

    def flux(self, label: np.ndarray) -> np.ndarray:
        """Normalised flux [n, pixels at rest] of labels [n, 24]."""
        teff, logg, feh = label[:, :1], label[:, 1:2], label[:, 2:3]
        abundance = np.hstack([feh, feh + label[:, 3:]])[:, self.element]
        cool = 5040 / teff - 1
        log_strength = self.strength + abundance + self.excitation * -cool
        strength = 10 ** (log_strength + self.pressure * (logg - 3))
        depth = 0.85 * strength / (1 + strength)
        return np.exp(-(depth @ self.profiles))


def write_files(folder: Path, stars: Stars, *, seed: int, labelled: bool) -> None:
    """One file per star, 1,000 to a folder, with the table of targets and maybe that of labels."""
    rng, lines, template = np.random.default_rng(seed), LineList(), _Template()
    vacuum = 10 * to_vacuum(WAVE_AIR / 10)
    for start in range(0, len(stars.uid), _BLOCK_STARS):
        some = slice(start, start + _BLOCK_STARS)
        flux = lines.flux(stars.label[some])
        for number, one in enumerate(flux, start):
            factor = 1 + stars.velocity[number] / LIGHT_SPEED_KM_S
            seen = np.interp(vacuum / factor, _REST, one)
            level = 1e-16 * (1 + 0.3 * np.sin(WAVE_AIR / 1500 + number))  # erg/s/cm2/Angstrom
            error = level / stars.snr[number]
            noisy = level * seen + error * rng.standard_normal(PIXELS, np.float32)
            below = folder / f"{number // 1000:03d}"
            below.mkdir(parents=True, exist_ok=True)
            path = below / f"L1_{stars.uid[number]}.fits"
            path.write_bytes(template.file(stars.uid[number], noisy, error))
    targets = Table({"TRG_UID": stars.uid, "RV": stars.velocity, "E_RV": 0.5 + 30 / stars.snr})
    targets["RA"], targets["DEC"] = rng.uniform(0, 360, len(stars.uid)), -30.0
    targets.write(folder / "targets.fits")
    if labelled:
        table = Table({"TRG_UID": stars.uid, "SNR": np.full(len(stars.uid), 200.0)})
        for column, (name, error) in enumerate(zip(LABELS, ERRORS, strict=True)):
            noise = 0.3 * error * rng.standard_normal(len(stars.uid))
            table[name] = (stars.label[:, column] + noise).astype("f4")
            table[f"E_{name}"] = np.full(len(stars.uid), 0.3 * error, "f4")
        table.write(folder / "labels.fits")


class _Template:
    """The headers of a file, which differ in the name of the target alone."""

    UID = "X" * 20

    def __init__(self) -> None:
        primary = fits.PrimaryHDU()
        cards = {"TRG_UID": self.UID, "SPECSYS": "HELIOCEN", "PRODCATG": "SCIENCE.SPECTRUM"}
        cards |= {"CONTNORM": False, "FLUXCAL": "ABSOLUTE", "SPEC_RES": RESOLUTION}
        for key, value in cards.items():
            primary.header[key] = value
        self.primary = primary.header.tostring()
        unit = "erg.cm**(-2).s**(-1).angstrom**(-1)"
        form = f"{PIXELS}E"
        columns = [fits.Column("WAVE", form, "Angstrom")]
        columns += [fits.Column(name, form, unit) for name in ("FLUX", "ERR_FLUX")]
        columns += [fits.Column("QUAL", f"{PIXELS}J", null=-1)]
        columns += [fits.Column(name, form, unit) for name in ("FLUX_NOSS", "ERR_FLUX_NOSS")]
        table = fits.BinTableHDU.from_columns(columns, nrows=1, name="PHASE3SPECTRUM")
        table.header["TUCD1"] = "em.wl;obs.atmos"
        table.header["NELEM"] = PIXELS
        self.table = table.header.tostring().encode()

    def file(self, uid: str, flux: np.ndarray, error: np.ndarray) -> bytes:
        """The file of one star; its sky was subtracted well, so that both fluxes are the same."""
        primary = self.primary.replace(self.UID, uid.ljust(20)).encode()
        both = flux.astype(">f4").tobytes() + error.astype(">f4").tobytes()
        row = WAVE_AIR.astype(">f4").tobytes() + both + bytes(4 * PIXELS) + both
        return b"".join([primary, self.table, row, bytes(-len(row) % 2880)])
