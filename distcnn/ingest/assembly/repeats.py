"""Several spectra of one star: which is kept, or how they become one, as ``ingest.repeats`` says.

A part knows its own rows, so there the first or the best is chosen when its stars are joined
(``chosen``); across parts, and for means, it is done here once all parts are made. What a part
loses, and which spectra make up a mean, is noted beside it, and means are taken where the rows of
the survey are written: no spectrum is copied before.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distcnn.arrays import Array
from distcnn.ingest.readers.base import Rejected
from distcnn.ingest.staging.columns import Part, to_lines
from distcnn.ingest.staging.part import PartRecord
from distcnn.ingest.staging.repeated import chosen
from distcnn.schema import MaskBit, Reason

MAX_IDS_IN_MEMORY = 4_000_000
"""Identifiers compared at a time when stars are sought that stand in several files."""
_DROPPED, _COADDED = "dropped.npy", "coadded.npy"
_SPECTRA = ("flux", "flux_error", "mask", "snr")


def kept_rows(part: Part) -> Array:
    """Rows of a part that go into the survey."""
    keep = part.read("keep")
    dropped = part.path / _DROPPED
    if dropped.exists():
        keep[np.load(dropped)] = False
    return np.flatnonzero(keep)


@dataclass(frozen=True)
class RepeatedSpectra:
    """Rows of stars that another row stands for."""

    rejected: int
    """Quarantined."""
    coadded: int
    """Part of the mean that another row becomes."""
    further: int
    """Rows of their own beyond the first of each star, with ``each``."""

    @property
    def dropped(self) -> int:
        """Rows that are none of the survey."""
        return self.rejected + self.coadded


def resolve_repeats(
    folder: Path, records: Mapping[str, PartRecord], rejected: Path, rule: str
) -> RepeatedSpectra:
    """Find stars that stand in several rows, and note beside each part what becomes of them.

    Rejected rows are written to ``rejected``; with ``coadd`` and ``each`` they are copies. Only
    parts whose ranges of source_id overlap are looked at together, some millions of identifiers at
    a time.
    """
    order = {name: number for number, name in enumerate(records)}
    lost: dict[str, list[Array]] = {}
    added: dict[str, list[Array]] = {}
    means: dict[str, list[tuple[int, str, int]]] = {}
    further = 0
    for group in _overlapping(records, alone=rule in ("coadd", "each")):
        parts = {name: Part(folder / name) for name in sorted(group, key=order.__getitem__)}
        low = min(records[name].first_id for name in group)
        high = max(records[name].last_id for name in group) + 1
        for every in _rows_of_stars(parts, low, high):
            keep = every.chosen("each" if rule == "coadd" else rule)
            for name, row in every.by_part(~keep):
                lost.setdefault(name, []).append(row)
            rows = every.take(keep)
            if rule == "each":
                further += len(rows.row) - len(np.unique(rows.source_id))
            if rule == "coadd":
                best = rows.chosen("best")
                for name, row in rows.by_part(~best):
                    added.setdefault(name, []).append(row)
                for name, number, other, its_number in rows.pairs(best):
                    means.setdefault(name, []).append((number, other, its_number))
    dropped = {name: [*lost.get(name, []), *added.get(name, [])] for name in {**lost, **added}}
    _note(folder, order, dropped, means)
    with rejected.open("wb") as stream:
        for name in filter(lost.__contains__, order):
            stream.write(_rejections(Part(folder / name), np.sort(np.concatenate(lost[name]))))
    return RepeatedSpectra(_count(lost), _count(added), further)


def _count(rows: Mapping[str, Sequence[Array]]) -> int:
    return sum(len(some) for several in rows.values() for some in several)


def _note(
    folder: Path,
    names: Mapping[str, int],
    dropped: Mapping[str, Sequence[Array]],
    means: Mapping[str, Sequence[tuple[int, str, int]]],
) -> None:
    longest = max(map(len, names), default=1)
    for name in names:
        for marker in (_DROPPED, _COADDED):
            (folder / name / marker).unlink(missing_ok=True)
        if name in dropped:
            np.save(folder / name / _DROPPED, np.sort(np.concatenate(dropped[name])))
        if name in means:
            kind = [("row", "i8"), ("part", f"U{longest}"), ("other", "i8")]
            np.save(folder / name / _COADDED, np.array(sorted(means[name]), kind))


def _overlapping(records: Mapping[str, PartRecord], *, alone: bool) -> Iterator[list[str]]:
    """Groups of parts whose ranges of source_id touch one another; single ones with ``alone``."""
    known = [name for name in records if records[name].kept]
    group: list[str] = []
    end = -1
    for name in sorted(known, key=lambda name: (records[name].first_id, name)):
        if records[name].first_id > end and group:
            if len(group) > 1 or alone:
                yield group
            group = []
        group.append(name)
        end = max(end, records[name].last_id)
    if len(group) > 1 or (alone and group):
        yield group


@dataclass(frozen=True)
class _StarRows:
    """Rows of some parts whose stars lie in one range, in the order of the parts."""

    names: Sequence[str]
    part: Array
    """Number of the part in ``names`` [n]."""
    row: Array
    source_id: Array
    snr: Array
    spectrum_id: Array | None

    def chosen(self, rule: str) -> Array:
        return chosen(rule, self.source_id, self.snr, self.spectrum_id)

    def take(self, keep: Array) -> "_StarRows":
        ids = None if self.spectrum_id is None else self.spectrum_id[keep]
        columns = self.part[keep], self.row[keep], self.source_id[keep], self.snr[keep]
        return _StarRows(self.names, *columns, ids)

    def by_part(self, mask: Array) -> Iterator[tuple[str, Array]]:
        for number, name in enumerate(self.names):
            rows = self.row[mask & (self.part == number)]
            if len(rows):
                yield name, rows

    def pairs(self, keep: Array) -> Iterator[tuple[str, int, str, int]]:
        """Part and row that are kept, with those of every other row of the star."""
        kept = np.flatnonzero(keep)
        kept = kept[np.argsort(self.source_id[kept])]
        others = np.flatnonzero(~keep)
        place = kept[np.searchsorted(self.source_id[kept], self.source_id[others])]
        for one, other in zip(place.tolist(), others.tolist(), strict=True):
            names = (self.names[self.part[one]], self.names[self.part[other]])
            yield names[0], int(self.row[one]), names[1], int(self.row[other])


def _rows_of_stars(parts: Mapping[str, Part], low: int, high: int) -> Iterator[_StarRows]:
    """The kept rows of stars in [low, high), of as many stars at a time as memory holds."""
    rows: list[Array] = []
    for part in parts.values():
        source_id = part.read("source_id")
        rows.append(np.flatnonzero(part.read("keep") & (source_id >= low) & (source_id < high)))
        # Too many at once: look at each half of the range by itself, from the first part again.
        if sum(map(len, rows)) > MAX_IDS_IN_MEMORY and high - low > 1:
            middle = low + (high - low) // 2
            yield from _rows_of_stars(parts, low, middle)
            yield from _rows_of_stars(parts, middle, high)
            return

    def column(name: str, missing: float = np.nan) -> Array:
        held = zip(parts.values(), rows, strict=True)
        return np.concatenate(
            [p.read(name)[r] if name in p.columns else np.full(len(r), missing) for p, r in held]
        )

    numbers = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    every = all("spectrum_id" in part.columns for part in parts.values())
    yield _StarRows(
        list(parts), numbers, np.concatenate(rows), column("source_id"), column("spectrum_snr"),
        column("spectrum_id") if every else None,
    )  # fmt: skip


def _rejections(part: Part, rows: Array) -> bytes:
    source_id, number, file = (part.read(name) for name in ("source_id", "row", "file"))
    kind, files = part.origin()
    detail = "this star stands in another file already"
    rejected = (
        Rejected(files[file[r]], int(number[r]), int(source_id[r]), Reason.DUPLICATE, detail)
        for r in rows
    )
    return to_lines(kind, rejected)


# --- means --------------------------------------------------------------------------------------


def coadded(part: Part, rows: Array, names: Sequence[str]) -> dict[str, Array]:
    """Columns of spectra of rows of a part, of which some are means; nothing if none is."""
    marker = part.path / _COADDED
    noted = np.load(marker) if marker.exists() else np.empty(0, [("row", "i8")])
    noted = noted[np.isin(noted["row"], rows)]
    if not len(noted):
        return {}
    first, last = int(rows[0]), int(rows[-1]) + 1
    found = {n: part.read(n, first, last)[rows - first] for n in _SPECTRA if n in part.columns}
    for row in np.unique(noted["row"]).tolist():
        place = int(np.searchsorted(rows, row))
        others = noted[noted["row"] == row]
        spectra = [_spectrum(part, row)]
        spectra += [_spectrum(Part(part.path.parent / o["part"]), int(o["other"])) for o in others]
        for name, value in mean_spectrum(spectra).items():
            if name in found:
                found[name][place] = value
    return {name: values for name, values in found.items() if name in names}


def _spectrum(part: Part, row: int) -> dict[str, Array]:
    names = (*_SPECTRA, "spectrum_snr")
    return {n: part.read(n, row, row + 1)[0] for n in names if n in part.columns}


def mean_spectrum(spectra: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """The mean of spectra on one grid: flux, flux_error, mask [P] and snr.

    Every pixel is the mean of those that are good, weighted by the inverse variance, with the
    error of such a mean; without errors the plain mean. Where none is good the masks are joined.
    S/N adds in squares where it is that of each spectrum; else it stays that of the first.
    """
    flux, mask = (np.stack([one[name] for one in spectra]) for name in ("flux", "mask"))
    good = (mask == 0) & np.isfinite(flux)
    with_error = all("flux_error" in one for one in spectra)
    weight = good.astype(float)
    if with_error:
        error = np.stack([one["flux_error"] for one in spectra]).astype(float)
        good &= error > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            weight = np.where(good, error**-2.0, 0.0)
    total = weight.sum(axis=0)
    some = good.any(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (weight * np.where(good, flux, 0)).sum(axis=0) / total
        spread = np.where(some, total**-0.5, np.nan)
    joined = np.bitwise_or.reduce(mask, axis=0)
    bad = np.where(joined == 0, np.uint8(MaskBit.MISSING), joined)
    out = {"flux": np.where(some, mean, np.nan), "mask": np.where(some, np.uint8(0), bad)}
    out |= {"flux_error": spread} if with_error else {}
    own = np.array([one["spectrum_snr"] for one in spectra])
    of_spectrum = np.allclose(own[0], spectra[0]["snr"], rtol=1e-5) and np.isfinite(own).all()
    return out | ({"snr": np.sqrt(np.sum(own**2))} if of_spectrum else {})
