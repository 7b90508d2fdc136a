"""Dust: do labels stand dust better when networks were trained on reddened copies of their stars?

    python benchmarks/dust.py DEMO FOLDER [--stars N] [--epochs E] [--json FILE]

DEMO is the folder of ``distcnn demo``, a simulated survey with its truth. Of N of its labelled
stars (3,500) two surveys are made: every star twice, or every star and a copy behind 0 to 0.2 mag
more dust in magnitudes, XP and diffuse band. A network of the demo's settings is trained on each
and asked about stars of neither, as they are and behind more dust, with and without XP. Written to
``benchmarks/results/dust-HARDWARE-COMMIT.json``, per training (``plain``, ``reddened``), input
(``all``, ``without xp``) and label:

    scatter, quoted_error       of stars as they are: 1.48 MAD about the truth, median
    shift.EBV                   median shift of the label
    shift_errors.EBV            the same in quoted errors
    width_errors.EBV            68 % of the shifts are smaller, whatever their sign
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from lib.origin import commit, hardware, keep, now

from distcnn.checks import CheckInputs
from distcnn.checks.injection import changes
from distcnn.checks.injection.answers import XP, any_held_out, wavelengths_in_vacuum
from distcnn.checks.inputs import bands_of
from distcnn.config import ChecksConfig, load_config
from distcnn.executor import SerialExecutor
from distcnn.model import Package
from distcnn.schema import SURVEY_VARIABLES
from distcnn.stats import WITHIN_68, robust_std
from distcnn.survey import STAR_KEY, Coordinate, Layout, Region, Store, create_store
from distcnn.training import train_package

Arrays = dict[str, np.ndarray]
MOST_DUST, LEVELS = 0.2, (0.03, 0.1, 0.2)
"""E(B-V) [mag]: of the copies, and that labels are asked about."""
DIMENSIONS = {"wavelength": "pixel", "band": "band", "label": "label"}


def labelled(survey: Store, stars: int) -> Arrays:
    """Variables of so many stars with labels and magnitudes, by chance."""
    names = [name for name in survey.variables if name in SURVEY_VARIABLES]
    block = survey.read(Region(0, survey.stars), names)
    good = np.isfinite(block["label"]).all(axis=1) & np.isfinite(block["photometry"]).all(axis=1)
    rows = np.random.default_rng(0).choice(np.flatnonzero(good), stars, replace=False)
    return {name: values[np.sort(rows)] for name, values in block.items()}


def reddened(arrays: Arrays, ebv: np.ndarray, survey: Store) -> Arrays:
    """Every star behind its own ``ebv`` [N] of more dust."""
    out = {name: values.copy() for name, values in arrays.items()}
    wavelength = np.asarray(survey.coordinate("wavelength"), float)
    for number, dust in enumerate(ebv):
        one = {name: values[number : number + 1] for name, values in arrays.items()}
        dusty = changes.redden(one, float(dust), bands=bands_of(survey), wavelength=wavelength)
        if np.isfinite(one["xp"]).all():
            dusty = changes.redden_xp(dusty, float(dust))
        for name in ("flux", "photometry", "xp", "xp_error"):
            if name in dusty:
                out[name][number] = dusty[name][0]
    return out


def survey_of(path: Path, like: Store, parts: list[Arrays]) -> Store:
    """A survey of the stars of all parts; those of the second have identifiers of their own."""
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    whole["source_id"][len(parts[0]["source_id"]) :] += 1
    order = np.argsort(whole["source_id"], kind="stable")
    coordinates = {
        name: Coordinate(
            DIMENSIONS[name], np.asarray(like.coordinate(name)), dict(like.coordinate_attrs(name))
        )
        for name in like.coordinates
    }
    layout = Layout(
        kind="survey",
        sizes={**like.sizes, "star": len(order)},
        chunk_stars=512,
        shard_stars=2048,
        variables=tuple(SURVEY_VARIABLES[name] for name in whole),
        coordinates=coordinates,
        row_key=STAR_KEY,
        attrs={key: value for key, value in like.attrs.items() if key not in ("kind", "format")},
    )
    store = create_store(path, layout)
    for region in store.regions():
        store.write(region, {name: values[order][region.slice] for name, values in whole.items()})
    return Store.open(path, "survey")


def responses(inputs: CheckInputs, used: np.ndarray) -> dict[str, Any]:
    """What dust does to the labels of clean stars but those ``used`` [N], by what is seen."""
    stars = any_held_out(inputs)
    stars = stars.take(~np.isin(stars.source_id, used))
    arrays, found = inputs.arrays(stars), {}
    for title, seen in {"all": arrays, "without xp": changes.without(arrays, XP)}.items():
        before = inputs.predictor(seen)
        moved = {}
        for level in LEVELS:
            dusty = changes.redden(
                seen,
                level,
                bands=bands_of(inputs.survey),
                wavelength=wavelengths_in_vacuum(inputs),
            )
            dusty = changes.redden_xp(dusty, level) if title == "all" else dusty
            moved[level] = inputs.predictor(dusty).label - before.label
        found[title] = {
            name: _of_label(
                before.label[:, number] - stars.reference[:, number],
                before.label_error[:, number],
                {level: values[:, number] for level, values in moved.items()},
            )
            for number, name in enumerate(inputs.labels)
        }
    return found


def _of_label(
    residual: np.ndarray, error: np.ndarray, moved: dict[float, np.ndarray]
) -> dict[str, Any]:
    known = np.isfinite(residual) & np.isfinite(error)
    pulls = {level: values[known] / error[known] for level, values in moved.items()}
    return {
        "scatter": robust_std(residual[known]),
        "quoted_error": float(np.median(error[known])),
        "shift": {level: float(np.median(values[known])) for level, values in moved.items()},
        "shift_errors": {level: float(np.median(pull)) for level, pull in pulls.items()},
        "width_errors": {
            level: float(np.quantile(np.abs(pull), WITHIN_68)) for level, pull in pulls.items()
        },
    }


def main() -> None:
    """Make both surveys, train on each, and keep what dust does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stars", type=int, default=3500)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    survey = Store.open(options.demo / "survey.zarr", "survey")
    stars = labelled(survey, options.stars)
    ebv = np.random.default_rng(1).uniform(0, MOST_DUST, options.stars)
    copies = {"plain": stars, "reddened": reddened(stars, ebv, survey)}
    settings = ["train.members=1", f"train.epochs={options.epochs}", "train.stacking.methods=[]"]
    config = load_config("demo", settings)
    found = {}
    for title, copy in copies.items():
        store = survey_of(options.folder / f"{title}.zarr", survey, [stars, copy])
        place = options.folder / title
        train_package(
            store.location, place, config.train, config.quality, executor=SerialExecutor()
        )
        truth = options.demo / "archive" / "truth.parquet"
        asked = ChecksConfig(injected_stars=1500)
        inputs = CheckInputs(Package.load(place), survey, asked, truth=truth)
        found[title] = responses(inputs, stars["source_id"])
    result = {
        "date": now(),
        "hardware": hardware(),
        "commit": commit(),
        "stars": options.stars,
        "epochs": options.epochs,
        "trainings": found,
    }
    print(keep("dust", result, options.json))


if __name__ == "__main__":
    main()
