"""Compute: rows of a survey to rows of a prediction store, a block at a time.

Rows are computed in blocks of whole chunks from the start of a region, and in batches of one
size from the start of each block. So every star always stands in the same batch, whoever
computes it and whenever, and results are the same to the bit.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from distcnn.arrays import Array
from distcnn.errors import StoreCorrupt
from distcnn.inference.compatibility import band_names, reference_column
from distcnn.inference.worker.predictor import (
    CORRELATION,
    DERIVED,
    LABELLED,
    RECOMMENDATION,
    Predictor,
)
from distcnn.model.devices import worker_threads
from distcnn.schema import Flag, Status
from distcnn.survey import Region, RowKey, Store, not_at_rest, to_float32

Arrays = dict[str, Array]

COPIED = ("ra", "dec", "snr", "parallax")
COPIED_IF_THERE = ("name", "velocity", "velocity_error")
NOT_FINITE = "the network gave a value that is not finite"


@dataclass(frozen=True)
class RegionTask:
    """One region to compute.

    ``lenient``: stars whose data cannot be read fail, instead of the region.
    ``failed``: rows known to break the computation, with the reason; they are left out.
    """

    region: Region
    lenient: bool = False
    failed: tuple[tuple[int, str], ...] = ()


@dataclass
class Computed:
    """Rows of a prediction store, why some of them failed, and seconds spent."""

    arrays: Arrays
    reasons: dict[int, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass
class _Block:
    """Rows as read: variables of the survey, and the rows that could not be read."""

    rows: Region
    arrays: Arrays
    reasons: dict[int, str]
    seconds: float


READ_AT_ONCE = 4096
"""Least stars read at a time: opening a chunk costs as much as decoding a thousand stars."""


def block_rows(chunk: int, batch: int, read: int = READ_AT_ONCE) -> int:
    """Stars read at a time: whole chunks, and whole batches where chunks allow."""
    least = max(read, batch)
    return chunk * -(-least // chunk)


def blocks(region: Region, step: int) -> list[Region]:
    """A region in pieces of ``step`` rows from its start."""
    starts = range(region.start, region.stop, step)
    return [Region(start, min(start + step, region.stop)) for start in starts]


def compute(
    predictor: Predictor,
    survey: Store,
    task: RegionTask,
    batch: int,
    step: int,
) -> Computed:
    """Every variable of the prediction store for the rows of a task.

    Parameters
    ----------
    batch : stars per forward pass.
    step : stars read at a time, from ``block_rows`` and the batch before any halving.

    Raises
    ------
    StoreCorrupt : the survey cannot be read there (``lenient``: only if source_id cannot).
    """
    parts = []
    with worker_threads():
        for block in _read_ahead(predictor, survey, task, step):
            start = perf_counter()
            part = _compute_block(predictor, survey, block, dict(task.failed), batch)
            flags = predictor.flag_seconds
            part.seconds |= {"infer": perf_counter() - start - flags, "flags": flags}
            parts.append(part)
    joined = {name: np.concatenate([p.arrays[name] for p in parts]) for name in parts[0].arrays}
    reasons = {row: text for part in parts for row, text in part.reasons.items()}
    spent = {name: sum(p.seconds[name] for p in parts) for name in ("read", "infer", "flags")}
    return Computed(joined, reasons, spent)


def _read_ahead(
    predictor: Predictor, survey: Store, task: RegionTask, step: int
) -> Iterator[_Block]:
    """Blocks in order; the next one is read while the caller works on the present one."""
    wanted = dict.fromkeys((*predictor.variables, *COPIED, *COPIED_IF_THERE, "photometry"))
    names = tuple(name for name in wanted if name in survey.variables)

    reading = _Reading(survey, names, lenient=task.lenient)

    def read(rows: Region) -> _Block:
        start = perf_counter()
        arrays = survey.read(rows, survey.row_key.names)
        more, reasons = reading(rows)
        return _Block(rows, arrays | more, reasons, perf_counter() - start)

    todo = blocks(task.region, step)
    with ThreadPoolExecutor(1, "read-ahead") as pool:
        coming: Future[_Block] = pool.submit(read, todo[0])
        for rows in todo[1:]:
            block, coming = coming.result(), pool.submit(read, rows)
            yield block
        yield coming.result()


def first_rows(survey: Store, task: RegionTask, wanted: Sequence[str], batch: int) -> Arrays:
    """The first ``batch`` stars of a region (fewer if it has fewer), as they are read for it."""
    rows = Region(task.region.start, min(task.region.start + batch, task.region.stop))
    names = tuple(name for name in wanted if name in survey.variables)
    stored = _Reading(survey, names, lenient=task.lenient)(rows)[0]
    return {name: to_float32(values, survey.quantisation(name)) for name, values in stored.items()}


@dataclass(frozen=True)
class _Reading:
    """Reads variables as the store holds them; ``lenient``: what can be read."""

    survey: Store
    names: tuple[str, ...]
    lenient: bool = False

    def __call__(self, rows: Region) -> tuple[Arrays, dict[int, str]]:
        """Values, and why some rows are missing."""
        try:
            return self.survey.read_stored(rows, self.names), {}
        except StoreCorrupt:
            if not self.lenient:
                raise
        pieces = [self._chunk(chunk) for chunk in blocks(rows, self.survey.chunk_stars)]
        arrays = {n: np.concatenate([piece[n] for piece, _ in pieces]) for n in self.names}
        return arrays, {row: text for _, reasons in pieces for row, text in reasons.items()}

    def _chunk(self, rows: Region) -> tuple[Arrays, dict[int, str]]:
        arrays: Arrays = {}
        lost = []
        for name in self.names:
            try:
                arrays |= self.survey.read_stored(rows, [name])
            except StoreCorrupt:
                lost.append(name)
                arrays[name] = self.survey.blank(name, rows.size)
        text = f"{', '.join(lost)} of rows {rows.name} of the survey cannot be read"
        return arrays, dict.fromkeys(range(rows.start, rows.stop), text) if lost else {}


def _compute_block(
    predictor: Predictor, survey: Store, block: _Block, known: dict[int, str], batch: int
) -> Computed:
    arrays, first = block.arrays, block.rows.start
    reasons = block.reasons | {r: why for r, why in known.items() if first <= r < block.rows.stop}
    left_out = np.array(sorted(reasons), np.intp) - first
    copies = _copies(
        arrays, block.rows.size, reference_column(predictor.spec, survey), survey.row_key
    )
    for name in predictor.variables:
        # Hidden, not removed: the other stars of the batch must keep their places.
        if name in arrays and left_out.size:
            arrays[name][left_out] = survey.blank(name, left_out.size)
    out = predictor.predict(arrays, band_names(survey), batch, survey.quantised)
    _flag_unshifted(out, not_at_rest(survey, arrays.get("velocity")))
    failed = ~np.isfinite(np.hstack([out[name] for name in LABELLED])).all(axis=1)
    reasons = {int(row) + first: NOT_FINITE for row in np.flatnonzero(failed)} | reasons
    failed[left_out] = True
    _blank(out, failed, left_out)
    out["status"] = np.where(failed, Status.FAILED, Status.DONE).astype(np.uint8)
    return Computed(out | copies, reasons, {"read": block.seconds})


def _flag_unshifted(out: Arrays, unshifted: Array | None) -> None:
    """Raise ``NOT_AT_REST``: no package knows it, for it is the survey that says so."""
    if unshifted is not None:
        out["flags"][unshifted] |= np.uint32(Flag.NOT_AT_REST)
        worst = np.maximum(out[RECOMMENDATION][unshifted], np.uint8(Flag.NOT_AT_REST.own))
        out[RECOMMENDATION][unshifted] = worst


def _blank(out: Arrays, failed: Array, left_out: Array) -> None:
    for name in (*LABELLED, *DERIVED, CORRELATION):
        if name in out:  # a single label has no correlations
            out[name][failed] = np.nan
    for name in ("novelty", "valid_pixels"):
        out[name][left_out] = np.nan
    out["flags"][left_out] = np.uint32(Flag.NOT_COMPUTED)
    out[RECOMMENDATION][left_out] = Flag.NOT_COMPUTED.own


def _copies(arrays: Arrays, stars: int, column: int | None, key: RowKey) -> Arrays:
    missing = np.full(stars, np.nan, np.float32)
    copies = {name: arrays.get(name, missing).copy() for name in COPIED}
    magnitude = missing if column is None else arrays["photometry"][:, column].copy()
    copies |= {name: arrays[name] for name in key.names}
    copies |= {name: arrays[name] for name in COPIED_IF_THERE if name in arrays}
    return copies | {"reference_magnitude": magnitude}
