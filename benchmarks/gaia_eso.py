"""Gaia-ESO end to end: files in the layout of ESO products to a catalogue of lithium, or Mg and Al.

    python benchmarks/gaia_eso.py FOLDER [--setup ges_hr15n|ges_hr10_hr21] [--training 1500]
                                  [--stars 500] [--members 2] [--epochs 40] [--json FILE]

Spectra are simulated by a cheap line list with the true places of the lines that matter (Li I
6707.8; Mg I 5528.4, 8806.8; Al I 8772.9, 8773.9; H alpha; the Ca II triplet): one row of WAVE, FLUX
and ERR in air and barycentric, OBJECT in the header, velocities in a table of targets. Layout and
commands are what is shown; accuracies are those of this line list, not of the survey. Trains and
predicts with the presets in ``conf/surveys``; the new stars have no table of labels.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from lib.origin import commit, hardware, keep, now
from lib.survey_files import eso_table

import distcnn
from distcnn.config import Config, load_config
from distcnn.schema import LIGHT_SPEED_KM_S

RESOLUTION = 17_000.0
SETUPS = {
    "ges_hr15n": {"HR15N": (6440.0, 6815.0)},
    "ges_hr10_hr21": {"HR10": (5339.0, 5619.0), "HR21": (8484.0, 9001.0)},
}
LABELS = {
    "ges_hr15n": ("teff", "logg", "feh", "ali"),
    "ges_hr10_hr21": ("teff", "logg", "feh", "mgfe", "alfe"),
}
# Wavelength in air [Angstrom], label that makes it deep, log of the strength, excitation, pressure.
LINES = (
    *((6707.76, "ali", -3.3, 3.0, 0.0), (6562.80, "", 0.9, -4.0, 0.0)),
    *((5528.40, "mgfe", 0.2, 1.0, 0.2), (8806.76, "mgfe", 0.1, 1.0, 0.15)),
    *((8772.87, "alfe", -0.5, 0.5, 0.0), (8773.90, "alfe", -0.3, 0.5, 0.0)),
    *((8498.02, "feh", 0.8, 0.3, -0.1), (8542.09, "feh", 1.1, 0.3, -0.1)),
    (8662.14, "feh", 1.0, 0.3, -0.1),
)
IRON_LINES_PER_ANGSTROM = 0.25
POPULATION = {"ali": (1.2, 0.9), "mgfe": (0.12, 0.12), "alfe": (0.08, 0.14)}
"""Mean and scatter of the abundances put in."""


def draw(stars: int, setup: str, rng: np.random.Generator) -> dict[str, Any]:
    """Labels, velocity [km/s] and S/N of simulated dwarfs and giants."""
    giant = rng.uniform(size=stars) < 0.5
    teff = np.where(giant, rng.uniform(4000, 5200, stars), rng.uniform(4500, 6500, stars))
    logg = np.where(giant, (teff - 3900) / 430 + 0.6, 4.6 - (teff - 4600) / 4000)
    found = {
        "teff": teff,
        "logg": logg + 0.15 * rng.standard_normal(stars),
        "feh": np.clip(rng.normal(-0.3, 0.35, stars), -1.8, 0.4),
    }
    for name in LABELS[setup][3:]:
        found[name] = rng.normal(*POPULATION[name], stars)
    return {**found, "velocity": rng.normal(0, 40, stars), "snr": rng.uniform(40, 150, stars)}


def line_list(low: float, high: float) -> list[tuple[float, str, float, float, float]]:
    """The lines above between two wavelengths, and lines of iron at places that stay the same."""
    rng = np.random.default_rng(int(low))
    count = int(IRON_LINES_PER_ANGSTROM * (high - low))
    iron = zip(
        rng.uniform(low, high, count),
        rng.normal(-0.8, 0.5, count),
        rng.uniform(-2, 2, count),
        rng.uniform(-0.2, 0.1, count),
        strict=True,
    )
    own = [line for line in LINES if low < line[0] < high]
    return own + [(place, "feh", *more) for place, *more in iron]


def flux_of(star: dict[str, float], wavelength: np.ndarray, lines: list[Any]) -> np.ndarray:
    """Normalised flux [P] of one star at wavelengths [P] in air at rest."""
    cool = 5040 / star["teff"] - 1
    total = np.zeros_like(wavelength)
    for centre, label, strength, excitation, pressure in lines:
        abundance = star.get(label, 0.0)
        if label in ("mgfe", "alfe"):
            abundance += star["feh"]
        size = strength + abundance + excitation * cool + pressure * (star["logg"] - 3)
        depth = 0.9 * 10**size / (1 + 10**size)
        width = centre / RESOLUTION / 2.355 * (1 + depth)
        near = slice(*np.searchsorted(wavelength, [centre - 6 * width, centre + 6 * width]))
        total[near] += depth * np.exp(-0.5 * ((wavelength[near] - centre) / width) ** 2)
    return np.asarray(np.exp(-total))


def write_files(folder: Path, setup: str, stars: dict[str, Any], seed: int, labelled: bool) -> None:
    """One file per star and setup, with tables of targets and, if asked for, of labels."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    arms = [
        (name, np.arange(low, high, 0.05), line_list(low, high))
        for name, (low, high) in SETUPS[setup].items()
    ]
    names = [f"{seed:02d}{number:06d}-7654321" for number in range(len(stars["teff"]))]
    columns = {"wave": "WAVE", "flux": "FLUX", "error": "ERR"}
    for number, name in enumerate(names):
        star = {label: float(values[number]) for label, values in stars.items()}
        for arm, wavelength, lines in arms:
            rest = wavelength / (1 + star["velocity"] / LIGHT_SPEED_KM_S)
            sigma = np.full(len(wavelength), 1 / star["snr"])
            noisy = flux_of(star, rest, lines) + sigma * rng.standard_normal(len(wavelength))
            table = eso_table(wavelength, noisy, sigma, columns, {})
            primary = fits.PrimaryHDU()
            primary.header.update({"SPECSYS": "BARYCENT", "OBJECT": name, "CONTNORM": False})
            fits.HDUList([primary, table]).writeto(folder / f"ADP.{name}.{arm}.fits")
    targets = Table({"OBJECT": names, "RV": stars["velocity"], "E_RV": 40 / stars["snr"]})
    targets.write(folder / "targets.csv")
    if labelled:
        errors = {"teff": 30.0}
        reference = Table({"OBJECT": names})
        for label in LABELS[setup]:
            noise = errors.get(label, 0.03) * rng.standard_normal(len(names))
            reference[label] = stars[label] + noise
        reference.write(folder / "labels.csv")


def configuration(given: argparse.Namespace) -> Config:
    """The preset, with the tables of targets and labels written here."""
    columns = "{source_id: OBJECT, velocity: RV, velocity_error: E_RV}"
    table = "reader: table, files: labels.csv, columns: {source_id: OBJECT}"
    table += f", labels: [{', '.join(LABELS[given.setup])}]"
    sets = [
        f"ingest.source={{reader: table, files: targets.csv, columns: {columns}}}",
        f"ingest.labels={{{table}}}",
        "ingest.source_required=true",
        "ingest.bands=[]",
        "ingest.prepare.rest_frame={velocity: source}",
        "ingest.prepare.target.frame=stellar rest",
        *(f"train.{name}={getattr(given, name)}" for name in ("members", "epochs")),
        "train.batch=32",
        f"cluster.workers={given.workers}",
    ]
    return load_config(given.setup, sets)


def judge(
    folder: Path, setup: str, stars: dict[str, Any], seed: int
) -> dict[str, dict[str, float]]:
    """Scatter of each label [1.48 MAD], that of the population, and the share within the error."""
    table = fits.getdata(folder / "new.fits", 1)
    place = {f"{seed:02d}{number:06d}-7654321": number for number in range(len(stars["teff"]))}
    rows = np.array([place[str(name).strip()] for name in table["name"]])
    found = {}
    for name in LABELS[setup]:
        off = np.asarray(table[name], float) - stars[name][rows]
        within = np.abs(off) <= np.asarray(table[f"{name}_error"], float)
        found[name] = {
            "scatter": float(1.4826 * np.median(np.abs(off - np.median(off)))),
            "population": float(stars[name].std()),
            "within_error": float(within.mean()),
        }
    return found


def main() -> None:
    """Write, train, predict new stars without labels, judge, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--setup", choices=sorted(SETUPS), default="ges_hr15n")
    for name, value in (("training", 1500), ("stars", 500), ("members", 2), ("epochs", 40)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    folder, config = given.folder / given.setup, configuration(given)
    old, new = (
        draw(stars, given.setup, np.random.default_rng(seed))
        for seed, stars in ((1, given.training), (2, given.stars))
    )
    write_files(folder / "training", given.setup, old, 1, True)
    write_files(folder / "new", given.setup, new, 2, False)
    begun = time.monotonic()
    distcnn.ingest_archive(folder / "training", folder / "training.zarr", config)
    distcnn.train_package(folder / "training.zarr", folder / "package", config)
    distcnn.ingest_archive(folder / "new", folder / "new.zarr", config)
    distcnn.predict_survey(folder / "package", folder / "new.zarr", folder / "p.zarr", config)
    distcnn.export_catalogue(folder / "p.zarr", folder / "new.fits")
    labels = judge(folder, given.setup, new, 2)
    for name, row in labels.items():
        print(
            f"{name:5} {row['scatter']:8.3f} of {row['population']:8.3f}, "
            f"{row['within_error']:.2f} within the error"
        )
    about = {"hardware": hardware(), "commit": commit(), "date": now()}
    result = {"setup": given.setup, "training": given.training, "stars": given.stars}
    seconds = round(time.monotonic() - begun, 1)
    keep(
        f"gaia_eso-{given.setup}",
        {**result, "seconds": seconds, "labels": labels, **about},
        given.json,
    )


if __name__ == "__main__":
    main()
