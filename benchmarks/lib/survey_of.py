"""Survey of a given size for benchmarks: simulated stars, repeated until there are enough."""

import shutil
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np

from distcnn import pipeline
from distcnn.config import load_config
from distcnn.events import silent
from distcnn.schema import SURVEY_VARIABLES
from distcnn.survey import Coordinate, Layout, Ledger, Region, Store, create_store

SEED = 4
"""Of the simulation."""
FEW = "few.zarr"


def make_survey(folder: Path, stars: int, pixels: int, different: int) -> Store:
    """A survey of so many stars in ``folder``; one that is there with as many is used.

    ``different`` : stars that are simulated, before they repeat.
    """
    path = folder / "survey.zarr"
    if path.exists():
        found = Store.open(path, "survey")
        if found.attrs.get("complete") and (found.stars, found.sizes["pixel"]) == (stars, pixels):
            return found
        raise SystemExit(f"{path} has another size; remove it or give another folder")
    few = make_few(folder, pixels, different)
    store = create_store(path, layout_for(few, stars))
    everything = few.read(Region(0, few.stars))
    for region in store.regions():
        rows = np.arange(region.start, region.stop)
        arrays = {name: values[rows % few.stars] for name, values in everything.items()}
        arrays["source_id"] = rows + 1
        store.write(region, arrays)
    store.annotate({"complete": True})
    return Store.open(path, "survey")


def make_few(folder: Path, pixels: int, different: int) -> Store:
    """Different stars, by way of archive files and ingest."""
    survey, archive = folder / FEW, folder / "archive"
    if not (survey.exists() and Store.open(survey).attrs.get("complete")):
        sets = [
            "cluster.backend=serial",
            f"ingest.prepare.rebin={2401 // pixels}",
            "simulate.labelled_fraction=0.9",
            # References that the archive itself calls bad are cut, as the demo does.
            "ingest.labels.reader=apogee",
            "ingest.labels.files=allStar*.fits",
            "ingest.labels.cuts=[{column: ASPCAPFLAG, forbidden_bits: [16, 17, 19, 20, 23]}]",
        ]
        config = load_config(None, sets)
        if not (archive / "simulation.json").exists():
            pipeline.simulate_archive(archive, different, SEED, config, silent)
        pipeline.ingest_archive(archive, survey, config, silent)
    return Store.open(survey, "survey")


def _unforced(descriptor: int) -> None:
    """In the place of ``os.fsync``: a shell is made anew if the machine stops."""


def make_shell(folder: Path, regions: int, shard: int) -> None:
    """A complete survey of so many regions without a single spectrum: metadata and a ledger.

    It stands in ``shell-REGIONS.zarr``, beside the few stars that ``make_few`` has made.
    """
    path = folder / f"shell-{regions}.zarr"
    if path.exists() and Store.open(path).attrs.get("complete"):
        return
    shutil.rmtree(path, ignore_errors=True)
    layout = layout_for(Store.open(folder / FEW, "survey"), regions * shard)
    store = create_store(path, replace(layout, chunk_stars=shard, shard_stars=shard))
    ledger = Ledger.open(store.private / "ledger.jsonl", {"by": "benchmark"})
    with mock.patch("os.fsync", _unforced):
        for region in store.regions():
            ledger.record(region.name, f"{region.start:064x}")
    store.annotate({"complete": True})


def layout_for(few: Store, stars: int) -> Layout:
    """Where so many stars like these few go: the same variables, encodings and shards."""
    names = {"wavelength": "pixel", "band": "band", "label": "label", "coefficient": "coefficient"}
    known = {name: dim for name, dim in names.items() if name in few.coordinates}
    attrs = {k: v for k, v in few.attrs.items() if k not in ("complete", "format", "coordinates")}
    found = {name: few.quantisation(name) for name in few.variables}
    return Layout(
        kind="survey",
        sizes={**few.sizes, "star": stars},
        chunk_stars=few.chunk_stars,
        shard_stars=few.shard_stars,
        variables=tuple(SURVEY_VARIABLES[name] for name in few.variables),
        coordinates={
            name: Coordinate(dim, few.coordinate(name), few.coordinate_attrs(name))
            for name, dim in known.items()
        },
        attrs=attrs | {"complete": False, "repeats": f"{few.stars} simulated stars"},
        quantised={name: value for name, value in found.items() if value is not None},
    )
