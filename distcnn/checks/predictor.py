"""Predictor: what a package says of stars, whose inputs a check may have changed before.

Stars go through a package in blocks, here or on the workers of a cluster; blocks are the same
wherever they run, so that the answers are.

Legend: N star, L label.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache, partial
from typing import TypeVar

import numpy as np

from distcnn.arrays import Array
from distcnn.errors import PackageError
from distcnn.executor import Executor
from distcnn.model import Batch, Ensemble, Package, predict_members, star_inputs
from distcnn.model.devices import worker_threads
from distcnn.quality import Quality
from distcnn.quality.flags import DAMAGED
from distcnn.quality.input_summary import InputSummary
from distcnn.schema import Flag
from distcnn.survey import Region, Store

BLOCK_STARS = 256
"""Stars predicted at a time: seconds of an ensemble, 2 MB of spectra on their way to a worker."""
READ_STARS = 2048
"""Stars read at a time."""
Arrays = Mapping[str, Array]
Found = TypeVar("Found")


@dataclass(frozen=True)
class PredictedStars:
    """Predictions of N stars: all [N, L] in label units, flags [N] (``schema.Flag``).

    ``UNCALIBRATED`` here is about the star: errors were calibrated for none like it. A label that
    was calibrated for no star has NaN errors, which says nothing against the star; see ``quoted``.
    """

    label: Array
    label_error: Array
    noise: Array
    scatter: Array
    flags: Array

    def __len__(self) -> int:
        return len(self.label)

    @property
    def usable(self) -> Array:
        """[N] bool: no flag says that spectrum or network is not to be relied on."""
        return np.asarray(self.flags & DAMAGED == 0)

    @property
    def quoted(self) -> Array:
        """[L] bool: the label has errors. False of one that the package could not calibrate."""
        finite = (self.flags & int(Flag.NON_FINITE)) == 0
        # Stars without a finite prediction have no error of any label: they do not tell.
        return np.asarray(np.isfinite(self.label_error).any(axis=0) | ~finite.any())

    def take(self, places: Array) -> "PredictedStars":
        """The stars at ``places``, a mask or positions."""
        return PredictedStars(**{f.name: getattr(self, f.name)[places] for f in fields(self)})

    @classmethod
    def joined(cls, parts: Sequence["PredictedStars"]) -> "PredictedStars":
        """Stars of all parts, of which there is at least one."""
        return cls(
            **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)}
        )


@dataclass(frozen=True)
class PackageSource:
    """What a worker opens: the address of a package, its digest, and the survey's bands."""

    address: str
    digest: str
    bands: tuple[str, ...]


@dataclass(frozen=True)
class BlockTask:
    """A block of stars for a worker; ``given``: survey variables, or rows of a survey."""

    number: int
    given: Arrays = field(repr=False)


class PackagePredictor:
    """A package with its quality: labels as ``distcnn predict`` gives them.

    ``executor`` : whose workers predict; None = this process does.
    """

    def __init__(
        self, package: Package, bands: Sequence[str], executor: Executor | None = None
    ) -> None:
        self.spec, self.bands, self.executor = package.spec, list(bands), executor
        self.package, self.ensemble = package, Ensemble(package, "eager")
        self.quality = Quality.from_arrays(package.quality_arrays)
        extra = ("flux_error",) if self.spec.pixels else ()
        self.variables = (*self.spec.variables, *extra, "snr")

    def __call__(self, arrays: Arrays) -> PredictedStars:
        """Predict N stars.

        Parameters
        ----------
        arrays : survey variables of ``variables``, as ``Store.read`` gives them; absent = missing.
        """
        return self.of_blocks([arrays])

    def of_blocks(self, blocks: Iterable[Arrays]) -> PredictedStars:
        """Predict the stars of all blocks, of which there is at least one."""
        return PredictedStars.joined(self.mapped(predict_block, blocks))

    def halves(self, blocks: Iterable[Arrays]) -> tuple[Array, Array]:
        """Labels [N, L] of every other member and of the rest, each as a package of its own."""
        even, odd = zip(*self.mapped(predict_halves, blocks), strict=True)
        return np.concatenate(even), np.concatenate(odd)

    def mapped(
        self,
        function: "Callable[[PackagePredictor, Arrays], Found]",
        blocks: Iterable[Arrays],
        *,
        whole: bool = False,
    ) -> list[Found]:
        """``function`` of this package and every block, in order.

        Parameters
        ----------
        function : can be pickled.
        whole : blocks are tasks as they are; otherwise they are cut to ``BLOCK_STARS`` stars.
        """
        parts = iter(blocks) if whole else (part for block in blocks for part in _cut(block))
        if self.executor is None:
            return [function(self, part) for part in parts]
        source = PackageSource(
            self.package.location.address, self.package.digest, tuple(self.bands)
        )
        tasks = (BlockTask(number, part) for number, part in enumerate(parts))
        results = self.executor(partial(_on_worker, source, function), tasks)
        found = {result.task.number: result.unwrap() for result in results}
        return [found[number] for number in sorted(found)]

    def batches(self, survey: Store, rows: Array, size: int) -> Iterator[Batch]:
        """Inputs of the networks of rows of a survey, ``size`` stars at a time."""
        for block in read_rows(survey, rows, self.variables):
            yield from star_inputs(block, self.spec, self.bands or None).batches(size)


def predict_block(predictor: PackagePredictor, arrays: Arrays) -> PredictedStars:
    """The stars of one block."""
    spec = predictor.spec
    stars = star_inputs(arrays, spec, predictor.bands if "photometry" in arrays else None)
    label, noise, scatter, _ = predictor.ensemble.predict(stars)
    given = stars.variables()
    if spec.pixels and "flux_error" in arrays:
        given["flux_error"] = np.asarray(arrays["flux_error"], np.float32)
    quality = predictor.quality
    summary = InputSummary.of(given, len(label), quality.novelty)
    judged = quality.assess_summary(summary, label, noise, scatter)
    flags = _about_stars(judged["flags"], quality.calibration.supported(summary.snr))
    return PredictedStars(label, judged["label_error"], noise, scatter, flags)


def _about_stars(flags: Array, calibrated: Array) -> Array:
    """Flags [N] without ``UNCALIBRATED`` where any label was ``calibrated`` [N, L]: of such a star
    it is about the other labels alone.
    """
    other = np.uint32(Flag.UNCALIBRATED)
    return np.asarray(np.where(calibrated.any(axis=1), flags & ~other, flags))


def predict_halves(predictor: PackagePredictor, arrays: Arrays) -> tuple[Array, Array]:
    """Labels of one block by every other member, and by the rest."""
    bands = predictor.bands if "photometry" in arrays else None
    stars = star_inputs(arrays, predictor.spec, bands)
    networks, stacking = predictor.package.networks(), predictor.package.stacking()
    even, odd = (
        predict_members(half, stars, stacking=stacking).label
        for half in (networks[::2], networks[1::2])
    )
    return even, odd


def _cut(arrays: Arrays) -> Iterator[Arrays]:
    stars = max(map(len, arrays.values()), default=0)
    for start in range(0, stars, BLOCK_STARS):
        part = slice(start, start + BLOCK_STARS)
        yield {name: values[part] for name, values in arrays.items()}


def _on_worker(
    source: PackageSource, function: Callable[[PackagePredictor, Arrays], Found], task: BlockTask
) -> Found:
    with worker_threads():
        return function(_opened(source), task.given)


@lru_cache(maxsize=2)
def _opened(source: PackageSource) -> PackagePredictor:
    """A package in this process, kept: a check has at most a second one beside it."""
    package = Package.load(source.address)
    if package.digest != source.digest:
        raise PackageError(
            f"{source.address} has changed: digest {package.digest[:12]}",
            expected=f"the package that is checked, {source.digest[:12]}",
        )
    return PackagePredictor(package, source.bands)


def read_rows(
    survey: Store, rows: Array, names: Sequence[str], block: int = READ_STARS
) -> Iterator[dict[str, Array]]:
    """Survey variables of ascending rows, at most ``block`` of them at a time.

    Whole chunks are decoded; rows that share one are read together.
    """
    wanted = [name for name in dict.fromkeys(names) if name in survey.variables]
    for start in range(0, len(rows), block):
        part = rows[start : start + block]
        pieces = []
        for run in np.split(part, np.flatnonzero(np.diff(part) > survey.chunk_stars) + 1):
            found = survey.read(Region(int(run[0]), int(run[-1]) + 1), wanted)
            pieces.append({name: values[run - run[0]] for name, values in found.items()})
        yield {name: np.concatenate([piece[name] for piece in pieces]) for name in wanted}
