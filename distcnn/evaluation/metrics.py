"""Metrics: the numbers of the report, as the rows of ``records``."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from distcnn.arrays import Array
from distcnn.errors import FileBroken
from distcnn.evaluation.baseline_table import NETWORK
from distcnn.evaluation.records import (
    AccuracyRow,
    ComparisonRow,
    CoverageRow,
    DefectRow,
    FlagRow,
    QuarantineRow,
    RegionSpeed,
    ResidualRow,
    Throughput,
)
from distcnn.evaluation.sample import Counts, Sample
from distcnn.location import Address, Location
from distcnn.quality import bin_name, coverage_table, snr_groups
from distcnn.schema import Flag, Reason
from distcnn.stats import robust_std, told_of_width
from distcnn.survey import Ledger, Region

FAINT_SNR = (15.0, 25.0)
"""S/N per pixel of the faint stars that methods are compared on."""
MIN_STARS_PER_PERCENTILE = 15


def known_snr_groups(snr: Array, edges: Sequence[float]) -> list[tuple[str, Array]]:
    """Name and mask: all stars, then every S/N bin that has stars."""
    return [group for group in snr_groups(snr, edges) if group[0] != bin_name(-1, edges)]


def methods(sample: Sample) -> dict[str, Array]:
    """Labels [N, L] by name of the method, the network first."""
    return {NETWORK: sample.label, **sample.baselines}


def accuracy(sample: Sample, names: Sequence[str], edges: Sequence[float]) -> list[AccuracyRow]:
    """Bias, std, 1.48 MAD and slope per label, S/N group and method, on the same stars.

    ``best_std`` and ``best_mad`` name the method with the smallest value. Stars that any
    method has no label for are left out of a group, so that all are compared alike.
    """
    evaluated = sample.take(sample.evaluated)
    rows: list[AccuracyRow] = []
    for text, inside in known_snr_groups(evaluated.snr, edges):
        for column, name in enumerate(names):
            truth = evaluated.reference[:, column]
            tables = {m: label[:, column] for m, label in methods(evaluated).items()}
            known = [np.isfinite(v) for v in tables.values() if np.isfinite(v[inside]).any()]
            good = np.logical_and.reduce([inside, np.isfinite(truth), *known])
            if good.any():
                rows += _compared(name, text, truth[good], {m: v[good] for m, v in tables.items()})
    return rows


def _compared(name: str, snr: str, truth: Array, tables: dict[str, Array]) -> list[AccuracyRow]:
    found = {
        method: residual_row(label, truth)
        for method, label in tables.items()
        if np.isfinite(label).all()
    }
    best_std = min(found, key=lambda method: found[method]["std"])
    best_mad = min(found, key=lambda method: found[method]["mad"])
    return [
        {
            "label": name,
            "snr": snr,
            "method": method,
            **row,
            "best_std": best_std == method,
            "best_mad": best_mad == method,
        }
        for method, row in found.items()
    ]


def residual_row(label: Array, truth: Array) -> ResidualRow:
    """Number of stars, bias, standard deviation, 1.48 MAD, slope of label against truth."""
    residual = label - truth
    spread = float(truth.var())
    slope = (
        float(np.mean((label - label.mean()) * (truth - truth.mean()))) / spread if spread else 1
    )
    return {
        "stars": len(truth),
        "bias": float(residual.mean()),
        "std": float(residual.std()),
        "mad": robust_std(residual),
        "slope": slope,
    }


def comparison(
    sample: Sample, names: Sequence[str], snr: tuple[float, float] = FAINT_SNR
) -> list[ComparisonRow]:
    """Methods side by side per label: all stars, and those with ``snr`` between two values."""
    rows = accuracy(sample, names, snr)
    table: list[ComparisonRow] = []
    for name in names:
        for group in ("all", f"{snr[0]:g}-{snr[1]:g}"):
            mine = [row for row in rows if (row["label"], row["snr"]) == (name, group)]
            if mine:
                table.append(
                    {
                        "label": name,
                        "snr": group,
                        "stars": mine[0]["stars"],
                        "methods": {row["method"]: row for row in mine},
                        "network_wins": mine[0]["best_std"] and mine[0]["best_mad"],
                    }
                )
    return table


def running_percentiles(x: Array, y: Array, bins: int = 14) -> tuple[Array, Array]:
    """Centres [K] of bins of x, and the 16th, 50th and 84th percentile [3, K] of y inside.

    Bins with fewer than ``MIN_STARS_PER_PERCENTILE`` stars are left out.
    """
    low, high = (float(value) for value in np.quantile(x, [0.005, 0.995]))
    edges = np.linspace(low, high, bins + 1)
    number = np.digitize(x, edges)
    counts = {n: int((number == n).sum()) for n in range(1, bins + 1)}
    used = [n for n, count in counts.items() if count >= MIN_STARS_PER_PERCENTILE]
    centres = np.array([(edges[n - 1] + edges[n]) / 2 for n in used])
    lines = [np.quantile(y[number == n], [0.16, 0.5, 0.84]) for n in used]
    return centres, np.array(lines).T


def coverage(
    sample: Sample,
    names: Sequence[str],
    edges: Sequence[float],
    width_95: Sequence[float] | None = None,
    calibration: Array | None = None,
) -> list[CoverageRow]:
    """Fractions of evaluated stars within their 68 and 95 % interval, per label and S/N bin.

    ``width_95`` : quoted errors that make the latter, per label; None = 2. ``calibration`` [N, L] :
    as ``calibration_shares`` gives it.
    """
    evaluated = sample.take(sample.evaluated)
    rows = coverage_table(
        evaluated.label - evaluated.reference,
        evaluated.label_error,
        evaluated.reference_error,
        evaluated.snr,
        edges=edges,
        names=names,
        width_95=width_95,
        calibration=None if calibration is None else calibration[sample.evaluated],
    )
    return cast(list[CoverageRow], rows)


def calibration_shares(
    sample: Sample, stars: Sequence[float], reference_error: Sequence[float]
) -> Array | None:
    """[N, L] effective number of calibration stars that each evaluated star stands for.

    Calibration stars are taken to be distributed as the evaluated ones; each counts what it tells
    of the width of an error (``told_of_width``).

    Parameters
    ----------
    stars, reference_error : [L] that errors were fitted to; empty = unknown.

    Returns
    -------
    None where a package does not say.
    """
    if not len(stars) == len(reference_error) == sample.label_error.shape[1]:
        return None
    each = np.asarray(stars) / max(int(sample.evaluated.sum()), 1)
    error = np.maximum(sample.label_error, 1e-30)
    return np.asarray(each * told_of_width(error, np.asarray(reference_error)))


def flag_rows(counts: Counts) -> list[FlagRow]:
    """Every flag: bit, name, sentence, number and fraction of stars."""
    return [
        {
            "bit": int(flag),
            "flag": flag.name or "",
            "sentence": flag.sentence,
            "stars": counts.flags[flag.name or ""],
            "fraction": counts.flags[flag.name or ""] / max(counts.stars, 1),
        }
        for flag in Flag
    ]


def defect_rows(sample: Sample) -> list[DefectRow]:
    """How each kind of simulated defect is flagged, beside clean stars; held-out stars only."""
    if not (sample.defect != "").any():
        return []
    sample = sample.take(sample.held_out)
    kinds = sorted({kind for text in set(sample.defect) for kind in text.split("+") if kind})
    masks = {"clean": sample.defect == ""} | {kind: sample.has_defect(kind) for kind in kinds}
    return [_flagged(kind, sample.flags[mask]) for kind, mask in masks.items()]


def _flagged(kind: str, flags: Array) -> DefectRow:
    total = max(len(flags), 1)
    return {
        "trouble": kind,
        "stars": len(flags),
        "any": float((flags != 0).sum() / total),
        "flags": {f.name or "": float(((flags & np.uint32(f)) != 0).sum() / total) for f in Flag},
    }


def quarantine_rows(path: Address) -> list[QuarantineRow]:
    """Rows quarantined at ingest by reason: number, what it means, an example.

    Raises
    ------
    FileBroken : the table cannot be read.
    """
    place = Location.parse(path)
    if not place.exists():
        return []
    try:
        with place.local_copy() as file:
            table = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise FileBroken(f"{path} cannot be read ({error})", expected="a parquet table") from None
    rows: list[QuarantineRow] = []
    for reason, part in table.groupby("reason", sort=True):
        first = part.iloc[0].drop("reason")
        example = ", ".join(f"{key} {value}" for key, value in first.items() if pd.notna(value))
        known = str(reason) in {item.value for item in Reason}
        rows.append(
            {
                "reason": str(reason),
                "meaning": Reason(str(reason)).sentence if known else "",
                "rows": len(part),
                "example": example,
            }
        )
    return rows


def throughput(path: Address) -> Throughput:
    """Regions of the ledger at ``path``, and the rate of one worker over all of them.

    ``seconds`` has ``total`` and, where the ledger tells, ``load``, ``read``, ``infer``, ``write``.
    """
    done = Ledger.read(path).done if Location.parse(path).exists() else {}
    regions = [_region_speed(name, facts) for name, facts in done.items() if "seconds" in facts]
    seconds = sum(row["seconds"]["total"] for row in regions)
    stars = sum(row["stars"] for row in regions)
    return {"regions": regions, "stars_per_second": stars / seconds if seconds else None}


def _region_speed(name: str, facts: Mapping[str, Any]) -> RegionSpeed:
    seconds = facts["seconds"]
    parts = seconds if isinstance(seconds, dict) else {"total": float(seconds)}
    stars = int(facts.get("stars", Region.parse(name).size))
    return {"region": name, "stars": stars, "seconds": parts}
