"""Agreement: what a student costs against its ensemble, on stars that neither has seen.

Legend: N star, L label.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distcnn.arrays import Array
from distcnn.model import Package
from distcnn.quality import Quality
from distcnn.schema import Flag

UNDEFINED = float("nan")


@dataclass(frozen=True)
class ScoredPredictions:
    """Predictions of N stars, with errors and flags by the package's own quality.

    ``label``, ``error``, ``scatter`` [N,L] in label units; ``flags`` uint32 [N]; ``width_95`` [L]
    errors that hold 95.4 %.
    """

    label: Array
    error: Array
    scatter: Array
    flags: Array
    width_95: Array

    @classmethod
    def of(cls, package: Package, seen: Mapping[str, Array]) -> "ScoredPredictions":
        """``seen``: inputs, ``label``, ``noise`` and ``scatter``, as ``Quality.fit`` takes them."""
        quality = Quality.from_arrays(package.quality_arrays)
        found = quality.assess(seen, seen["label"], seen["noise"], seen["scatter"])
        width = quality.calibration.width_95
        return cls(seen["label"], found["label_error"], seen["scatter"], found["flags"], width)


def student_agreement(
    student: ScoredPredictions,
    teacher: ScoredPredictions,
    reference: Array,
    reference_error: Array,
    names: Sequence[str],
) -> dict[str, Any]:
    """What it costs to use the student.

    Parameters
    ----------
    reference, reference_error : [N,L] in label units, NaN = unknown.

    Returns
    -------
    ``labels``: rows with label, stars; ``std``, ``bias``, ``within_68``, ``within_95`` against
    the references, each also with ``_teacher``; ``ratio`` of the two std; ``apart``: rms of
    student - teacher in the teacher's errors; ``error_ratio``: median ratio of the errors;
    ``scatter_correlation`` of their logarithms (over ranks). ``flags``: rows per bit that either
    raises: ``student``, ``teacher``, ``both`` (stars).
    """
    arrays = (reference, np.nan_to_num(reference_error))
    rows = [
        {"label": name} | _row(_column(student, k), _column(teacher, k), arrays, k)
        for k, name in enumerate(names)
    ]
    return {"stars": len(reference), "labels": rows, "flags": _flags(student, teacher)}


def _column(scored: ScoredPredictions, k: int) -> ScoredPredictions:
    return ScoredPredictions(
        scored.label[:, k],
        scored.error[:, k],
        scored.scatter[:, k],
        scored.flags,
        scored.width_95[k],
    )


def _row(
    student: ScoredPredictions, teacher: ScoredPredictions, references: tuple[Array, Array], k: int
) -> dict[str, Any]:
    reference, noise = (array[:, k].astype(np.float64) for array in references)
    good = np.isfinite(reference + student.label + teacher.label + student.error + teacher.error)
    row: dict[str, Any] = {"stars": int(good.sum())}
    if row["stars"] < 2:
        return row
    row |= _against(student, reference, noise, good)
    row |= {f"{key}_teacher": v for key, v in _against(teacher, reference, noise, good).items()}
    gap = (student.label - teacher.label)[good] / teacher.error[good]
    return row | {
        "ratio": row["std"] / row["std_teacher"] if row["std_teacher"] > 0 else UNDEFINED,
        "apart": float(np.sqrt(np.square(gap, dtype=np.float64).mean())),
        "error_ratio": float(np.median(student.error[good] / teacher.error[good])),
        "scatter_correlation": _rank_correlation(student.scatter[good], teacher.scatter[good]),
    }


def _against(
    scored: ScoredPredictions, reference: Array, noise: Array, good: Array
) -> dict[str, float]:
    residual = (scored.label - reference)[good]
    pull = np.abs(residual) / np.hypot(scored.error, noise)[good]
    return {
        "std": float(residual.std()),
        "bias": float(residual.mean()),
        "within_68": float((pull <= 1).mean()),
        "within_95": float((pull <= scored.width_95).mean()),
    }


def _rank_correlation(first: Array, second: Array) -> float:
    """Spearman's, so that the few with the largest scatter do not decide alone."""
    one, other = (np.argsort(np.argsort(v, kind="stable")).astype(float) for v in (first, second))
    return float(np.corrcoef(one, other)[0, 1])


def _flags(student: ScoredPredictions, teacher: ScoredPredictions) -> list[dict[str, Any]]:
    rows = []
    for flag in Flag:
        ours, theirs = ((each.flags & flag) != 0 for each in (student, teacher))
        if (ours | theirs).any():
            counts = {"student": ours, "teacher": theirs, "both": ours & theirs}
            rows.append({"flag": flag.name} | {k: int(v.sum()) for k, v in counts.items()})
    return rows
