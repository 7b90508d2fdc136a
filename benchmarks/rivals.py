"""Other methods and the network on the same stars: simulated, MILES, RAVE photometry; one table.

    DISTCNN_DATA=folder python benchmarks/rivals.py FOLDER [--data simulated,rave,miles]
                        [--stars 6000] [--folds 5] [--methods ridge,cannon,...]
                        [--published rave2020,hr15n2023] [--json FILE]

Every data set is cut by the hash of ``source_id`` (MILES and RAVE photometry into folds, each
tested once). On every split the network is trained with the settings of its configuration, the
methods of ``distcnn compare`` are fitted, and where there are spectra the networks of Guiglion et
al. (2020) and Nepal et al. (2023) are trained, with the scatter of their members as errors, as
published. All are judged on the stars of the test split; on the simulated survey against the
truth, and without stars that were spoiled on purpose. What stands in FOLDER is not made again.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from lib.origin import commit, hardware, keep, now

from distcnn import pipeline
from distcnn.arrays import Array
from distcnn.baselines import Estimate, choose_baselines, compare
from distcnn.baselines.base import Inputs
from distcnn.baselines.network import PackageNetwork
from distcnn.baselines.run import ask
from distcnn.baselines.stars import ComparisonStars
from distcnn.config import Config, load_config
from distcnn.errors import DistcnnError
from distcnn.evaluation.baseline_table import BaselineLabels, BaselineTable, MethodFacts
from distcnn.evaluation.judged_methods import judge_methods, read_references
from distcnn.monitor import console_display
from distcnn.report.methods import judged_lines
from distcnn.survey import Store

PUBLISHED = {
    "rave2020": "CNN of Guiglion et al. 2020",
    "hr15n2023": "CNN of Nepal et al. 2023",
}
PUBLISHED_SETS = (
    "train.members=3",
    "train.stacking={methods: []}",
    "train.split.method=held-out",
)
SEED = 8
SIMULATED = (
    "cluster.backend=serial",
    "train.members=4",
    "train.epochs=40",
)
SNR_EDGES = (15.0, 25.0, 50.0, 100.0)


@dataclass(frozen=True)
class Data:
    """A data set: title, configuration, folder of real data, and whether it has spectra."""

    title: str
    conf: str
    folder: str
    spectra: bool


DATA = {
    "simulated": Data("simulated survey", "demo", "", True),
    "rave": Data("RAVE photometry", "rave_photometry", "rave_apogee", False),
    "miles": Data("MILES", "miles", "miles", True),
}


class Rivals:
    """One data set in a folder of its own."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self.name, self.data, self.options = name, DATA[name], options
        self.folder: Path = options.folder / name
        self.survey = self.folder / "survey.zarr"
        self.archive = self.folder / "archive"
        self.listener = console_display()
        self.folds = 1 if name == "simulated" else options.folds

    def config(self, fold: int, *sets: str) -> Config:
        """The configuration of a fold, of five at most."""
        own = SIMULATED if self.name == "simulated" else ("cluster.backend=serial",)
        turned = (f"train.split.rotate={fold / 5}",) if fold else ()
        return load_config(self.data.conf, [*own, *turned, *sets])

    def published_config(self, fold: int, preset: str) -> Config:
        """The same with the layers of a published network; what stays is the meaning of flux."""
        flux = self.config(fold).train.network.flux
        network = f"train.network={{preset: {preset}, flux: {flux}}}"
        return self.config(fold, network, *PUBLISHED_SETS)

    def make_survey(self) -> None:
        """Simulate, or take the real files; once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        archive = self.archive
        if self.name != "simulated":
            archive = Path(os.environ["DISTCNN_DATA"]) / self.data.folder
        elif not (archive / "simulation.json").exists():
            pipeline.simulate_archive(
                archive, self.options.stars, SEED, self.config(0), self.listener
            )
        if not (self.survey.exists() and Store.open(self.survey).attrs.get("complete")):
            pipeline.ingest_archive(archive, self.survey, self.config(0), self.listener)

    def judge(self) -> dict[str, object]:
        """Rows of all methods; the folds together."""
        self.make_survey()
        parts = [self._fold(fold) for fold in range(self.folds)]
        table = joined([part for part, _ in parts])
        reference, error, snr = self._references(table)
        rows = judge_methods(table, reference, error, snr, SNR_EDGES)
        print(f"\n{self.data.title}, {self.folds} folds:")
        print("\n".join(judged_lines(rows)), flush=True)
        facts = {title: known.fit_seconds for title, known in table.facts.items()}
        return {
            "commit": commit(),
            "date": now(),
            "title": self.data.title,
            "folds": self.folds,
            "training": int(np.mean([stars for _, stars in parts])),
            "fit_seconds": facts,
            "rows": rows,
        }

    def _fold(self, fold: int) -> tuple[BaselineTable, int]:
        """Labels of all methods on one split, and the number of stars they were fitted on."""
        place, config = self.folder / f"fold-{fold}", self.config(fold)
        place.mkdir(exist_ok=True)
        package = place / "package"
        if not (package / "manifest.json").exists():
            pipeline.train_package(self.survey, package, config, self.listener)
        table = compare(
            self.survey,
            place / "methods.parquet",
            package,
            self.listener,
            methods=self._methods(),
        )
        store = Store.open(self.survey)
        stars = ComparisonStars.collect(store, table.labels, config.train.split, 20_000)
        for preset in self.options.published if self.data.spectra else ():
            found = self._published(preset, PUBLISHED[preset], fold, stars)
            table = with_method(table, found)
        return table, len(stars.training.label)

    def _methods(self) -> list[str]:
        has = set(Store.open(self.survey).variables)
        chosen = choose_baselines(self.options.methods)
        return [method.name for method in chosen if set(method.needs) & has]

    def _published(
        self, preset: str, title: str, fold: int, stars: ComparisonStars
    ) -> BaselineTable:
        package, config = self.folder / f"fold-{fold}" / preset, self.published_config(fold, preset)
        if not (package / "manifest.json").exists():
            pipeline.train_package(self.survey, package, config, self.listener)
        network = MemberScatter(PackageNetwork.load(package, stars.store))
        names = [name for name in network.network.variables if name in stars.store.variables]
        found, speed = ask(network, stars, names)
        known = MethodFacts(preset, False, float("nan"), speed)
        return BaselineTable((), {title: found}, {}, {}, {title: known})

    def _references(self, table: BaselineTable) -> tuple[Array, Array, Array]:
        reference, error, snr = read_references(Store.open(self.survey), table)
        if self.name != "simulated":
            return reference, error, snr
        truth = pd.read_parquet(self.archive / "truth.parquet").drop_duplicates("source_id")
        ids = next(iter(table.methods.values())).source_id
        rows = truth.set_index("source_id").reindex(ids)
        clean = (rows["trouble"].fillna("") == "").to_numpy()
        known = np.where(clean[:, None], rows[list(table.labels)].to_numpy(float), np.nan)
        return known, np.zeros_like(known), snr


@dataclass(frozen=True)
class MemberScatter:
    """A published network with the errors of its paper: the scatter of its members."""

    network: PackageNetwork

    def predict(self, inputs: Inputs) -> Estimate:
        """Mean of the members and their standard deviation."""
        found = self.network.members(inputs)
        return Estimate(found.label, found.scatter)


def with_method(table: BaselineTable, other: BaselineTable) -> BaselineTable:
    """The table with one more method."""
    methods = {**table.methods, **other.methods}
    return replace(table, methods=methods, facts={**table.facts, **other.facts})


def joined(tables: Sequence[BaselineTable]) -> BaselineTable:
    """Folds below each other."""
    first = tables[0]
    methods = {
        title: BaselineLabels(
            *(
                np.concatenate([getattr(table.methods[title], part) for table in tables])
                for part in ("source_id", "label", "error")
            )
        )
        for title in first.methods
    }
    facts = {title: mean_facts([table.facts[title] for table in tables]) for title in methods}
    return replace(first, methods=methods, facts=facts)


def mean_facts(facts: Sequence[MethodFacts]) -> MethodFacts:
    """Mean times of the folds."""
    return replace(
        facts[0],
        fit_seconds=float(np.mean([known.fit_seconds for known in facts])),
        stars_per_second=float(np.mean([known.stars_per_second for known in facts])),
    )


def winners(found: Mapping[str, object]) -> Iterator[str]:
    """One line per label where another method has the least scatter of all S/N."""
    rows = [row for row in found["rows"] if row["snr"] == "all"]  # type: ignore[attr-defined]
    for label in dict.fromkeys(row["label"] for row in rows):
        for key, text in (("std", "std"), ("mad", "1.48 MAD")):
            mine = {row["method"]: row[key] for row in rows if row["label"] == label}
            best = min(mine, key=lambda method: mine[method])
            if best != "network":
                yield f"{label}: {best} has {text} {mine[best]:.3g}, network {mine['network']:.3g}"


def names(text: str) -> list[str]:
    """Names with commas between them."""
    return [name for name in text.split(",") if name]


def main() -> int:
    """Judge the data sets asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", default=",".join(DATA))
    parser.add_argument("--stars", type=int, default=6000, help="stars to simulate")
    parser.add_argument("--folds", type=int, default=5, choices=range(1, 6))
    parser.add_argument("--methods", type=names, default=[])
    parser.add_argument(
        "--published", type=names, default=list(PUBLISHED), help="published networks; '' = none"
    )
    parser.add_argument("--json", type=Path, help="result; other data sets in it are kept")
    options = parser.parse_args()
    before = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    found: dict[str, dict[str, object]] = dict(before.get("data", {}))
    for kept in found.values():  # each data set says by which code it was judged
        kept.setdefault("commit", before["commit"])
    for name in options.data.split(","):
        if name != "simulated" and not os.environ.get("DISTCNN_DATA"):
            print(f"{name} is left out: DISTCNN_DATA names no folder of real data")
            continue
        judged = Rivals(name, options).judge()
        found[name] = judged
        print("\n".join(winners(judged)) or "the network has the least scatter of every label")
        result = {"hardware": hardware(), "commit": commit(), "date": now(), "data": found}
        print(f"kept in {keep('rivals', result, options.json)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except DistcnnError as error:
        sys.exit(f"rivals: {error}")
