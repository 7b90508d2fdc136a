"""Labels of packages against simple methods by S/N, on simulated stars whose answers are known.

    python benchmarks/simple_methods.py FOLDER [--labels 500 2000 8000] [--seed 0] [--stars 4000]
                                        [--members 8] [--epochs E] [--simulated 14000]
                                        [--json FILE]

FOLDER is one of ``few_labels.py``; what it lacks of survey and package (folds) is made. Ridge
regression, gradient boosting and PCA + Gaussian process learn the same labels from the same inputs
(``lib/against_simple.py``); judged are stars whose labels were hidden from all. Per label and S/N
bin: std and 1.48 MAD, those of the networks alone, and the ratio to the best simple method with its
95 % bootstrap interval. Then the share of the stacked label in the time of a prediction.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import few_labels
import numpy as np
import pandas as pd
import torch
from lib.against_simple import against, fit_simple, words
from lib.origin import commit, hardware, keep, now
from lib.survey_of import make_few

from distcnn import __version__, pipeline
from distcnn.config import StackingConfig
from distcnn.errors import DistcnnError
from distcnn.events import silent
from distcnn.model import Ensemble, Package, StarInputs, predict_members
from distcnn.quality import snr_groups
from distcnn.survey import Region, Store
from distcnn.survey.split import Split, assign_split
from distcnn.training.data.labelled import Labelled, read_labelled, read_stars

Array = np.ndarray[Any, Any]
SNR_EDGES = (25.0, 50.0, 100.0)
MIN_STARS = 30
TIMED_STARS, TIMED_PASSES = 2048, 5


def package_of(survey: Path, folder: Path, labels: int, options: argparse.Namespace) -> Package:
    """The package of folds with so many labels, its label stacked as settings are shipped."""
    path = folder / f"stacked-{labels}-{options.seed}"
    if not (path / "manifest.json").exists():
        config = few_labels.settings(labels, "folds", options.members)
        update: dict[str, Any] = {"stacking": StackingConfig()}
        if options.epochs is not None:
            update |= {"epochs": options.epochs, "patience": options.epochs}
        train = config.train.model_copy(update=update)
        config = config.model_copy(update={"train": train})
        pipeline.train_package(survey, path, config, silent)
    return Package.load(path)


def judged_rows(store: Store, truth: pd.DataFrame, most: int) -> tuple[Array, pd.DataFrame]:
    """Rows of stars without label and trouble, evenly taken, and their truth."""
    known = store.read(Region(0, store.stars), ["source_id", "label"])
    table = truth.loc[known["source_id"]]
    good = ~np.isfinite(known["label"]).any(axis=1) & (table["trouble"].to_numpy() == "")
    rows = np.flatnonzero(good)
    rows = rows[:: max(1, len(rows) // most)]
    return rows, table.iloc[rows]


def simple_of(package: Package, store: Store, variables: Any) -> dict[str, Array]:
    """Labels [N,L] of simple methods that learn from all stars outside the test split."""
    split = package.manifest.training_split
    parts = (Split.TRAIN, Split.VALIDATION, Split.CALIBRATION)
    known = read_labelled(store, package.spec, split, *parts)
    stopping = assign_split(known.source_id, split) == Split.VALIDATION
    arrays = known.inputs.variables() | {"flux_error": known.flux_error}
    return fit_simple(arrays, known.label, stopping, variables, package.labels)


def compare(
    package: Package, store: Store, truth: pd.DataFrame, most: int
) -> Iterator[dict[str, Any]]:
    """Rows per label and S/N bin."""
    rows, table = judged_rows(store, truth, most)
    stars: Labelled = read_stars(store, package.spec, rows)
    right = table[list(package.labels)].to_numpy(float)
    networks = package.networks()
    own = predict_members(networks, stars.inputs, stacking=package.stacking()).label
    alone = predict_members(networks, stars.inputs).label
    variables = stars.inputs.variables() | {"flux_error": stars.flux_error}
    simple = simple_of(package, store, variables)
    groups = snr_groups(stars.inputs["snr"][:, 0], SNR_EDGES)
    for column, label in enumerate(package.labels):
        for text, inside in groups:
            if inside.sum() < MIN_STARS:
                continue
            others = {name: values[inside, column] for name, values in simple.items()}
            residual = (alone - right)[inside, column]
            found = against(own[inside, column], others, right[inside, column])
            yield {"label": label, "snr": text, "networks_std": float(residual.std())} | found


def cost(package: Package, stars: StarInputs) -> dict[str, float]:
    """CPU time per star [microseconds] of the ensemble by eager layers, and of stacking."""
    batch = stars.take(np.arange(TIMED_STARS) % len(stars))
    ensemble, stacking = Ensemble(package), package.stacking()
    seconds: dict[str, list[float]] = {"whole": [], "stacking": []}
    inputs = package.scaling().inputs
    for _ in range(TIMED_PASSES):
        start = time.process_time()
        ensemble.predict(batch)
        seconds["whole"].append(time.process_time() - start)
        spent = 0.0
        with torch.inference_mode():
            for some in batch.batches(256):
                branches = inputs(some)
                label = torch.zeros(len(some["snr"]), len(package.labels)) + 1.0
                start = time.process_time()
                if stacking is not None:
                    stacking(branches, label)
                spent += time.process_time() - start
        seconds["stacking"].append(spent)
    return {name: 1e6 * min(values) / TIMED_STARS for name, values in seconds.items()}


def main() -> int:
    """Compare, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--labels", type=int, nargs="*", default=[500, 2000, 8000])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stars", type=int, default=4000)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--simulated", type=int, default=14_000, help="stars, labelled or not")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    few = make_few(options.folder, few_labels.PIXELS, options.simulated)
    truth = pd.read_parquet(options.folder / "archive" / "truth.parquet").set_index("source_id")
    result: dict[str, Any] = {
        "kind": "simple",
        "version": __version__,
        "commit": commit(),
        "hardware": hardware(),
        "date": now(),
        "members": options.members,
        "epochs": options.epochs,
        "rows": [],
    }
    for labels in options.labels:
        survey = few_labels.survey_of(few, options.folder, labels, options.seed)
        store = Store.open(survey, "survey")
        package = package_of(survey, options.folder, labels, options)
        for row in compare(package, store, truth, options.stars):
            result["rows"].append({"labels": labels} | row)
            text = f"{row['std']:.4g} / {row['mad']:.4g}, networks {row['networks_std']:.4g}"
            print(f"{labels:6d} {row['label']:7s} {row['snr']:8s} {text}; {words(row)}", flush=True)
        rows, _ = judged_rows(store, truth, TIMED_STARS)
        spent = cost(package, read_stars(store, package.spec, rows).inputs)
        share = spent["stacking"] / spent["whole"]
        result.setdefault("cost", []).append({"labels": labels, "members": package.size} | spent)
        print(f"{labels:6d} stacking is {share:.1%} of {spent['whole']:.1f} microseconds per star")
    print(keep("simple", result, options.json))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except DistcnnError as error:
        sys.exit(f"simple_methods: {error}")
