"""Few labels: the present split against folds, by scatter, coverage and slope, against the truth.

    python benchmarks/few_labels.py FOLDER [--labels 500 2000 8000] [--seeds 3] [--stars 14000]
                                    [--members 8] [--draws 20] [--earlier FILE] [--json FILE]

Simulates stars once, hides the labels of all but so many, trains ``hybrid`` twice on the rest
(``train.split.method`` held-out and folds; same members, epochs and test split), and judges both
on the stars whose labels were hidden, none of which any part of either training has seen. Batch
and epochs go with the number of labels (``SCHEDULES``), the same for both. With s seeds the
fewest labels are done most often, each next number once less. What stands in FOLDER is not
made again, but errors are calibrated again by the code as it is. ``bins off`` counts S/N bins
whose coverage is off by more than 2.5 sampling errors of the judged stars.

Networks alone are compared, ``train.stacking.methods`` is empty. Then calibration by itself: it is
fitted ``--draws`` times to so many of the judged stars, with references that err as those of the
simulation, and judged on the rest; ``few_labels.svg`` beside the result shows how coverage goes
with the number of calibration stars. ``--earlier`` keeps what a run with other numbers of labels
has recorded, which may have had another simulation and ensembles of another size.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lib.coverage_draws import draw_coverage, figure_of_draws
from lib.origin import keep, keep_figure, made_with
from lib.survey_of import layout_for, make_few

from distcnn import hashing, pipeline
from distcnn.config import Config, load_config
from distcnn.errors import DistcnnError
from distcnn.events import silent
from distcnn.model import Package, predict_members
from distcnn.quality import Quality, snr_groups
from distcnn.stats import WITHIN_68, WITHIN_95, robust_std
from distcnn.survey import Region, Store, create_store
from distcnn.survey.split import Split
from distcnn.training.calibration_stars import CalibrationStars
from distcnn.training.data.labelled import DEVELOPMENT, Labelled, read_labelled, read_stars
from distcnn.training.out_of_fold import CrossFitted

Array = np.ndarray[Any, Any]
PIXELS = 800
FIGURE = "few_labels.svg"
METHODS = ("held-out", "folds")
SCHEDULES = {500: (32, 100), 2000: (64, 60), 8000: (128, 30), 45000: (256, 20)}
"""Labels up to which a batch and a number of epochs are used."""


def schedule(labels: int) -> tuple[int, int]:
    """Batch and epochs for so many labels."""
    return next(found for most, found in SCHEDULES.items() if labels <= most)


def survey_of(few: Store, folder: Path, labels: int, seed: int) -> Path:
    """A survey in which so many stars have labels; other stars for another seed."""
    path = folder / f"survey-{labels}-{seed}.zarr"
    if path.exists() and Store.open(path).attrs.get("complete"):
        return path
    shutil.rmtree(path, ignore_errors=True)
    arrays = few.read(Region(0, few.stars))
    known = np.flatnonzero(np.isfinite(arrays["label"]).any(axis=1))
    place = hashing.uniform(arrays["source_id"][known], 1000 + seed)
    hidden = np.ones(few.stars, bool)
    hidden[known[np.argsort(place)[:labels]]] = False
    arrays["label"][hidden] = np.nan
    store = create_store(path, layout_for(few, few.stars))
    for region in store.regions():
        store.write(region, {name: values[region.slice] for name, values in arrays.items()})
    store.annotate({"complete": True})
    return path


def settings(labels: int, method: str, members: int) -> Config:
    """What a training has."""
    batch, epochs = schedule(labels)
    return load_config(
        None,
        [
            "cluster.backend=serial",
            f"train.members={members}",
            f"train.batch={batch}",
            f"train.epochs={epochs}",
            f"train.patience={epochs}",
            "train.learning_rate=3.0e-3",
            "train.stacking.methods=[]",
            f"train.split.method={method}",
            f"train.split.folds={members}",
            # What a demonstration with few stars has; of folds only validation and test count.
            "train.split.train=0.6",
            "train.split.validation=0.1",
            "train.split.calibration=0.2",
        ],
    )


def calibrated(package: Package, survey: Store) -> Quality:
    """The quality of its networks, fitted again by the code as it is."""
    split, networks = package.manifest.training_split, package.networks()
    if split.cross_fitted:
        members = CrossFitted(networks, [m.fold or 0 for m in package.manifest.members], split)
        train = stars = read_labelled(survey, package.spec, split, *DEVELOPMENT)
        predicted = members.predict(stars.source_id, stars.inputs)
        found = CalibrationStars.out_of_fold(members, stars, predicted)
    else:
        train = read_labelled(survey, package.spec, split, Split.TRAIN)
        stars = read_labelled(survey, package.spec, split, Split.CALIBRATION)
        found = CalibrationStars.held_out(networks, stars)
    return Quality.fit(
        train.for_quality(),
        found.for_quality(),
        Quality.from_arrays(package.quality_arrays).settings,
        names=package.labels,
        members=len(networks),
        hidden=found.hidden,
    )


def judge(
    package: Package, quality: Quality, stars: Labelled, truth: Array
) -> list[dict[str, Any]]:
    """Rows per label and S/N bin."""
    seen = predict_members(package.networks(), stars.inputs)._asdict()
    found = quality.assess(
        stars.for_quality(), *(seen[name] for name in ("label", "noise", "scatter"))
    )
    snr = stars.inputs["snr"][:, 0]
    wide = quality.calibration.width_95
    rows = []
    for k, name in enumerate(package.labels):
        for text, inside in snr_groups(snr, quality.settings.snr_edges):
            columns = (seen["label"], truth, found["label_error"])
            label, true, error = (array[inside, k].astype(float) for array in columns)
            debiased = found["label_debiased"][inside, k].astype(float)
            own = found["label_debiased_error"][inside, k].astype(float)
            rows.append(
                {"label": name, "snr": text}
                | _errors(label - true, error, float(wide[k]))
                | _slope(debiased, true, own)
            )
    return rows


def _errors(residual: Array, error: Array, wide: float) -> dict[str, Any]:
    return {
        "stars": len(residual),
        "std": float(residual.std()),
        "mad": robust_std(residual),
        "error": float(np.median(error)),
        "within_68": float((np.abs(residual) <= error).mean()),
        "within_95": float((np.abs(residual) <= wide * error).mean()),
    }


def _slope(debiased: Array, truth: Array, error: Array) -> dict[str, Any]:
    """Slope of the debiased label on truth, and its sampling error."""
    good = np.isfinite(debiased + error)
    if good.sum() < 30:
        return {"debiased": float(good.mean())}
    x, y = truth[good] - truth[good].mean(), debiased[good] - debiased[good].mean()
    slope = float((x * y).sum() / np.square(x).sum())
    influence = x * (y - slope * x)
    return {
        "debiased": float(good.mean()),
        "slope": slope,
        "slope_error": float(np.sqrt(np.square(influence).sum()) / np.square(x).sum()),
    }


class Study:
    """The products in one folder; what is there is taken as it is."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.folder = options, options.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.few = make_few(self.folder, PIXELS, options.stars)
        truth = pd.read_parquet(self.folder / "archive" / "truth.parquet").set_index("source_id")
        rows = truth.loc[self.few.read(Region(0, self.few.stars), ["source_id"])["source_id"]]
        self.clean = (rows["trouble"] == "").to_numpy()
        self.truth = rows[[str(name) for name in self.few.coordinate("label")]].to_numpy()

    def runs(self) -> Iterator[tuple[int, int]]:
        """Labels and seed; the first seed of all numbers of labels first."""
        counts = sorted(self.options.labels)
        for seed in range(self.options.seeds):
            for place, labels in enumerate(counts):
                if seed < self.options.seeds - place:
                    yield labels, seed

    def packages(self, labels: int, seed: int) -> dict[str, Package]:
        """A package by each method."""
        survey = survey_of(self.few, self.folder, labels, seed)
        found = {}
        for method in METHODS:
            path = self.folder / f"{method}-{labels}-{seed}"
            config = settings(labels, method, self.options.members)
            if not (path / "manifest.json").exists():
                print(f"{labels} labels, seed {seed}: {method}", flush=True)
                pipeline.train_package(survey, path, config, silent)
            found[method] = Package.load(path, verify=False)
        return found

    def judged(self, labels: int, seed: int, package: Package, most: int) -> tuple[Labelled, Array]:
        """Stars of the simulation whose labels were hidden, without trouble; their truth."""
        survey = Store.open(self.folder / f"survey-{labels}-{seed}.zarr")
        known = np.isfinite(survey.read(Region(0, survey.stars), ["label"])["label"]).any(axis=1)
        rows = np.flatnonzero(~known & self.clean)[:most]
        columns = [list(map(str, self.few.coordinate("label"))).index(n) for n in package.labels]
        return read_stars(self.few, package.spec, rows), self.truth[rows][:, columns]

    def table(self) -> list[dict[str, Any]]:
        """Rows of all runs."""
        rows = []
        for labels, seed in self.runs():
            packages = self.packages(labels, seed)
            for method, package in packages.items():
                stars, truth = self.judged(labels, seed, package, self.options.judged)
                facts = {"labels": labels, "seed": seed, "method": method}
                quality = calibrated(
                    package, Store.open(self.folder / f"survey-{labels}-{seed}.zarr")
                )
                rows += [facts | row for row in judge(package, quality, stars, truth)]
        return rows

    def draws(self) -> dict[str, Any]:
        """Coverage by number of calibration stars, of the ensemble with the most labels."""
        labels, seed = max(self.runs())
        package = self.packages(labels, seed)["folds"]
        stars, truth = self.judged(labels, seed, package, self.few.stars)
        seen = predict_members(package.networks(), stars.inputs)
        record = json.loads((self.folder / "archive" / "simulation.json").read_text())
        return draw_coverage(
            seen,
            truth,
            np.array(record["config"]["label_error"], float),
            stars.inputs["snr"][:, 0],
            names=package.labels,
            draws=self.options.draws,
        )


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per number of labels, method and label: means over seeds, and bins that are off."""
    frame = pd.DataFrame(rows)
    out = []
    for (labels, method, label), part in frame.groupby(["labels", "method", "label"], sort=False):
        whole, bins = part[part["snr"] == "all"], part[part["snr"] != "all"]
        row = {"labels": labels, "method": method, "label": label, "seeds": len(whole)}
        row |= {key: float(whole[key].mean()) for key in ("std", "mad", "within_68", "within_95")}
        for key, right in (("within_68", WITHIN_68), ("within_95", WITHIN_95)):
            sampling = np.sqrt(right * (1 - right) / bins["stars"])
            row[f"{key}_worst"] = float((bins[key] - right).abs().max())
            row[f"{key}_off"] = int(((bins[key] - right).abs() > 2.5 * sampling).sum())
        row["bins"] = len(bins)
        out.append(row)
    return out


def print_summary(rows: list[dict[str, Any]]) -> None:
    """One line per number of labels and label, both methods beside each other."""
    frame = pd.DataFrame(rows)
    form = "{:>6d} {:7s} {:>9.4g} {:>9.4g} {:>6.3f}  {:>9.4g} {:>9.4g} {:>6.3f}   {:>5s} {:>5s}"
    print("labels label   held-out: std, MAD, 68 %     folds: std, MAD, 68 %      bins off")
    for (labels, label), part in frame.groupby(["labels", "label"], sort=False):
        one, two = (part[part["method"] == method].iloc[0] for method in METHODS)
        cells = [one[key] for key in ("std", "mad", "within_68")]
        cells += [two[key] for key in ("std", "mad", "within_68")]
        off = [f"{row['within_68_off']}/{row['bins']}" for row in (one, two)]
        print(form.format(labels, label, *cells, *off))


def parse() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--labels", type=int, nargs="+", default=[500, 2000, 8000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--stars", type=int, default=14_000, help="simulated, labelled or not")
    parser.add_argument("--judged", type=int, default=4000, help="most stars judged per training")
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--draws", type=int, default=20, help="calibrations per number of stars")
    parser.add_argument("--earlier", type=Path, help="record of a run with other numbers of labels")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def facts_of(options: argparse.Namespace, labels: int) -> dict[str, Any]:
    """How the ensembles with so many labels were made."""
    batch, epochs = schedule(labels)
    made = {"members": options.members, "simulated": options.stars, "batch": batch}
    return made | {"epochs": epochs} | made_with()


def with_earlier(result: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """A record that has the numbers of labels of two runs; ``result`` has the last word.

    What only one of them can have (commit, draws) is that of ``result``, if it has it.
    """
    new = set(result["runs"])
    rows = [row for row in earlier["table"] if str(row["labels"]) not in new] + result["table"]
    rows.sort(key=lambda row: row["labels"])
    runs = dict(sorted({**earlier["runs"], **result["runs"]}.items(), key=lambda run: int(run[0])))
    draws = result["draws"] or earlier["draws"]
    return result | {"runs": runs, "summary": summary(rows), "table": rows, "draws": draws}


def main() -> None:
    """Make what is missing, judge, print, store."""
    options = parse()
    study = Study(options)
    rows = study.table()
    short = summary(rows)
    print_summary(short)
    result = {
        **made_with(),
        "runs": {str(labels): facts_of(options, labels) for labels in options.labels},
        "summary": short,
        "table": rows,
        "draws": study.draws() if options.draws else {},
    }
    if options.earlier:
        result = with_earlier(result, json.loads(options.earlier.read_text()))
    print(keep("few_labels", result, options.json))
    if result["draws"]:
        keep_figure(FIGURE, figure_of_draws(result["draws"]))


if __name__ == "__main__":
    try:
        main()
    except DistcnnError as error:
        sys.exit(f"few_labels: {error}")
