"""Labelled stars of a survey, part by part."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distcnn import hashing
from distcnn.arrays import Array
from distcnn.config import SplitConfig
from distcnn.errors import TrainingError
from distcnn.location import Location
from distcnn.model import InputSpec, StarInputs, star_inputs
from distcnn.survey import Region, Store
from distcnn.survey.rows import digest_of_ids
from distcnn.survey.split import NO_FOLD, Split, assign_fold, assign_split

READ_ROWS = 4096
"""Stars read at once, so that what is held beside them does not depend on the size of shards."""
MAX_STARS_IN_MEMORY = 30_000
"""Most stars of validation, calibration or test that are held, taken evenly from all of them."""


@dataclass(frozen=True)
class Labelled:
    """N stars with reference labels.

    ``label`` and ``label_error`` [N,L] in label units, NaN = missing; ``flux_error`` [N,P], of
    width 0 if the survey has none; ``position`` [N,2], right ascension and declination [deg], NaN =
    unknown.
    """

    source_id: Array
    inputs: StarInputs
    flux_error: Array
    label: Array
    label_error: Array
    position: Array

    def __len__(self) -> int:
        return len(self.source_id)

    def take(self, rows: slice | Array) -> "Labelled":
        return Labelled(
            self.source_id[rows],
            self.inputs.take(rows),
            self.flux_error[rows],
            self.label[rows],
            self.label_error[rows],
            self.position[rows],
        )

    def for_quality(self) -> dict[str, Array]:
        """The arrays that ``quality.Quality.fit`` takes; what the network lacks is absent."""
        inputs = self.inputs.variables()
        errors = {"flux_error": self.flux_error} if self.flux_error.shape[1] else {}
        return inputs | errors | {"reference": self.label, "reference_error": self.label_error}


DEVELOPMENT = (Split.TRAIN, Split.VALIDATION, Split.CALIBRATION)
"""All that may be seen before a package is finished."""


def find_rows(
    store: Store, spec: InputSpec, split: SplitConfig, *parts: Split, fold: int | None = None
) -> Array:
    """Row numbers, int64 [N], of the stars of those parts that have at least one of the labels.

    ``fold`` : the parts are those of the members that hold it out; see ``assign_split``.
    """
    columns = _label_columns(store, spec)
    found = [np.empty(0, np.int64)]
    for region in store.regions():
        rows = store.read(region, ["source_id", "label"])
        wanted = np.isin(assign_split(rows["source_id"], split, fold), parts)
        labelled = np.isfinite(rows["label"][:, columns]).any(axis=1)
        found.append(region.start + np.flatnonzero(wanted & labelled))
    return np.concatenate(found)


def evenly_spaced(rows: Array, most: int | None) -> Array:
    """At most that many of the rows, at even distances."""
    if most is None or len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def read_rows(store: Store, spec: InputSpec, rows: Array) -> Iterator[Labelled]:
    """Stars at ascending row numbers, a few thousand at a time."""
    columns, size = _label_columns(store, spec), rows_per_read(store)
    cuts = np.flatnonzero(np.diff(rows // size)) + 1
    for some in np.split(rows, cuts) if len(rows) else []:
        start = int(some[0] // size) * size
        region = Region(start, min(start + size, store.stars))
        block = _read(store, spec, region, columns)
        yield _labelled({name: array[some - start] for name, array in block.items()}, spec)


def read_stars(store: Store, spec: InputSpec, rows: Array) -> Labelled:
    """The stars at ascending row numbers, all in memory."""
    return join_stars(list(read_rows(store, spec, rows)))


def read_labelled(
    store: Store, spec: InputSpec, split: SplitConfig, *parts: Split, most: int | None = None
) -> Labelled:
    """Stars of those parts that have at least one of the labels, in survey order.

    Parameters
    ----------
    most : how many to read, evenly taken from all; None = all.
    """
    rows = evenly_spaced(find_rows(store, spec, split, *parts), most)
    if not len(rows):
        raise TrainingError(
            f"{store.location.name} has no labelled star in {_names(parts)}",
            expected="labelled stars in every part of the split",
            cure="Ingest more labelled stars, or change train.split.",
        )
    return read_stars(store, spec, rows)


def read_labels(store: Store, spec: InputSpec, rows: Array) -> Array:
    """Labels [N,L] of the stars at those rows."""
    columns = _label_columns(store, spec)
    found = [np.empty((0, len(columns)), np.float32)]
    for region in store.regions():
        inside = rows[(rows >= region.start) & (rows < region.stop)] - region.start
        if inside.size:
            found.append(store.read(region, ["label"])["label"][inside][:, columns])
    return np.concatenate(found)


@dataclass(frozen=True)
class SplitSummary:
    """Counts and digests of the parts; what was read of the test split is its identifiers.

    Of folds all three parts are the stars outside test: each trains, stops and calibrates some
    members.
    """

    counts: dict[str, int]
    identities: dict[str, str]
    data: str

    def to_json(self) -> dict[str, Any]:
        return {"stars": self.counts, "source_id": self.identities, "data": self.data}


def summarise_split(store: Store, spec: InputSpec, split: SplitConfig) -> SplitSummary:
    """Who is in which part, and a digest of all that training, stopping and calibration see.

    Raises
    ------
    TrainingError : the survey is not complete, training, validation or calibration is empty, or
        a label has no value there.
    """
    if not store.attrs.get("complete", False):
        raise TrainingError(
            f"{store.location} is not complete",
            expected="a survey whose ingest has finished",
            cure="Run the same `distcnn ingest` again; it goes on where it stopped.",
        )
    rows = find_rows(store, spec, split, *Split)
    ids, seen = [np.empty(0, np.int64)], []
    folds = range(split.folds) if split.cross_fitted else [None]
    values = np.zeros((len(folds), len(Split), len(spec.labels)), np.int64)
    for block in _blocks(store, spec, rows):
        ids.append(block["source_id"])
        known = np.isfinite(block["label"])
        for place, fold in enumerate(folds):
            part = assign_split(block["source_id"], split, fold)
            values[place] += [known[part == each].sum(axis=0) for each in Split]
        used = assign_split(block["source_id"], split) != Split.TEST
        seen.append(hashing.of_arrays({name: array[used] for name, array in block.items()}))
    everyone = np.concatenate(ids)
    for place, fold in enumerate(folds):
        _require(_by_part(everyone, assign_split(everyone, split, fold)), store.location)
        _require_values(values[place], spec.labels, store.location)
    found = _by_part(everyone, assign_split(everyone, split))
    if split.cross_fitted:
        found |= dict.fromkeys(DEVELOPMENT, everyone[assign_fold(everyone, split) != NO_FOLD])
    return SplitSummary(
        {part.name.lower(): len(found[part]) for part in Split},
        {part.name.lower(): digest_of_ids(found[part]) for part in Split},
        hashing.of_value(seen),
    )


def seen_stars(store: Store, split: SplitConfig) -> Array:
    """source_ids [N] of labelled stars that training, stopping or calibration uses."""
    found = [np.empty(0, np.int64)]
    for region in store.regions():
        rows = store.read(region, ["source_id", "label"])
        labelled = np.isfinite(rows["label"]).any(axis=1)
        found.append(
            rows["source_id"][labelled & (assign_split(rows["source_id"], split) != Split.TEST)]
        )
    return np.concatenate(found)


def _by_part(source_id: Array, part: Array) -> dict[Split, Array]:
    return {each: source_id[part == each] for each in Split}


def _require(found: dict[Split, Array], path: Location) -> None:
    empty = [part for part in Split if part != Split.TEST and not len(found[part])]
    if empty:
        counts = ", ".join(f"{part.name.lower()} {len(ids)}" for part, ids in found.items())
        raise TrainingError(
            f"{path.name} has no labelled star in {_names(empty)} ({counts})",
            expected="labelled stars in training, validation and calibration",
            cure="Ingest more labelled stars, or change train.split.",
        )


def _require_values(values: Array, labels: Sequence[str], path: Location) -> None:
    """``values`` [parts, L]: stars that have each label."""
    for part in (Split.TRAIN, Split.VALIDATION, Split.CALIBRATION):
        missing = [name for name, count in zip(labels, values[part], strict=True) if not count]
        if missing:
            others = [name for name in labels if name not in missing]
            raise TrainingError(
                f"no star of {path.name} in {_names([part])} has a value of {', '.join(missing)}",
                expected="values of every label in training, validation and calibration",
                cure=f"Leave them out with train.labels=[{', '.join(others)}], check their columns "
                "in ingest.labels.columns, or change train.split.",
            )


def _blocks(store: Store, spec: InputSpec, rows: Array) -> Iterator[dict[str, Array]]:
    for part in read_rows(store, spec, rows):
        yield {
            "source_id": part.source_id,
            "label": part.label,
            "label_error": part.label_error,
            "flux_error": part.flux_error,
            **part.inputs.arrays,
        }


def _label_columns(store: Store, spec: InputSpec) -> list[int]:
    known = [str(name) for name in store.coordinate("label")]
    return [known.index(name) for name in spec.labels]


def rows_per_read(store: Store) -> int:
    """Rows read at once: whole chunks."""
    return max(1, READ_ROWS // store.chunk_stars) * store.chunk_stars


def _read(store: Store, spec: InputSpec, region: Region, columns: list[int]) -> dict[str, Array]:
    names = ["source_id", "label", "label_error", "ra", "dec", *spec.variables]
    if spec.pixels:
        names.append("flux_error")
    block = store.read(region, [name for name in names if name in store.variables])
    block["label"] = block["label"][:, columns]
    block["label_error"] = block["label_error"][:, columns]
    return block


def _labelled(arrays: dict[str, Array], spec: InputSpec) -> Labelled:
    stars = len(arrays["source_id"])
    unknown = np.full(stars, np.nan)
    angles = [arrays.pop(name, unknown) for name in ("ra", "dec")]
    return Labelled(
        position=np.stack(angles, axis=1),
        source_id=arrays.pop("source_id"),
        label=arrays.pop("label"),
        label_error=arrays.pop("label_error"),
        flux_error=arrays.pop("flux_error", np.empty((stars, 0), np.float32)),
        inputs=star_inputs(arrays or {"snr": np.full(stars, np.nan, np.float32)}, spec),
    )


def join_stars(parts: Sequence[Labelled]) -> Labelled:
    """Parts, at least one, one after the other."""
    return Labelled(
        np.concatenate([part.source_id for part in parts]),
        StarInputs.joined([part.inputs for part in parts]),
        np.concatenate([part.flux_error for part in parts]),
        np.concatenate([part.label for part in parts]),
        np.concatenate([part.label_error for part in parts]),
        np.concatenate([part.position for part in parts]),
    )


def _names(parts: Sequence[Split]) -> str:
    return ", ".join(part.name.lower() for part in parts)
