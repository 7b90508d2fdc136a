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
from distcnn.ingest.assembly.repeats import coadded, kept_rows
from distcnn.ingest.plan import further_scalars
from distcnn.ingest.preprocess.velocity import ERROR, SHIFT, VELOCITY, stored_frame
from distcnn.ingest.readers.base import XP_COEFFICIENTS
from distcnn.ingest.staging.columns import Part
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
from distcnn.survey import (
    KEPT_FRAME,
    SPECTRUM_KEY,
    STAR_KEY,
    Coordinate,
    Layout,
    Quantised,
    Region,
    snr_sentence,
)


@dataclass(frozen=True)
class RowSlice:
    """Kept rows [start, stop) of a part."""

    part: Path
    start: int
    stop: int


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
        means = coadded(part, rows, names)
        for name in names:
            if name in means:
                values: Array = means[name]
            elif name not in part.columns:  # a part of a file without errors
                values = np.full((len(rows), *out_shape(out, name)), np.nan, np.float32)
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


def every_spectrum(config: IngestConfig) -> bool:
    """Whether every spectrum of a star is a row of the survey."""
    return config.spectra is not None and config.repeats == "each"


def variable_names(config: IngestConfig, *, has_error: bool, has_names: bool = False) -> list[str]:
    """Variables of the survey: a modality that it lacks is not among them."""
    names = ["source_id", "ra", "dec", "snr", *(["name"] if has_names else [])]
    names += ["spectrum_id"] if every_spectrum(config) else []
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
        row_key=SPECTRUM_KEY if every_spectrum(config) else STAR_KEY,
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
    alone = {KEPT_FRAME: given.frame} if kept else {}
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
