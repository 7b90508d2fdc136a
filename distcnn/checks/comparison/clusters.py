"""Clusters: stars that were born together have one composition; do their labels agree?

Open clusters are chemically homogeneous to about 0.02 to 0.03 dex (Bovy 2016, ApJ 817, 49), so
what their members scatter beyond that is error.
"""

import math
from collections.abc import Sequence

import numpy as np

from distcnn.arrays import Array
from distcnn.checks.base import Answer, AnswerRow, Verdict
from distcnn.checks.decision import MIN_STARS, WIDTH_68_ERROR, decide, sigma_outside
from distcnn.labels import label_info
from distcnn.stats import WITHIN_68

MIN_MEMBERS = 5
"""Clusters with fewer members tell no dispersion."""
HOMOGENEOUS_DEX = 0.03
"""Dispersion of open clusters that is their own."""
MAX_PULL = 1.3
"""Largest scatter within clusters, in units of quoted errors and ``HOMOGENEOUS_DEX``."""
ALL = "all clusters"


def is_composition(name: str) -> bool:
    """Whether a label must be the same for all stars of a cluster: an abundance."""
    return label_info(name).unit == "dex" and name != "logg"


def cluster_rows(
    names: Sequence[str], cluster: Array, label: Array, label_error: Array
) -> list[AnswerRow]:
    """Median, dispersion and quoted error per abundance and cluster, and of all together.

    Parameters
    ----------
    cluster : [N] name of each star's cluster, "" = none.
    label, label_error : [N, L], label units.
    """
    rows: list[AnswerRow] = []
    for number, name in enumerate(names):
        if not is_composition(name):
            continue
        values, errors = label[:, number], label_error[:, number]
        good = np.isfinite(values) & np.isfinite(errors) & (cluster != "")
        parts = []
        for text in np.unique(cluster[good]):
            mine = good & (cluster == text)
            if mine.sum() >= MIN_MEMBERS:
                deviation = _deviation(values[mine])
                middle = float(np.median(values[mine]))
                rows.append(_row(name, str(text), middle, deviation, errors[mine]))
                parts.append((deviation, errors[mine]))
        if parts:
            deviation, error = (np.concatenate(column) for column in zip(*parts, strict=True))
            rows.append(_row(name, ALL, float(np.median(values[good])), deviation, error))
    return rows


def _deviation(values: Array) -> Array:
    # The median is made of the same stars: it follows them a little.
    return np.asarray((values - np.median(values)) * np.sqrt(len(values) / (len(values) - 1)))


def _width(deviation: Array) -> float:
    # Not the MAD: about the median of five stars that is a fifth too small.
    return float(np.quantile(np.abs(deviation), WITHIN_68))


def _row(name: str, cluster: str, middle: float, deviation: Array, errors: Array) -> AnswerRow:
    dispersion, quoted = _width(deviation), float(np.median(errors))
    pull = _width(deviation / np.hypot(errors, HOMOGENEOUS_DEX))
    sampling = WIDTH_68_ERROR * pull / math.sqrt(len(deviation))
    return {
        "label": name,
        "cluster": cluster,
        "stars": len(deviation),
        "median": middle,
        "dispersion": dispersion,
        "quoted_error": quoted,
        "beyond_errors": float(np.sqrt(max(dispersion**2 - quoted**2, 0.0))),
        "pull": pull,
        "sigma_outside": sigma_outside(pull, MAX_PULL, sampling),
    }


def judge_clusters(rows: Sequence[AnswerRow], catalogue: str) -> Answer:
    """Fails where members of clusters scatter by more than ``MAX_PULL`` quoted errors."""
    found = decide([row for row in rows if row["cluster"] == ALL])
    if not found.judged:
        return Answer(
            Verdict.UNDECIDED,
            f"no abundance of {MIN_STARS} members of clusters with {MIN_MEMBERS} stars each in "
            f"{catalogue}",
            rows,
        )
    worst = max(found.judged, key=lambda row: float(row["pull"]))
    clusters = len({row["cluster"] for row in rows} - {ALL})
    sentence = (
        f"{len(found.failed)} of {len(found.judged)} abundances scatter by more than "
        f"{MAX_PULL:g} errors within "
        f"{clusters} clusters of {catalogue}; the widest is {worst['label']}: dispersion "
        f"{float(worst['dispersion']):.3f} dex, quoted {float(worst['quoted_error']):.3f}, "
        f"{float(worst['pull']):.2f} errors"
    )
    return Answer(found.verdict, sentence + found.note(lambda row: str(row["label"])), rows)
