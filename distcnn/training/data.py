"""Labelled stars of a survey, part by part."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distcnn import digests
from distcnn.config import SplitConfig
from distcnn.errors import TrainingError
from distcnn.model import InputSpec, StarInputs, star_inputs
from distcnn.survey import Store
from distcnn.training.split import Part, assign, identity

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Labelled:
    """N stars with reference labels.

    ``label`` and ``label_error`` [N,L] in label units, NaN = missing; ``flux_error`` [N,P], of
    width 0 if the survey has none.
    """

    source_id: Array
    inputs: StarInputs
    flux_error: Array
    label: Array
    label_error: Array

    def __len__(self) -> int:
        return len(self.source_id)

    def take(self, rows: slice | Array) -> "Labelled":
        return Labelled(
            self.source_id[rows],
            self.inputs.take(rows),
            self.flux_error[rows],
            self.label[rows],
            self.label_error[rows],
        )

    def for_quality(self) -> dict[str, Array]:
        """The arrays that ``quality.Quality.fit`` takes; what the network lacks is absent."""
        arrays = {
            "flux": self.inputs.flux,
            "flux_error": self.flux_error,
            "xp": self.inputs.xp,
            "photometry": self.inputs.photometry,
            "parallax": self.inputs.astrometry[:, :1],
        }
        used = {name: array for name, array in arrays.items() if array.shape[1]}
        if "parallax" in used:
            used["parallax"] = used["parallax"][:, 0]
        reference = {"reference": self.label, "reference_error": self.label_error}
        return used | reference | {"snr": self.inputs.snr[:, 0]}


def read_labelled(store: Store, spec: InputSpec, split: SplitConfig, *parts: Part) -> Labelled:
    """Every star of those parts that has at least one of the labels, in survey order."""
    blocks = list(_blocks(store, spec, split, parts))
    if not blocks:
        raise TrainingError(
            f"{store.path.name} has no labelled star in {_names(parts)}",
            expected="labelled stars in every part of the split",
            cure="Ingest more labelled stars, or change train.split.",
        )
    arrays = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    stars = len(arrays["source_id"])
    return Labelled(
        source_id=arrays.pop("source_id"),
        label=arrays.pop("label"),
        label_error=arrays.pop("label_error"),
        flux_error=arrays.pop("flux_error", np.empty((stars, 0), np.float32)),
        inputs=star_inputs(arrays or {"snr": np.full(stars, np.nan, np.float32)}, spec),
    )


@dataclass(frozen=True)
class Census:
    """Counts and digests of the parts; what was read of the test split is its identifiers."""

    counts: dict[str, int]
    identities: dict[str, str]
    data: str

    def to_json(self) -> dict[str, Any]:
        return {"stars": self.counts, "source_id": self.identities, "data": self.data}


def take_census(store: Store, spec: InputSpec, split: SplitConfig) -> Census:
    """Who is in which part, and a digest of all that training, stopping and calibration see.

    Raises
    ------
    TrainingError : the survey is not complete, or training, validation or calibration is empty.
    """
    if not store.attrs.get("complete", False):
        raise TrainingError(
            f"{store.path} is not complete",
            expected="a survey whose ingest has finished",
            cure="Run the same `distcnn ingest` again; it goes on where it stopped.",
        )
    ids: dict[Part, list[Array]] = {part: [] for part in Part}
    seen = []
    for block in _blocks(store, spec, split, tuple(Part)):
        part = assign(block["source_id"], split)
        for each in Part:
            ids[each].append(block["source_id"][part == each])
        used = part != Part.TEST
        seen.append(digests.of_arrays({name: array[used] for name, array in block.items()}))
    found = {part: np.concatenate([np.empty(0, np.int64), *ids[part]]) for part in Part}
    _require(found, store.path)
    return Census(
        {part.name.lower(): len(found[part]) for part in Part},
        {part.name.lower(): identity(found[part]) for part in Part},
        digests.of_value(seen),
    )


def seen_stars(store: Store, split: SplitConfig) -> Array:
    """source_ids [N] of labelled stars that training, stopping or calibration uses."""
    found = [np.empty(0, np.int64)]
    for region in store.regions():
        rows = store.read(region, ["source_id", "label"])
        labelled = np.isfinite(rows["label"]).any(axis=1)
        found.append(rows["source_id"][labelled & (assign(rows["source_id"], split) != Part.TEST)])
    return np.concatenate(found)


def _require(found: dict[Part, Array], path: Path) -> None:
    empty = [part for part in Part if part != Part.TEST and not len(found[part])]
    if empty:
        counts = ", ".join(f"{part.name.lower()} {len(ids)}" for part, ids in found.items())
        raise TrainingError(
            f"{path.name} has no labelled star in {_names(empty)} ({counts})",
            expected="labelled stars in training, validation and calibration",
            cure="Ingest more labelled stars, or change train.split.",
        )


def _blocks(
    store: Store, spec: InputSpec, split: SplitConfig, parts: tuple[Part, ...]
) -> Iterator[dict[str, Array]]:
    """Labelled rows region by region: labels first, the rest only where somebody is wanted."""
    known = [str(name) for name in store.coordinate("label")]
    columns = [known.index(name) for name in spec.labels]
    others = [name for name in spec.variables if name in store.variables]
    if spec.pixels and "flux_error" in store.variables:
        others.append("flux_error")
    for region in store.regions():
        first = store.read(region, ["source_id", "label", "label_error"])
        first["label"] = first["label"][:, columns]
        first["label_error"] = first["label_error"][:, columns]
        wanted = np.isin(assign(first["source_id"], split), parts)
        rows = np.flatnonzero(wanted & np.isfinite(first["label"]).any(axis=1))
        if rows.size:
            block = first | store.read(region, others)
            yield {name: array[rows] for name, array in block.items()}


def _names(parts: Sequence[Part]) -> str:
    return ", ".join(part.name.lower() for part in parts)
