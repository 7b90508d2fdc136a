"""Detection of spectra that a package must not be trusted with, by class of trouble.

    python benchmarks/novelty.py PACKAGE SURVEY FOLDER [--stars 6000] [--seed 77] [--conf demo]
                                 [--refit] [--json FILE]

PACKAGE was trained on SURVEY, a simulated one. Simulates other stars with every class of trouble
at known stars, ingests and predicts them in FOLDER, and asks of each class: how many are above
the novelty that 1 % of the clean stars exceed, how many of them have a label that is wrong by more
than 3 quoted errors, and how many of these are detected. Errors are binomial, of one standard
deviation. ``--refit`` fits the novelty of this version to the training stars of SURVEY: for
packages of older versions. What stands in FOLDER is not made again.
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
from distcnn.survey import Region, Store
from distcnn.survey.split import Split, assign_split

CLASSES = {
    "cosmic": 0.06,
    "hot": 0.04,
    "binary": 0.05,
    "wrong_rv": 0.04,
    "emission": 0.05,
    "carbon": 0.06,
    "continuum": 0.05,
    "other_grid": 0.06,
    "sky": 0.05,
    "blend": 0.06,
}
"""Class of trouble -> fraction of the stars that have it."""
ABSENT = ("nan_pixels", "no_xp", "no_parallax", "negative_parallax", "duplicate")
FALSE_ALARMS = 0.01
WRONG = 3.0
"""Quoted errors by which a label is wrong enough to matter."""
LABELS = ("teff", "logg", "mh", "alpham", "feh")


def config_of(options: argparse.Namespace) -> Config:
    """Settings of the stars with trouble."""
    trouble = {**CLASSES, **dict.fromkeys(ABSENT, 0.0)}
    sets = [f"simulate.trouble.{name}={value}" for name, value in trouble.items()]
    more = ["simulate.labelled_fraction=0.1", "cluster.backend=serial", "predict.engine=eager"]
    return load_config(options.conf, [*sets, *more])


def make_stars(options: argparse.Namespace) -> None:
    """Archive, survey and predictions of the stars with trouble."""
    config, listener = config_of(options), console_display()
    folder: Path = options.folder
    survey, predictions = folder / "survey.zarr", folder / "predictions.zarr"
    if not predictions.exists():
        pipeline.simulate_archive(folder / "archive", options.stars, options.seed, config, listener)
        pipeline.ingest_archive(folder / "archive", survey, config, listener)
    pipeline.predict_survey(options.package, survey, predictions, config, listener)


def refitted(options: argparse.Namespace) -> Novelty:
    """The novelty of this version, as training would fit it."""
    manifest, survey = read_manifest(options.package), Store.open(options.survey)
    block = survey.read(Region(0, survey.stars), ["source_id", "label", "flux", "flux_error"])
    part = assign_split(block["source_id"], manifest.training_split)
    labelled = np.isfinite(block["label"]).any(axis=1)
    train, calibration = (labelled & (part == p) for p in (Split.TRAIN, Split.CALIBRATION))
    fitted = Novelty.fit(block["flux"][train], block["flux_error"][train], 32)
    score = fitted.score(block["flux"][calibration], block["flux_error"][calibration])
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
    folder: Path = options.folder
    survey = Store.open(folder / "survey.zarr")
    every = Region(0, survey.stars)
    spectra = survey.read(every, ["flux", "flux_error"])
    score = novelty.score(spectra["flux"], spectra["flux_error"]) / novelty.threshold
    predictions = Store.open(folder / "predictions.zarr")
    found = predictions.read(every, ["source_id", "label", "label_error"])
    truth = pd.read_parquet(folder / "archive" / "truth.parquet").set_index("source_id")
    truth = truth.reindex(found["source_id"])
    pull = (found["label"] - truth[list(LABELS)].to_numpy()) / found["label_error"]
    wrong = (np.abs(pull) > WRONG).any(axis=1)
    trouble = truth["trouble"].to_numpy()
    clean = trouble == ""
    limit = float(np.quantile(score[clean], 1 - FALSE_ALARMS))
    novel = score > limit
    rows = {}
    for name in CLASSES:
        of_class = trouble == name
        rows[name] = {
            "stars": int(of_class.sum()),
            "detected": share(novel[of_class]),
            "wrong": share(wrong[of_class]),
            "wrong_stars": int((of_class & wrong).sum()),
            "wrong_detected": share(novel[of_class & wrong]),
        }
    return {
        "clean": int(clean.sum()),
        "false_alarms": FALSE_ALARMS,
        "limit": limit,
        "clean_above_shipped_limit": share(score[clean] > 1),
        "clean_wrong": share(wrong[clean]),
        "measures": int(novelty.reference_moments.shape[2]),
        "refitted": bool(options.refit),
        "members": len(read_manifest(options.package).members),
        "classes": rows,
    }


def main() -> None:
    """Make what is missing, measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("survey", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stars", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--conf", default="demo")
    parser.add_argument("--refit", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    make_stars(options)
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
