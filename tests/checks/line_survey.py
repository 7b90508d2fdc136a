"""A survey of stars with real lines, and packages trained on it: a sound one and spoiled ones."""

import numpy as np

from distcnn.checks.sensitivity.lines import known_lines, template
from distcnn.config import (
    AugmentConfig,
    NetworkConfig,
    QualityConfig,
    SplitConfig,
    StackingConfig,
    TrainConfig,
)
from distcnn.executor import SerialExecutor
from distcnn.schema import SURVEY_VARIABLES
from distcnn.survey import STAR_KEY, Coordinate, Layout, Store, create_store
from distcnn.survey.rows import EPOCH_KEY
from distcnn.training import train_package

BANDS = ("g", "bp", "rp")
NAMES = ("teff", "logg", "feh", "sife")
ERRORS = np.array([20.0, 0.03, 0.02, 0.02])
WAVELENGTH = np.linspace(846.5, 869.3, 240)
SPLIT = SplitConfig(train=0.5, validation=0.1, calibration=0.2)


def draw_stars(stars, seed=3):
    """Labels [N, 4], S/N [N], identifiers; a tenth of the stars are of the halo."""
    rng = np.random.default_rng(seed)
    feh = np.where(
        rng.random(stars) < 0.15, rng.uniform(-2.4, -1, stars), rng.normal(-0.2, 0.3, stars)
    )
    label = np.stack(
        [rng.uniform(4200, 6200, stars), rng.uniform(0.8, 4.6, stars), feh,
         rng.uniform(-0.3, 0.5, stars)], axis=1
    )  # fmt: skip
    snr = np.where(rng.random(stars) < 0.5, rng.uniform(15, 25, stars), rng.uniform(25, 120, stars))
    return label, snr, rng.permutation(stars) * 7919 + 10**12


def spectra(label, snr, seed, grid=WAVELENGTH, calcium=854.444):
    """Flux [N, P] and its error: lines of iron and silicon, a hydrogen slope, calcium wings."""
    rng = np.random.default_rng(seed)
    teff, logg, feh, sife = label.T
    lines = known_lines()
    shape = {name: template(lines.of([name]), grid) for name in ("Fe", "Si")}
    shape["Ca"] = np.exp(-np.abs(grid - calcium) / 0.6)
    shape["Pa"] = np.exp(-np.abs(grid - 866.740) / 0.8)
    strength = {
        "Fe": 0.10 * np.exp(0.6 * (feh + 0.2)),
        "Si": 0.35 * np.exp(0.6 * (feh + sife + 0.2)),
        "Ca": 0.45 - 0.06 * (logg - 2.7),
        "Pa": 0.20 + 0.12 * (teff - 5200) / 1000,
    }
    flux = np.ones((len(label), len(grid)))
    for name, profile in shape.items():
        flux *= 1 - np.clip(strength[name], 0, 0.9)[:, None] * np.clip(profile, 0, 1)
    error = np.repeat(1 / snr[:, None], len(grid), axis=1)
    return flux + error * rng.standard_normal(flux.shape), error


def build_survey(
    path,
    label,
    snr,
    ids,
    *,
    seed=5,
    labels=None,
    transits=None,
    made=None,
    grid=WAVELENGTH,
    photometry=None,
    names=NAMES,
):
    """The survey; ``labels`` [N, 4] are those of its table, NaN = none; ``transits`` [N]: rows
    are transits of stars; ``made``: its flux and error on ``grid``; ``photometry``: G, BP, RP.
    """
    flux, error = spectra(label, snr, seed) if made is None else made
    given = label if labels is None else labels
    arrays = {
        "source_id": ids,
        "ra": (ids * 0.618) % 360,
        "dec": (ids * 0.377) % 160 - 80,
        "flux": flux,
        "flux_error": error,
        "snr": snr,
        "label": given + ERRORS * np.random.default_rng(9).standard_normal(given.shape),
        "label_error": np.tile(ERRORS, (len(ids), 1)),
    }
    if transits is not None:
        arrays["transit_id"] = transits
    bands = {}
    if photometry is not None:
        arrays["photometry"] = photometry
        bands = {"band": Coordinate("band", np.array([f"phot_{b}_mean_mag" for b in BANDS]))}
    layout = Layout(
        kind="survey",
        sizes={"star": len(ids), "pixel": len(grid), "label": len(names)}
        | ({"band": len(BANDS)} if bands else {}),
        chunk_stars=128,
        shard_stars=512,
        variables=tuple(SURVEY_VARIABLES[name] for name in arrays),
        coordinates={
            **bands,
            "label": Coordinate("label", np.array(names)),
            "wavelength": Coordinate(
                "pixel", grid, {"unit": "nm", "medium": "vacuum", "frame": "stellar rest"}
            ),
        },
        row_key=STAR_KEY if transits is None else EPOCH_KEY,
        attrs={"survey": "lines", "release": "test", "inputs": f"seed {seed}", "complete": True},
    )
    store = create_store(path, layout)
    for region in store.regions():
        store.write(region, {name: array[region.slice] for name, array in arrays.items()})
    return Store.open(path, "survey")


def train(survey, path, seed=0, split=SPLIT, epochs=12):
    """A small ensemble, in seconds."""
    config = TrainConfig(
        members=1,
        epochs=epochs,
        patience=epochs,
        batch=32,
        seed=seed,
        network=NetworkConfig(width=16, hidden=32, dropout=0.0, photometry=False),
        split=split,
        augment=AugmentConfig(noise=0.5, drop_pixels=0.0),
        precision="float32",
        stacking=StackingConfig(methods=()),
    )
    quality = QualityConfig(novelty_components=4)
    train_package(survey.location, path, config, quality, executor=SerialExecutor())
    return path
