"""Cleaning: numbers that stand for "no value" become NaN, alike for every reader and format.

Every reader that ``make_reader`` makes is wrapped, so that a new reader need not think of it.
What became missing here was a number in the file, so it is counted and told.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from distcnn.arrays import Array
from distcnn.config import SentinelsConfig
from distcnn.events import Notice
from distcnn.ingest.preprocess.statements import Statements
from distcnn.ingest.preprocess.velocity import VELOCITY_VARIABLES
from distcnn.ingest.readers.base import Block, Reader, SpectraReader
from distcnn.ingest.readers.values.identifiers import KINDS, IdKind, release_of

_counts: ContextVar[Counter[str] | None] = ContextVar("cleaning_counts", default=None)
IDENTIFIER = "identifier"
"""Begins the keys of counts of identifiers."""
RELEASE = f"{IDENTIFIER}: of Gaia "
"""Begins the keys of counts of designations by release."""
_DESIGNATIONS = KINDS.index(IdKind.DESIGNATION)
_AS_THEY_ARE = ("wavelength",)
_ANY_NUMBER = ("flux", "flux_error", "xp", "xp_error", *VELOCITY_VARIABLES)
"""Roles in which a large negative number may be real: only exact sentinels are missing."""


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Count what the readers at work inside take as missing, and identifiers that are no integers.

    Keys are ``variable: what``, such as ``parallax_error: zero or negative``.
    """
    counts = Counter[str]()
    token = _counts.set(counts)
    try:
        yield counts
    finally:
        _counts.reset(token)


def notices_of(counts: Mapping[str, int]) -> Iterator[Notice]:
    """What a person is told of such counts."""
    missing = [f"{k} {n}" for k, n in counts.items() if not k.startswith(f"{IDENTIFIER}: ")]
    if missing:
        text = f"Values taken as missing: {', '.join(missing)} (ingest.sentinels)."
        yield Notice(text, "warning")
    for kind in KINDS:
        number = counts.get(f"{IDENTIFIER}: {kind}", 0)
        if number:
            yield Notice(f"{number} identifiers are of kind {kind!s} ({kind.sentence}).")


@dataclass
class CleaningReader:
    """A reader whose blocks have NaN for every value that is missing."""

    reader: Reader
    sentinels: SentinelsConfig

    def blocks(self, path: Path, *, rows: int, ids: Array | None = None) -> Iterator[Block]:
        """Blocks of the reader, cleaned."""
        for block in self.reader.blocks(path, rows=rows, ids=ids):
            cleaned, counts = clean(block, self.sentinels)
            total = _counts.get()
            if total is not None:
                total.update(counts)
            yield cleaned


@dataclass
class CleaningSpectraReader(CleaningReader):
    """The same for a reader of spectra."""

    reader: SpectraReader

    def wavelength(self, path: Path) -> Array:
        """Wavelengths [P] of the spectra of a file, as the reader gives them."""
        return self.reader.wavelength(path)

    def statements(self, path: Path) -> Statements:
        """What a file says of its spectra, as the reader tells it."""
        return self.reader.statements(path)


def clean(block: Block, sentinels: SentinelsConfig) -> tuple[Block, Counter[str]]:
    """The block with NaN for infinities, sentinels and impossible errors, and what there were."""
    counts = Counter[str]()
    columns = dict(block.columns)
    for number, kind in enumerate(KINDS[1:], 1):
        found = int(np.count_nonzero(columns.get("id_kind", np.empty(0)) == number))
        counts.update({f"{IDENTIFIER}: {kind}": found} if found else {})
    for release, found in _releases(block).items():
        counts[f"{RELEASE}{release}"] = found
    for name, values in columns.items():
        if values.dtype.kind == "f" and name not in _AS_THEY_ARE:
            columns[name] = _cleaned(name, values, sentinels, counts)
    return replace(block, columns=columns), counts


def _releases(block: Block) -> Counter[str]:
    """How many designations there are of each release of Gaia."""
    kinds = block.columns.get("id_kind", np.empty(0))
    names = block.columns["name"][kinds == _DESIGNATIONS].tolist() if kinds.size else []
    return Counter(map(release_of, names))


def _cleaned(name: str, values: Array, sentinels: SentinelsConfig, counts: Counter[str]) -> Array:
    for what, missing in _rules(name, values, sentinels):
        number = int(np.count_nonzero(missing))
        if number:
            counts[f"{name}: {what}"] += number
            values = np.where(missing, np.float32("nan"), values).astype(values.dtype)
    return values


def _rules(name: str, values: Array, sentinels: SentinelsConfig) -> Iterator[tuple[str, Array]]:
    """What may make values of a role missing, and where it does; no value fits two rules."""
    yield "infinite", np.isinf(values)
    exact = sentinels.values + (sentinels.magnitudes if name == "photometry" else ())
    special = _is_sentinel(values, exact)
    if name not in _ANY_NUMBER and not name.startswith("cut/") and sentinels.minimum is not None:
        with np.errstate(invalid="ignore"):
            special |= (values <= sentinels.minimum) & np.isfinite(values)
    yield "sentinel", special
    if name == "parallax_error":
        with np.errstate(invalid="ignore"):
            yield "zero or negative", (values <= 0) & ~special & np.isfinite(values)


def _is_sentinel(values: Array, sentinels: tuple[float, ...]) -> Array:
    found = np.zeros(values.shape, bool)
    if not sentinels or not values.size:
        return found
    with np.errstate(invalid="ignore"):
        # Spectra are large and hold none: one look at the range saves a look for each.
        near = (values >= min(sentinels) * 1.001) & (values <= max(sentinels) * 0.999)
        if min(sentinels) < 0 and max(sentinels) < 0 and not near.any():
            return found
        for sentinel in sentinels:
            found |= values.astype(np.float32) == np.float32(sentinel)
    return found
