"""Numbers of faint.py: labels of faint stars against truth, bound, and what is known without them.

Legend: N star, L label.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from distcnn.config import SimulateConfig
from distcnn.model import Ensemble, Network, Package, StarInputs, predict_members
from distcnn.model.pixel_noise import NoiseGenerator, measure_correlation
from distcnn.model.scaling import NoiseGain
from distcnn.quality import Quality
from distcnn.schema import DEFAULT_LABELS, Flag
from distcnn.simulate import cramer_rao
from distcnn.stats import WITHIN_68, WITHIN_95, coverage_error, told_of_width
from distcnn.survey import Store
from distcnn.survey.split import Split
from distcnn.training.data.labelled import read_labelled
from lib.judge import Array, Judged, inside, mad, slope
from lib.sampling import std_error

EDGES = (1.0, 2.0, 5.0, 15.0, 50.0, 500.0)
"""Edges of the bins of S/N per 0.0245 nm."""
BINS = {f"{low:g}-{high:g}": (low, high) for low, high in pairwise(EDGES)}
FADING_SNR = (300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
"""S/N that bright spectra are lowered to, step by step."""
BRIGHT_SNR, MOST_FADED = 30.0, 400
"""Stars that are faded: at least so bright, and how many at most."""


@dataclass(frozen=True)
class Faint:
    """Stars to be judged, as two ensembles see them; of the same stars, in the same order.

    ``width_95`` [L]: errors that make the first one's interval of 95 %, as its package says;
    ``reference_error`` [L] of the M stars that its errors were fitted to, ``calibration_snr`` [M].
    """

    whole: Judged
    without_spectrum: Judged
    prior_ratio: Array
    flags: Array
    width_95: tuple[float, ...]
    reference_error: tuple[float, ...]
    calibration_snr: Array

    def calibration_stars(self, column: int, edges: tuple[float, float]) -> float:
        """Effective number of calibration stars of a label and bin."""
        errors = self.whole.error[inside(self.whole.snr, edges), column]
        told = told_of_width(errors, self.reference_error[column])
        return float(inside(self.calibration_snr, edges).sum() * told.mean())


def further(predictions: Path, stars: Judged) -> tuple[Array, Array]:
    """``label_prior_ratio`` [N, L] and ``flags`` [N] of the judged stars."""
    store = Store.open(predictions, "predictions")
    names = ["source_id", "label_prior_ratio", "flags"]
    parts = [store.read(region, names) for region in store.regions()]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in names}
    place = {int(star): row for row, star in enumerate(rows["source_id"])}
    at = np.array([place[int(star)] for star in stars.table["source_id"]])
    return rows["label_prior_ratio"][at].astype(float), rows["flags"][at]


def bounds_by_bin(
    stars: Judged, config: SimulateConfig, *, each: int, seed: int
) -> dict[str, dict[str, float]]:
    """Root mean square bound of every label, by bin, of an estimator that knows the population."""
    rng = np.random.default_rng(seed)
    columns = [stars.labels.index(name) for name in DEFAULT_LABELS]
    population = np.cov(stars.clean[:, columns].T)
    found = {}
    for name, edges in BINS.items():
        rows = np.flatnonzero(inside(stars.snr, edges))
        chosen = np.sort(rng.choice(rows, min(each, rows.size), replace=False))
        if not chosen.size:
            continue
        known = cramer_rao.StarTruth.of(dict(stars.table.iloc[chosen].items()))
        bound = cramer_rao.cramer_rao_bound(known, config, population=population)
        square = np.square(bound).mean(axis=0)
        found[name] = dict(zip(DEFAULT_LABELS, np.sqrt(square).tolist(), strict=True))
    return found


def table_of(stars: Faint, limits: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """A row per label and bin."""
    return list(_rows(stars, limits))


def _rows(stars: Faint, limits: Mapping[str, Mapping[str, float]]) -> Iterator[dict[str, Any]]:
    whole, blind = stars.whole, stars.without_spectrum
    for column, label in enumerate(whole.labels):
        for name, edges in BINS.items():
            rows = np.flatnonzero(inside(whole.snr, edges))
            if rows.size < 20:
                continue
            truth = whole.truth[rows, column]
            left = whole.label[rows, column] - truth
            other = blind.label[rows, column] - truth
            error = whole.error[rows, column]
            freed = whole.debiased[rows, column]
            known = np.isfinite(freed)
            spread = whole.clean[:, column].std()
            bound = limits.get(name, {}).get(label, np.nan)
            gain = _ratio_with_error(left, other)
            yield {
                "label": label,
                "snr": name,
                "stars": int(rows.size),
                "std": float(left.std()),
                "std_error": std_error(left),
                "mad": mad(left),
                "bias": float(left.mean()),
                "bound": bound,
                "ratio": float(left.std() / bound),
                "ratio_error": std_error(left) / bound,
                "without_spectrum": float(other.std()),
                "to_without_spectrum": gain[0],
                "to_without_spectrum_error": gain[1],
                "population": float(spread),
                "within_68": float((np.abs(left) <= error).mean()),
                "within_95": float((np.abs(left) <= stars.width_95[column] * error).mean()),
                "width_95": float(stars.width_95[column]),
                "calibration": stars.calibration_stars(column, edges),
                "quoted": float(np.median(error)),
                "prior_ratio": float(np.median(stars.prior_ratio[rows, column])),
                "population_label": float((stars.prior_ratio[rows, column] > 0.71).mean()),
                "slope": slope(whole.label[rows, column], truth),
                "slope_expected": float(1 - np.square(error).mean() / truth.var()),
                "debiased_known": float(known.mean()),
                "debiased_slope": slope(freed[known], truth[known]) if known.sum() > 2 else np.nan,
            }


def _ratio_with_error(left: Array, other: Array) -> tuple[float, float]:
    """Ratio of standard deviations of the same stars; its error by 200 bootstrap samples."""
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(200):
        rows = rng.integers(0, len(left), len(left))
        ratios.append(left[rows].std() / other[rows].std())
    return float(left.std() / other.std()), float(np.std(ratios))


def without_faint_labels(survey: Path, path: Path, least: float) -> None:
    """The survey once more, with the labels of stars of a S/N below ``least`` taken away."""
    if path.exists():
        return
    draft = path.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(survey, draft)
    store = Store.open(draft, "survey")
    for region in store.regions():
        arrays = store.read(region, store.variables)
        arrays["label"][~(arrays["snr"] >= least)] = np.nan
        store.write(region, arrays)
    draft.rename(path)


def bright_table(bright: Judged, whole: Judged, width_95: Sequence[float]) -> list[dict[str, Any]]:
    """A row per label and bin: an ensemble of bright labels alone, beside that of labels of all S/N
    on the stars that neither has seen.
    """
    ids = [one.table["source_id"].to_numpy() for one in (bright, whole)]
    _, mine, theirs = np.intersect1d(*ids, return_indices=True)
    rows = []
    for column, label in enumerate(bright.labels):
        left, error = (bright.label - bright.truth)[mine, column], bright.error[mine, column]
        other = (whole.label - whole.truth)[theirs, column]
        for name, edges in BINS.items():
            at = inside(bright.snr[mine], edges)
            if at.sum() >= 20:
                rows.append(
                    {
                        "label": label,
                        "snr": name,
                        "stars": int(at.sum()),
                        "std": float(left[at].std()),
                        "of_all_labels": float(other[at].std()),
                        "bias": float(left[at].mean()),
                        "within_68": float((np.abs(left[at]) <= error[at]).mean()),
                        "within_95": float(
                            (np.abs(left[at]) <= width_95[column] * error[at]).mean()
                        ),
                    }
                )
    return rows


def fading(
    package: Path, survey: Path, blind: Path, truth: Path, *, seed: int
) -> list[dict[str, Any]]:
    """Bright, undamaged test stars at ever lower S/N: the way to the answer without a spectrum.

    Of the networks alone: regressions beside them have met no bright star with such a spectrum.

    Rows of S/N and label: ``apart``, rms distance from the answer of the same network to the same
    stars with the spectrum taken away, in errors of that answer; ``apart_blind``, from that of
    the network that never had one; ``std`` from the reference labels, and ``hidden_std`` and
    ``blind_std`` of these two; ``prior_ratio``, the median.
    """
    one, store = Package.load(package), Store.open(survey, "survey")
    other = Package.load(blind)
    split, spec = one.manifest.training_split, one.spec
    test = read_labelled(store, spec, split, Split.TEST)
    known = pd.read_parquet(truth, columns=["source_id", "trouble"]).set_index("source_id")
    whole = known.loc[test.source_id, "trouble"].to_numpy() == ""
    bright = np.flatnonzero(whole & (test.inputs["snr"][:, 0] > BRIGHT_SNR))[:MOST_FADED]
    stars = test.take(bright)
    given = stars.inputs
    quality = Quality.from_arrays(one.quality_arrays)
    train = read_labelled(store, spec, split, Split.TRAIN)
    correlation = measure_correlation(train.inputs["flux"], train.inputs["snr"][:, 0])
    networks = _knowing_their_lowest(one, float(train.inputs["snr"].min()))
    hidden = predict_members(networks, given.without("flux", "snr"))
    seen = read_labelled(store, other.spec, split, Split.TEST).take(bright)
    never = Ensemble(other, "eager").predict(seen.inputs)
    noise = NoiseGenerator.of(correlation or ())
    rows = []
    for snr in FADING_SNR:
        lowered = _lowered(given, stars.flux_error, snr, noise, seed)
        found = predict_members(networks, lowered)
        arrays = lowered.variables() | {"flux_error": stars.flux_error}
        judged = quality.assess(arrays, found.label, found.noise, found.scatter)
        for column, label in enumerate(one.labels):
            there = np.isfinite(stars.label[:, column])
            columns = there, column
            unit = np.hypot(_of(hidden.noise, columns), _of(hidden.scatter, columns))
            truth = _of(stars.label, columns)
            seen_label, hidden_label, blind_label = (
                _of(one.label, columns) for one in (found, hidden, never)
            )
            rows.append(
                {
                    "snr": snr,
                    "label": label,
                    "stars": int(there.sum()),
                    "apart": _rms((seen_label - hidden_label) / unit),
                    "apart_blind": _rms((seen_label - blind_label) / unit),
                    "std": float((seen_label - truth).std()),
                    "hidden_std": float((hidden_label - truth).std()),
                    "blind_std": float((blind_label - truth).std()),
                    "prior_ratio": float(np.median(_of(judged["label_prior_ratio"], columns))),
                    "flagged": float(
                        ((judged["flags"] & np.uint32(Flag.POPULATION_LABEL)) != 0).mean()
                    ),
                }
            )
    return rows


def _knowing_their_lowest(package: Package, lowest: float) -> list[Network]:
    """The networks; of a package made before they were told the lowest S/N of training, with it.

    Training is the same with it: no star of its own lies below.
    """
    networks = package.networks()
    gain = networks[0].inputs.noise_gain
    if isinstance(gain, NoiseGain) and not gain.lowest.any():
        for network in networks:
            network.inputs.noise_gain.lowest.fill_(lowest)
    return networks


def _of(values: Array, columns: tuple[Array, int]) -> Array:
    return np.asarray(values[columns], float)


def _rms(values: Array) -> float:
    return float(np.sqrt(np.square(values).mean()))


def _lowered(
    stars: StarInputs, error: Array, snr: float, noise: NoiseGenerator, seed: int
) -> StarInputs:
    """Stars with noise that leaves their spectra that S/N, correlated as the survey's."""
    before = stars["snr"]
    after = np.minimum(before, snr)
    growth = np.sqrt(np.square(before / after) - 1)
    drawn = noise.draw(stars["flux"].shape, torch.Generator().manual_seed(seed)).numpy()
    flux = stars["flux"] + np.nan_to_num(error) * growth * drawn
    return stars.replaced(flux=flux.astype(np.float32), snr=after.astype(np.float32))


def verdicts(
    rows: Sequence[Mapping[str, Any]], faded: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The targets, whether each is reached, and which label and bin misses it."""
    found = [
        _verdict(
            "std at most 1.3 times the bound that knows the population (1.5 above 50)",
            rows,
            lambda row: (
                row["ratio"] - 2 * row["ratio_error"]
                <= (1.5 if row["snr"].startswith("50") else 1.3)
            ),
            "ratio",
        ),
        _verdict(
            "no label worse than without the spectrum, within two standard errors",
            rows,
            lambda row: row["to_without_spectrum"] - 2 * row["to_without_spectrum_error"] <= 1,
            "to_without_spectrum",
        ),
    ]
    for share, key, apart in ((WITHIN_68, "within_68", 0.04), (WITHIN_95, "within_95", 0.02)):
        found.append(
            _verdict(
                f"{100 * share:.0f} % coverage within {apart:g}, or 2.5 times the chance of "
                "judged and calibration stars",
                rows,
                lambda row, share=share, key=key, apart=apart: (
                    abs(row[key] - share)
                    <= max(apart, 2.5 * coverage_error(share, row["stars"], row.get("calibration")))
                ),
                key,
            )
        )
    last = [row for row in faded if row["snr"] == min(row["snr"] for row in faded)]
    found.append(
        _verdict(
            f"at S/N {last[0]['snr']:g} within its error of the answer without spectrum",
            last,
            lambda row: row["apart"] <= 1,
            "apart",
        )
    )
    return found


def _verdict(target: str, rows: Sequence[Mapping[str, Any]], good: Any, key: str) -> dict[str, Any]:
    missed = [f"{r['label']} {r['snr']}: {r[key]:.3f}" for r in rows if not good(r)]
    return {"target": target, "reached": not missed, "of": len(rows), "missed": missed}
