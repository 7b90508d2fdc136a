"""Sums of the map: what is counted and kept of many stars, region by region, in bounded memory.

Every star is counted in the mosaic and in the images; a sample of each cell is kept for what
cannot be summed. The sample is those stars whose hash of ``source_id`` is lowest, so the order in
which regions come does not matter, and neither does how they were cut.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from distcnn import hashing
from distcnn.arrays import Array
from distcnn.config import GalaxyMapConfig
from distcnn.files import atomic_write_bytes
from distcnn.maps.galaxy.stars import REASONS, MappedStars

METALLICITY_EDGES = np.linspace(-2.6, 0.8, 69)
"""Of the mosaic's density [dex]."""
ALPHA_EDGES = np.linspace(-0.2, 0.5, 36)
"""Of the mosaic's density [dex]."""
COUNTS = ("stars", "used", *REASONS)
COLUMNS = ("mh", "alpham", "mh_error", "alpham_error", "correlation")
"""Of the sample, beside the places."""
_PLACES = ("radius", "height", "radius_error")
SAMPLE = (*COLUMNS, *_PLACES, "order")
"""Columns of a sample; ``order`` [0, 1): the hash by which stars are kept."""


@dataclass(frozen=True)
class ImageFrame:
    """What an image counts, and where: quantities along both axes and their limits."""

    name: str
    x: str
    y: str
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    size: tuple[int, int] = (640, 480)
    """Columns and rows."""


IMAGES = (
    ImageFrame("plane", "radius", "height", (0.0, 16.0), (-6.0, 6.0)),
    ImageFrame("disc", "x", "y", (-16.0, 0.0), (-8.0, 8.0), (560, 560)),
    ImageFrame("alpha", "mh", "alpham", (-2.6, 0.8), (-0.2, 0.5)),
)
"""Density images of all mapped stars."""


@dataclass
class GalaxySums:
    """Of some stars; ``add`` merges those of others.

    ``counts``: stars in all, used, left out by reason. ``mosaic`` [S, R, Z, M, A]: stars by S/N
    bin, cell, [M/H] and [alpha/M]. ``images``: name -> [rows, columns]. ``samples``: cell number
    -> columns of ``SAMPLE`` [n, 9]; cells are numbered S/N bin first; negative: -1 - S/N bin, all
    of its stars, wherever they are. ``by_snr`` [S, 2]: stars that are mapped; of the halo.
    """

    limit: int
    counts: dict[str, int]
    by_snr: Array
    mosaic: Array
    images: dict[str, Array]
    samples: dict[int, Array] = field(default_factory=dict)

    @classmethod
    def empty(cls, config: GalaxyMapConfig) -> "GalaxySums":
        """Of no star."""
        shape = (
            len(config.snr_edges),
            len(config.radius_edges) - 1,
            len(config.height_edges) - 1,
            len(METALLICITY_EDGES) - 1,
            len(ALPHA_EDGES) - 1,
        )
        images = {one.name: np.zeros(one.size[::-1], np.int64) for one in IMAGES}
        by_snr = np.zeros((shape[0], 2), np.int64)
        return cls(
            config.sample, dict.fromkeys(COUNTS, 0), by_snr, np.zeros(shape, np.int64), images
        )

    @classmethod
    def of(cls, stars: MappedStars, config: GalaxyMapConfig) -> "GalaxySums":
        """Of the stars of a region."""
        sums = cls.empty(config)
        used = int(stars.used.sum())
        sums.counts |= {"stars": len(stars.used), "used": used, **stars.left_out}
        table = _table(stars)
        for column, kind in enumerate((table["mh"] < np.inf, table["mh"] < config.halo)):
            found = _snr_bin(stars, config)[kind]
            sums.by_snr[:, column] = np.bincount(found, minlength=len(sums.by_snr))
        for image in IMAGES:
            sums.images[image.name] = _image(table[image.x], table[image.y], image)
        cell = np.ravel_multi_index(_place_in_cells(stars, config), sums.mosaic.shape[:3], "clip")
        sums._count_mosaic(table, cell, _inside(stars, config))
        sums._keep_samples(table, cell, _inside(stars, config), stars, config)
        return sums

    def _count_mosaic(self, table: Mapping[str, Array], cell: Array, inside: Array) -> None:
        bins = [
            np.clip(np.searchsorted(edges, table[name], side="right") - 1, 0, len(edges) - 2)
            for name, edges in (("mh", METALLICITY_EDGES), ("alpham", ALPHA_EDGES))
        ]
        place = (cell * (len(METALLICITY_EDGES) - 1) + bins[0]) * (len(ALPHA_EDGES) - 1) + bins[1]
        self.mosaic += np.bincount(place[inside], minlength=self.mosaic.size).reshape(
            self.mosaic.shape
        )

    def _keep_samples(
        self,
        table: Mapping[str, Array],
        cell: Array,
        inside: Array,
        stars: MappedStars,
        config: GalaxyMapConfig,
    ) -> None:
        rows = np.stack([table[name] for name in SAMPLE], axis=1)
        snr = _snr_bin(stars, config)
        for number in np.unique(cell[inside]):
            self._keep(int(number), rows[inside & (cell == number)])
        for number in np.unique(snr):
            self._keep(-1 - int(number), rows[snr == number])

    def _keep(self, number: int, rows: Array) -> None:
        both = rows if number not in self.samples else np.vstack([self.samples[number], rows])
        if len(both) > self.limit:
            both = both[np.argpartition(both[:, -1], self.limit)[: self.limit]]
        self.samples[number] = both

    def add(self, others: "GalaxySums") -> None:
        """Add what was summed of other stars."""
        for name, count in others.counts.items():
            self.counts[name] += count
        self.by_snr += others.by_snr
        self.mosaic += others.mosaic
        for name, image in others.images.items():
            self.images[name] += image
        for number, rows in others.samples.items():
            self._keep(number, rows)

    def sample(self, number: int) -> dict[str, Array]:
        """Columns of the stars that were kept of a cell, in an order of their own."""
        rows = self.samples.get(number, np.empty((0, len(SAMPLE))))
        rows = rows[np.argsort(rows[:, -1], kind="stable")]
        return dict(zip(SAMPLE, rows.T, strict=True))

    def save(self, path: Path) -> None:
        """Write as NPZ, whole or not at all."""
        images: dict[str, Any] = {
            f"image_{name}": image.astype(np.uint32) for name, image in self.images.items()
        }
        numbers = sorted(self.samples)
        rows = [self.samples[number] for number in numbers]
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            limit=np.array(self.limit),
            counts=np.array([self.counts[name] for name in COUNTS]),
            by_snr=self.by_snr,
            mosaic=self.mosaic.astype(np.uint32),
            sample_numbers=np.array(numbers, np.int64),
            sample_sizes=np.array([len(part) for part in rows], np.int64),
            sample_rows=np.concatenate(rows) if rows else np.empty((0, len(SAMPLE))),
            **images,
        )
        atomic_write_bytes(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> "GalaxySums":
        """What ``save`` wrote of one region."""
        with np.load(path) as held:
            cuts = np.cumsum(held["sample_sizes"])[:-1]
            parts = np.split(held["sample_rows"], cuts) if len(held["sample_sizes"]) else []
            numbers = [int(number) for number in held["sample_numbers"]]
            return cls(
                int(held["limit"]),
                dict(zip(COUNTS, map(int, held["counts"]), strict=True)),
                held["by_snr"],
                held["mosaic"].astype(np.int64),
                {one.name: held[f"image_{one.name}"].astype(np.int64) for one in IMAGES},
                dict(zip(numbers, parts, strict=True)),
            )


def _table(stars: MappedStars) -> dict[str, Array]:
    """Columns of the stars that are used."""
    used, read = stars.used, stars.stars
    return {
        "mh": read.labels[used, 0].astype(float),
        "alpham": read.labels[used, 1].astype(float),
        "mh_error": read.errors[used, 0].astype(float),
        "alpham_error": read.errors[used, 1].astype(float),
        "correlation": read.correlation[used].astype(float),
        **{name: getattr(stars.place, name)[used] for name in ("x", "y", *_PLACES)},
        "order": hashing.uniform(read.source_id[used], 0),
    }


def _snr_bin(stars: MappedStars, config: GalaxyMapConfig) -> Array:
    snr = stars.stars.snr[stars.used]
    return np.asarray(np.searchsorted(config.snr_edges, snr, side="right") - 1)


def _place_in_cells(stars: MappedStars, config: GalaxyMapConfig) -> tuple[Array, Array, Array]:
    radius = np.searchsorted(config.radius_edges, stars.place.radius[stars.used], side="right") - 1
    height = np.abs(stars.place.height[stars.used])
    level = np.searchsorted(config.height_edges, height, side="right") - 1
    return _snr_bin(stars, config), radius, level


def _inside(stars: MappedStars, config: GalaxyMapConfig) -> Array:
    """[n] bool: the stars that are used and lie within the mosaic."""
    _, radius, level = _place_in_cells(stars, config)
    return np.asarray(
        (radius >= 0)
        & (radius < len(config.radius_edges) - 1)
        & (level >= 0)
        & (level < len(config.height_edges) - 1)
    )


def _image(x: Array, y: Array, frame: ImageFrame) -> Array:
    """Stars per pixel, [rows, columns], the lowest y first."""
    columns, rows = frame.size
    (left, right), (low, high) = frame.x_range, frame.y_range
    across = np.floor((x - left) / (right - left) * columns)
    up = np.floor((y - low) / (high - low) * rows)
    inside = (across >= 0) & (across < columns) & (up >= 0) & (up < rows)
    place = (up * columns + across)[inside].astype(np.int64)
    return np.bincount(place, minlength=rows * columns).reshape(rows, columns)
