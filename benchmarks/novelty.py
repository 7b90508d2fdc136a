"""Detection of spectra that a package must not be trusted with, by class of trouble.

    python benchmarks/novelty.py PACKAGE SURVEY FOLDER [--stars 40000] [--seed 77] [--conf demo]
                                 [--classes blend=0.3,...] [--refit] [--json FILE]

PACKAGE was trained on SURVEY, a simulated one. Simulates other stars twice, with every class of
trouble at known stars and without (their twins: same star, noise and edges), ingests and predicts
both in FOLDER, and asks of each class: how many are above the novelty that 1 % of the clean stars
exceed; in how many the trouble moved a label, against that of the twin, by more than 3 quoted
errors (of hot stars, whose twins are hot, against the truth), and how many of these are detected.
That a label is wrong by more than 3 errors is counted, too, but most such stars of mild classes
are wrong without their trouble. Errors are binomial, of one standard deviation. ``--classes`` names
the only classes of trouble, where one is to be known better than among all. ``--refit`` fits
the novelty of this version to the training stars of SURVEY: for packages of older versions. What
stands in FOLDER is not made again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lib.origin import commit, hardware, keep, now
from safetensors.numpy import load

from distcnn import pipeline
from distcnn.config import Config, load_config
from distcnn.manifest import read_file, read_manifest
from distcnn.monitor import console_display
from distcnn.quality import Novelty, Quality
from distcnn.quality.novelty import OTHER_LIGHT, fit_reference
from distcnn.survey import Region, Store
from distcnn.survey.split import Split, assign_split

CLASSES = {
    "cosmic": 0.04,
    "hot": 0.02,
    "binary": 0.05,
    "wrong_rv": 0.16,
    "emission": 0.015,
    "carbon": 0.01,
    "continuum": 0.04,
    "other_grid": 0.06,
    "sky": 0.10,
    "blend": 0.04,
}
"""Class of trouble -> fraction of the stars that have it: more where it seldom moves a label."""
STARS_PER_FILE = 250
"""A file has random numbers of its own, so trouble changes those of no more stars than these."""
TWIN, TROUBLED = "twin", "troubled"
ABSENT = ("nan_pixels", "no_xp", "no_parallax", "negative_parallax", "duplicate")
FALSE_ALARMS = 0.01
WRONG = 3.0
"""Quoted errors by which a label is wrong, or was moved, enough to matter."""
LITTLE = 1.0
"""The same of damage that is hardly noticed."""
LABELS = ("teff", "logg", "mh", "alpham", "feh")


def config_of(options: argparse.Namespace, kind: str) -> Config:
    """Settings of the stars with trouble, or of their twins."""
    chosen = options.classes.items()
    trouble = {name: part for name, part in chosen if kind == TROUBLED or name == "hot"}
    trouble = {**dict.fromkeys((*CLASSES, *ABSENT), 0.0), **trouble}
    sets = [f"simulate.trouble.{name}={value}" for name, value in trouble.items()]
    # Random numbers of another visit begin anew with the spectra, whoever is labelled.
    sets += [f"simulate.stars_per_file={STARS_PER_FILE}", "simulate.visit=1"]
    sets += ["simulate.labelled_fraction=0.1", "cluster.backend=serial", "predict.engine=eager"]
    return load_config(options.conf, sets)


def make_stars(options: argparse.Namespace, kind: str) -> Path:
    """Folder with archive, survey and predictions of the stars with trouble, or of the twins."""
    config, listener = config_of(options, kind), console_display()
    folder: Path = options.folder / kind
    survey, predictions = folder / "survey.zarr", folder / "predictions.zarr"
    if not predictions.exists():
        pipeline.simulate_archive(folder / "archive", options.stars, options.seed, config, listener)
        pipeline.ingest_archive(folder / "archive", survey, config, listener)
    pipeline.predict_survey(options.package, survey, predictions, config, listener)
    return folder


def refitted(options: argparse.Namespace) -> Novelty:
    """The novelty of this version, as training would fit it."""
    manifest, survey = read_manifest(options.package), Store.open(options.survey)
    light = [name for name in OTHER_LIGHT if name in survey.variables]
    names = ["source_id", "label", "flux", "flux_error", *light]
    block = survey.read(Region(0, survey.stars), names)
    part = assign_split(block["source_id"], manifest.training_split)
    labelled = np.isfinite(block["label"]).any(axis=1)
    train, calibration = (labelled & (part == p) for p in (Split.TRAIN, Split.CALIBRATION))
    one, two = (
        (
            block["flux"][rows],
            block["flux_error"][rows],
            {name: block[name][rows] for name in light},
        )
        for rows in (train, calibration)
    )
    fitted = fit_reference(*one[:2], 32, light=one[2])
    score = fitted.score(*two)
    return fitted.with_threshold(score, 0.99)


def shipped(options: argparse.Namespace) -> Novelty:
    """That of the package."""
    arrays = load(read_file(options.package, read_manifest(options.package), "quality.safetensors"))
    found = Quality.from_arrays(arrays).novelty
    assert found is not None
    return found


def share(mask: Any) -> dict[str, float | None]:
    """Fraction of stars [n] for which a mask holds, with its binomial error."""
    if not len(mask):
        return {"share": None, "error": None}
    part = float(np.mean(mask))
    # Of none or all, the error of one star more or less.
    inside = (len(mask) * part + 0.5) / (len(mask) + 1)
    return {"share": part, "error": float(np.sqrt(inside * (1 - inside) / len(mask)))}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """What is detected, class by class."""
    novelty = refitted(options) if options.refit else shipped(options)
    folder: Path = options.folder / TROUBLED
    survey = Store.open(folder / "survey.zarr")
    every = Region(0, survey.stars)
    light = [name for name in OTHER_LIGHT if name in survey.variables]
    spectra = survey.read(every, ["flux", "flux_error", *light])
    score = novelty.score(spectra["flux"], spectra["flux_error"], spectra) / novelty.threshold
    predictions = Store.open(folder / "predictions.zarr")
    found = predictions.read(every, ["source_id", "label", "label_error"])
    truth = pd.read_parquet(folder / "archive" / "truth.parquet").set_index("source_id")
    truth = truth.reindex(found["source_id"])
    trouble = truth["trouble"].to_numpy()
    clean = trouble == ""
    off = errors_off(found, truth[list(LABELS)].to_numpy())
    moved = errors_off(found, twin_labels(options.folder / TWIN, found["source_id"]))
    if (moved[clean] > LITTLE).any():
        raise SystemExit("clean stars differ from their twins: random numbers are out of step")
    moved = np.where(trouble == "hot", off, moved)
    limit = float(np.quantile(score[clean], 1 - FALSE_ALARMS))
    novel = score > limit
    rows = {name: row_of(trouble == name, novel, off, moved) for name in options.classes}
    return {
        "clean": int(clean.sum()),
        "false_alarms": FALSE_ALARMS,
        "limit": limit,
        "clean_above_shipped_limit": share(score[clean] > 1),
        "clean_wrong": share(off[clean] > WRONG),
        "measures": int(novelty.reference_moments.shape[2]),
        "refitted": bool(options.refit),
        "members": len(read_manifest(options.package).members),
        "classes": rows,
    }


def errors_off(found: dict[str, Any], label: Any) -> Any:
    """[N] the most quoted errors by which one of a star's labels differs from others [N, L]."""
    return (np.abs(found["label"] - label) / found["label_error"]).max(axis=1)


def twin_labels(folder: Path, source_id: Any) -> Any:
    """Labels [N, L] that the same stars were given without trouble."""
    predictions = Store.open(folder / "predictions.zarr")
    twins = predictions.read(Region(0, predictions.stars), ["source_id", "label"])
    row = pd.Series(np.arange(predictions.stars), twins["source_id"])
    return twins["label"][row.loc[source_id].to_numpy()]


def row_of(of_class: Any, novel: Any, off: Any, moved: Any) -> dict[str, Any]:
    """Of the stars of a class [N] bool: how many have wrong or moved labels, and are detected."""
    damaged = {"wrong": off > WRONG, "moved": moved > WRONG, "moved_little": moved > LITTLE}
    row = {"stars": int(of_class.sum()), "detected": share(novel[of_class])}
    for name, condition in damaged.items():
        row |= {
            name: share(condition[of_class]),
            f"{name}_stars": int((of_class & condition).sum()),
            f"{name}_detected": share(novel[of_class & condition]),
        }
    return row


def fractions(text: str) -> dict[str, float]:
    """Classes of trouble and their fractions: ``blend=0.3,sky=0.1``."""
    pairs = (pair.split("=") for pair in text.split(","))
    return {name: float(part) for name, part in pairs}


def main() -> None:
    """Make what is missing, measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("survey", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stars", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--conf", default="demo")
    parser.add_argument("--classes", type=fractions, default=CLASSES)
    parser.add_argument("--refit", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    for kind in (TROUBLED, TWIN):
        make_stars(options, kind)
    found = measure(options)
    for name, row in found["classes"].items():
        print(name, json.dumps(row))
    result = {
        "date": now(),
        "commit": commit(),
        "hardware": hardware(),
        "stars": options.stars,
        "seed": options.seed,
        **found,
    }
    print(keep("novelty", result, options.json))


if __name__ == "__main__":
    main()
