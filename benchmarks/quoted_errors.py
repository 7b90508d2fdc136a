"""Coverage over seeds: do the errors of whole trainings with few labels hold, as shipped?

    python benchmarks/quoted_errors.py FOLDER [--labels 500 2000] [--seeds 20 3] [--members 4]
                                  [--methods folds held-out] [--judged 4000] [--json FILE]

Simulates stars once, hides the labels of all but so many (others for every seed), trains a small
``hybrid`` and the regressions beside it, and judges the published errors on the stars whose labels
were hidden and that no flag takes out: how many of their errors lie within the 68 and the 95 %
interval, by label and S/N. References that the archive itself calls bad are cut, as the demo does.

A bin is off where it differs from what it should be by more than 2.5 sampling errors, those of the
judged stars and those of the calibration stars of that bin together (``sampling_error``), of which
one counts the less the larger the error of its reference is; that is what so few stars must miss
by. Over all seeds the mean of a bin says whether errors are right on
average. A finished training is not made again; its package is not kept.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import few_labels
import numpy as np
import pandas as pd
from lib.coverage_seeds import figure_of_seeds, summary
from lib.origin import keep, keep_figure, made_with
from lib.survey_of import make_few

from distcnn import pipeline
from distcnn.config import Config, load_config
from distcnn.errors import DistcnnError
from distcnn.events import silent
from distcnn.model import Package, predict_members
from distcnn.quality import Quality, snr_groups
from distcnn.quality.flags import DAMAGED
from distcnn.stats import told_of_width
from distcnn.survey import Region, Store
from distcnn.survey.split import Split
from distcnn.training.data.labelled import DEVELOPMENT, read_labelled, read_stars

Array = np.ndarray[Any, Any]
PIXELS, EPOCHS = 200, 20
BATCHES = {500: 32, 2000: 64, 8000: 128}
FIGURE = "coverage_seeds.svg"


def settings(labels: int, method: str, seed: int, members: int) -> Config:
    """What a training has: a small network, everything else as shipped."""
    batch = next(size for most, size in BATCHES.items() if labels <= most)
    return load_config(
        None,
        [
            "cluster.backend=serial",
            f"train.members={members}",
            f"train.seed={seed}",
            f"train.batch={batch}",
            f"train.epochs={EPOCHS}",
            f"train.patience={EPOCHS}",
            "train.learning_rate=4.0e-3",
            "train.network.width=8",
            "train.network.hidden=48",
            "train.stacking.inducing=256",
            "train.stacking.trees=60",
            f"train.split.method={method}",
            f"train.split.folds={members}",
            # What the demonstration has; of folds only validation and test count.
            "train.split.train=0.60",
            "train.split.validation=0.08",
            "train.split.calibration=0.25",
        ],
    )


def judge(package: Package, few: Store, survey: Store, truth: pd.DataFrame, most: int) -> Any:
    """Rows per label and S/N bin."""
    quality = Quality.from_arrays(package.quality_arrays)
    edges = quality.settings.snr_edges
    split = package.manifest.training_split
    parts = DEVELOPMENT if split.cross_fitted else (Split.CALIBRATION,)
    fitted_on = read_labelled(survey, package.spec, split, *parts).inputs["snr"][:, 0]
    calibration = {text: int(rows.sum()) for text, rows in snr_groups(fitted_on, edges)}
    known = np.isfinite(survey.read(Region(0, survey.stars), ["label"])["label"]).any(axis=1)
    rows = np.flatnonzero(~known)
    rows = rows[:: max(1, len(rows) // most)]
    stars = read_stars(few, package.spec, rows)
    right = truth.iloc[rows][list(package.labels)].to_numpy(float)
    seen = predict_members(package.networks(), stars.inputs, stacking=package.stacking())
    found = quality.assess(stars.for_quality(), seen.label, seen.noise, seen.scatter)
    kept = (found["flags"] & DAMAGED) == 0
    reference = package.manifest.label_reference_error
    for text, inside in snr_groups(stars.inputs["snr"][:, 0], edges):
        good = inside & kept
        for k, name in enumerate(package.labels):
            residual = np.abs(seen.label[good, k] - right[good, k])
            error = found["label_error"][good, k].astype(float)
            told = told_of_width(error, reference[k])
            wide = float(quality.calibration.width_95[k])
            yield {
                "label": name,
                "snr": text,
                "stars": int(good.sum()),
                "calibration": calibration.get(text, 0) * float(told.mean()),
                "std": float(residual.std()),
                "mad": float(1.4826 * np.median(residual)),
                "error": float(np.median(error)),
                "within_68": float((residual <= error).mean()),
                "within_95": float((residual <= wide * error).mean()),
            }


def rows_of(folder: Path, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of all trainings, those of the first numbers of labels and of all seeds first."""
    few = make_few(folder, PIXELS, options.stars)
    truth = pd.read_parquet(folder / "archive" / "truth.parquet").set_index("source_id")
    truth = truth.loc[few.read(Region(0, few.stars), ["source_id"])["source_id"]]
    for labels, seeds in zip(options.labels, options.seeds, strict=True):
        for method in options.methods:
            for seed in range(seeds):
                path = folder / f"{method}-{labels}-{seed}.json"
                if not path.exists():
                    facts = {"labels": labels, "method": method, "seed": seed}
                    survey = Store.open(few_labels.survey_of(few, folder, labels, seed))
                    place, clock = path.with_suffix(""), time.process_time()
                    config = settings(labels, method, seed, options.members)
                    pipeline.train_package(survey.location.local_path, place, config, silent)
                    facts["cpu_s"] = round(time.process_time() - clock, 1)
                    package = Package.load(place, verify=False)
                    found = judge(package, few, survey, truth, options.judged)
                    path.write_text(json.dumps([facts | row for row in found]))
                    shutil.rmtree(place)
                    shutil.rmtree(survey.location.local_path)
                    print(facts, flush=True)
                yield from json.loads(path.read_text())


def print_summary(rows: list[dict[str, Any]]) -> None:
    """A line per number of labels, split and label."""
    for row in rows:
        bins = ", ".join(f"{text} {v:.3f}" for text, v in row["bins_68"].items())
        print(
            f"{row['labels']:6d} {row['method']:9s} {row['label']:7s} 68 %: {row['mean_68']:.3f} "
            f"+- {row['error_68']:.3f} ({bins}); off {row['off_68']} of {row['bins']}, chi2 "
            f"{row['chi2_68']:.2f}; 95 %: {row['mean_95']:.3f}, off {row['off_95']}, chi2 "
            f"{row['chi2_95']:.2f}"
        )


def main() -> None:
    """Train what is missing, judge, print, store."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--labels", type=int, nargs="+", default=[500, 2000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[20, 3])
    parser.add_argument("--methods", nargs="+", default=["folds", "held-out"])
    parser.add_argument("--stars", type=int, default=14_000, help="simulated, labelled or not")
    parser.add_argument("--judged", type=int, default=4000, help="most stars judged per training")
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = list(rows_of(options.folder, options))
    short = summary(rows)
    print_summary(short)
    result = {
        **made_with(),
        "members": options.members,
        "epochs": EPOCHS,
        "pixels": PIXELS,
        "summary": short,
        "table": rows,
    }
    print(keep("coverage", result, options.json))
    keep_figure(FIGURE, figure_of_seeds(rows))


if __name__ == "__main__":
    try:
        main()
    except DistcnnError as error:
        sys.exit(f"coverage: {error}")
