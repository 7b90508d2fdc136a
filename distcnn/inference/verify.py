"""Verify: is a prediction store what its ledger says, and does the package still say the same?

Nothing is believed: every region is read again and its digest compared, every source_id is
compared with the survey's, and a sample of whole blocks is computed afresh. Differences are
collected, and told together.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from distcnn import hashing
from distcnn.arrays import Array
from distcnn.config import PredictConfig
from distcnn.errors import PackageError, RegionError, StoreError, VerificationFailed
from distcnn.events import Advanced, Listener, StageEnded, StageStarted, silent
from distcnn.inference.compatibility import survey_digest
from distcnn.inference.compute import RegionTask, block_rows, blocks, compute
from distcnn.inference.package_cache import get_cached
from distcnn.inference.predict import package_key
from distcnn.inference.prediction_store import DEAD_LETTERS, LEDGER
from distcnn.inference.predictor import CORRELATION, DERIVED, LABELLED
from distcnn.inference.summary import dead_letters
from distcnn.location import Location
from distcnn.model import Package
from distcnn.schema import Status
from distcnn.survey import Ledger, Region, RegionResult, Store

STAGE = "verify"
_SHOWN = 20  # differences printed in the message
_LAST_BIT = 2.0**-11  # of a float16 near 1: what rounding alone may move a correlation by


@dataclass(frozen=True)
class VerifySummary:
    """What was compared. ``identical``: stars of the ``recomputed`` that are equal to the bit."""

    predictions: Path
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
    predictions: Path,
    config: PredictConfig,
    listener: Listener = silent,
    package: Path | None = None,
    survey: Path | None = None,
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
    check = _Check(store, Ledger.read(store.private / LEDGER), config)
    listener(StageStarted(STAGE, store.stars, "stars"))
    check.ledger_is_whole()
    for result in check.recorded():
        check.region_is_stored(result)
        listener(Advanced(STAGE, result.region.size))
    check.dead_letters_are_listed()
    source = check.found("survey", survey, lambda path: Store.open(path, "survey"))
    if source is not None:
        check.survey_is_the_same(source)
    opened = check.found("package", package, Package.load)
    if opened is not None and check.package_is_the_same(opened) and source is not None:
        check.sample_is_reproduced(opened, source)
    listener(StageEnded(STAGE, {"stars": store.stars, "differences": len(check.differences)}))
    check.raise_if_any()
    return check.summary(perf_counter() - start)


class _Check:
    """One verification: what is known so far, and the differences met."""

    def __init__(self, store: Store, ledger: Ledger, config: PredictConfig) -> None:
        self.store, self.ledger, self.config = store, ledger, config
        self.differences: list[str] = []
        self.regions = store.regions()
        self.checked = self.failed = self.recomputed = self.identical = 0
        self.broken: list[Region] = []
        # By number of the region: a list of them would be a hundred times as large.
        self.sound = np.zeros(len(self.regions), bool)

    def recorded(self) -> Iterator[RegionResult]:
        """What the ledger says of every region of the store, in order."""
        pairs = self.ledger.done.by_name()
        return (RegionResult.from_json(*pair) for pair in pairs if self._can_be(pair[0]))

    def ledger_is_whole(self) -> None:
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
        odd = (name for name in self.ledger.done if not self._can_be(name))
        self.differences += [f"the ledger has a region {name} that cannot be" for name in odd]
        if self.ledger.fingerprint != self.store.attrs.get("fingerprint"):
            self.differences.append("the ledger has another fingerprint than the store")

    def _can_be(self, name: str) -> bool:
        try:
            region = Region.parse(name)
        except RegionError:
            return False
        return region in self.regions and region.name == name

    def region_is_stored(self, result: RegionResult) -> None:
        region = result.region
        self.checked += 1
        if result.reasons:
            self.broken.append(region)
        before = len(self.differences)
        try:
            if self.store.digest(region) != result.digest:
                self.differences.append(f"region {region.name} is not what was stored")
            else:
                self._counts_agree(result)
        except StoreError as error:
            self.differences.append(f"region {region.name}: {error.problem}")
        if len(self.differences) == before:
            self.sound[region.start // self.regions.step] = True

    def _counts_agree(self, result: RegionResult) -> None:
        region = result.region
        status = self.store.read(region, ["status"])["status"]
        rows = result.reason_by_row
        self.failed += len(rows)
        failed = np.flatnonzero(status == Status.FAILED) + region.start
        done = int(np.count_nonzero(status == Status.DONE))
        counted = {
            "done": (done, result.done),
            "failed": (failed.size, result.failed),
            "stars": (status.size, result.stars),
        }
        for name, (count, recorded) in counted.items():
            if count != recorded:
                self.differences.append(
                    f"region {region.name} holds {count} stars {name}, the ledger says {recorded}"
                )
        if set(failed.tolist()) != set(rows):
            self.differences.append(f"region {region.name}: other stars failed than recorded")

    def dead_letters_are_listed(self) -> None:
        path = self.store.private.local_path / DEAD_LETTERS
        if not self.store.attrs.get("complete"):
            return
        listed, recorded, same = 0, 0, True
        for line, letter in zip_longest(_lines(path), dead_letters(self.ledger, self.broken)):
            listed += line is not None
            recorded += letter is not None
            same &= line == letter
        if not same:
            self.differences.append(
                f"{DEAD_LETTERS} lists {listed} stars, the ledger {recorded}, and not all the same"
            )

    def found(self, what: str, given: Path | None, open_it: Callable[[Location], Any]) -> Any:
        address = str(given.absolute()) if given else self.store.attrs[what]["path"]
        try:
            return open_it(self.store.location.resolve(address))
        except (StoreError, PackageError) as error:
            self.differences.append(f"the {what} cannot be used: {error.problem} (give its path)")
            return None

    def survey_is_the_same(self, survey: Store) -> None:
        if survey.stars != self.store.stars:
            self.differences.append(
                f"the survey has {survey.stars} stars, the predictions {self.store.stars}"
            )
            return
        try:
            if survey_digest(survey) != self.store.attrs["survey"]["digest"]:
                self.differences.append("the survey is not the one that was predicted")
            for number in np.flatnonzero(self.sound):
                self._source_ids_agree(survey, self.regions[int(number)])
        except StoreError as error:
            self.differences.append(f"the survey: {error.problem}")

    def _source_ids_agree(self, survey: Store, region: Region) -> None:
        ours, theirs = (s.read(region, ["source_id"])["source_id"] for s in (self.store, survey))
        other = np.flatnonzero(ours != theirs)
        if other.size:
            self.differences.append(
                f"region {region.name}: {other.size} source_ids differ from the survey's, the "
                f"first in row {region.start + other[0]}"
            )

    def package_is_the_same(self, package: Package) -> bool:
        recorded = self.store.attrs["package"]["digest"]
        if package.digest == recorded:
            return True
        self.differences.append(
            f"the package at {package.path.name} has the digest {package.digest[:12]}, the "
            f"predictions were made with {recorded[:12]}"
        )
        return False

    def sample_is_reproduced(self, package: Package, survey: Store) -> None:
        settings = self.store.attrs["settings"]
        asked = self.config.model_copy(update={"engine": settings["engine"]})
        key = package_key(package, asked, self.store.attrs["engine"].get("candidate", ""))
        try:
            predictor = get_cached(key)
            for region, rows in self._sample(survey.chunk_stars, settings["batch"]):
                result = self._recorded(region)
                failed = tuple(
                    (row, reason)
                    for row, reason in result.reason_by_row.items()
                    if rows.start <= row < rows.stop
                )
                task = RegionTask(rows, lenient=True, failed=failed)
                planned = result.planned_batch
                computed = compute(predictor, survey, task, result.batch, planned)
                self._compare(rows, computed.arrays)
        except (StoreError, PackageError) as error:
            self.differences.append(f"the sample cannot be computed again: {error.problem}")

    def _recorded(self, region: Region) -> RegionResult:
        # The first ledgers do not name the batch before any halving: it was the one configured.
        batch = self.store.attrs["settings"]["batch"]
        line = {"planned": batch} | self.ledger.done[region.name]
        return RegionResult.from_json(region.name, line)

    def _sample(self, chunk: int, batch: int) -> Iterator[tuple[Region, Region]]:
        """Whole blocks, spread over the store by a hash of its digests.

        One block of every region, before a region is asked for another.
        """
        seed = int(hashing.of_value(self.ledger.fingerprint)[:8], 16)
        rng = np.random.default_rng(seed)
        order = rng.permutation(np.flatnonzero(self.sound))
        most = -(-self.regions.step // block_rows(chunk, batch))
        begin = rng.integers(most, size=order.size)
        for turn in range(most):
            for number, first in zip(order, begin, strict=True):
                if self.recomputed >= self.config.verify_sample:
                    return
                region = self.regions[int(number)]
                step = block_rows(chunk, self._recorded(region).planned_batch)
                rows = blocks(region, step)[(first + turn) % most :][:1]  # the last is shorter
                self.recomputed += sum(block.size for block in rows)
                yield from ((region, block) for block in rows)

    def _compare(self, rows: Region, again: dict[str, Array]) -> None:
        stored = self.store.read(rows, list(again))
        same = np.ones(rows.size, bool)
        for name, values in stored.items():
            equal = values == again[name].astype(values.dtype)
            equal |= np.isnan(values) & np.isnan(again[name])
            same &= equal.reshape(rows.size, -1).all(axis=1)
        self.identical += int(same.sum())
        gap, missing = _gap(stored, again)
        wrong = np.flatnonzero((gap > self.config.verify_tolerance) | missing)
        if wrong.size:
            worst = "" if missing[wrong].any() else f", by up to {gap.max():.3g} of their errors"
            self.differences.append(
                f"rows {rows.name}: {wrong.size} stars computed again differ{worst} (first row "
                f"{rows.start + wrong[0]})"
            )

    def raise_if_any(self) -> None:
        if not self.differences:
            return
        shown = "\n".join(f"  - {text}" for text in self.differences[:_SHOWN])
        more = len(self.differences) - _SHOWN
        rest = f"\n  and {more} more" if more > 0 else ""
        raise VerificationFailed(
            f"{self.store.path} has {len(self.differences)} differences:\n{shown}{rest}\n",
            cure="Run the same predict command again if it did not end; otherwise restore what "
            "changed from a copy, or predict anew to another path.",
        )

    def summary(self, seconds: float) -> VerifySummary:
        return VerifySummary(
            predictions=self.store.path,
            stars=self.store.stars,
            regions=self.checked,
            failed=self.failed,
            recomputed=self.recomputed,
            identical=self.identical,
            seconds=seconds,
        )


def _lines(path: Path) -> Iterator[str]:
    if path.exists():
        with path.open(encoding="utf-8") as stream:
            yield from stream


def _gap(stored: dict[str, Array], again: dict[str, Array]) -> tuple[Array, Array]:
    """[N] largest difference, in the star's own errors, and whether a value is in one only."""
    unit = np.where(np.isfinite(stored["label_error"]), stored["label_error"], np.inf)
    gap, missing = np.zeros(len(unit)), np.zeros(len(unit), bool)
    for name in (*LABELLED, *DERIVED, CORRELATION):
        if name not in stored:
            continue
        old, new = stored[name].astype(float), again[name].astype(float)
        # A correlation is its own unit, known to the last bit of a float16.
        scaled = (
            np.maximum(np.abs(old - new) - _LAST_BIT, 0)
            if name == CORRELATION
            else np.abs(old - new) / unit
        )
        gap = np.maximum(gap, np.nan_to_num(scaled, nan=0.0).max(axis=1))
        missing |= (np.isnan(old) != np.isnan(new)).any(axis=1)
    return gap, missing
