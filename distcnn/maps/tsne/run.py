"""The map of spectra: fitted once, then every star placed on it, region by region.

What it leaves is described in ``maps.record``. ``stars/*.parquet`` has ``COLUMNS``, a file per
region of the survey in its order; ``stars/training.parquet`` the training stars that are fitted,
where those are of another survey. Table: ``comparison.ecsv``. Figures: ``kinds`` (training and
observed stars, train-like or not) and ``novelty``.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load as load_arrays

from distcnn import __version__
from distcnn.arrays import Array
from distcnn.config import TsneMapConfig
from distcnn.errors import InputError
from distcnn.events import Advanced, Listener, Notice, StageEnded, StageStarted, silent
from distcnn.files import atomic_write, atomic_write_bytes, atomic_write_text
from distcnn.location import Address
from distcnn.manifest import Manifest, read_file
from distcnn.maps.drawing import require_datashader
from distcnn.maps.record import (
    RECORD_FILE,
    STARS_FOLDER,
    MapRecord,
    finished_map,
    publish,
    unfinished_map,
)
from distcnn.maps.tsne.embedding import FittedMap, require_open_tsne
from distcnn.maps.tsne.features import SpectrumFeatures
from distcnn.maps.tsne.plan import TsnePlan
from distcnn.maps.tsne.results import write_results
from distcnn.maps.tsne.sample import FittedRows, Sources, choose_rows, pieces, read_spectra
from distcnn.maps.tsne.train_like import TrainLikeness
from distcnn.quality import Quality
from distcnn.quality.novelty import OTHER_LIGHT, Novelty
from distcnn.survey import Region, Store

STAGE = "map tsne"
FITTED_FILE = "fitted.npz"
COLUMNS = {
    "source_id": "identifier of the star",
    "x": "place on the map",
    "y": "place on the map",
    "training": "whether networks were trained on the star",
    "fitted": "whether the map was fitted to the star; the others were placed",
    "training_distance": "distance on the map to the nearest training stars; 1 = the limit",
    "unlike": "training_distance above 1: no training stars around",
    "novelty": "unlikeness to the training spectra by the package; 1 = its limit",
    "snr": "signal to noise per pixel",
}


@dataclass(frozen=True)
class FittedStars:
    """What is kept of the fit: all that places other stars."""

    rows: FittedRows
    features: SpectrumFeatures
    places: Array
    of_stars: Array
    """[n + t, k] features, observed stars first."""

    def save(self, path: Path) -> None:
        """Write as NPZ, whole or not at all."""
        buffer = io.BytesIO()
        np.savez(
            buffer,
            observed=self.rows.observed,
            training=self.rows.training,
            mean=self.features.mean,
            vectors=self.features.vectors,
            places=self.places,
            of_stars=self.of_stars,
        )
        atomic_write_bytes(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> "FittedStars":
        """What ``save`` wrote."""
        with np.load(path) as held:
            return cls(
                FittedRows(held["observed"], held["training"]),
                SpectrumFeatures(held["mean"], held["vectors"]),
                held["places"],
                held["of_stars"],
            )


def open_sources(manifest: Manifest, survey: Store, training: Store | None) -> Sources:
    """The survey and that of the training stars, which have to have spectra on one grid.

    Raises
    ------
    InputError : one has no spectra or no labels, or their grids differ.
    PackageError : the package does not say how its stars were split.
    """
    split = manifest.training_split
    bands = tuple(manifest.spec.bands)
    sources = Sources(survey, training or survey, split, manifest.label_names, bands)
    for store in (sources.survey, sources.training):
        if "flux" not in store.variables:
            raise InputError(f"{store.location} has no spectra", expected="the variable flux")
        if store.shape("flux")[1] != manifest.spec.pixels and manifest.spec.pixels:
            raise InputError(
                f"{store.location} has spectra of {store.shape('flux')[1]} pixels",
                expected=f"{manifest.spec.pixels}, as the package was trained on",
            )
    if "label" not in sources.training.variables:
        raise InputError(
            f"{sources.training.location} has no labels",
            expected="the survey that the package was trained on",
            cure="Name it by --training.",
        )
    return sources


def plan_tsne(sources: Sources, config: TsneMapConfig) -> TsnePlan:
    """What the map will cost; reads identifiers and labels only."""
    rows, _ = choose_rows(sources, config)
    fitted = len(rows.observed) + len(rows.training)
    pixels = sources.survey.shape("flux")[1]
    return TsnePlan(sources.survey.stars, fitted, len(rows.training), 0, pixels, config)


def map_tsne(
    sources: Sources,
    novelty: Novelty | None,
    out: Path,
    config: TsneMapConfig,
    origin: Mapping[str, Any],
    *,
    listener: Listener = silent,
) -> MapRecord:
    """Make the map ``out``; what an earlier run has fitted and placed is not done again.

    Parameters
    ----------
    novelty : that of the package, with which the map is compared.
    origin : digests of what the map is made from.

    Raises
    ------
    UsageError : another map is there.
    InputError : there are no training stars.
    MissingExtra : openTSNE or datashader is not installed.
    """
    require_open_tsne()
    require_datashader()
    origin = {**origin, "settings": config.model_dump(mode="json"), "version": __version__}
    done = finished_map(out, origin)
    if done is not None:
        listener(StageEnded(STAGE, {"stars": sources.survey.stars, "note": "complete before"}))
        return done
    begin = perf_counter()
    with unfinished_map(out, origin) as work:
        fitted = _fitted(sources, work, config, listener)
        placer = Placer.of(fitted, novelty, sources, config)
        _place_all(placer, work, listener)
        with publish(out, work) as draft:
            record = write_results(draft, work / STARS_FOLDER, origin, COLUMNS, config)
            atomic_write_text(draft / RECORD_FILE, record.to_json())
    seconds = round(perf_counter() - begin, 1)
    listener(StageEnded(STAGE, {"stars": sources.survey.stars, "seconds": seconds}))
    return record


def novelty_of(package: Address, manifest: Manifest) -> Novelty | None:
    """The novelty measure of a package; None of one without spectra."""
    return Quality.from_arrays(
        load_arrays(read_file(package, manifest, "quality.safetensors"))
    ).novelty


def _fitted(sources: Sources, work: Path, config: TsneMapConfig, listener: Listener) -> FittedStars:
    """The fit that is there, or a new one, kept."""
    path = work / FITTED_FILE
    if path.exists():
        return FittedStars.load(path)
    rows, training = choose_rows(sources, config)
    count = len(rows.observed) + len(rows.training)
    listener(
        Notice(
            f"fits the map to {count:,} stars, {len(rows.training):,} of {training:,} "
            "training stars among them"
        )
    )
    flux = np.concatenate(
        [read_spectra(sources.survey, rows.observed), read_spectra(sources.training, rows.training)]
    )
    features = SpectrumFeatures.fit(flux, config.components, config.seed)
    of_stars = features.of(flux)
    places = FittedMap.fit(of_stars, config).places
    fitted = FittedStars(rows, features, places, of_stars)
    fitted.save(path)
    return fitted


@dataclass(frozen=True)
class Placer:
    """Places the stars of a region. ``known`` : row of the survey -> place of a fitted star."""

    fitted: FittedStars
    map: FittedMap
    rule: TrainLikeness
    novelty: Novelty | None
    sources: Sources

    @classmethod
    def of(
        cls,
        fitted: FittedStars,
        novelty: Novelty | None,
        sources: Sources,
        config: TsneMapConfig,
    ) -> "Placer":
        """Ready to place."""
        on_map = FittedMap(fitted.of_stars, fitted.places, config)
        training = fitted.places[len(fitted.rows.observed) :]
        rule = TrainLikeness.fit(training, config.neighbours, config.quantile)
        return cls(fitted, on_map, rule, novelty, sources)

    def of_region(self, region: Region) -> pa.Table:
        """The rows of ``stars/*.parquet`` of one region of the survey."""
        store, rows = self.sources.survey, self.fitted.rows
        more = [name for name in ("flux_error", *OTHER_LIGHT) if name in store.variables]
        wanted = ["source_id", "flux", "snr", *more]
        labelled = "label" in store.variables and self.sources.same
        block = store.read(region, [*wanted, *(["label"] if labelled else [])])
        training = np.zeros(region.size, bool)
        if labelled:
            training = self.sources.is_training(block["source_id"], block["label"], store)
        place = np.full((region.size, 2), np.nan)
        here = rows.observed, rows.training if self.sources.same else rows.training[:0]
        for start, known in zip((0, len(rows.observed)), here, strict=True):
            inside = np.flatnonzero((known >= region.start) & (known < region.stop))
            place[known[inside] - region.start] = self.fitted.places[start + inside]
        fitted = np.isfinite(place[:, 0])
        place[~fitted] = self.map.place(self.fitted.features.of(block["flux"][~fitted]))
        return self._table(block, place, training, fitted)

    def of_training(self) -> pa.Table:
        """The same of the training stars, where those are of another survey."""
        rows, store = self.fitted.rows.training, self.sources.training
        parts = [
            {
                name: values[rows[(rows >= r.start) & (rows < r.stop)] - r.start]
                for name, values in store.read(r, ["source_id", "snr"]).items()
            }
            for r in pieces(store)
        ]
        block = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        block["flux"] = read_spectra(store, rows)
        place = self.fitted.places[len(self.fitted.rows.observed) :]
        every = np.ones(len(rows), bool)
        return self._table(block, place, every, every)

    def _table(
        self, block: Mapping[str, Array], place: Array, training: Array, fitted: Array
    ) -> pa.Table:
        distance = self.rule.distance(place)
        own = training & fitted
        distance[own] = self.rule.distance(place[own], itself=True)
        return pa.table(
            {
                "source_id": block["source_id"],
                "x": place[:, 0].astype(np.float32),
                "y": place[:, 1].astype(np.float32),
                "training": training,
                "fitted": fitted,
                "training_distance": distance.astype(np.float32),
                "unlike": distance > 1,
                "novelty": self._score(block),
                "snr": block["snr"].astype(np.float32),
            }
        )

    def _score(self, block: Mapping[str, Array]) -> Array:
        if self.novelty is None:
            return np.full(len(block["flux"]), np.nan, np.float32)
        light = self.sources.light(block)
        score = self.novelty.score(block["flux"], block.get("flux_error"), light)
        return np.asarray(score / np.float32(self.novelty.threshold), np.float32)


def _place_all(placer: Placer, work: Path, listener: Listener) -> None:
    survey, folder = placer.sources.survey, work / STARS_FOLDER
    regions = list(pieces(survey))
    waiting = [r for r in regions if not (folder / f"{r.name}.parquet").exists()]
    done = survey.stars - sum(region.size for region in waiting)
    listener(StageStarted(STAGE, survey.stars, "stars", done))
    if not placer.sources.same:
        _write(placer.of_training(), folder / "training.parquet")
    for region in waiting:
        _write(placer.of_region(region), folder / f"{region.name}.parquet")
        listener(Advanced(STAGE, region.size, region.name))


def _write(table: pa.Table, path: Path) -> None:
    with atomic_write(path) as draft:
        pq.write_table(table, draft, compression="zstd")
