"""Accuracy on a simulated survey, in one table: scatter, bound, coverage, attenuation, recipes.

    python benchmarks/accuracy.py FOLDER [--stars 100000] [--labelled 44780] [--seed 8]
                                  [--members 8] [--recipe-members M] [--conf FILE]
                                  [--skip-recipes] [--bound-stars 400] [--json FILE]

Simulates, ingests, trains ``hybrid`` with the default settings, predicts, and compares with the
truth; then the same with the published networks ``rave2020`` and ``hr15n2023``, whose error is
the scatter of their members, as published. What stands in FOLDER is not made again: a second
run only prints. It takes core hours of training and 3 GB of disk.

Judged are stars without injected trouble that no part of training has seen. Columns:

    std, MAD     scatter of label - truth (MAD: 1.48 times the median deviation)
    bound        Cramer-Rao bound (rms of 400 such stars per bin); with * of an estimator that
                 knows the survey's population, which is what a network is
    68, 95 %     stars within one and two label_error; with ~ within the asymmetric interval
                 each with its interval of 95 % in the lines below a label's table: of the stars
                 that were judged, the bound being taken as known
    slope        of label on truth; asked: 1 - s^2/p^2 of the estimate of least squared error, s the
                 bound*, p the spread of the labels; then slope, std and 68 % of label_debiased

``--conf`` sets anything but the survey: the sections simulate and ingest are the benchmark's.
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.judge import Judged, bounds, judged_stars, poor_table, table_of
from lib.origin import commit, hardware, keep, now
from lib.sampling import interval
from lib.verdicts import verdicts

from distcnn import __version__, pipeline
from distcnn.config import Config, load_config
from distcnn.errors import DistcnnError, UsageError
from distcnn.model import Package
from distcnn.monitor import console_display
from distcnn.schema import LABELS
from distcnn.survey import Store

RECIPES = ("rave2020", "hr15n2023")
OURS = "hybrid"
# Not every star can be labelled, and some labels fail their cuts: 0.4727 leaves 44,780 of 100,000.
LABELLED_FRACTION, LABELLED_SHARE = 0.4727, 0.4478
SURVEY = (
    "ingest.survey=simulated_rvs",
    "ingest.release=simulation",
    "ingest.labels={reader: apogee, files: 'allStar*.fits', "
    "cuts: [{column: ASPCAPFLAG, forbidden_bits: [16, 17, 19, 20, 23]}]}",
    "ingest.prepare={rebin: 3, noise_correlation: 2.45}",
    "ingest.store={chunk_stars: 512, shard_stars: 8192}",
)
COLUMNS = (
    ("snr", "S/N", "7s"),
    ("stars", "stars", "7d"),
    ("std", "std", "9.4g"),
    ("mad", "MAD", "9.4g"),
    ("bound", "bound", "9.4g"),
    ("bound_population", "bound*", "9.4g"),
    ("ratio", "std/b", "6.2f"),
    ("ratio_population", "std/b*", "7.2f"),
    ("within_68", "68 %", "7.3f"),
    ("within_95", "95 %", "7.3f"),
    ("interval_68", "68 %~", "7.3f"),
    ("interval_95", "95 %~", "7.3f"),
    ("slope", "slope", "7.3f"),
    ("slope_expected", "asked", "7.3f"),
    ("debiased_slope", "debiased", "9.3f"),
    ("debiased_std", "std", "9.4g"),
    ("debiased_68", "68 %", "7.3f"),
    ("bias", "bias", "9.2g"),
)
INTERVALS = (
    *(("std", "std", ".4g"), ("mad", "MAD", ".4g"), ("ratio_population", "std/b*", ".2f")),
    *(("within_68", "68 %", ".3f"), ("within_95", "95 %", ".3f")),
    *(("slope", "slope", ".3f"), ("debiased_slope", "debiased", ".3f")),
)
INTERVAL_WIDTH = 15
COMPARED = (("std", "9.4g"), ("mad", "9.4g"), ("within_68", "7.3f"), ("within_95", "7.3f"))


class River:
    """The products in one folder; what is there is taken as it is."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.folder = options, options.folder
        self.archive, self.survey = self.folder / "archive", self.folder / "survey.zarr"
        self.listener = console_display()

    def config(self, preset: str, members: int) -> Config:
        fraction = LABELLED_FRACTION / LABELLED_SHARE * self.options.labelled / self.options.stars
        sets = [
            f"simulate.labelled_fraction={fraction:.4f}",
            *SURVEY,
            f"train.network.preset={preset}",
            f"train.members={members}",
        ]
        return load_config(self.options.conf, sets)

    def make_survey(self) -> None:
        config, record = self.config(OURS, 1), self.archive / "simulation.json"
        asked = {"stars": self.options.stars, "seed": self.options.seed}
        if not record.exists():
            pipeline.simulate_archive(self.archive, *asked.values(), config, self.listener)
        found = json.loads(record.read_text())
        for name, value in asked.items():
            if found[name] != value:
                raise UsageError(
                    f"{self.archive} was simulated with {name} = {found[name]}",
                    expected=f"{value}, as asked now",
                    cure="Give another folder, or the number that it was made with.",
                )
        if not complete(self.survey):
            pipeline.ingest_archive(self.archive, self.survey, config, self.listener)

    def make(self, preset: str, members: int) -> tuple[Path, Path]:
        """Package and predictions of one network."""
        package, predictions = self.folder / preset, self.folder / f"{preset}.zarr"
        config = self.config(preset, members)
        if not (package / "manifest.json").exists():
            pipeline.train_package(self.survey, package, config, self.listener)
        if not complete(predictions):
            pipeline.predict_survey(package, self.survey, predictions, config, self.listener)
        made = Store.open(predictions, "predictions").attrs["package"]["digest"]
        now = Package.load(package).digest
        if made != now:
            raise UsageError(
                f"{predictions} was made with the package {made[:12]}",
                expected=f"{now[:12]}, which stands beside it",
                cure="Remove the predictions; they are made again.",
            )
        return package, predictions

    def judge(self, preset: str, members: int) -> tuple[Judged, Package]:
        package, predictions = self.make(preset, members)
        truth = self.archive / "truth.parquet"
        alone = preset in RECIPES
        stars = judged_stars(predictions, package, self.survey, truth, scatter_only=alone)
        return stars, Package.load(package, verify=False)


def complete(store: Path) -> bool:
    """Whether the stage that makes the store has ended."""
    return store.exists() and bool(Store.open(store).attrs.get("complete"))


def facts_of(package: Package) -> dict[str, Any]:
    """What a package is, for the record."""
    manifest, split = package.manifest, package.manifest.to_json()["split"]
    return {
        "digest": package.digest,
        "members": package.size,
        "distcnn": manifest.distcnn_version,
        "train": manifest.train,
        "stars": {k: v for k, v in split.items() if isinstance(v, int | dict)},
    }


def same_split(packages: dict[str, Package]) -> None:
    """A comparison on another split is none."""
    splits = {name: package.manifest.train["split"] for name, package in packages.items()}
    for name, split in splits.items():
        if split != splits[OURS]:
            raise UsageError(
                f"{name} was trained on the split {split}",
                expected=f"that of {OURS}: {splits[OURS]}",
                cure=f"Remove the package {name}; it is trained again.",
            )


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Every label, S/N bin by S/N bin."""
    for label in dict.fromkeys(row["label"] for row in rows):
        info = LABELS[label]
        print(f"\n{info.symbol} [{info.unit}]")
        print(" ".join(_head(head, form) for _, head, form in COLUMNS))
        for row in rows:
            if row["label"] == label:
                print(" ".join(_cell(row[name], form) for name, _, form in COLUMNS))
        _print_intervals([row for row in rows if row["label"] == label])


def _print_intervals(rows: Sequence[dict[str, Any]]) -> None:
    """Intervals of 95 %, bin by bin."""
    heads = " ".join(f"{head:>{INTERVAL_WIDTH}s}" for _, head, _ in INTERVALS)
    print(f"{'95 %':7s} {heads}")
    for row in rows:
        cells = " ".join(f"{_range(row, key, f):>{INTERVAL_WIDTH}s}" for key, _, f in INTERVALS)
        print(f"{row['snr']:7s} {cells}")


def _range(row: dict[str, Any], key: str, form: str) -> str:
    low, high = interval(row, key)
    return f"{low:{form}}-{high:{form}}" if math.isfinite(low) else "-"


def _head(text: str, form: str) -> str:
    width = int(re.split(r"\D", form)[0])
    return f"{text:<{width}s}" if form.endswith("s") else f"{text:>{width}s}"


def _cell(value: Any, form: str) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return _head("-", form)
    return f"{value:{form}}"


def print_poor(rows: Sequence[dict[str, Any]]) -> None:
    """Bias at the metal-poor end."""
    print("\nMetal-poor stars: bias (std) of [M/H] - true [M/H]")
    for row in rows:
        low, high = row["mh"]
        if row["stars"]:
            print(
                f"  S/N {row['snr']:6s} true [M/H] {low:4.1f} to {high:4.1f} "
                f"{row['stars']:6d} stars"
                f"  label {row['label_bias']:+.3f} ({row['label_std']:.3f})"
                f"  debiased {row['debiased_bias']:+.3f} ({row['debiased_std']:.3f})"
            )


def print_recipes(ours: Sequence[dict[str, Any]], recipes: dict[str, list[dict[str, Any]]]) -> None:
    """Ours beside the published networks, star for star."""
    print("\nThe same stars by the published recipes, their error being the members' scatter:")
    print("std, MAD, 68 % and 95 % coverage of " + "; ".join([OURS, *recipes]))
    print("each with its standard error (+-)")
    for number, row in enumerate(ours):
        cells = [
            " ".join(
                f"{of[number][name]:{f}} +- {of[number][f'{name}_error']:.1g}"
                for name, f in COMPARED
            )
            for of in (ours, *recipes.values())
        ]
        print(f"{row['label']:7s} {row['snr']:7s} {'  |'.join(cells)}")


def print_verdicts(found: Sequence[dict[str, Any]]) -> None:
    """One line per target; numbers marked with ! miss it."""
    words = {True: "reached", False: "not reached", None: "reported"}
    print()
    for verdict in found:
        print(f"{words[verdict['reached']]:12s} {verdict['target']}: {verdict['numbers']}")


def parse() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stars", type=int, default=100_000)
    parser.add_argument("--labelled", type=int, help="stars with usable labels (0.4478 of all)")
    parser.add_argument("--seed", type=int, default=8, help="of the simulation")
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--recipe-members", type=int, help="as many as --members")
    parser.add_argument("--bound-stars", type=int, default=400, help="per S/N bin, for the bound")
    parser.add_argument("--conf", type=Path, help="settings of train, quality, predict, cluster")
    parser.add_argument("--skip-recipes", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.labelled = options.labelled or round(LABELLED_SHARE * options.stars)
    options.recipe_members = options.recipe_members or options.members
    return options


def main() -> None:
    """Make what is missing, judge, print, store."""
    options = parse()
    river = River(options)
    river.make_survey()
    stars, package = river.judge(OURS, options.members)
    packages, recipes = {OURS: package}, {}
    cache = options.folder / "bounds.json"
    limits = bounds(stars, river.archive, cache, each=options.bound_stars, seed=options.seed)
    rows, poor = table_of(stars, limits), poor_table(stars)
    for preset in () if options.skip_recipes else RECIPES:
        theirs, packages[preset] = river.judge(preset, options.recipe_members)
        recipes[preset] = table_of(theirs, limits)
    same_split(packages)
    found = verdicts(rows, poor, recipes)
    result: dict[str, Any] = {
        "hardware": hardware(),
        "commit": commit(),
        "date": now(),
        "distcnn": __version__,
        "simulation": json.loads((river.archive / "simulation.json").read_text()),
        "judged": len(stars.snr),
        "failed": stars.failed,
        "flagged": stars.flagged,
        "packages": {name: facts_of(one) for name, one in packages.items()},
        "bounds": limits,
        "table": rows,
        "metal_poor": poor,
        "recipes": recipes,
        "verdicts": found,
    }
    print(
        f"{len(stars.snr):,} stars judged, {stars.failed} more without labels, {stars.flagged:,} "
        f"with a caution; {package.size} members of {package.digest[:12]}"
    )
    print_table(rows)
    print_poor(poor)
    if recipes:
        print_recipes(rows, recipes)
    print_verdicts(found)
    print(f"\n{keep('accuracy', result, options.json)}")


if __name__ == "__main__":
    try:
        main()
    except DistcnnError as error:
        sys.exit(f"accuracy: {error}")
