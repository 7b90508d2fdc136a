"""A small archive in exactly the layout of the real one, with a grid of 61 pixels."""

import gzip
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from distcnn.config import IngestConfig

PIXELS = 61
RANGES = ((0, 999), (1000, 1999), (2000, 2999))
LABELS = {"teff": "TEFF", "logg": "LOGG", "mh": "M_H", "alpham": "ALPHA_M", "feh": "FE_H"}
HEADER = """# %ECSV 1.0
# ---
# delimiter: ','
# datatype:
# - {name: source_id, datatype: int64}
# schema: astropy-2.0
"""


def settings(**changes: Any) -> IngestConfig:
    """Settings for the small archive; ``a__b=value`` sets b in section a."""
    tree: dict[str, Any] = {
        "grid": {"start": 846.0, "step": 0.01, "size": PIXELS},
        "prepare": {"rebin": 3, "noise_correlation": 2.45},
        "store": {"chunk_stars": 4, "shard_stars": 8},
        "block_rows": 4,
    }
    for key, value in changes.items():
        place = tree
        *parents, last = key.split("__")
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = value
    return IngestConfig.model_validate(tree)


def array_text(values: np.ndarray, brackets: str = "[]") -> str:
    """An array field as the archive writes it."""
    texts = ("NaN" if np.isnan(v) else repr(float(np.round(v, 6))) for v in values)
    return f'"{brackets[0]}{",".join(texts)}{brackets[1]}"'


@dataclass
class TinyArchive:
    """Rows of text by file, to be changed by a test before ``write``."""

    folder: Path
    seed: int = 0
    stars_per_file: int = 9
    lines: dict[str, list[str]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        self.source_id: list[int] = []
        self.flux: list[np.ndarray] = []
        for low, high in RANGES:
            self._one_range(rng, low, high)

    def _one_range(self, rng: np.random.Generator, low: int, high: int) -> None:
        n = self.stars_per_file
        hpx = np.sort(rng.choice(np.arange(low, high), n, replace=False)).astype(np.int64)
        source_id = (hpx << 43) + rng.integers(1, 10**9, n)
        flux = 1 + 0.02 * rng.standard_normal((n, PIXELS))
        flux[:, 28:34] -= 0.5
        error = np.full((n, PIXELS), 0.02)
        flux[0, :5] = error[0, :5] = np.nan
        self.source_id += source_id.tolist()
        self.flux += list(flux)
        name = f"_{low:06d}-{high:06d}.csv.gz"
        ra, dec = rng.uniform(0, 360, n), rng.uniform(-90, 90, n)
        spectra, source, xp = f"RvsMeanSpectrum{name}", f"GaiaSource{name}", f"XpContinuous{name}"
        xp = f"XpContinuousMeanSpectrum{name}"
        self.headers[spectra] = "source_id,solution_id,ra,dec,flux,flux_error,combined_transits"
        self.headers[source] = (
            "solution_id,designation,source_id,ra,dec,parallax,parallax_error,phot_g_mean_mag,"
            "phot_bp_mean_mag,phot_rp_mean_mag,rvs_spec_sig_to_noise,has_rvs"
        )
        self.headers[xp] = (
            "source_id,solution_id,bp_coefficients,bp_coefficient_errors,rp_coefficients,"
            "rp_coefficient_errors,rp_n_relevant_bases"
        )
        self.lines[spectra], self.lines[source], self.lines[xp] = [], [], []
        for i, star in enumerate(source_id):
            place = f"{float(ra[i])!r},{float(dec[i])!r}"
            arrays = f"{array_text(flux[i])},{array_text(error[i])}"
            self.lines[spectra].append(f"{star},59,{place},{arrays},7")
            parallax = "null" if i == 1 else repr(float(rng.uniform(0.1, 5)))
            mags = ",".join(f"{m:.6f}" for m in rng.uniform(8, 14, 3))
            snr = "null" if i == 2 else f"{20.0 + i}"
            self.lines[source].append(
                f'163,"Gaia DR3 {star}",{star},{place},{parallax},0.02,{mags},{snr},True'
            )
            self.lines[source].append(f'163,"Gaia DR3 {star + 1}",{star + 1},{place},,,,,,,False')
            if i != 3:
                coefficients = rng.standard_normal((2, 55)) * 100
                bp = (
                    "null,null"
                    if i == 4
                    else f"{array_text(coefficients[0])},{array_text(abs(coefficients[0]))}"
                )
                rp = f"{array_text(coefficients[1])},{array_text(abs(coefficients[1]))}"
                self.lines[xp].append(f"{star},59,{bp},{rp},40")

    def name(self, kind: str, number: int = 0) -> str:
        """Name of the n-th file whose name begins so."""
        return sorted(name for name in self.lines if name.startswith(kind))[number]

    def write(self) -> Path:
        """Write all files, and an allStar table with labels for every second star."""
        self.folder.mkdir(exist_ok=True)
        for name, lines in self.lines.items():
            text = "\n".join([HEADER + self.headers[name], *lines]) + "\n"
            (self.folder / name).write_bytes(gzip.compress(text.encode(), mtime=0))
        write_all_star(self.folder / "allStar-tiny.fits", np.array(self.source_id[::2]))
        return self.folder


def write_all_star(path: Path, source_id: np.ndarray) -> None:
    """An allStar table: a second row of lower S/N for the first star, a flagged row, no match."""
    rows = np.concatenate([source_id[:1], source_id, [0]])
    n = len(rows)
    table = Table()
    table["APOGEE_ID"] = [f"2M{i:06d}" for i in range(n)]
    table["GAIAEDR3_SOURCE_ID"] = rows
    table["SNR"] = np.concatenate([[80.0], np.linspace(100, 200, n - 1)]).astype("f4")
    table["ASPCAPFLAG"] = np.zeros(n, np.int64)
    table["ASPCAPFLAG"][3] = 1 << 23
    for number, column in enumerate(LABELS.values()):
        table[column] = (np.arange(n) + 100.0 * number).astype("f4")
        table[f"{column}_ERR"] = np.full(n, 0.1, "f4")
    table["M_H"][4] = -9999.0
    table.write(path, overwrite=True)
