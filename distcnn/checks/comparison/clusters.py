"""Clusters: stars that were born together have one composition; do their labels agree?

Open clusters are chemically homogeneous to about 0.02 to 0.03 dex (Bovy 2016, ApJ 817, 49), so
what their members scatter beyond that is error.
"""

from collections.abc import Sequence

import numpy as np

from distcnn.arrays import Array
from distcnn.checks.base import Answer, AnswerRow, Verdict
from distcnn.labels import label_info
from distcnn.stats import robust_std

MIN_MEMBERS = 5
"""Clusters with fewer members tell no dispersion."""
HOMOGENEOUS_DEX = 0.03
"""Dispersion of open clusters that is their own."""
MAX_PULL = 1.3
"""Largest scatter within clusters, in units of quoted errors and ``HOMOGENEOUS_DEX``."""
MIN_STARS = 30
"""Fewer members of all clusters together decide nothing."""
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
        pulls = []
        for text in np.unique(cluster[good]):
            mine = good & (cluster == text)
            if mine.sum() >= MIN_MEMBERS:
                row, pull = _row(name, str(text), values[mine], errors[mine])
                rows.append(row)
                pulls.append(pull)
        if pulls:
            rows.append(_together(name, rows, np.concatenate(pulls)))
    return rows


def _row(name: str, cluster: str, values: Array, errors: Array) -> tuple[AnswerRow, Array]:
    count, middle = len(values), float(np.median(values))
    # The median is made of the same stars: it follows them a little.
    deviation = (values - middle) * np.sqrt(count / (count - 1))
    dispersion, quoted = robust_std(deviation), float(np.median(errors))
    pull = deviation / np.hypot(errors, HOMOGENEOUS_DEX)
    row = {
        "label": name,
        "cluster": cluster,
        "stars": count,
        "median": middle,
        "dispersion": dispersion,
        "quoted_error": quoted,
        "beyond_errors": float(np.sqrt(max(dispersion**2 - quoted**2, 0.0))),
        "pull": robust_std(pull),
    }
    return row, pull


def _together(name: str, rows: Sequence[AnswerRow], pull: Array) -> AnswerRow:
    mine = [row for row in rows if row["label"] == name]
    middle = {
        key: float(np.median([float(row[key]) for row in mine]))
        for key in ("median", "dispersion", "quoted_error", "beyond_errors")
    }
    stars = sum(int(row["stars"]) for row in mine)
    return {"label": name, "cluster": ALL, "stars": stars, **middle, "pull": robust_std(pull)}


def judge_clusters(rows: Sequence[AnswerRow], catalogue: str) -> Answer:
    """Fails where members of clusters scatter by more than ``MAX_PULL`` quoted errors."""
    judged = [row for row in rows if row["cluster"] == ALL and int(row["stars"]) >= MIN_STARS]
    if not judged:
        return Answer(
            Verdict.UNDECIDED,
            f"no abundance of {MIN_STARS} members of clusters with {MIN_MEMBERS} stars each in "
            f"{catalogue}",
            rows,
        )
    bad = [row for row in judged if float(row["pull"]) > MAX_PULL]
    worst = max(judged, key=lambda row: float(row["pull"]))
    clusters = len({row["cluster"] for row in rows} - {ALL})
    sentence = (
        f"{len(bad)} of {len(judged)} abundances scatter by more than {MAX_PULL:g} errors within "
        f"{clusters} clusters of {catalogue}; the widest is {worst['label']}: dispersion "
        f"{float(worst['dispersion']):.3f} dex, quoted {float(worst['quoted_error']):.3f}, "
        f"{float(worst['pull']):.2f} errors"
    )
    return Answer(Verdict.FAILED if bad else Verdict.PASSED, sentence, rows)
