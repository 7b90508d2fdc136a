"""Numbers of accuracy.py: predictions of a simulated survey against its truth and the bound.

Stars are judged that nobody did harm to (``trouble`` is empty) and that no part of training,
stopping, selection or calibration has seen, labelled or not.

Legend: N star, L label.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distcnn import hashing
from distcnn.config import SimulateConfig
from distcnn.model import Package
from distcnn.schema import DEFAULT_LABELS, Flag, Status
from distcnn.simulate import cramer_rao
from distcnn.survey import Store
from distcnn.training import seen_stars
from lib.sampling import mad_error, share_error, slope_error, std_error

Array = np.ndarray[Any, Any]
BINS = {
    "15-25": (15, 25),
    "25-50": (25, 50),
    "50-100": (50, 100),
    ">=100": (100, np.inf),
    ">50": (50, np.inf),
    "all": (-np.inf, np.inf),
}
"""S/N per pixel: the lower edge belongs to a bin, the upper one does not."""
NARROW = ("15-25", "25-50", "50-100", ">=100")
STRATA = {"<15": (-np.inf, 15)} | {name: BINS[name] for name in NARROW}
POOR = ((-2.5, -2.0), (-2.0, -1.5), (-1.5, -1.0))
POOR_SNR = {"15-25": (15, 25), ">25": (25, np.inf)}
_INTERVAL = ("label_error_low", "label_error_high")
_DEBIASED = ("label_debiased", "label_debiased_error")


@dataclass(frozen=True)
class Judged:
    """Stars to be judged: truth table, S/N [N], and [N, L] truth, labels and their errors.

    ``clean``: labels [M, L] of all undamaged stars of the survey, which are its population.
    ``failed``, ``flagged``: stars among those to be judged that have no labels, or a caution
    beyond missing inputs.
    """

    labels: tuple[str, ...]
    table: pd.DataFrame
    clean: Array
    snr: Array
    truth: Array
    label: Array
    error: Array
    low: Array
    high: Array
    debiased: Array
    debiased_error: Array
    failed: int
    flagged: int


def judged_stars(
    predictions: Path, package: Path, survey: Path, truth: Path, *, scatter_only: bool
) -> Judged:
    """Join predictions with the truth; ``scatter_only``: the members' scatter is the error."""
    store = Store.open(predictions, "predictions")
    labels = tuple(map(str, store.coordinate("label")))
    names = ["source_id", "snr", "status", "flags", "label", "label_error", "label_scatter"]
    names += [name for name in (*_INTERVAL, *_DEBIASED) if name in store.variables]
    rows = _read(store, names)
    known = pd.read_parquet(truth).set_index("source_id")
    table = known.loc[rows["source_id"]].reset_index()
    kept = (table["trouble"].to_numpy() == "") & ~np.isin(rows["source_id"], _seen(survey, package))
    failed = kept & (rows["status"] != Status.DONE)
    kept &= ~failed
    missing = np.full_like(rows["label"], np.nan)
    error = rows["label_scatter" if scatter_only else "label_error"]
    low, high = (error if scatter_only else rows.get(name, missing) for name in _INTERVAL)
    debiased, widened = (missing if scatter_only else rows.get(n, missing) for n in _DEBIASED)
    truths = table[list(labels)].to_numpy()
    arrays = (truths, rows["label"], error, low, high, debiased, widened)
    caution = ~np.uint32(Flag.NO_XP | Flag.NO_PARALLAX | Flag.NO_PHOTOMETRY)
    return Judged(
        labels,
        table[kept],
        known.loc[known["trouble"] == "", list(labels)].to_numpy(),
        rows["snr"][kept].astype(float),
        *(array[kept].astype(float) for array in arrays),
        failed=int(failed.sum()),
        flagged=int(((rows["flags"][kept] & caution) != 0).sum()),
    )


def _read(store: Store, names: list[str]) -> dict[str, Array]:
    parts = [store.read(region, names) for region in store.regions()]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _seen(survey: Path, package: Path) -> Array:
    manifest = Package.load(package, verify=False).manifest
    split = manifest.training_split
    return seen_stars(Store.open(survey, "survey"), split)


def inside(values: Array, edges: tuple[float, float]) -> Array:
    """[N] bool: the lower edge belongs to the bin."""
    return (values >= edges[0]) & (values < edges[1])


def bounds(
    stars: Judged, archive: Path, cache: Path, *, each: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Root mean square Cramer-Rao bounds of random stars of every S/N bin, kept in ``cache``.

    Parameters
    ----------
    each : stars drawn from each narrow bin; wider bins weight these by the stars they stand for.

    Returns
    -------
    bin -> ``plain``, and ``population`` for an estimator that knows the survey's stars, both
    label -> bound; ``stars`` drawn.
    """
    record = json.loads((archive / "simulation.json").read_text())
    samples = _samples(stars, each, seed)
    key = hashing.of_value(
        {
            "archive": record["digest"],
            "code": hashing.of_file(Path(cramer_rao.__file__)),
            "stars": {name: part["source_id"].tolist() for name, part in samples.items()},
        }
    )
    if cache.exists() and json.loads(cache.read_text())["key"] == key:
        return dict(json.loads(cache.read_text())["bounds"])
    config = SimulateConfig.model_validate(record["config"])
    population = np.cov(stars.clean[:, [stars.labels.index(n) for n in DEFAULT_LABELS]].T)
    squares = {name: _squares(part, config, population) for name, part in samples.items()}
    found = {name: _joined(stars, edges, squares) for name, edges in BINS.items()}
    cache.write_text(json.dumps({"key": key, "seed": seed, "bounds": found}, indent=1) + "\n")
    return found


def _samples(stars: Judged, each: int, seed: int) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    samples = {}
    for name, edges in STRATA.items():
        rows = np.flatnonzero(inside(stars.snr, edges))
        chosen = rng.choice(rows, min(each, rows.size), replace=False)
        if chosen.size:
            samples[name] = stars.table.iloc[np.sort(chosen)]
    return samples


def _squares(part: pd.DataFrame, config: SimulateConfig, population: Array) -> dict[str, Array]:
    """[N, 5] squared bounds of the stars of one stratum."""
    given = {"plain": None, "population": population}
    known = cramer_rao.StarTruth.of(dict(part.items()))
    return {
        n: cramer_rao.cramer_rao_bound(known, config, population=p) ** 2 for n, p in given.items()
    }


def _joined(
    stars: Judged, edges: tuple[float, float], squares: Mapping[str, Mapping[str, Array]]
) -> dict[str, Any]:
    """Root mean square over the strata that lie within the edges, by the stars in each."""
    strata = [n for n in squares if edges[0] <= STRATA[n][0] and STRATA[n][1] <= edges[1]]
    weights = [int(inside(stars.snr, STRATA[name]).sum()) for name in strata]
    found: dict[str, Any] = {"stars": sum(len(squares[name]["plain"]) for name in strata)}
    for kind in ("plain", "population") if strata else ():
        mean = np.average([squares[n][kind].mean(axis=0) for n in strata], axis=0, weights=weights)
        found[kind] = dict(zip(DEFAULT_LABELS, np.sqrt(mean).tolist(), strict=True))
    return found


def table_of(stars: Judged, limits: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the one table: every label in every S/N bin that has stars."""
    rows = []
    for column, label in enumerate(stars.labels):
        for name, edges in BINS.items():
            chosen = inside(stars.snr, edges)
            if chosen.sum() > 2:
                row = {"label": label, "snr": name} | _statistics(stars, chosen, column)
                rows.append(row | _against(row, limits.get(name, {}), label))
    return rows


def _statistics(stars: Judged, chosen: Array, column: int) -> dict[str, Any]:
    names = ("truth", "label", "error", "low", "high", "debiased", "debiased_error")
    at = {name: getattr(stars, name)[chosen, column] for name in names}
    residual = at["label"] - at["truth"]
    side = np.where(residual > 0, at["low"], at["high"])  # the truth lies on the other side
    freed = at["debiased"] - at["truth"]
    std = float(residual.std())
    return {
        "stars": int(chosen.sum()),
        "std": std,
        "std_error": std_error(residual),
        "mad": mad(residual),
        "mad_error": mad_error(residual),
        "bias": float(residual.mean()),
        "population_std": float(at["truth"].std()),
        **_coverage("within", residual, at["error"]),
        **_coverage("interval", residual, side),
        "slope": slope(at["label"], at["truth"]),
        "slope_error": slope_error(at["label"], at["truth"]),
        "debiased_slope": slope(at["debiased"], at["truth"]),
        "debiased_slope_error": slope_error(at["debiased"], at["truth"]),
        "debiased_std": float(freed.std()),
        "debiased_mad": mad(freed),
        "debiased_bias": float(freed.mean()),
        "debiased_price": float(freed.std()) / std,
        **_coverage("debiased", freed, at["debiased_error"]),
    }


def _coverage(name: str, residual: Array, error: Array) -> dict[str, float]:
    """Parts of the residuals within one and two errors; NaN where there is no error."""
    known, size = np.isfinite(error).all(), np.abs(residual)
    found = {}
    for times, key in ((1, f"{name}_68"), (2, f"{name}_95")):
        found[key] = float((size <= times * error).mean()) if known else np.nan
        found[f"{key}_error"] = share_error(found[key], len(size))
    return found


def mad(residual: Array) -> float:
    """1.48 times the median distance from the median."""
    return float(1.4826 * np.median(np.abs(residual - np.median(residual))))


def slope(found: Array, truth: Array) -> float:
    """Of ``found`` as a function of ``truth``: below 1 where an estimate is pulled to the mean."""
    return float(np.cov(found, truth)[0, 1] / truth.var(ddof=1))


def _against(row: Mapping[str, Any], limit: Mapping[str, Any], label: str) -> dict[str, Any]:
    """The row against the bound, and the slope that an estimate of least squared error has."""
    plain, known = (limit.get(name, {}).get(label, np.nan) for name in ("plain", "population"))
    expected = 1 - (known / row["population_std"]) ** 2
    return {
        "bound": plain,
        "bound_population": known,
        "ratio": row["std"] / plain,
        "ratio_error": row["std_error"] / plain,
        "ratio_population": row["std"] / known,
        "ratio_population_error": row["std_error"] / known,
        "slope_expected": expected,
        "slope_over_expected": row["slope"] / expected,
    }


def poor_table(stars: Judged) -> list[dict[str, Any]]:
    """Bias of [M/H] of metal-poor stars, by true [M/H] and S/N."""
    return list(_poor_rows(stars)) if "mh" in stars.labels else []


def _poor_rows(stars: Judged) -> Iterator[dict[str, Any]]:
    column = stars.labels.index("mh")
    truth = stars.truth[:, column]
    for name, edges in POOR_SNR.items():
        for low, high in POOR:
            chosen = inside(stars.snr, edges) & inside(truth, (low, high))
            count = int(chosen.sum())
            row = {"snr": name, "mh": [low, high], "stars": count}
            for kind in ("label", "debiased"):
                left = getattr(stars, kind)[chosen, column] - truth[chosen]
                row[f"{kind}_bias"] = float(left.mean()) if count else np.nan
                row[f"{kind}_std"] = float(left.std()) if count else np.nan
            yield row
