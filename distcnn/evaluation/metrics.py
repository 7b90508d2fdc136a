"""Metrics: the numbers of the page, as rows ready for tables and JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from distcnn.errors import FileBroken
from distcnn.evaluation.sample import Counts, Stars
from distcnn.quality import bin_name, coverage_table, snr_groups
from distcnn.schema import FLAG_TEXT, REASON_TEXT, Flag, Reason
from distcnn.survey import Ledger, Region

Array = np.ndarray[Any, Any]
Row = dict[str, Any]

NETWORK = "network"
FAINT = (15.0, 25.0)


def groups(snr: Array, edges: Sequence[float]) -> list[tuple[str, Array]]:
    """Name and mask: all stars, then every S/N bin that has stars."""
    return [group for group in snr_groups(snr, edges) if group[0] != bin_name(-1, edges)]


def methods(stars: Stars) -> dict[str, Array]:
    """Labels [N, L] by name of the method, the network first."""
    return {NETWORK: stars.label, **stars.rivals}


def accuracy(stars: Stars, names: Sequence[str], edges: Sequence[float]) -> list[Row]:
    """Bias, std, 1.48 MAD and slope per label, S/N group and method, on the same stars.

    ``best_std`` and ``best_mad`` name the method with the smallest value. Stars that any
    method has no label for are left out of a group, so that all are judged alike.
    """
    judged = stars.take(stars.judged)
    rows: list[Row] = []
    for text, inside in groups(judged.snr, edges):
        for column, name in enumerate(names):
            truth = judged.reference[:, column]
            tables = {m: label[:, column] for m, label in methods(judged).items()}
            known = [np.isfinite(v) for v in tables.values() if np.isfinite(v[inside]).any()]
            good = np.logical_and.reduce([inside, np.isfinite(truth), *known])
            if good.any():
                rows += _compared(name, text, truth[good], {m: v[good] for m, v in tables.items()})
    return rows


def _compared(name: str, snr: str, truth: Array, tables: dict[str, Array]) -> list[Row]:
    rows = [
        {"label": name, "snr": snr, "method": method} | residual_row(label, truth)
        for method, label in tables.items()
        if np.isfinite(label).all()
    ]
    best = {key: min(rows, key=lambda row: row[key])["method"] for key in ("std", "mad")}
    return [row | {f"best_{key}": row["method"] == m for key, m in best.items()} for row in rows]


def residual_row(label: Array, truth: Array) -> Row:
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
        "mad": float(1.4826 * np.median(np.abs(residual - np.median(residual)))),
        "slope": slope,
    }


def coverage(stars: Stars, names: Sequence[str], edges: Sequence[float]) -> list[Row]:
    """Fractions of judged stars within 1 and 2 quoted errors, per label and S/N bin."""
    judged = stars.take(stars.judged)
    return coverage_table(
        judged.label - judged.reference,
        judged.label_error,
        judged.reference_error,
        judged.snr,
        edges=edges,
        names=names,
    )


def flag_rows(counts: Counts) -> list[Row]:
    """Every flag: bit, name, sentence, number and fraction of stars."""
    return [
        {
            "bit": int(flag),
            "flag": flag.name,
            "sentence": FLAG_TEXT[flag],
            "stars": counts.flags[flag.name or ""],
            "fraction": counts.flags[flag.name or ""] / max(counts.stars, 1),
        }
        for flag in Flag
    ]


def trouble_rows(stars: Stars) -> list[Row]:
    """How each kind of injected trouble is flagged, beside clean stars; held-out stars only."""
    if not (stars.trouble != "").any():
        return []
    stars = stars.take(stars.held_out)
    kinds = sorted({kind for text in set(stars.trouble) for kind in text.split("+") if kind})
    masks = {"clean": stars.trouble == ""}
    masks |= {k: np.array([k in t.split("+") for t in stars.trouble], bool) for k in kinds}
    return [{"trouble": kind} | _flagged(stars.flags[mask]) for kind, mask in masks.items()]


def _flagged(flags: Array) -> Row:
    total = max(len(flags), 1)
    parts = {f.name: float(((flags & np.uint32(f)) != 0).sum() / total) for f in Flag}
    return {"stars": len(flags), "any": float((flags != 0).sum() / total), "flags": parts}


def quarantine_rows(path: Path) -> list[Row]:
    """Rows quarantined at ingest by reason: number, what it means, an example.

    Raises
    ------
    FileBroken : the table cannot be read.
    """
    if not path.exists():
        return []
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise FileBroken(f"{path} cannot be read ({error})", expected="a parquet table") from None
    rows = []
    for reason, part in table.groupby("reason", sort=True):
        first = part.iloc[0].drop("reason")
        example = ", ".join(f"{key} {value}" for key, value in first.items() if pd.notna(value))
        known = str(reason) in {item.value for item in Reason}
        rows.append(
            {
                "reason": str(reason),
                "meaning": REASON_TEXT[Reason(str(reason))] if known else "",
                "rows": len(part),
                "example": example,
            }
        )
    return rows


def throughput(path: Path) -> list[Row]:
    """Regions in the order in which they finished: stars, and seconds by part of the work.

    ``seconds`` has ``total`` and, where the ledger tells, ``load``, ``read``, ``infer``, ``write``.
    """
    if not path.exists():
        return []
    rows = []
    for name, facts in Ledger.read(path).done.items():
        if "seconds" in facts:
            seconds = facts["seconds"]
            parts = seconds if isinstance(seconds, dict) else {"total": float(seconds)}
            stars = int(facts.get("stars", Region.parse(name).size))
            rows.append({"region": name, "stars": stars, "seconds": parts})
    return rows
