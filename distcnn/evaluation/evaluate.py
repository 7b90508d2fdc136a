"""Evaluate: everything that a report states as a number, from finished products."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from distcnn.arrays import Array
from distcnn.config import ReportConfig
from distcnn.evaluation.data import EvaluationData
from distcnn.evaluation.distrust import distrusted, label_ranges
from distcnn.evaluation.metrics import (
    FAINT_SNR,
    accuracy,
    calibration_shares,
    comparison,
    coverage,
    defect_rows,
    flag_rows,
    quarantine_rows,
    throughput,
)
from distcnn.evaluation.records import Evaluation, PackageTables
from distcnn.evaluation.sample import STAGE, Counts, Sample, read_sample
from distcnn.evaluation.subgroups import attenuation, metallicity_bias, population_coverage
from distcnn.events import Listener, StageEnded, silent
from distcnn.location import Address, Location
from distcnn.manifest import Manifest
from distcnn.survey import Store


def evaluate(
    data: EvaluationData, config: ReportConfig, listener: Listener = silent
) -> tuple[Evaluation, Sample]:
    """The numbers, and the stars that figures draw.

    Raises
    ------
    StoreError : a store cannot be used, or the predictions do not belong to the survey.
    FileBroken, ColumnMissing : truth or quarantine table cannot be used.
    """
    sample, counts, names = read_sample(data, config, listener)
    edges = config.snr_edges
    numbers = _numbers(data, sample, counts, names, edges)
    listener(StageEnded(STAGE, {"stars": numbers.stars, "evaluated": numbers.judged}))
    return numbers, sample


def _numbers(
    data: EvaluationData,
    sample: Sample,
    counts: Counts,
    names: tuple[str, ...],
    edges: Sequence[float],
) -> Evaluation:
    stated = _width_95(data, names), _calibration(data, sample)
    bare = Evaluation(
        stars=counts.stars,
        status=counts.status,
        unflagged=counts.unflagged,
        judged=int(sample.evaluated.sum()),
        judged_against="truth" if data.truth else "references",
        simulated=bool(data.truth),
        labels=names,
        accuracy=accuracy(sample, names, edges),
        comparison=comparison(sample, names),
        coverage=coverage(sample, names, edges, *stated),
        cells=population_coverage(sample, names, *stated),
        attenuation=_known(attenuation(sample, names, edges), "slope"),
        poor=metallicity_bias(sample, names, FAINT_SNR),
        package=package_tables(data.manifest or Manifest()),
        flags=flag_rows(counts),
        trouble=defect_rows(sample),
        quarantine=[] if data.survey is None else quarantine_rows(_quarantine(data.survey)),
        throughput=throughput(data.ledger or _ledger(data.predictions)),
        completeness=counts.completeness.tables(),
        ranges=label_ranges(sample, names, *stated),
    )
    return replace(bare, distrust=distrusted(bare))


def _width_95(data: EvaluationData, names: tuple[str, ...]) -> tuple[float, ...] | None:
    width = data.manifest.label_width_95 if data.manifest else ()
    return width if len(width) == len(names) else None


def _calibration(data: EvaluationData, sample: Sample) -> Array | None:
    """[N, L] effective calibration stars that a star stands for; None where nobody says."""
    if data.manifest is None:
        return None
    stars = data.manifest.label_calibration_stars
    return calibration_shares(sample, stars, data.manifest.label_reference_error)


def package_tables(manifest: Manifest) -> PackageTables:
    """What the package says of itself, from its calibration split; older ones say less."""
    covered = _known(manifest.coverage, "within_68")
    return {
        "coverage": [cast(Any, {"cell": "all"} | row) for row in covered],
        "ensemble_size": _known(manifest.ensemble_size, "within_68"),
        "attenuation": _known(manifest.attenuation, "slope"),
    }


def _known(rows: Iterable[Mapping[str, Any]], key: str) -> Any:
    """The rows that have a finite ``key``, without the values that are not finite."""
    finite = [
        {k: v for k, v in row.items() if isinstance(v, str) or (v is not None and math.isfinite(v))}
        for row in rows
    ]
    return [row for row in finite if key in row]


def _quarantine(survey: Address) -> Location:
    return Store.open(survey, "survey").private / "quarantine.parquet"


def _ledger(predictions: Address) -> Location:
    return Store.open(predictions, "predictions").private / "ledger.jsonl"
