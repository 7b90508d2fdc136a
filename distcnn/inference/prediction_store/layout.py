"""Layout of a prediction store: its rows, chunks and regions, and what it says of itself.

It follows from survey and package alone, never from the workers.
"""

from typing import Any

import numpy as np

from distcnn import __version__
from distcnn.config import PredictConfig
from distcnn.inference.worker.compute import COPIED_IF_THERE
from distcnn.labels import ATTRIBUTE, label_info
from distcnn.location import Location
from distcnn.model import Package
from distcnn.model.networks.covariance import pair_names
from distcnn.quality import Quality
from distcnn.schema import (
    LABEL,
    NAME,
    NAME_BYTES,
    PAIR,
    PREDICTION_VARIABLES,
    STAR,
    Flag,
    Variable,
)
from distcnn.survey import SNR_INTERVAL, Coordinate, Layout, Store, Tiles, tile

Attrs = dict[str, Any]
DEAD_LETTERS = "dead_letters.jsonl"
"""Beside the ledger: the stars that could not be computed, with reasons."""
MAX_CHUNK_STARS = 16_384
"""Most stars in a chunk of predictions, unless the survey's chunks have more."""
MIN_REGIONS = 64
"""Regions that a survey is cut into at least, if they do not become too small: at the end of a
run every worker but one waits for the last region."""
MIN_REGION_STARS = 4096
"""Below this the fixed costs of a region (files, a task, a line in the ledger) would show."""


def layout(
    package: Package, survey: Store, predictions: Location, config: PredictConfig, requested: Attrs
) -> Layout:
    """The prediction store of a survey: one row per star, in the survey's order and shards."""
    labels, pairs = np.array(package.labels), np.array(pair_names(package.labels), dtype=str)
    own = package.manifest.own_labels
    units = {"units_of": {name: label_info(name, own).unit for name in package.labels}}
    coordinates = {LABEL: Coordinate(LABEL, labels, units), PAIR: Coordinate(PAIR, pairs)}
    # Zarr knows no arrays of width 0, and a single label has no pairs.
    dims = {STAR, LABEL, PAIR} if pairs.size else {STAR, LABEL}
    dims |= {NAME} if "name" in survey.variables else set()
    return Layout(
        kind="predictions",
        sizes={STAR: survey.stars, LABEL: labels.size, PAIR: pairs.size, NAME: NAME_BYTES},
        chunk_stars=_chunk(survey.chunk_stars, region_stars(survey)),
        shard_stars=region_stars(survey),
        variables=_variables(survey, dims),
        coordinates={name: c for name, c in coordinates.items() if name in dims},
        attrs=_attrs(package, survey, config) | provenance(package, survey, predictions, requested),
        row_key=survey.row_key,
    )


def _variables(survey: Store, dims: set[str]) -> tuple[Variable, ...]:
    """Those of the schema, and what else the rows of the survey are known by."""
    absent = {name for name in COPIED_IF_THERE if name not in survey.variables}
    known = tuple(
        v for v in PREDICTION_VARIABLES.values() if dims.issuperset(v.dims) and v.name not in absent
    )
    return (*(v for v in survey.row_key.variables if v.name not in PREDICTION_VARIABLES), *known)


def region_stars(survey: Store) -> int:
    """Stars of a region of predictions: a shard of the survey, or of few stars a part of one.

    It follows from the survey alone, never from the workers: with any number of them the same
    files are made, and a run can be resumed by another number.
    """
    size = survey.shard_stars
    while (
        size % (2 * survey.chunk_stars) == 0
        and size // 2 >= MIN_REGION_STARS
        and survey.stars < MIN_REGIONS * size
    ):
        size //= 2
    return size


def regions_of(survey: Store, predictions: Location) -> Tiles:
    """All regions of a run: those of the prediction store, or what they will be.

    Raises
    ------
    StoreError : the path holds something else.
    """
    if predictions.exists():
        return Store.open(predictions, "predictions").regions()
    return tile(survey.stars, shard=region_stars(survey))


def _chunk(chunk: int, shard: int) -> int:
    """Stars in a chunk of predictions: a multiple of the survey's chunks that divides a shard.

    The largest one within ``MAX_CHUNK_STARS``: a star's results are few bytes, and a chunk costs
    the same however large it is.
    """
    parts = shard // chunk
    fitting = (n * chunk for n in range(1, parts + 1) if parts % n == 0)
    return max(rows for rows in fitting if rows <= max(chunk, MAX_CHUNK_STARS))


def _attrs(package: Package, survey: Store, config: PredictConfig) -> Attrs:
    return {
        "complete": False,
        "distcnn_version": __version__,
        "labels": list(package.labels),
        **({ATTRIBUTE: own} if (own := package.manifest.own_labels) else {}),
        "release": survey.attrs.get("release"),
        **({SNR_INTERVAL: interval} if (interval := survey.attrs.get(SNR_INTERVAL)) else {}),
        "bands": list(package.spec.bands),
        "engine": {"members": package.size},
        "settings": config.model_dump(mode="json"),
        "flags": {flag.name: {"bit": int(flag), "text": flag.sentence} for flag in Flag},
        "limits": _limits(Quality.from_arrays(package.quality_arrays)),
    }


def provenance(package: Package, survey: Store, predictions: Location, requested: Attrs) -> Attrs:
    """Package and survey: digests, and paths relative to the prediction store."""
    sources = {"package": package.location, "survey": survey.location}
    found: Attrs = {
        name: {"path": source.relative_to(predictions), "digest": requested[name]}
        for name, source in sources.items()
    }
    found["survey"]["name"] = survey.attrs.get("survey")
    return {**found, "fingerprint": requested}


def _limits(quality: Quality) -> dict[str, list[float | None]]:
    # JSON has no NaN: a side without a limit is null.
    limits = quality.limits
    boxes = {
        "label_low": limits.label[:, 0],
        "label_high": limits.label[:, 1],
        "reference_magnitude": limits.magnitude,
        "parallax": limits.parallax,
    }
    return {
        name: [float(v) if np.isfinite(v) else None for v in np.ravel(box)]
        for name, box in boxes.items()
    }
