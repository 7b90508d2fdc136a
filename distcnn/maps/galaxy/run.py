"""The map of the Galaxy: one task per region, sums joined as they come, then fits and figures.

What it leaves is described in ``maps.record``. Tables: ``mosaic.ecsv``, ``gradients.ecsv`` and
``halo.ecsv``, a row each as ``galaxy.fits`` says; ``density.npz``: ``mosaic`` [S/N bin, R, |Z|,
[M/H], [alpha/M]] and the edges of its axes. Figures: ``mosaic_0``, ``mosaic_1`` ... per S/N bin,
``gradients``, ``plane``, ``disc``, ``alpha``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distcnn import __version__
from distcnn.arrays import Array
from distcnn.config import GalaxyMapConfig
from distcnn.errors import InputError, StoreError
from distcnn.events import Advanced, Listener, StageEnded, StageStarted, silent
from distcnn.executor import Executor
from distcnn.files import atomic_write, atomic_write_text
from distcnn.location import Location
from distcnn.maps.drawing import require_datashader
from distcnn.maps.galaxy.draw import draw_galaxy
from distcnn.maps.galaxy.fits import Row, gradient_rows, halo_rows, mosaic_rows
from distcnn.maps.galaxy.place import GalacticFrame
from distcnn.maps.galaxy.stars import ALPHA, METALLICITY, MappedStars, StarColumns
from distcnn.maps.galaxy.sums import ALPHA_EDGES, METALLICITY_EDGES, GalaxySums
from distcnn.maps.record import (
    RECORD_FILE,
    STARS_FOLDER,
    Exhibit,
    MapRecord,
    finished_map,
    publish,
    unfinished_map,
)
from distcnn.maps.tables import write_table
from distcnn.stats import bin_name
from distcnn.survey import Region, Store

STAGE = "map galaxy"
REGION_STARS = 65_536
"""Stars of a task, about; whole shards of the predictions."""
SUMS_FOLDER = "sums"
STAR_COLUMNS = {
    "source_id": "identifier of the star",
    "distance": "distance, median of the posterior [kpc]",
    "distance_low": "lower end of the 68 % interval of the distance [kpc]",
    "distance_high": "upper end of the 68 % interval of the distance [kpc]",
    "radius": "distance R from the axis of the Galaxy [kpc]",
    "height": "height Z above the plane of the Galaxy [kpc]",
    "radius_error": "standard error of R because of the distance [kpc]",
    "height_error": "standard error of Z because of the distance [kpc]",
    "mapped": "whether the star is used on the map",
}


@dataclass(frozen=True)
class GalaxyTask:
    """What a worker needs for one region; can be pickled. ``labels`` : columns of [M/H] and
    [alpha/M]; ``pair`` : that of the correlation of their errors, None = not known.
    """

    predictions: Location
    survey: Location
    work: Path
    labels: tuple[int, int]
    pair: int | None
    colour: tuple[int, int] | None
    debiased: bool
    config: GalaxyMapConfig


def map_galaxy(
    predictions: Store,
    survey: Store,
    out: Path,
    config: GalaxyMapConfig,
    origin: Mapping[str, Any],
    *,
    executor: Executor,
    listener: Listener = silent,
) -> MapRecord:
    """Make the map ``out`` of finished predictions; regions that are done are not done again.

    Parameters
    ----------
    survey : that of the predictions, which knows the errors of the parallaxes and the colours.
    origin : digests of both.

    Raises
    ------
    UsageError : another map is there.
    InputError, StoreError : labels or parallaxes are missing, or the stores do not fit.
    MissingExtra : datashader is not installed.
    """
    require_datashader()
    origin = {**origin, "settings": config.model_dump(mode="json"), "version": __version__}
    done = finished_map(out, origin)
    if done is not None:
        listener(StageEnded(STAGE, {"stars": predictions.stars, "note": "complete before"}))
        return done
    begin = perf_counter()
    with unfinished_map(out, origin) as work:
        sums = _sum_regions(_task(predictions, survey, work, config), executor, listener)
        with publish(out, work) as draft:
            record = _write_results(draft, sums, config, origin)
            atomic_write_text(draft / RECORD_FILE, record.to_json())
    seconds = round(perf_counter() - begin, 1)
    listener(StageEnded(STAGE, {"stars": predictions.stars, "seconds": seconds}))
    return record


def _task(predictions: Store, survey: Store, work: Path, config: GalaxyMapConfig) -> GalaxyTask:
    labels = [str(name) for name in predictions.coordinate("label")]
    for name in (METALLICITY, ALPHA):
        if name not in labels:
            raise InputError(
                f"{predictions.location} has the labels {', '.join(labels)}",
                expected=f"{METALLICITY} and {ALPHA} among them",
            )
    if "parallax" not in survey.variables or "parallax_error" not in survey.variables:
        raise InputError(
            f"{survey.location} has no parallaxes with errors",
            expected="the variables parallax and parallax_error",
            cure="Ingest the survey with its source table.",
        )
    if survey.stars != predictions.stars:
        raise StoreError(
            f"{survey.location} has {survey.stars} stars",
            expected=f"{predictions.stars}, as in {predictions.location}",
            cure="Name the survey that these predictions were made from.",
        )
    pair = None
    if "label_correlation" in predictions.variables:
        names = [str(name) for name in predictions.coordinate("pair")]
        pair = names.index(f"{METALLICITY}_{ALPHA}")
    bands = list(survey.attrs.get("bands") or ())
    blue_red = ("phot_bp_mean_mag", "phot_rp_mean_mag")
    return GalaxyTask(
        predictions.location,
        survey.location,
        work,
        (labels.index(METALLICITY), labels.index(ALPHA)),
        pair,
        (bands.index(blue_red[0]), bands.index(blue_red[1]))
        if set(blue_red) <= set(bands) and "photometry" in survey.variables
        else None,
        config.labels == "debiased" and "label_debiased" in predictions.variables,
        config,
    )


def _sum_regions(task: GalaxyTask, executor: Executor, listener: Listener) -> GalaxySums:
    """Sums of all regions, which are joined in their order as far as they can be."""
    store = Store.open(task.predictions, "predictions")
    regions = store.regions(max(1, REGION_STARS // store.shard_stars))
    folder = task.work / SUMS_FOLDER
    folder.mkdir(exist_ok=True)
    waiting = [region for region in regions if not _sums_path(task, region).exists()]
    done = store.stars - sum(region.size for region in waiting)
    listener(StageStarted(STAGE, store.stars, "stars", done))
    for result in executor(partial(map_region, task=task), waiting):
        result.unwrap()
        listener(Advanced(STAGE, result.task.size, result.task.name))
    total = GalaxySums.empty(task.config)
    for region in regions:
        total.add(GalaxySums.load(_sums_path(task, region)))
    return total


def _sums_path(task: GalaxyTask, region: Region) -> Path:
    return task.work / SUMS_FOLDER / f"{region.name}.npz"


def map_region(region: Region, *, task: GalaxyTask) -> str:
    """Place the stars of one region and sum them; its sums are written last."""
    stars = MappedStars.of(
        _read(region, task),
        GalacticFrame.of(task.config.sun_radius, task.config.sun_height),
        task.config,
    )
    with atomic_write(task.work / STARS_FOLDER / f"{region.name}.parquet") as draft:
        pq.write_table(_star_table(stars), draft, compression="zstd")
    GalaxySums.of(stars, task.config).save(_sums_path(task, region))
    return region.name


def _star_table(stars: MappedStars) -> pa.Table:
    low, middle, high = stars.distance.T
    place = stars.place
    columns = {
        "distance": middle,
        "distance_low": low,
        "distance_high": high,
        "radius": place.radius,
        "height": place.height,
        "radius_error": place.radius_error,
        "height_error": place.height_error,
    }
    floats = {name: values.astype(np.float32) for name, values in columns.items()}
    return pa.table({"source_id": stars.stars.source_id, **floats, "mapped": stars.used})


def _read(region: Region, task: GalaxyTask) -> StarColumns:
    predictions = Store.open(task.predictions, "predictions")
    survey = Store.open(task.survey, "survey")
    value = "label_debiased" if task.debiased else "label"
    names = ["source_id", "ra", "dec", "snr", "flags", "status", value, f"{value}_error"]
    pair = [] if task.pair is None else ["label_correlation"]
    rows = predictions.read(region, [*names, *pair])
    colour = [] if task.colour is None else ["photometry"]
    beside = survey.read(region, ["source_id", "parallax", "parallax_error", *colour])
    if (rows["source_id"] != beside["source_id"]).any():
        raise StoreError(
            f"region {region.name} holds other stars than {survey.location}",
            cure="Name the survey that these predictions were made from.",
        )
    unknown = np.full(region.size, np.nan)
    photometry = beside.get("photometry")
    chosen = list(task.labels)
    return StarColumns(
        **{name: rows[name] for name in names[:6]},
        parallax=beside["parallax"].astype(float),
        parallax_error=beside["parallax_error"].astype(float),
        magnitude=unknown if photometry is None else photometry[:, 0].astype(float),
        colour=unknown if photometry is None else _colour(photometry, task.colour),
        labels=rows[value][:, chosen].astype(float),
        errors=rows[f"{value}_error"][:, chosen].astype(float),
        correlation=(
            np.zeros(region.size)
            if task.pair is None
            else np.nan_to_num(rows["label_correlation"][:, task.pair].astype(float))
        ),
    )


def _colour(photometry: Array, bands: tuple[int, int] | None) -> Array:
    blue, red = bands or (0, 0)
    return np.asarray(photometry[:, blue] - photometry[:, red], float)


def _write_results(
    folder: Path, sums: GalaxySums, config: GalaxyMapConfig, origin: Mapping[str, Any]
) -> MapRecord:
    tables = {
        "mosaic": mosaic_rows(sums, config),
        "gradients": gradient_rows(sums, config),
        "halo": halo_rows(sums, config),
    }
    for name, rows in tables.items():
        write_table(folder / f"{name}.ecsv", rows, _UNITS, TABLES[name].caption)
    np.savez_compressed(
        folder / "density.npz",
        mosaic=sums.mosaic,
        snr_edges=config.snr_edges,
        radius_edges=config.radius_edges,
        height_edges=config.height_edges,
        mh_edges=METALLICITY_EDGES,
        alpham_edges=ALPHA_EDGES,
    )
    figures = draw_galaxy(folder, sums, tables, config)
    return MapRecord(
        "galaxy",
        origin,
        facts=_facts(sums, config),
        sentences=tuple(_sentences(sums, tables, config)),
        tables=TABLES,
        figures=figures,
        columns=STAR_COLUMNS,
    )


TABLES = {
    "mosaic": Exhibit(
        "Components by place",
        "Stars by S/N, R and |Z|, and whether one or two Gaussian components describe them in "
        "[M/H] and [alpha/M]; delta_bic above 10: two, strongly. Errors are taken off.",
    ),
    "gradients": Exhibit(
        "Radial gradients of [M/H]",
        "Of all stars of a layer and of its two sequences, errors of labels and places taken "
        "into account; mh is that at the Sun's distance from the axis.",
    ),
    "halo": Exhibit(
        "Metal-poor stars",
        "Stars below a limit in [M/H]: counted as they are, and expected when the errors are "
        "taken off.",
    ),
}
_UNITS = {
    **dict.fromkeys(("radius_low", "radius_high", "height_low", "height_high"), "kpc"),
    **dict.fromkeys(("gradient", "gradient_error"), "dex / kpc"),
    **dict.fromkeys(("mh", "mh_error", "limit"), "dex"),
    **{
        f"{name}_{kind}": "dex"
        for kind in ("low", "high")
        for name in ("mh", "alpham", "mh_width", "alpham_width")
    },
}


def _facts(sums: GalaxySums, config: GalaxyMapConfig) -> dict[str, Any]:
    zero = config.zero_point
    return {
        **sums.counts,
        "zero_point": zero if isinstance(zero, str) else f"{zero:g} mas",
        "prior": f"exponentially decreasing space density, L = {config.scale_length:g} kpc",
        "sun": f"R = {config.sun_radius:g} kpc, Z = {config.sun_height:g} kpc",
    }


def _sentences(
    sums: GalaxySums, tables: Mapping[str, list[Row]], config: GalaxyMapConfig
) -> list[str]:
    counts = sums.counts
    text = [
        f"{counts['used']:,} of {counts['stars']:,} stars are mapped; distances have the prior of "
        f"an exponentially decreasing space density with L = {config.scale_length:g} kpc."
    ]
    for number in range(len(config.snr_edges)):
        name = bin_name(number + 1, config.snr_edges)
        cells = [r for r in tables["mosaic"] if r["snr"] == name and r["components"]]
        two = sum(row["delta_bic"] > 10 for row in cells)
        text.append(f"S/N {name}: two components in {two} of {len(cells)} cells with enough stars.")
    for row in tables["gradients"]:
        if row["sequence"] == "low_alpha":
            text.append(
                f"|Z| {row['height_low']:g}-{row['height_high']:g} kpc: radial gradient of [M/H] "
                f"of the low-alpha sequence {row['gradient']:+.4f} ± {row['gradient_error']:.4f} "
                "dex/kpc."
            )
    for row in tables["halo"]:
        text.append(
            f"S/N {row['snr']}: {row['counted']:,} stars below [M/H] = {row['limit']:g}, "
            f"{row['expected']:,.0f} ± {row['expected_error']:,.0f} with the errors taken off."
        )
    return text
