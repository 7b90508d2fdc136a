"""Dust: do labels stand dust better where networks saw reddened copies (``train.augment.dust``)?

    python benchmarks/dust.py DEMO FOLDER [--epochs E] [--methods ridge,...] [--json FILE]

DEMO is the folder of ``distcnn demo``, a simulated survey with its truth. A network of the demo's
settings is trained on its labelled stars, once as they are and once with copies behind 0 to 0.2 mag
more dust, with as many steps in all, and asked about stars outside training, as they are and behind
more dust, with and without XP. ``--methods`` names regressions that are stacked beside it (none).
Written to ``benchmarks/results/dust-HARDWARE-COMMIT.json``, per training (``plain``, ``reddened``),
input (``all``, ``without xp``) and label:

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
from distcnn.simulate import dust
from distcnn.stats import WITHIN_68, robust_std
from distcnn.survey import Store
from distcnn.training import train_package

Arrays = dict[str, np.ndarray]
MOST_DUST, LEVELS = 0.2, (0.03, 0.1, 0.2)
"""E(B-V) [mag]: most of the copies, and that labels are asked about."""


def responses(inputs: CheckInputs) -> dict[str, Any]:
    """What dust does to the labels of clean stars outside training, by what is seen."""
    stars = any_held_out(inputs)
    arrays, found = inputs.arrays(stars), {}
    for title, seen in {"all": arrays, "without xp": changes.without(arrays, XP)}.items():
        before = inputs.predictor(seen)
        moved = {}
        for level in LEVELS:
            dusty = dust.redden(
                seen,
                level,
                bands=bands_of(inputs.survey),
                wavelength=wavelengths_in_vacuum(inputs),
            )
            dusty = dust.redden_xp(dusty, level) if title == "all" else dusty
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
    """Train both, and keep what dust does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--methods", default="")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    survey = Store.open(options.demo / "survey.zarr", "survey")
    found = {}
    for title, dust_mag, epochs in (
        ("plain", 0.0, 2 * options.epochs),
        ("reddened", MOST_DUST, options.epochs),
    ):
        settings = [
            "train.members=1",
            f"train.epochs={epochs}",
            f"train.stacking.methods=[{options.methods}]",
            f"train.augment.dust={dust_mag}",
        ]
        config, place = load_config("demo", settings), options.folder / title
        train_package(
            survey.location, place, config.train, config.quality, executor=SerialExecutor()
        )
        truth = options.demo / "archive" / "truth.parquet"
        asked = ChecksConfig(injected_stars=1500)
        found[title] = responses(CheckInputs(Package.load(place), survey, asked, truth=truth))
    result = {
        "date": now(),
        "hardware": hardware(),
        "commit": commit(),
        "epochs": options.epochs,
        "methods": options.methods,
        "trainings": found,
    }
    print(keep("dust", result, options.json))


if __name__ == "__main__":
    main()
