"""Evaluate: what a package comes to on stars it has not seen, and what fewer members would cost.

Opening the test split is the last thing that happens to a package: whatever is chosen or fitted
before cannot have been chosen by it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.config import QualityConfig, TrainConfig
from distcnn.modalities import MODALITIES
from distcnn.model import (
    Network,
    Package,
    StarInputs,
    predict_each,
    predict_members,
    write_evaluation,
)
from distcnn.model.stacking import Stacking
from distcnn.quality import MISSING_MAGNITUDES, MISSING_MODALITIES, Calibration, Quality, snr_groups
from distcnn.stats import robust_std
from distcnn.survey import Store
from distcnn.survey.split import Split
from distcnn.training.data.labelled import MAX_STARS_IN_MEMORY, Labelled, read_labelled
from distcnn.training.distillation.agreement import ScoredPredictions, student_agreement

OFTEN = 0.1
"""Share of stars without some magnitude from which on networks learn to do without."""


def evaluate_package(
    package: Package, store: Store, config: TrainConfig, teacher: Package | None = None
) -> None:
    """The one use of the test split: how well the finished package does on it.

    ``teacher``: the ensemble that a student stands for; its agreement with it is added then.
    """
    test = read_labelled(store, package.spec, config.split, Split.TEST, most=MAX_STARS_IN_MEMORY)
    seen = test.for_quality() | labels_of(package, test.inputs)
    quality, names = Quality.from_arrays(package.quality_arrays), package.labels
    residual, edges = seen["label"] - test.label, quality.settings.snr_edges
    found: dict[str, Any] = {
        "split": "test",
        "stars": len(test),
        "results": results_table(residual, seen["snr"], edges=edges, names=names),
        **on_split(quality, seen, names),
    }
    if teacher is not None:
        found["price"] = _agreement(package, teacher, seen, test)
    write_evaluation(package, found)


def _agreement(
    package: Package, teacher: Package, seen: Mapping[str, Array], test: Labelled
) -> dict[str, Any]:
    theirs = test.for_quality() | labels_of(teacher, test.inputs)
    both = ScoredPredictions.of(package, seen), ScoredPredictions.of(teacher, theirs)
    return student_agreement(*both, test.label, test.label_error, package.labels)


def predict_labels(
    networks: Sequence[Network], inputs: StarInputs, stacking: Stacking | None = None
) -> dict[str, Array]:
    """What an ensemble says of stars, by the names that ``Quality`` takes."""
    return predict_members(networks, inputs, stacking=stacking)._asdict()


def labels_of(package: Package, inputs: StarInputs) -> dict[str, Array]:
    """What a package says of stars, by the names that ``Quality`` takes."""
    return predict_labels(package.networks(), inputs, package.stacking())


def on_split(quality: Quality, seen: Mapping[str, Array], names: Sequence[str]) -> dict[str, Any]:
    """How errors and shrinkage of labels come out on the stars of a split."""
    return {
        "coverage": quality.coverage(seen, names),
        "attenuation": quality.debias_table(seen, names),
    }


def results_table(
    residual: Array, snr: Array, *, edges: Sequence[float], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows with label, snr (``all`` first), stars, bias (median), std, mad (1.48 MAD).

    Parameters
    ----------
    residual : [N,L] prediction minus reference in label units, NaN = no reference.
    """
    groups = snr_groups(snr, edges)
    return [
        {"label": name, "snr": text} | _residual_statistics(residual[inside, column])
        for column, name in enumerate(names)
        for text, inside in groups
    ]


def _residual_statistics(residual: Array) -> dict[str, Any]:
    good = residual[np.isfinite(residual)].astype(np.float64)
    if not good.size:
        return {"stars": 0}
    bias = float(np.median(good))
    return {
        "stars": int(good.size),
        "bias": bias,
        "std": float(good.std()),
        "mad": robust_std(good),
    }


def without_modalities(stars: StarInputs) -> dict[str, StarInputs]:
    """The same stars with modalities hidden, by ``quality.MISSING_MODALITIES``, and with
    magnitudes, by ``quality.MISSING_MAGNITUDES``.
    """
    calibrated = [row.name for row in MODALITIES if row.lack]
    out = {}
    for number, text in enumerate(MISSING_MODALITIES, start=1):
        hidden = [name for bit, name in enumerate(calibrated) if number >> bit & 1]
        if all(name in stars.arrays and stars[name].shape[1] for name in hidden):
            out[text] = stars.without(*hidden)
    return out | without_magnitudes(stars)


def without_magnitudes(stars: StarInputs) -> dict[str, StarInputs]:
    """One magnitude but the reference hidden of each star, in turn; all of these; the reference.

    Not where stars often lack some: networks have learned to do without, and so have errors.
    """
    bands = stars.arrays.get("photometry", np.empty((0, 0), np.float32))
    width, columns = bands.shape[1], np.arange(bands.shape[1])
    if not width or np.mean(~np.isfinite(bands).all(axis=1)) > OFTEN:
        return {}
    turn = 1 + np.arange(len(bands))[:, None] % max(width - 1, 1)
    fewest, masks = (2, 3, 1), (columns == turn, columns > 0, columns == 0)
    return {
        name: stars.replaced(photometry=np.where(mask, np.float32("nan"), bands))
        for name, least, mask in zip(MISSING_MAGNITUDES, fewest, masks, strict=True)
        if width >= least
    }


def ensemble_sizes(
    networks: Sequence[Network], stars: Labelled, settings: QualityConfig, names: Sequence[str]
) -> list[dict[str, Any]]:
    """What the first 1, 2, 4, ... members alone come to, calibrated again each time.

    Every other star of the calibration split fits the calibration; it is applied to the others.

    Returns
    -------
    Rows with members, label, snr, stars, std, mad, within_68, error (median calibrated one).
    """
    mean, sigma = predict_each(networks, stars.inputs)
    counts = sorted({min(2**k, len(networks)) for k in range(len(networks).bit_length() + 1)})
    rows = []
    for count in counts:
        label = mean[:count].mean(axis=0)
        noise = np.sqrt(np.square(sigma[:count]).mean(axis=0))
        scatter = mean[:count].std(axis=0, ddof=1) if count > 1 else np.zeros_like(label)
        rows += [
            {"members": count} | row
            for row in _calibrated_rows(stars, (label, noise, scatter), settings.snr_edges, names)
        ]
    return rows


def _calibrated_rows(
    stars: Labelled,
    predicted: tuple[Array, Array, Array],
    edges: Sequence[float],
    names: Sequence[str],
) -> list[dict[str, Any]]:
    label, noise, scatter = predicted
    snr, residual = stars.inputs["snr"][:, 0], label - stars.label
    fit, rest = slice(0, None, 2), slice(1, None, 2)
    fitted = Calibration.fit(
        residual[fit], noise[fit], scatter[fit], stars.label_error[fit], snr[fit], edges=edges
    )
    total = fitted.apply(noise[rest], scatter[rest], snr[rest])
    pull = np.abs(residual[rest]) / np.hypot(total, np.nan_to_num(stars.label_error[rest]))
    rows = results_table(residual[rest], snr[rest], edges=edges, names=names)
    groups = dict(snr_groups(snr[rest], edges))
    for row in (row for row in rows if row["stars"]):
        column = list(names).index(row["label"])
        inside = groups[row["snr"]] & np.isfinite(pull[:, column])
        row["within_68"] = float((pull[inside, column] <= 1).mean()) if inside.any() else None
        row["error"] = float(np.median(total[inside, column])) if inside.any() else None
    return rows
