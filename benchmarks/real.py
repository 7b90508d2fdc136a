"""Validation on real data, in one table: std and 1.48 MAD of every label, and of simple methods.

    DISTCNN_DATA=folder python benchmarks/real.py [--package runs/demo/package] [--json FILE]
                                                  [--only NAME ...] [--folds 5] [--keep]
                                                  [--folder FOLDER]

Every label is compared with the best of ridge regression, gradient boosting and PCA + Gaussian
process on the same stars and inputs (``lib/against_simple.py``): the ratio of std and of MAD with
its 95 % bootstrap interval. Stars that a flag says not to use a label of (outside the limits of
labels, ``quality/reliable_range.py``) are left out of both sides and counted. Coverage of the 68
and 95 % intervals stands beside what chance may do, of the stars judged and of those that the
errors were fitted to (``stats.coverage_error``); a star is judged in one fold and calibrates in the
others, so that this is no less than what chance does. ``--keep`` writes
benchmarks/results/real-*.json; ``--only`` names data sets (MILES, RAVE). What every fold answered
stays in ``--folder`` and is not computed again by the same commit; fewer ``--folds`` leave stars
out.

Expects below the folder: ``miles/miles_750.fits`` (750 spectra, 5-fold),
``rave_apogee/rave_apogee_train_3669.csv`` (magnitudes and parallax, 5-fold),
``gaia_rvs_datalink/*.csv`` and ``gaia_xp_continuous/`` (predicted with the package given, which
is trained on simulated stars: its flags must say what it cannot know). All of it takes some 25 CPU
minutes (RAVE 8, MILES 15).
"""

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lib.against_simple import SIMPLE, STATISTICS, against, simple_labels, words
from lib.origin import commit, hardware, keep, now
from lib.sampling import mad_error, std_error

from distcnn import __version__, pipeline
from distcnn.config import Config, load_config
from distcnn.errors import DistcnnError
from distcnn.events import Event, Notice
from distcnn.model import Package, predict_members
from distcnn.schema import LABELS, Flag
from distcnn.stats import WITHIN_68, WITHIN_95, coverage_error, robust_std
from distcnn.survey import Region, Store
from distcnn.training import Split, assign_split
from distcnn.training.data.labelled import read_stars

FOLDS = 5
OFF_SIGMA = 2.5
"""Sampling errors by which a coverage must be off to be called so."""
SETS = {
    "MILES": ("MILES", "miles", "miles"),
    "RAVE": ("RAVE photometry", "rave_apogee", "rave_photometry"),
}
BACKEND = ("cluster.backend=serial",)
SMALL = ["demo.stars=4000", "train.members=3", "train.epochs=20"]
# std / 1.48 MAD on held-out stars, from the README of the data folder.
PEERS = {
    "MILES": {
        "teff": (222, 112, "PCA + Gaussian process"),
        "logg": (0.45, 0.27, "PCA + Gaussian process"),
        "feh": (0.246, 0.141, "PCA + Gaussian process"),
    },
    "RAVE photometry": {
        "teff": (92, 81, "gradient boosting"),
        "logg": (0.125, 0.096, "gradient boosting"),
        "mh": (0.161, 0.126, "gradient boosting"),
        "alpham": (0.062, 0.043, "gradient boosting"),
    },
}


@dataclass(frozen=True)
class Row:
    """One line of the table: residuals of stars that their own network never saw.

    ``calibration``: effective number of stars that the errors were fitted to.
    """

    data: str
    label: str
    stars: int
    std: float
    std_error: float
    mad: float
    mad_error: float
    within_68: float
    within_95: float
    calibration: float
    peer_std: float | None
    peer_mad: float | None
    peer: str
    refused: int
    ensemble_std: float
    ensemble_mad: float
    against: dict[str, Any]

    def coverage(self) -> Iterator[tuple[str, float, float]]:
        """Of both intervals: name, share of stars inside, and what chance may move it by."""
        for name, expected in (("within_68", WITHIN_68), ("within_95", WITHIN_95)):
            chance = coverage_error(expected, self.stars, self.calibration)
            yield name, getattr(self, name), float(chance)

    def beyond_chance(self) -> list[str]:
        """The intervals whose coverage is off by more than ``OFF_SIGMA`` of what chance does."""
        expected = {"within_68": WITHIN_68, "within_95": WITHIN_95}
        return [
            f"{self.data} {self.label} {name}"
            for name, share, chance in self.coverage()
            if abs(share - expected[name]) > OFF_SIGMA * chance
        ]


def quiet(event: Event) -> None:
    """Print notices only."""
    if isinstance(event, Notice) and event.level == "warning":
        print(f"  {event.text}", file=sys.stderr)


def cross_validate(
    name: str, archive: Path, conf: str, work: Path, folds: int = FOLDS
) -> list[Row]:
    """Five trainings, each tested on another fifth of the stars; rows of the table.

    ``folds``: how many of the five are done. What each answered is kept in ``work``.
    """
    config = load_config(Path(conf), BACKEND)
    survey = work / f"{conf}.zarr"
    done = pipeline.ingest_archive(archive, survey, config, quiet)
    print(f"{name}: {done.stars} stars, {done.quarantined} quarantined", flush=True)
    store = Store.open(survey)
    arrays = store.read(Region(0, store.stars))
    labels = [str(label) for label in store.coordinate("label")]
    found: dict[str, np.ndarray] = {}
    for fold in range(folds):
        chosen = load_config(Path(conf), [*BACKEND, f"train.split.rotate={fold / FOLDS}"])
        test = assign_split(arrays["source_id"], chosen.train.split) == Split.TEST
        kept = work / f"{conf}-{fold}-{commit()}.npz"
        if not kept.exists():
            answer = predict_fold(survey, chosen, work / f"{conf}-{fold}", test)
            log_flux = chosen.train.network.flux == "log"
            answer |= simple_labels(arrays, labels, chosen.train.split, log_flux=log_flux)
            np.savez(kept, **answer)
        answer = dict(np.load(kept))
        for key, values in answer.items():
            found.setdefault(key, np.full(values.shape, np.nan, np.float64))[test] = values[test]
        print(f"  fold {fold + 1} of {FOLDS}: {test.sum()} stars tested", flush=True)
    return [row(name, label, k, arrays, found) for k, label in enumerate(labels)]


def predict_fold(
    survey: Path, config: Config, folder: Path, test: np.ndarray
) -> dict[str, np.ndarray]:
    """Train and predict one fold; the folder is removed afterwards.

    ``ensemble`` are the labels of the networks alone, of the ``test`` stars.
    """
    package, predictions = folder / "package", folder / "predictions.zarr"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    pipeline.train_package(survey, package, config, quiet)
    pipeline.predict_survey(package, survey, predictions, config, lambda event: None)
    store = Store.open(predictions)
    answer = store.read(Region(0, store.stars), ["label", "label_error", "flags"])
    opened, rows = Package.load(package), np.flatnonzero(test)
    stars = read_stars(Store.open(survey), opened.spec, rows)
    width_95 = np.broadcast_to(opened.manifest.label_width_95, answer["label"].shape)
    answer["wide_error"] = answer["label_error"] * width_95
    answer["calibration"] = calibration_stars(opened, answer["label_error"], test)
    answer["ensemble"] = np.full_like(answer["label"], np.nan)
    answer["ensemble"][rows] = predict_members(opened.networks(), stars.inputs).label
    shutil.rmtree(folder)
    return answer


def calibration_stars(package: Package, label_error: np.ndarray, test: np.ndarray) -> np.ndarray:
    """[N,L] effective calibration stars that each test star stands for, of all folds together.

    A star calibrates in every fold but its own; it counts once.
    """
    fitted = np.asarray(package.manifest.label_calibration_stars) / (FOLDS - 1)
    ratio = np.asarray(package.manifest.label_reference_error) / np.maximum(label_error, 1e-30)
    return np.asarray(fitted / test.sum() / np.square(1 + np.square(ratio)))


def row(
    name: str, label: str, k: int, arrays: dict[str, np.ndarray], found: dict[str, np.ndarray]
) -> Row:
    """Statistics of one label, of the stars that are not refused."""
    refused = (np.nan_to_num(found["flags"]).astype(np.int64) & int(Flag.LABEL_LIMITS)) != 0
    truth = np.where(refused, np.nan, arrays["label"][:, k].astype(np.float64))
    own, error = found["label"][:, k], found["label_error"][:, k]
    simple = {method: found[method][:, k] for method in SIMPLE}
    good = np.isfinite(own - truth)
    kept, alone = (own - truth)[good], (found["ensemble"][:, k] - truth)[good]
    own_error = np.nan_to_num(arrays["label_error"][:, k])
    total = np.hypot(error, own_error)[good]
    wide = np.hypot(found["wide_error"][:, k], 2 * own_error)[good]
    peer = PEERS[name].get(label, (None, None, ""))
    return Row(
        name,
        label,
        int(good.sum()),
        float(kept.std()),
        std_error(kept),
        robust_std(kept),
        mad_error(kept),
        float((np.abs(kept) < total).mean()),
        float((np.abs(kept) < wide).mean()),
        float(np.nansum(found["calibration"][good, k])),
        *peer,
        refused=int((refused & np.isfinite(arrays["label"][:, k])).sum()),
        ensemble_std=float(alone.std()),
        ensemble_mad=robust_std(alone),
        against=against(own, simple, truth),
    )


def print_table(rows: list[Row]) -> None:
    """The one table, with standard errors, and how every label compares with the best simple
    method.
    """
    head = ("data set", "label", "stars", "refused", "std", "1.48 MAD", "in 68 %", "in 95 %")
    line = "\n{:16s} {:7s} {:>6s} {:>7s} {:>12s} {:>20s} {:>18s} {:>15s}".format(*head)
    print(f"{line}  networks alone   peer std / MAD")
    for r in rows:
        peer = "-" if r.peer_std is None else f"{r.peer_std:g} / {r.peer_mad:g} ({r.peer})"
        alone = f"{r.ensemble_std:.3g} / {r.ensemble_mad:.3g}"
        print(
            f"{r.data:16s} {r.label:7s} {r.stars:6d} {r.refused:7d} "
            f"{r.std:9.3g} +- {r.std_error:<8.2g}{r.mad:8.3g} +- {r.mad_error:<8.2g}"
            f"{_shares(r)}  {alone:16s} {peer}"
        )
    off = [words for r in rows for words in r.beyond_chance()]
    print(f"coverage off by more than {OFF_SIGMA} of what chance does: {', '.join(off) or 'none'}")
    print("\nagainst the best of ridge, gradient boosting and PCA + Gaussian process:")
    for r in rows:
        print(f"{r.data:16s} {r.label:7s} {words(r.against)}")
    worse = [
        f"{r.data} {r.label} {name}"
        for r in rows
        for name in STATISTICS
        if r.against[f"ratio_{name}"]["verdict"] == "worse"
    ]
    print(f"worse than a simple method beyond the bootstrap error: {', '.join(worse) or 'none'}")


def _shares(row: Row) -> str:
    """Stars inside both intervals, with what chance may do."""
    return " ".join(f"{share:.3f} +- {chance:.3f}" for _, share, chance in row.coverage())


def apply_package(name: str, archive: Path, conf: str, package: Path, work: Path) -> None:
    """Take real Gaia files through ingest and predict; print labels, errors and flags."""
    # The package is of another release, on purpose: its flags must say what it cannot know.
    config = load_config(Path(conf), ["predict.accept=[release]"])
    survey, predictions = work / f"{conf}.zarr", work / f"{conf}-predictions.zarr"
    done = pipeline.ingest_archive(archive, survey, config, quiet)
    pipeline.predict_survey(package, survey, predictions, config, lambda event: None)
    print(f"\n{name}: {done.stars} stars, {done.quarantined} quarantined; {package}")
    store = Store.open(predictions)
    for line in describe(store, limit=6):
        print(line)


def describe(store: Store, limit: int) -> Iterator[str]:
    """Labels with errors and the flags' sentences, star by star; then counts of all."""
    rows = store.read(Region(0, store.stars))
    labels = [str(label) for label in store.coordinate("label")]
    for k in range(min(limit, store.stars)):
        parts = [
            f"{label} {rows['label'][k, i]:.4g}+-{rows['label_error'][k, i]:.2g}"
            + (f" {LABELS[label].unit}" if label == "teff" else "")
            for i, label in enumerate(labels)
        ]
        flags = Flag(int(rows["flags"][k]))
        yield f"  {rows['source_id'][k]}  S/N {rows['snr'][k]:.0f}  {', '.join(parts)}"
        yield f"    novelty {rows['novelty'][k]:.1f}; flags: {'; '.join(texts(flags)) or 'none'}"
    finite = np.isfinite(rows["label"]).all(axis=1).sum()
    flagged = (rows["flags"] != 0).sum()
    yield f"  all {store.stars} stars: {finite} with finite labels, {flagged} flagged"


def texts(flags: Flag) -> list[str]:
    """The sentences of the bits that are set."""
    return [flag.sentence for flag in Flag if flag in flags]


def the_package(asked: Path, work: Path) -> Path:
    """The demo's package; a smaller one is made where the demo has not been run."""
    if (asked / "manifest.json").is_file():
        return asked
    print(f"{asked} is not there (make demo makes it); training a small stand-in", flush=True)
    config = load_config(Path("demo"), SMALL)
    archive, survey = work / "archive", work / "simulated.zarr"
    pipeline.simulate_archive(archive, config.demo.stars, config.demo.seed, config)
    pipeline.ingest_archive(archive, survey, config)
    pipeline.train_package(survey, work / "package", config)
    return work / "package"


def main() -> int:
    """Run everything that the data folder has."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--package", type=Path, default=Path("runs/demo/package"))
    parser.add_argument("--json", type=Path, help="write the table here")
    parser.add_argument("--keep", action="store_true", help="record it in benchmarks/results")
    parser.add_argument("--only", nargs="*", choices=tuple(SETS), default=tuple(SETS))
    parser.add_argument("--folds", type=int, default=FOLDS, help="of five, how many are done")
    parser.add_argument("--folder", type=Path, help="keeps what every fold answered")
    options = parser.parse_args()
    data = Path(os.environ.get("DISTCNN_DATA", ""))
    if not os.environ.get("DISTCNN_DATA") or not data.is_dir():
        print(
            "make real needs the folder of real data: set DISTCNN_DATA to one that has "
            "miles/, rave_apogee/, gaia_rvs_datalink/ and gaia_xp_continuous/."
        )
        return 1
    with contextlib.ExitStack() as stack:
        work = options.folder
        if work is None:
            scratch = tempfile.TemporaryDirectory(prefix="distcnn-real-")
            work = Path(stack.enter_context(scratch))
        work.mkdir(parents=True, exist_ok=True)
        rows = []
        for name in options.only:
            title, folder, conf = SETS[name]
            rows += cross_validate(title, data / folder, conf, work, options.folds)
        record(rows, options.json, keep_it=options.keep)
        if len(options.only) == len(SETS):
            package = the_package(options.package, work)
            rvs, xp = data / "gaia_rvs_datalink", data / "gaia_xp_continuous" / "xp_table"
            apply_package("Real Gaia RVS spectra", rvs, "gaia_rvs_datalink", package, work)
            apply_package("Real Gaia XP coefficients", xp, "gaia_xp", package, work)
    return 0


def record(rows: list[Row], path: Path | None, *, keep_it: bool) -> None:
    """Print the table, and write it where it is asked for."""
    print_table(rows)
    found = [asdict(r) for r in rows]
    if path:
        path.write_text(json.dumps(found, indent=1) + "\n")
    if keep_it:
        facts = {"date": now(), "commit": commit(), "hardware": hardware(), "version": __version__}
        print(keep("real", facts | {"kind": "real", "rows": found}))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except DistcnnError as error:
        sys.exit(f"real: {error}")
