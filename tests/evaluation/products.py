"""Stores with known truth, as an evaluation and a report read them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from evaluation.package_rows import attenuation_rows, coverage_rows, size_rows

from distcnn.config import SplitConfig
from distcnn.evaluation import BaselineLabels, EvaluationData
from distcnn.manifest import Manifest
from distcnn.schema import LABEL, PIXEL, PREDICTION_VARIABLES, STAR, SURVEY_VARIABLES, Flag, Status
from distcnn.survey import Coordinate, Layout, Ledger, Store, create_store
from distcnn.survey.split import TEST, assign_split

NAMES = ("teff", "logg", "mh", "alpham", "feh")
SIGMA = np.array([60.0, 0.12, 0.06, 0.03, 0.06])
SPLIT = SplitConfig(train=0.6, validation=0.1, calibration=0.1)
CENTRES = (850.0, 854.4, 866.4, 868.9, 861.1)


@dataclass
class Products:
    """``seen`` : which stars training used."""

    data: EvaluationData
    truth: np.ndarray
    label: np.ndarray
    ids: np.ndarray
    seen: np.ndarray
    trouble: np.ndarray
    snr: np.ndarray


def _labels(rng: np.random.Generator, stars: int) -> np.ndarray:
    giant = rng.random(stars) < 0.5
    mh = np.where(rng.random(stars) < 0.04, -1.4, -0.15) + 0.25 * rng.standard_normal(stars)
    high = (rng.random(stars) < 0.3) & (mh < 0.1)
    alpha = np.where(high, 0.24 - 0.08 * (mh + 0.4), 0.05 - 0.12 * mh)
    alpha += 0.02 * rng.standard_normal(stars)
    logg = np.where(giant, 3.4 - 2.4 * rng.random(stars) ** 1.3, 4.6 - 0.6 * rng.random(stars))
    teff = np.where(giant, 3900 + 480 * (logg - 0.8), 4300 + 3600 * (4.75 - logg)) - 180 * mh
    teff += 50 * rng.standard_normal(stars)
    return np.stack([teff, logg, mh, alpha, mh - 0.02 * alpha], axis=1)


def _spectra(
    rng: np.random.Generator, truth: np.ndarray, snr: np.ndarray, pixels: int
) -> tuple[np.ndarray, ...]:
    grid = np.linspace(846, 870, pixels)
    flux = np.ones((len(truth), pixels))
    for number, centre in enumerate(CENTRES):
        depth = np.clip(0.5 + 0.2 * truth[:, 2] - 0.06 * number, 0.05, 0.9)
        flux -= depth[:, None] * np.exp(-0.5 * ((grid - centre) / 0.35) ** 2)
    error = np.repeat(1 / snr[:, None], pixels, axis=1)
    flux += error * rng.standard_normal(flux.shape)
    mask = np.where(rng.random(flux.shape) < 0.004, 2, 0).astype(np.uint8)
    mask[:, : pixels // 40] = 1
    flux[mask != 0] = error[mask != 0] = np.nan
    return grid, flux, error, mask


def _store(path: Path, kind: str, table: dict, arrays: dict, coordinates: dict) -> Store:
    stars = len(arrays["source_id"])
    variables = tuple(table[name] for name in arrays)
    sizes = {STAR: stars}
    for name, values in arrays.items():
        sizes.update(zip(table[name].dims, values.shape, strict=True))
    layout = Layout(kind, sizes, 256, 512, variables, coordinates, {"survey": "synthetic"})
    store = create_store(path, layout)
    for region in store.regions():
        store.write(region, {name: values[region.slice] for name, values in arrays.items()})
    return store


def make_products(folder: Path, stars: int = 1500, pixels: int = 80, seed: int = 0) -> Products:
    """Stores with known truth, errors that are right, and some trouble."""
    rng = np.random.default_rng(seed)
    truth = _labels(rng, stars)
    snr = np.minimum(15 * rng.random(stars) ** (-1 / 0.794), 900)
    ids = rng.permutation(stars).astype(np.int64) * 7919 + 10**15
    trouble = np.full(stars, "", object)
    trouble[rng.random(stars) < 0.03] = "wrong_rv"
    trouble[rng.random(stars) < 0.03] = "binary"
    trouble[rng.random(stars) < 0.03] = "cosmic+binary"
    sigma = SIGMA * (20 / snr[:, None]) ** 0.5
    label = truth + sigma * rng.standard_normal(truth.shape)
    bad = trouble != ""
    label[bad] += 5 * SIGMA
    novelty = np.exp(-1 + 0.4 * rng.standard_normal(stars)) + 3 * bad
    flags = np.where(novelty > 1, np.uint32(Flag.NOVEL_SPECTRUM), np.uint32(0))
    status = np.full(stars, Status.DONE, np.uint8)
    status[3], label[3], flags[3] = Status.FAILED, np.nan, np.uint32(Flag.NON_FINITE)
    grid, flux, error, mask = _spectra(rng, truth, snr, pixels)
    labelled = rng.random(stars) < 0.7
    reference_error = np.tile(SIGMA / 3, (stars, 1))
    reference = truth + reference_error * rng.standard_normal(truth.shape)
    reference[~labelled] = np.nan
    names = Coordinate(LABEL, np.array(NAMES))
    wave = Coordinate(PIXEL, grid, {"unit": "nm", "medium": "vacuum"})
    base = {"source_id": ids, "ra": rng.random(stars), "dec": rng.random(stars), "snr": snr}
    survey = _store(
        folder / "survey.zarr",
        "survey",
        SURVEY_VARIABLES,
        base
        | {"flux": flux, "flux_error": error, "mask": mask}
        | {"label": reference, "label_error": reference_error},
        {"wavelength": wave, "label": names},
    )
    predictions = _store(
        folder / "predictions.zarr",
        "predictions",
        PREDICTION_VARIABLES,
        base
        | {"label": label, "label_error": sigma, "label_noise": sigma, "label_scatter": sigma / 4}
        | {"novelty": novelty, "valid_pixels": np.isfinite(flux).mean(axis=1)}
        | {"flags": flags, "status": status},
        {"label": names},
    )
    columns = dict(zip(NAMES, truth.T, strict=True))
    table = pd.DataFrame({"source_id": ids, **columns, "trouble": trouble.astype(str)})
    table.to_parquet(folder / "truth.parquet")
    pd.DataFrame(
        {
            "source_id": [1, 2, 2],
            "file": ["Rvs_1.csv.gz"] * 3,
            "row": [4, 5, 9],
            "reason": ["wrong_array_length", "duplicate_source_id", "duplicate_source_id"],
        }
    ).to_parquet(survey.private.local_path / "quarantine.parquet")
    ledger = Ledger.open(predictions.private / "ledger.jsonl", {"package": "abc"})
    for region in predictions.regions():
        infer = 0.5 + 0.1 * rng.random()
        seconds = {"load": 0.01, "read": 0.05, "infer": infer, "write": 0.04, "total": infer + 0.1}
        ledger.record(region.name, "0", seconds=seconds, stars=region.size)
    curves = [
        {"member": m, "epochs": [(2 / (e + 1) - 1, 2.2 / (e + 1) - 1) for e in range(20)]}
        for m in range(3)
    ]
    data = EvaluationData(
        predictions=predictions.path,
        survey=survey.path,
        truth=folder / "truth.parquet",
        split=SPLIT,
        manifest=Manifest.from_json(
            {
                **{"format": 1, "seed": 5, "split": {"seed": 0}, "labels": list(NAMES)},
                "coverage": coverage_rows(),
                "ensemble_size": size_rows(),
                "attenuation": attenuation_rows(),
            }
        ),
        curves=curves,
        baselines={
            "ridge": BaselineLabels(ids, truth + 2 * sigma * rng.standard_normal(truth.shape)),
            "photometry alone": BaselineLabels(
                ids, truth + 4 * SIGMA * rng.standard_normal(truth.shape)
            ),
        },
    )
    seen = labelled & (assign_split(ids, SPLIT) != TEST)
    return Products(data, truth, label, ids, seen, trouble, snr)
