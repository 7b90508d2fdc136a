"""Faint stars: S/N 1 to 500 on a simulated DR4, against truth, bound and the photometric answer.

    python benchmarks/faint.py FOLDER [--stars 12000] [--seed 4] [--members 2] [--epochs 40]
                               [--bound-stars 60] [--bright-labels 15] [--conf demo_dr4]
                               [--earlier FILE] [--json FILE]

Simulates a survey with the S/N distribution expected of DR4 (84 % below 5), ingests it, trains
``hybrid`` twice, with and without the spectrum, predicts, and compares with the truth stars
without injected trouble that no part of training has seen. Then spectra of bright test stars are
lowered to a S/N of 0.01, with noise correlated as the survey's, to see their labels run into
those of stars without a spectrum. With ``--bright-labels`` a third ensemble is given labels of
bright stars alone, and faint copies to learn from. ``--earlier`` keeps what a run with other
numbers of stars has recorded. What stands in FOLDER is not made again.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from lib.faint_numbers import (
    Faint,
    bounds_by_bin,
    bright_table,
    fading,
    further,
    table_of,
    verdicts,
    without_faint_labels,
)
from lib.judge import judged_stars
from lib.origin import commit, hardware, keep, now

from distcnn import __version__, pipeline
from distcnn.config import Config, SimulateConfig, load_config
from distcnn.errors import DistcnnError
from distcnn.model import Package
from distcnn.monitor import console_display
from distcnn.schema import LABELS
from distcnn.survey import Store
from distcnn.survey.split import Split
from distcnn.training.data.labelled import read_labelled

KINDS = {
    "whole": (),
    "without_spectrum": (
        "train.network.spectrum=false",
        "train.network.scale_by_noise=false",
        "train.augment={drop_spectrum: 0.0, continuum: 0.01}",
    ),
}
"""The two ensembles, and what settings of theirs differ."""
BRIGHT = "bright"
BRIGHT_SETS = (
    "train.augment={drop_spectrum: 0.05, continuum: 0.002, faintest: 0.5, faint_inputs: true, "
    "dust_layer: 0.3}",
)
"""The ensemble of bright labels alone, whose faint stars are made of these; of the dust it knows
what one may know, 0.3 mag/kpc where the simulation has 0.22."""


def settings(options: argparse.Namespace, kind: str) -> Config:
    """Settings of one of the two."""
    sets = [
        "ingest.release=simulation of DR4",
        f"train.members={options.members}",
        f"train.epochs={options.epochs}",
        "quality.snr_edges=[1, 2, 5, 15, 50]",
        "cluster.backend=serial",
        *(BRIGHT_SETS if kind == BRIGHT else KINDS[kind]),
    ]
    return load_config(options.conf, sets)


def make(options: argparse.Namespace) -> None:
    """Archive, survey, and packages and predictions of both."""
    folder, listener = options.folder, console_display()
    archive, survey = folder / "archive", folder / "survey.zarr"
    config = settings(options, "whole")
    if not (archive / "simulation.json").exists():
        pipeline.simulate_archive(archive, options.stars, options.seed, config, listener)
    if not _complete(survey):
        pipeline.ingest_archive(archive, survey, config, listener)
    if options.bright_labels:
        without_faint_labels(survey, folder / "survey_bright.zarr", options.bright_labels)
    for kind in (*KINDS, *([BRIGHT] if options.bright_labels else [])):
        config, package = settings(options, kind), folder / kind
        survey = folder / ("survey_bright.zarr" if kind == BRIGHT else "survey.zarr")
        if not (package / "manifest.json").exists():
            pipeline.train_package(survey, package, config, listener)
        predictions = folder / f"{kind}.zarr"
        if not _complete(predictions):
            pipeline.predict_survey(package, survey, predictions, config, listener)


def _complete(store: Path) -> bool:
    return store.exists() and bool(Store.open(store).attrs.get("complete"))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """What is kept of a run."""
    folder = options.folder
    truth, survey = folder / "archive" / "truth.parquet", folder / "survey.zarr"
    both = {
        kind: judged_stars(
            folder / f"{kind}.zarr", folder / kind, survey, truth, scatter_only=False
        )
        for kind in KINDS
    }
    whole = both["whole"]
    package = Package.load(folder / "whole")
    manifest, store = package.manifest, Store.open(survey, "survey")
    fitted_on = read_labelled(store, package.spec, manifest.training_split, Split.CALIBRATION)
    stars = Faint(
        *both.values(),
        *further(folder / "whole.zarr", whole),
        manifest.label_width_95,
        manifest.label_reference_error,
        fitted_on.inputs["snr"][:, 0],
    )
    record = json.loads((folder / "archive" / "simulation.json").read_text())
    config = SimulateConfig.model_validate(record["config"])
    limits = bounds_by_bin(whole, config, each=options.bound_stars, seed=options.seed)
    rows = table_of(stars, limits)
    packages = folder / "whole", survey, folder / "without_spectrum"
    faded = fading(*packages, truth, seed=options.seed)
    bright: list[dict[str, Any]] = []
    if options.bright_labels:
        paths = folder / f"{BRIGHT}.zarr", folder / BRIGHT, folder / "survey_bright.zarr", truth
        width_95 = Package.load(folder / BRIGHT).manifest.label_width_95
        bright = bright_table(judged_stars(*paths, scatter_only=False), whole, width_95)
    return {
        "hardware": hardware(),
        "commit": commit(),
        "date": now(),
        "distcnn": __version__,
        "simulation": record,
        "members": package.size,
        "train": package.manifest.train,
        "trained_on": package.manifest.to_json()["split"]["stars"],
        "judged": len(whole.snr),
        "bound_stars": options.bound_stars,
        "table": rows,
        "fading": faded,
        "bright_labels": options.bright_labels,
        "bright_trained_on": _trained_on(folder / BRIGHT) if bright else None,
        "bright": bright,
        "verdicts": verdicts(rows, faded),
        "earlier": json.loads(options.earlier.read_text()) if options.earlier else None,
    }


def _trained_on(package: Path) -> int:
    return int(Package.load(package).manifest.to_json()["split"]["stars"]["train"])


def show(result: dict[str, Any]) -> None:
    """The tables on the screen."""
    print(f"{result['judged']:,} stars judged, {result['members']} members")
    head = ("S/N", "stars", "std", "bound*", "ratio", "+-", "no sp.", "to it", "68 %", "95 %")
    head = (*head, "t/p", "pop.", "slope", "asked", "deb.", "known")
    keys = ("snr", "stars", "std", "bound", "ratio", "ratio_error", "without_spectrum")
    keys = (*keys, "to_without_spectrum", "within_68", "within_95", "prior_ratio")
    keys = (*keys, "population_label", "slope", "slope_expected", "debiased_slope")
    keys = (*keys, "debiased_known")
    for label in dict.fromkeys(row["label"] for row in result["table"]):
        print(f"\n{LABELS[label].symbol}\n" + " ".join(f"{word:>7s}" for word in head))
        for row in (row for row in result["table"] if row["label"] == label):
            print(" ".join(_cell(row[key]) for key in keys))
    print("\nBright stars faded: S/N, rms distance from the answer without a spectrum [its errors]")
    for row in result["fading"]:
        print(
            f"{row['label']:7s} {row['snr']:7g} {row['apart']:7.3f} {row['apart_blind']:7.3f} "
            f"std {row['std']:8.4g} hidden {row['hidden_std']:8.4g} blind {row['blind_std']:8.4g} "
            f"t/p {row['prior_ratio']:.2f} flagged {row['flagged']:.2f}"
        )
    if result["bright"]:
        print(f"\nLabels of S/N {result['bright_labels']:g} and more alone, faint copies of these")
    for row in result["bright"]:
        print(
            f"{row['label']:7s} {row['snr']:7s} {row['stars']:6d} std {row['std']:8.4g} "
            f"(all labels {row['of_all_labels']:8.4g}) bias {row['bias']:8.2g} "
            f"68 % {row['within_68']:.3f} 95 % {row['within_95']:.3f}"
        )
    for verdict in result["verdicts"]:
        word = "reached" if verdict["reached"] else "not reached"
        print(f"{word:12s} {verdict['target']}: {'; '.join(verdict['missed'])}")


def _cell(value: Any) -> str:
    return f"{value:7.4g}" if isinstance(value, float) else f"{value!s:>7s}"


def parse() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stars", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=4, help="of the simulation")
    parser.add_argument("--members", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--bound-stars", type=int, default=60, help="per S/N bin")
    parser.add_argument(
        "--bright-labels", type=float, help="train a third ensemble on labels of such S/N and more"
    )
    parser.add_argument("--conf", default="demo_dr4")
    parser.add_argument("--earlier", type=Path, help="record of a run with other numbers of stars")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    """Make what is missing, judge, print, store."""
    options = parse()
    make(options)
    result = measure(options)
    show(result)
    print(f"\n{keep('faint', result, options.json)}")


if __name__ == "__main__":
    try:
        main()
    except DistcnnError as error:
        sys.exit(f"faint: {error}")
