"""Abundances: does a network take Li, O, Al, Ba and Eu from their lines, as papers show it?

    python benchmarks/abundances.py FOLDER [--stars N] [--epochs E] [--json FILE]

Simulated stars of the red arms of GALAH and Gaia-ESO (HR15N, and 776 to 779 nm), wavelengths in
air: lines of the list of ``distcnn check sensitivity`` as deep as temperature and abundance make
them, noise of S/N 40 to 150. The labels are independent of each other, so that nothing but lines
can tell them. A small ensemble is trained, then ``distcnn check sensitivity`` is put to it; its
folder is ``FOLDER/checks/sensitivity``, its rows of all stars are written to
``benchmarks/results/abundances-HARDWARE-COMMIT.json``. Figure 4 of Nepal et al. 2023
(A&A 671, A61) shows the same for lithium in observed stars.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from lib.origin import commit, hardware, keep, now

from distcnn.checks import CheckInputs, run_checks
from distcnn.checks.sensitivity.lines import known_lines, template
from distcnn.checks.sensitivity.own_lines import own_line_rows
from distcnn.config import AugmentConfig, ChecksConfig, NetworkConfig, QualityConfig, TrainConfig
from distcnn.executor import SerialExecutor
from distcnn.model import Package
from distcnn.schema import SURVEY_VARIABLES
from distcnn.survey import Coordinate, Layout, Store, create_store
from distcnn.training import train_package

LABELS = ("teff", "logg", "feh", "ali", "ofe", "alfe", "bafe", "eufe")
LINES = {"feh": "Fe", "ali": "Li", "ofe": "O", "alfe": "Al", "bafe": "Ba", "eufe": "Eu"}
DEPTHS = {"Fe": 0.25, "Li": 0.25, "O": 0.2, "Al": 0.2, "Ba": 0.4, "Eu": 0.15}
"""Depth of a strong line of each element in a star of 5000 K and solar composition."""
WAVELENGTH = np.concatenate([np.arange(648.0, 676.0, 0.02), np.arange(776.0, 779.0, 0.02)])
"""Nanometres, in air."""
ERRORS = np.array([25.0, 0.05, 0.03, 0.05, 0.05, 0.04, 0.05, 0.06])


def draw(stars: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels [N, L], flux and error [N, P]."""
    rng = np.random.default_rng(seed)
    low = np.array([4200, 0.8, -1.0, 0.0, -0.3, -0.3, -0.5, -0.3])
    high = np.array([6300, 4.7, 0.4, 3.2, 0.6, 0.5, 0.8, 0.8])
    label = rng.uniform(low, high, (stars, len(LABELS)))
    flux = np.ones((stars, len(WAVELENGTH)))
    feh, cooling = label[:, 2], (label[:, 0] - 5000) / 1000
    for name, element in LINES.items():
        where = template(known_lines().of([element]), WAVELENGTH, "air")
        excess = {"feh": feh, "ali": label[:, 3] - 1.5}.get(name)
        if excess is None:
            excess = feh + label[:, LABELS.index(name)]
        rise = 0.5 if element == "O" else -0.5  # high excitation
        strength = DEPTHS[element] / 3 * 10 ** (0.45 * excess + rise * cooling)
        flux *= np.exp(-strength[:, None] * where)
    wings = np.exp(-np.abs(WAVELENGTH - 656.28) / 0.5)
    flux *= 1 - np.clip(0.35 + 0.15 * cooling, 0.05, 0.9)[:, None] * wings
    strontium = np.exp(-np.abs(WAVELENGTH - 660.46) / 0.1)  # an ion: its line tells gravity
    flux *= 1 - (0.35 - 0.06 * (label[:, 1] - 2.7))[:, None] * strontium
    error = np.repeat(1 / rng.uniform(40, 150, (stars, 1)), len(WAVELENGTH), axis=1)
    return label, flux + error * rng.standard_normal(flux.shape), error


def survey_of(path: Path, stars: int) -> Store:
    """The survey with labels of all its stars."""
    label, flux, error = draw(stars, 11)
    noise = np.random.default_rng(12).standard_normal(label.shape)
    arrays = {
        "source_id": np.arange(stars) * 7919 + 10**12,
        "ra": np.zeros(stars),
        "dec": np.zeros(stars),
        "flux": flux,
        "flux_error": error,
        "snr": 1 / error[:, 0],
        "label": label + ERRORS * noise,
        "label_error": np.tile(ERRORS, (stars, 1)),
    }
    layout = Layout(
        kind="survey",
        sizes={"star": stars, "pixel": len(WAVELENGTH), "label": len(LABELS)},
        chunk_stars=256,
        shard_stars=1024,
        variables=tuple(SURVEY_VARIABLES[name] for name in arrays),
        coordinates={
            "label": Coordinate("label", np.array(LABELS)),
            "wavelength": Coordinate("pixel", WAVELENGTH, {"unit": "nm", "medium": "air"}),
        },
        attrs={"survey": "abundances", "release": "simulated", "inputs": "11", "complete": True},
    )
    store = create_store(path, layout)
    for region in store.regions():
        store.write(region, {name: array[region.slice] for name, array in arrays.items()})
    return Store.open(path, "survey")


def main() -> None:
    """Simulate, train, check, and keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stars", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    survey = survey_of(options.folder / "survey.zarr", options.stars)
    config = TrainConfig(
        members=2,
        epochs=options.epochs,
        batch=32,
        network=NetworkConfig(width=16, hidden=64, dropout=0.0),
        augment=AugmentConfig(noise=0.3),
    )
    place = options.folder / "package"
    train_package(survey.location, place, config, QualityConfig(), executor=SerialExecutor())
    inputs = CheckInputs(Package.load(place), survey, ChecksConfig())
    checked = run_checks(inputs, options.folder / "checks", ["sensitivity"])
    print(checked)
    result: dict[str, Any] = {
        "date": now(),
        "hardware": hardware(),
        "commit": commit(),
        "stars": options.stars,
        "verdict": str(checked.answers[0].verdict),
        "sentence": checked.answers[0].sentence,
        "rows": rows_of(inputs),
    }
    print(keep("abundances", result, options.json))


def rows_of(inputs: CheckInputs) -> list[dict[str, Any]]:
    """Own lines of every label, over all stars."""
    from distcnn.checks.sensitivity.answer import wavelengths_nm
    from distcnn.checks.sensitivity.gradients import BATCH_STARS, mean_gradients

    batches = inputs.batches(inputs.table, BATCH_STARS)
    found = mean_gradients(inputs.package.networks(), inputs.labels, batches)
    rows = own_line_rows(found, *wavelengths_nm(inputs.survey))
    return [dict(row) for row in rows if row["type"] == "all stars"]


if __name__ == "__main__":
    main()
