"""The table of reference labels, in the layout of APOGEE's allStar (DR17)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from astropy.io import fits

from distcnn.config import SimulateConfig
from distcnn.files import atomic_write
from distcnn.schema import DEFAULT_LABELS, LABELS, Defect
from distcnn.simulate.galaxy.stars import SimulatedStars

LABEL_COLUMNS = {"teff": "TEFF", "logg": "LOGG", "mh": "M_H", "alpham": "ALPHA_M", "feh": "FE_H"}
STAR_BAD, TEFF_BAD, LOGG_BAD, M_H_BAD, STAR_WARN = 1 << 23, 1 << 16, 1 << 17, 1 << 19, 1 << 7
WRONG_BY = (900.0, 1.0, 0.7, 0.25, 0.7)
"""Typical error of labels that have failed, as ``DEFAULT_LABELS``: K, then dex."""
LABELLED_TEFF = (3500.0, 7500.0)
FILE_NAME = "allStar-dr17-simulated.fits"

_ARROW = {"18A": pa.string(), "K": pa.int64(), "D": pa.float64(), "E": pa.float32()}
# column, FITS format, unit
_LAYOUT = (
    ("APOGEE_ID", "18A", ""),
    ("GAIAEDR3_SOURCE_ID", "K", ""),
    ("RA", "D", "deg"),
    ("DEC", "D", "deg"),
    ("SNR", "E", ""),
    ("STARFLAG", "K", ""),
    ("ASPCAPFLAG", "K", ""),
    *(
        (f"{LABEL_COLUMNS[label]}{end}", "E", LABELS[label].unit)
        for label in DEFAULT_LABELS
        for end in ("", "_ERR")
    ),
)


SCHEMA = pa.schema([(name, _ARROW[form]) for name, form, _ in _LAYOUT])
"""Types of the table, so that a file without labelled stars has them too."""


def draw_labelled(
    rng: np.random.Generator, stars: SimulatedStars, config: SimulateConfig
) -> tuple[np.ndarray, pd.DataFrame]:
    """(labelled: bool ``[N]``, rows of the table) for the stars of one file.

    Bright stars are a little likelier to be chosen, if stars of all brightness are. A few have a
    second, poorer visit; a few have wrong labels and the bits that warn of it. Hot stars and most
    binaries have no row.
    """
    teff = stars.labels.teff
    inside = (teff >= LABELLED_TEFF[0]) & (teff <= LABELLED_TEFF[1]) & stars.has_spectrum
    lucky = np.clip(0.97 + 0.04 * np.log10(stars.exposure.snr / 15.0), 0.0, 1.05)
    chance = config.labelled_fraction * np.where(stars.affected[Defect.BINARY], 0.1, lucky)
    if stars.wanted is not None:
        chance = np.where(stars.wanted, chance / config.labelled_fraction, 0.0)
    labelled = inside & (rng.random(teff.size) < chance)
    first = _visit(rng, stars, np.flatnonzero(labelled), config, poorer=1.0)
    again = np.flatnonzero(labelled & (rng.random(teff.size) < config.repeat_fraction))
    second = _visit(rng, stars, again, config, poorer=2.0)
    wrong = rng.random(len(first)) < config.bad_fraction
    return labelled, pd.concat([_spoil(rng, first, wrong), second], ignore_index=True)


def _visit(
    rng: np.random.Generator,
    stars: SimulatedStars,
    rows: np.ndarray,
    config: SimulateConfig,
    poorer: float,
) -> pd.DataFrame:
    true = stars.labels.as_array()[rows]
    # Quoted errors differ between stars, and the noise is drawn from what is quoted.
    error = np.array(config.label_error) * poorer * rng.lognormal(0.0, 0.2, (rows.size, 1))
    noisy = true + error * rng.standard_normal(true.shape)
    snr = np.clip(rng.lognormal(np.log(160.0), 0.5, rows.size), 50.0, 1500.0) / poorer**2
    columns: dict[str, object] = {
        "APOGEE_ID": [_name(*pair) for pair in zip(stars.ra[rows], stars.dec[rows], strict=True)],
        "GAIAEDR3_SOURCE_ID": stars.source_id[rows],
        "RA": stars.ra[rows],
        "DEC": stars.dec[rows],
        "SNR": snr.astype(np.float32),
        "STARFLAG": np.zeros(rows.size, np.int64),
        "ASPCAPFLAG": np.where(rng.random(rows.size) < 0.05, STAR_WARN, 0).astype(np.int64),
    }
    for k, label in enumerate(DEFAULT_LABELS):
        columns[LABEL_COLUMNS[label]] = noisy[:, k].astype(np.float32)
        columns[f"{LABEL_COLUMNS[label]}_ERR"] = error[:, k].astype(np.float32)
    return pd.DataFrame(columns)


def _spoil(rng: np.random.Generator, table: pd.DataFrame, wrong: np.ndarray) -> pd.DataFrame:
    """Labels that failed, with their warning bits."""
    count = int(wrong.sum())
    table.loc[wrong, "ASPCAPFLAG"] = STAR_BAD | TEFF_BAD | LOGG_BAD | M_H_BAD
    for label, size in zip(DEFAULT_LABELS, WRONG_BY, strict=True):
        name = LABEL_COLUMNS[label]
        off = (size * rng.standard_normal(count)).astype(np.float32)
        table.loc[wrong, name] = table.loc[wrong, name].to_numpy() + off
    return table


def _name(ra: float, dec: float) -> str:
    """``2M00034301-7717269``: the place in sexagesimal digits."""
    hours = ra / 15.0
    hour, minute = int(hours), int(hours * 60 % 60)
    second = int(hours * 3600 % 60 * 100)
    size = abs(dec)
    tail = f"{int(size):02d}{int(size * 60 % 60):02d}{int(size * 3600 % 60 * 10):03d}"
    return f"2M{hour:02d}{minute:02d}{second:04d}{'-' if dec < 0 else '+'}{tail}"


def write_all_star(path: Path, table: pd.DataFrame, provenance: Mapping[str, object]) -> None:
    """HDU 1 holds the table; equal input gives equal bytes."""
    columns = []
    for name, form, unit in _LAYOUT:
        values = table[name].to_numpy()
        array = values.astype("S18") if form.endswith("A") else values
        columns.append(fits.Column(name, form, unit=unit or None, array=array))
    primary = fits.PrimaryHDU()
    for key, value in provenance.items():
        primary.header[key] = value
    body = fits.BinTableHDU.from_columns(columns, name="ALLSTAR")
    with atomic_write(path) as draft:
        fits.HDUList([primary, body]).writeto(draft)
