"""Verify: is a prediction store what its ledger says, and does the package still say the same?

Nothing is believed: every region is read again and its digest compared, every source_id is
compared with the survey's, and a sample of whole blocks is computed afresh. Differences are
collected and reported together, because the first of them rarely says what has happened.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from distcnn import hashing
from distcnn.arrays import Array
from distcnn.config import PredictConfig
from distcnn.errors import PackageError, RegionError, StoreError, VerificationFailed
from distcnn.events import Advanced, Listener, StageEnded, StageStarted, silent
from distcnn.inference.batching import Batching
from distcnn.inference.compatibility import survey_digest
from distcnn.inference.predict import package_key
from distcnn.inference.prediction_store import DEAD_LETTERS
from distcnn.inference.summary import dead_letters
from distcnn.inference.worker.compute import RegionTask, block_rows, blocks, compute
from distcnn.inference.worker.package_cache import get_cached
from distcnn.inference.worker.predictor import CORRELATION, DERIVED, LABELLED
from distcnn.location import Address, Location
from distcnn.model import Package
from distcnn.schema import Status
from distcnn.survey import LEDGER, Ledger, Region, RegionResult, Store

STAGE = "verify"
Opened = TypeVar("Opened")
_MOVED = "cannot be used"
"""What is said of a survey or package that is not where it was."""
MAX_DIFFERENCES_SHOWN = 20
"""Differences printed in the message; all of them are counted."""
CORRELATION_ROUNDING = 2.0**-11
"""What rounding alone may move a correlation by: the spacing of float16 numbers below 1."""


@dataclass(frozen=True)
class VerifySummary:
    """What was compared. ``identical``: stars of the ``recomputed`` that are equal to the bit."""

    predictions: Path | Location
    stars: int
    regions: int
    failed: int
    recomputed: int
    identical: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.predictions} is sound: {self.regions:,} regions and {self.stars:,} stars as "
            f"in the ledger, {self.failed:,} of them failed with a reason; {self.recomputed:,} "
            f"computed again, {self.identical:,} equal to the bit ({self.seconds:.1f} s)"
        )


def verify(
    predictions: Address,
    config: PredictConfig,
    listener: Listener = silent,
    package: Address | None = None,
    survey: Address | None = None,
) -> VerifySummary:
    """Check a finished prediction store.

    Parameters
    ----------
    package, survey : where they are now; None = where the store says, relative to itself.

    Raises
    ------
    VerificationFailed : with every difference.
    StoreError : the path is not a prediction store, or it has no ledger.
    """
    start = perf_counter()
    store = Store.open(predictions, "predictions")
    check = _Verification(store, Ledger.read(store.private / LEDGER), config)
    listener(StageStarted(STAGE, store.stars, "stars"))
    check.compare_ledger()
    for result in check.recorded():
        check.compare_region(result)
        listener(Advanced(STAGE, result.region.size))
    check.compare_dead_letters()
    source = check.opened("survey", survey, lambda path: Store.open(path, "survey"))
    if source is not None:
        check.compare_survey(source)
    model = check.opened("package", package, Package.load)
    if model is not None and check.is_same_package(model) and source is not None:
        check.recompute_sample(model, source)
    listener(StageEnded(STAGE, {"stars": store.stars, "differences": len(check.differences)}))
    check.raise_if_any()
    return check.summary(perf_counter() - start)


class _Verification:
    """One verification: what is known so far, and the differences found."""

    def __init__(self, store: Store, ledger: Ledger, config: PredictConfig) -> None:
        self.store, self.ledger, self.config = store, ledger, config
        self.differences: list[str] = []
        self.regions = store.regions()
        self.checked = self.failed = self.recomputed = self.identical = 0
        self.with_failures: list[Region] = []
        # Which regions are as stored, one byte each: a list of a million regions would take a
        # hundred times as much.
        self.sound = np.zeros(len(self.regions), bool)

    def recorded(self) -> Iterator[RegionResult]:
        """What the ledger says of every region of the store, in order."""
        pairs = self.ledger.done.by_name()
        return (self._result(*pair) for pair in pairs if self._is_region(pair[0]))

    def _result(self, name: str, line: Mapping[str, Any]) -> RegionResult:
        # The first ledgers do not name the batch before any halving: it was the one configured.
        planned = self.store.attrs["settings"]["batch"]
        return RegionResult.from_json(name, {"planned": planned, **line})

    def _is_region(self, name: str) -> bool:
        try:
            region = Region.parse(name)
        except RegionError:
            return False
        return region in self.regions and region.name == name

    def compare_ledger(self) -> None:
        """Every region of the store is in the ledger, and nothing else is."""
        absent = (r.name for r in self.regions if r.name not in self.ledger.done)
        first = list(islice(absent, 3))
        if first:
            count = len(first) + sum(1 for _ in absent)
            self.differences.append(
                f"{count} of {len(self.regions)} regions are not in the ledger "
                f"({', '.join(first)}): the run did not end"
            )
        elif not self.store.attrs.get("complete"):
            self.differences.append("all regions are in the ledger, but the run did not end")
        unknown = (name for name in self.ledger.done if not self._is_region(name))
        self.differences += [f"the ledger has a region {name} that cannot be" for name in unknown]
        if self.ledger.fingerprint != self.store.attrs.get("fingerprint"):
            self.differences.append("the ledger has another fingerprint than the store")

    def compare_region(self, result: RegionResult) -> None:
        """The stored values have the digest, the counts and the failed stars of the ledger."""
        region, before = result.region, len(self.differences)
        self.checked += 1
        if result.reasons:
            self.with_failures.append(region)
        try:
            if self.store.digest(region) != result.digest:
                self.differences.append(f"region {region.name} is not what was stored")
            else:
                self._compare_counts(result)
        except StoreError as error:
            self.differences.append(f"region {region.name}: {error.problem}")
        if len(self.differences) == before:
            self.sound[region.start // self.regions.step] = True

    def _compare_counts(self, result: RegionResult) -> None:
        region, listed = result.region, result.reason_by_row
        self.failed += len(listed)
        status = self.store.read(region, ["status"])["status"]
        failed = np.flatnonzero(status == Status.FAILED) + region.start
        counts = {
            "done": (int(np.count_nonzero(status == Status.DONE)), result.done),
            "failed": (failed.size, result.failed),
            "stars": (status.size, result.stars),
        }
        self.differences += [
            f"region {region.name} holds {count} stars {name}, the ledger says {recorded}"
            for name, (count, recorded) in counts.items()
            if count != recorded
        ]
        if set(failed.tolist()) != set(listed):
            self.differences.append(f"region {region.name}: other stars failed than recorded")

    def compare_dead_letters(self) -> None:
        """The list of failed stars, which a run writes at its end, is the one of the ledger."""
        if not self.store.attrs.get("complete"):
            return
        listed, recorded, same = 0, 0, True
        lines = _lines(self.store.private / DEAD_LETTERS)
        for line, letter in zip_longest(lines, dead_letters(self.ledger, self.with_failures)):
            listed += line is not None
            recorded += letter is not None
            same &= line == letter
        if not same:
            self.differences.append(
                f"{DEAD_LETTERS} lists {listed} stars, the ledger {recorded}, and not all the same"
            )

    def opened(
        self, what: str, given: Address | None, open_at: Callable[[Location], Opened]
    ) -> Opened | None:
        """The survey or package, where it was given or where the store says; None = unusable."""
        if given is not None:
            place = Location.parse(given)
        else:
            place = self.store.location.resolve(self.store.attrs[what]["path"])
        try:
            return open_at(place)
        except (StoreError, PackageError) as error:
            where = f"give its path by --{what}"
            self.differences.append(f"the {what} {_MOVED}: {error.problem} ({where})")
            return None

    def compare_survey(self, survey: Store) -> None:
        """The survey is the one that was predicted, star by star."""
        if survey.stars != self.store.stars:
            self.differences.append(
                f"the survey has {survey.stars} stars, the predictions {self.store.stars}"
            )
            return
        try:
            if survey_digest(survey) != self.store.attrs["survey"]["digest"]:
                self.differences.append("the survey is not the one that was predicted")
            for number in np.flatnonzero(self.sound):
                self._compare_source_ids(survey, self.regions[int(number)])
        except StoreError as error:
            self.differences.append(f"the survey: {error.problem}")

    def _compare_source_ids(self, survey: Store, region: Region) -> None:
        key = survey.row_key
        other = key.differing(*(store.read(region, key.names) for store in (self.store, survey)))
        if other.size:
            self.differences.append(
                f"region {region.name}: {other.size} source_ids differ from the survey's, the "
                f"first in row {region.start + other[0]}"
            )

    def is_same_package(self, package: Package) -> bool:
        """Whether the package is the one that made the predictions."""
        recorded = self.store.attrs["package"]["digest"]
        if package.digest == recorded:
            return True
        self.differences.append(
            f"the package at {package.location.name} has the digest {package.digest[:12]}, the "
            f"predictions were made with {recorded[:12]}"
        )
        return False

    @property
    def batching(self) -> Batching:
        """Stars read and computed at a time by the run."""
        return Batching.of_store(self.store)

    def recompute_sample(self, package: Package, survey: Store) -> None:
        """Compute some stars again with the engine of the run, and compare every value."""
        config = self.config.model_copy(update={"engine": self.store.attrs["settings"]["engine"]})
        engine = self.store.attrs["engine"].get("candidate", "")
        try:
            predictor = get_cached(package_key(package, config, engine))
            for result, rows in self._sample(survey.chunk_stars):
                task = RegionTask(rows, lenient=True, failed=_failed_within(result, rows))
                step = block_rows(survey.chunk_stars, result.planned_batch, self.batching.read)
                again = compute(predictor, survey, task, result.batch, step)
                self._compare_values(rows, again.arrays)
        except (StoreError, PackageError) as error:
            self.differences.append(f"the sample cannot be computed again: {error.problem}")

    def _sample(self, chunk: int) -> Iterator[tuple[RegionResult, Region]]:
        """Whole blocks, spread over the store by a hash of its fingerprint.

        One block of every region, before a region is asked for another. A block is computed
        whole, because only in its own batch does a star get the same value to the bit.
        """
        seed = int(hashing.of_value(self.ledger.fingerprint)[:8], 16)
        rng = np.random.default_rng(seed)
        order = rng.permutation(np.flatnonzero(self.sound))
        read = self.batching.read
        blocks_per_region = -(-self.regions.step // block_rows(chunk, self.batching.batch, read))
        first = rng.integers(blocks_per_region, size=order.size)
        for turn in range(blocks_per_region):
            for number, begin in zip(order, first, strict=True):
                if self.recomputed >= self.config.verify_sample:
                    return
                name = self.regions[int(number)].name
                result = self._result(name, self.ledger.done[name])
                parts = blocks(result.region, block_rows(chunk, result.planned_batch, read))
                # The last region is shorter, so it may have no block of this number.
                for rows in parts[(begin + turn) % blocks_per_region :][:1]:
                    self.recomputed += rows.size
                    yield result, rows

    def _compare_values(self, rows: Region, again: Mapping[str, Array]) -> None:
        stored = self.store.read(rows, list(again))
        self.identical += int(_identical(stored, again).sum())
        difference, missing = _largest_difference(stored, again)
        wrong = np.flatnonzero((difference > self.config.verify_tolerance) | missing)
        if wrong.size:
            by = f", by up to {difference.max():.3g} of their errors"
            self.differences.append(
                f"rows {rows.name}: {wrong.size} stars computed again differ"
                f"{'' if missing[wrong].any() else by} (first row {rows.start + wrong[0]})"
            )

    def raise_if_any(self) -> None:
        """Raise with every difference, if there is one."""
        if not self.differences:
            return
        shown = "\n".join(f"  - {text}" for text in self.differences[:MAX_DIFFERENCES_SHOWN])
        more = len(self.differences) - MAX_DIFFERENCES_SHOWN
        rest = f"\n  and {more} more" if more > 0 else ""
        count, moved = len(self.differences), all(_MOVED in text for text in self.differences)
        raise VerificationFailed(
            f"{self.store.location} has {count} difference{'s'[: count != 1]}:\n{shown}{rest}\n",
            cure="The predictions themselves are what was stored."
            if moved
            else "Run the same predict command again if it did not end; otherwise restore what "
            "changed from a copy, or predict to another path.",
        )

    def summary(self, seconds: float) -> VerifySummary:
        """The counts, for a store without differences."""
        return VerifySummary(
            predictions=self.store.location.outer,
            stars=self.store.stars,
            regions=self.checked,
            failed=self.failed,
            recomputed=self.recomputed,
            identical=self.identical,
            seconds=seconds,
        )


def _lines(place: Location) -> Iterator[str]:
    if place.exists():
        with place.local_copy() as path, path.open(encoding="utf-8") as stream:
            yield from stream


def _failed_within(result: RegionResult, rows: Region) -> tuple[tuple[int, str], ...]:
    """Failed rows with the reason: they are left out of the computation as they were then."""
    reasons = result.reason_by_row.items()
    return tuple((row, text) for row, text in reasons if rows.start <= row < rows.stop)


def _identical(stored: Mapping[str, Array], again: Mapping[str, Array]) -> Array:
    """[N] whether every value of a star is the same to the bit, or missing in both."""
    same = []
    for name, values in stored.items():
        equal = values == again[name].astype(values.dtype)
        equal |= np.isnan(values) & np.isnan(again[name])
        same.append(equal.reshape(len(equal), -1).all(axis=1))
    return np.asarray(np.logical_and.reduce(same))


def _largest_difference(
    stored: Mapping[str, Array], again: Mapping[str, Array]
) -> tuple[Array, Array]:
    """[N] largest difference in the star's own errors, and whether a value is in one only."""
    unit = np.where(np.isfinite(stored["label_error"]), stored["label_error"], np.inf)
    largest, missing = np.zeros(len(unit)), np.zeros(len(unit), bool)
    for name in (*LABELLED, *DERIVED, CORRELATION):
        if name not in stored:
            continue
        old, new = stored[name].astype(float), again[name].astype(float)
        difference = np.abs(old - new)
        if name == CORRELATION:  # needs no unit
            difference = np.maximum(difference - CORRELATION_ROUNDING, 0)
        else:
            difference /= unit
        largest = np.maximum(largest, np.nan_to_num(difference, nan=0.0).max(axis=1))
        missing |= (np.isnan(old) != np.isnan(new)).any(axis=1)
    return largest, missing
