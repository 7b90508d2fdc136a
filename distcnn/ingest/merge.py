"""From parts to rows of the survey: who is dropped, who goes where, what the store looks like."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from distcnn.arrays import Array
from distcnn.config import GridConfig, IngestConfig
from distcnn.ingest.plan import further_scalars
from distcnn.ingest.preprocess.velocity import ERROR, SHIFT, VELOCITY, stored_frame
from distcnn.ingest.readers.base import XP_COEFFICIENTS, Rejected
from distcnn.ingest.staging.columns import Part, to_lines
from distcnn.ingest.staging.part import PartRecord
from distcnn.labels import label_info
from distcnn.location import Location
from distcnn.schema import (
    BAND,
    COEFFICIENT,
    LABEL,
    NAME,
    NAME_BYTES,
    PIXEL,
    STAR,
    SURVEY_VARIABLES,
    Reason,
)
from distcnn.survey import STAR_KEY, Coordinate, Layout, Quantised, Region, snr_sentence

MAX_IDS_IN_MEMORY = 4_000_000
"""Identifiers compared at a time when stars are sought that stand in several files."""
_DROPPED = "dropped.npy"


@dataclass(frozen=True)
class RowSlice:
    """Kept rows [start, stop) of a part."""

    part: Path
    start: int
    stop: int


def kept_rows(part: Part) -> Array:
    """Rows of a part that go into the survey."""
    keep = part.read("keep")
    dropped = part.path / _DROPPED
    if dropped.exists():
        keep[np.load(dropped)] = False
    return np.flatnonzero(keep)


def drop_duplicates(folder: Path, records: Mapping[str, PartRecord], rejected: Path) -> int:
    """Find stars that stand in more than one part; the first part in order keeps them.

    Notes the dropped rows beside each part, writes them to ``rejected`` as rejected rows, and
    returns their number. Only parts whose ranges of source_id overlap are looked at, some
    millions of identifiers at a time.
    """
    order = {name: number for number, name in enumerate(records)}
    dropped: dict[str, list[Array]] = {}
    for group in _overlapping(records):
        parts = {name: Part(folder / name) for name in sorted(group, key=order.__getitem__)}
        low = min(records[name].first_id for name in group)
        high = max(records[name].last_id for name in group) + 1
        for found in _repeats(parts, low, high):
            for name, rows in found.items():
                dropped.setdefault(name, []).append(rows)
    count = 0
    with rejected.open("wb") as stream:
        for name in order:
            marker = folder / name / _DROPPED
            marker.unlink(missing_ok=True)
            if name in dropped:
                rows = np.sort(np.concatenate(dropped[name]))
                np.save(marker, rows)
                stream.write(_rejections(Part(folder / name), rows))
                count += len(rows)
    return count


def _overlapping(records: Mapping[str, PartRecord]) -> Iterator[list[str]]:
    """Groups of parts whose ranges of source_id touch one another."""
    known = [name for name in records if records[name].kept]
    group: list[str] = []
    end = -1
    for name in sorted(known, key=lambda name: (records[name].first_id, name)):
        if records[name].first_id > end and group:
            if len(group) > 1:
                yield group
            group = []
        group.append(name)
        end = max(end, records[name].last_id)
    if len(group) > 1:
        yield group


def _repeats(parts: Mapping[str, Part], low: int, high: int) -> Iterator[dict[str, Array]]:
    """Rows of parts whose star, in [low, high), stands in an earlier part."""
    ids: list[Array] = []
    rows: list[Array] = []
    for part in parts.values():
        keep = part.read("keep")
        source_id = part.read("source_id")
        row = np.flatnonzero(keep & (source_id >= low) & (source_id < high))
        rows.append(row)
        ids.append(source_id[row])
        # Too many at once: look at each half of the range by itself, from the first part again.
        if sum(map(len, ids)) > MAX_IDS_IN_MEMORY and high - low > 1:
            middle = low + (high - low) // 2
            yield from _repeats(parts, low, middle)
            yield from _repeats(parts, middle, high)
            return
    every = np.concatenate(ids)
    # Parts stand in order, so the first place of a star is the one that keeps it.
    repeated = ~STAR_KEY.first_of_each({"source_id": every})
    cuts = np.cumsum([len(row) for row in rows])[:-1]
    found = zip(parts, rows, np.split(repeated, cuts), strict=True)
    yield {name: row[mask] for name, row, mask in found if mask.any()}


def _rejections(part: Part, rows: Array) -> bytes:
    source_id, number, file = (part.read(name) for name in ("source_id", "row", "file"))
    kind, files = part.origin()
    detail = "this star stands in an earlier file already"
    rejected = (
        Rejected(files[file[r]], int(number[r]), int(source_id[r]), Reason.DUPLICATE, detail)
        for r in rows
    )
    return to_lines(kind, rejected)


def row_slices(folder: Path, counts: Mapping[str, int], region: Region) -> tuple[RowSlice, ...]:
    """The kept rows of parts that make up a region."""
    found = []
    begin = 0
    for name, count in counts.items():
        start, stop = max(region.start - begin, 0), min(region.stop - begin, count)
        if start < stop:
            found.append(RowSlice(folder / name, start, stop))
        begin += count
    return tuple(found)


def read_slices(slices: Sequence[RowSlice], names: Sequence[str]) -> dict[str, Array]:
    """Columns of a region from its parts."""
    out: dict[str, Array] = {}
    total = sum(row_slice.stop - row_slice.start for row_slice in slices)
    at = 0
    for row_slice in slices:
        part = Part(row_slice.part)
        rows = kept_rows(part)[row_slice.start : row_slice.stop]
        first, last = int(rows[0]), int(rows[-1]) + 1
        stop = at + len(rows)
        for name in names:
            if name not in part.columns:  # a part of a file without errors
                values: Array = np.full((len(rows), *out_shape(out, name)), np.nan, np.float32)
            else:
                values = part.read(name, first, last)[rows - first]
            if name not in out:
                out[name] = np.empty((total, *values.shape[1:]), values.dtype)
            out[name][at:stop] = values
        at = stop
    return out


def out_shape(out: Mapping[str, Array], name: str) -> tuple[int, ...]:
    """Shape of a row of a column that a part lacks: flux_error has that of flux."""
    return tuple(out["flux" if name == "flux_error" else name].shape[1:])


def variable_names(config: IngestConfig, *, has_error: bool, has_names: bool = False) -> list[str]:
    """Variables of the survey: a modality that it lacks is not among them."""
    names = ["source_id", "ra", "dec", "snr", *(["name"] if has_names else [])]
    if config.spectra is not None:
        names += ["flux", "mask"]
        names += ["flux_error"] if has_error and config.store.keep_flux_error else []
    if config.xp is not None:
        names += ["xp", "xp_error"]
    if config.source is not None:
        names += ["parallax", "parallax_error"]
        names += ["photometry"] if config.bands else []
        names += further_scalars(config)
    if config.velocity_files is not None:
        names += [VELOCITY, ERROR]
    if config.labels is not None:
        names += ["label", "label_error", "label_snr"]
    return names


def survey_layout(
    config: IngestConfig,
    stars: int,
    wavelength: Array | None,
    *,
    error_dtype: str | None,
    attrs: Mapping[str, Any],
    grid: GridConfig | None = None,
    flux_unit: str = "",
    has_names: bool = False,
) -> Layout:
    """The store of a survey of so many stars.

    Parameters
    ----------
    error_dtype : of the errors of flux; None if there are none.
    grid : the grid of the files, with what they say of it; None = as configured.
    flux_unit : unit of fluxes that are stored as the files have them.
    has_names : whether the files call stars by names, which are kept.
    """
    names = variable_names(config, has_error=error_dtype is not None, has_names=has_names)
    variables = [SURVEY_VARIABLES[name] for name in names]
    store, quantised = config.store, {}
    if store.flux_encoding == "int16":
        quantised["flux"] = Quantised(store.flux_step, 1.0)
    dtypes: dict[str, str] = {} if quantised else {"flux": store.flux_encoding}
    dtypes |= {"flux_error": error_dtype} if error_dtype else {}
    units = dict.fromkeys(("flux", "flux_error"), flux_unit) if flux_unit else {}
    texts = {"snr": snr_sentence(config.snr.stated)}
    variables = [
        replace(
            v,
            dtype=dtypes.get(v.name, v.dtype),
            unit=units.get(v.name, v.unit),
            description=texts.get(v.name, v.description),
        )
        for v in variables
    ]
    sizes = {STAR: stars}
    coordinates: dict[str, Coordinate] = {}
    if wavelength is not None:
        sizes[PIXEL] = len(wavelength)
        given = config.grid if grid is None else grid
        described = _wavelength_attrs(config, config.prepare.target or given, given)
        coordinates["wavelength"] = Coordinate(PIXEL, wavelength, described)
    if has_names:
        sizes[NAME] = NAME_BYTES
    if "xp" in names:
        sizes[COEFFICIENT] = 2 * XP_COEFFICIENTS
    if "photometry" in names:
        sizes[BAND] = len(config.bands)
        coordinates["band"] = Coordinate(BAND, np.array(config.bands), {"units": "mag"})
    if config.labels is not None:
        sizes[LABEL] = len(config.labels.labels)
        coordinates["label"] = Coordinate(LABEL, np.array(config.labels.labels), _units(config))
    return Layout(
        kind="survey",
        sizes=sizes,
        chunk_stars=store.chunk_stars,
        shard_stars=store.shard_stars,
        variables=tuple(variables),
        coordinates=coordinates,
        attrs=dict(attrs),
        quantised=quantised if "flux" in names else {},
    )


def _wavelength_attrs(config: IngestConfig, grid: GridConfig, given: GridConfig) -> dict[str, Any]:
    """What is said of stored wavelengths; ``given`` is the grid of the files."""
    attrs = {
        "units": grid.unit,
        "unit": grid.unit,
        "medium": grid.medium,
        "frame": stored_frame(config, given),
        "spacing": grid.spacing,
        "normalisation": config.prepare.normalisation,
    }
    shift = config.prepare.rest_frame
    if shift is None:
        return attrs
    kept = shift.missing == "keep"
    alone = {"frame_without_velocity": given.frame} if kept else {}
    return attrs | {"frame_of_files": given.frame, "shift": SHIFT} | alone


def _units(config: IngestConfig) -> dict[str, Any]:
    assert config.labels is not None
    own = config.labels.own
    return {"unit_of": {name: label_info(name, own).unit for name in config.labels.labels}}


# --- quarantined rows ------------------------------------------------------------------------

_TEXTS, _NUMBERS = ("kind", "file", "reason", "detail"), ("row", "source_id")
_ROWS_AT_ONCE = 20_000
SCHEMA = pa.schema([(n, pa.string()) for n in _TEXTS] + [(n, pa.int64()) for n in _NUMBERS])


def write_quarantine(place: Location, lists: Iterable[Path], archive: Path) -> dict[str, int]:
    """Join lists of rejected rows (JSON lines) to one table; files are named within the archive.

    Returns the number of rows by reason. Streams: the lists may be long. A file that cannot be
    used stands there once, however many parts asked it for stars.
    """
    reasons: dict[str, int] = {}
    unusable: set[tuple[str, str]] = set()
    with place.new_file() as draft, pq.ParquetWriter(draft, SCHEMA) as writer:
        for batch in _batches(lists):
            rows = [row for row in batch if not _is_repeated(row, unusable)]
            for row in rows:
                row["file"] = row["file"].removeprefix(f"{archive}/")
                reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
            writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
    return dict(sorted(reasons.items()))


def _is_repeated(row: Mapping[str, Any], unusable: set[tuple[str, str]]) -> bool:
    if row["reason"] != Reason.UNUSABLE_FILE:
        return False
    key = row["kind"], row["file"]
    known = key in unusable
    unusable.add(key)
    return known


def _batches(lists: Iterable[Path]) -> Iterator[list[dict[str, Any]]]:
    for path in lists:
        with path.open("rb") as stream:
            while lines := list(islice(stream, _ROWS_AT_ONCE)):
                yield [orjson.loads(line) for line in lines]
