"""Spectra of three lines, Doppler-shifted by the velocity of each star, in several layouts."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits

from distcnn.air import to_vacuum
from distcnn.config import IngestConfig
from distcnn.schema import LIGHT_SPEED_KM_S as C

LINES_NM = np.array([500.0, 510.0, 520.0])
"""Wavelengths of the lines in vacuum, at rest."""
WAVELENGTH_NM = 490 + 0.02 * np.arange(2000)
TARGET = {"start": 492.0, "step": 0.02, "size": 1750}
STARS = 12
VELOCITY_KM_S = np.linspace(-480.0, 500.0, STARS)


def spectrum(factor: float, *, air: bool = False, wavelength: np.ndarray = WAVELENGTH_NM):
    """Flux of lines whose wavelengths in vacuum are multiplied by ``factor``."""
    vacuum = to_vacuum(wavelength) if air else wavelength
    depth = np.exp(-0.5 * ((vacuum[:, None] - LINES_NM * factor) / 0.05) ** 2)
    return 1 - 0.5 * depth.sum(axis=1)


def settings(**changes: Any) -> IngestConfig:
    """Settings for the parquet file; ``a__b=value`` sets b in section a."""
    tree: dict[str, Any] = {
        "survey": "moving",
        "release": "one",
        "spectra": {
            "reader": "table",
            "files": "spectra*",
            "columns": {"source_id": "star", "velocity": "rv", "velocity_error": "rv_error"},
        },
        "source": None,
        "source_required": False,
        "xp": None,
        "labels": None,
        "grid": {"start": 490.0, "step": 0.02, "size": 2000, "frame": "barycentric"},
        "prepare": {"target": dict(TARGET), "rest_frame": {"velocity": "spectra"}},
        "store": {"chunk_stars": 4, "shard_stars": 8, "flux_encoding": "float32"},
    }
    for key, value in changes.items():
        place = tree
        *parents, last = key.split("__")
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = value
    return IngestConfig.model_validate(tree)


def write_table(folder: Path, flux: list[np.ndarray], **columns: Any) -> Path:
    """One row per star, numbered from 1."""
    folder.mkdir(exist_ok=True)
    rows = {"star": np.arange(1, len(flux) + 1), "flux": [list(map(float, f)) for f in flux]}
    rows["flux_error"] = [[0.01] * len(f) for f in flux]
    pq.write_table(pa.table(rows | columns), folder / "spectra.parquet")
    return folder


def write_one_row_files(folder: Path, flux: list[np.ndarray], **keywords: Any) -> Path:
    """A FITS file per star with one row of arrays; the header has its velocity as VRAD."""
    folder.mkdir(exist_ok=True)
    form = f"{len(flux[0])}D"
    for number, values in enumerate(flux):
        columns = [
            fits.Column("star", "K", array=[number + 1]),
            fits.Column("flux", form, array=[values]),
            fits.Column("flux_error", form, array=[np.full(len(values), 0.01)]),
        ]
        table = fits.BinTableHDU.from_columns(columns)
        for key, value in {"VRAD": VELOCITY_KM_S[number], "E_VRAD": 0.5, **keywords}.items():
            table.header[key] = value
        table.writeto(folder / f"spectra{number:03d}.fits", overwrite=True)
    return folder


def shifts_of(wavelength: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """Velocity [n, 3] in km/s at which each line of spectra [n, Q] stands."""
    found = []
    for line in LINES_NM:
        near = np.abs(wavelength - line) < 0.3
        depth = 1 - np.asarray(flux[:, near], float)
        found.append((depth @ wavelength[near] / depth.sum(axis=1) - line) / line * C)
    return np.stack(found, axis=1)
