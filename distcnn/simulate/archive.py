"""A whole archive with known truth: one task per HEALPix range, three files each.

Random numbers of a range come from (seed, index of the range), so the archive is the same to
the last byte for any number of workers, and an interrupted run goes on where it stopped.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from distcnn import __version__, hashing
from distcnn.config import SimulateConfig
from distcnn.errors import UsageError
from distcnn.events import Advanced, Listener, StageEnded, StageStarted, silent
from distcnn.executor import Executor
from distcnn.files import atomic_write, atomic_write_bytes, atomic_write_text
from distcnn.formatting import dotted
from distcnn.location import Address, Location
from distcnn.schema import DEFAULT_LABELS, LATER_DEFECTS
from distcnn.simulate.defects import defect_names
from distcnn.simulate.files import apogee, ecsv, gaia
from distcnn.simulate.files.apogee import draw_labelled, write_all_star
from distcnn.simulate.files.gaia_columns import COLUMNS, FILE_STEMS
from distcnn.simulate.galaxy import POPULATIONS, SimulatedStars, SkyRange, draw_stars, split_sky
from distcnn.simulate.grid import ReleaseGrid
from distcnn.simulate.observe import observed_spectra
from distcnn.simulate.spectrum import REGIME_SWITCH

BLOCK_STARS = 250
"""Stars synthesised at a time: memory stays small whatever the size of a file."""
RECORD_FILE, SUMS_FILE, TRUTH_FILE = "simulation.json", "_MD5SUM.txt", "truth.parquet"
PARTS_FOLDER = ".parts"
"""Holds truth, labels and record of each finished range until the archive is complete."""
RELEASE_SETTINGS = ("release", "grid", "minimum_snr", "transits", "labelled_snr")
"""Settings that tell one data release from another."""

_FLOATS = (*DEFAULT_LABELS, "snr", "distance_pc", "ebv", "vsini", "grvs")
TRUTH_SCHEMA = pa.schema(
    [
        ("source_id", pa.int64()),
        *((name, pa.float64()) for name in _FLOATS),
        *((name, pa.string()) for name in ("population", "regime", "trouble")),
        ("labelled", pa.bool_()),
    ]
)
"""Columns of truth.parquet: teff in K, logg and abundances in dex, vsini in km/s, grvs in mag."""


@dataclass(frozen=True)
class RangeRecord:
    """What was written of one range: stars, those with labels, md5 per file name."""

    index: int
    stars: int
    labelled: int
    md5: dict[str, str]


def write_archive(
    out: Path,
    stars: int,
    seed: int,
    config: SimulateConfig,
    *,
    executor: Executor,
    listener: Listener = silent,
) -> dict[str, Any]:
    """Write the archive files, the reference labels and the truth of a simulated survey.

    Returns
    -------
    Counts: stars, files, labelled, rows of the label table, and seconds.

    Raises
    ------
    UsageError : no stars asked for, or the folder holds an archive made from other settings.
    """
    begin = time.perf_counter()
    ranges = split_sky(stars, config.stars_per_file)[: config.ranges]
    settings = {"stars": stars, "seed": seed, "config": _recorded(config)}
    digest = hashing.of_value({**settings, "version": __version__})
    made_by = {**settings, "digest": digest, "version": __version__}
    known = _claim(out, made_by)
    if known is not None:
        listener(StageEnded("simulate", {**known, "note": "complete before"}))
        return known
    listener(StageStarted("simulate", sum(one.stars for one in ranges), "stars"))
    sums: dict[str, str] = {}
    # Workers elsewhere have a working directory of their own.
    work = partial(write_range, out=out.absolute(), seed=seed, config=config)
    for result in executor(work, ranges):
        written = result.unwrap()
        sums |= written.md5
        listener(Advanced("simulate", written.stars, result.task.name))
    counts = _finish(out, ranges, sums, made_by)
    facts = {**counts, "seconds": round(time.perf_counter() - begin, 1)}
    listener(StageEnded("simulate", facts))
    return facts


def read_settings(truth: Address) -> SimulateConfig | None:
    """Settings of the archive whose ``truth.parquet`` this is; None where none stand beside it, or
    they are of a version that had others.
    """
    place = Location.parse(truth).parent / RECORD_FILE
    if not place.exists():
        return None
    try:
        return SimulateConfig.model_validate(json.loads(place.read_bytes())["config"])
    except (ValueError, KeyError, TypeError):
        return None


def _recorded(config: SimulateConfig) -> dict[str, Any]:
    """The settings as they are kept and compared, without what is DR3's in ``RELEASE_SETTINGS``.

    Archives older than these settings are recognised by it: they are DR3's, and first visits.
    """
    default, younger = SimulateConfig(), (*RELEASE_SETTINGS, "visit", "ranges")
    same = {name for name in younger if getattr(config, name) == getattr(default, name)}
    recorded = config.model_dump(mode="json", exclude=same)
    for kind in LATER_DEFECTS:
        if not recorded["trouble"][kind.value]:
            del recorded["trouble"][kind.value]
    return recorded


def _claim(out: Path, made_by: dict[str, Any]) -> dict[str, Any] | None:
    """Counts of the archive if it is complete; else mark the folder as begun.

    Raises
    ------
    UsageError : another archive stands, or was begun, here.
    """
    finished, begun = out / RECORD_FILE, out / PARTS_FOLDER / RECORD_FILE
    for record in (finished, begun):
        if record.exists():
            _check_same(out, json.loads(record.read_text()), made_by)
    if finished.exists() and _intact(out):
        return {**json.loads(finished.read_text())["counts"], "seconds": 0.0}
    begun.parent.mkdir(parents=True, exist_ok=True)
    begun.write_text(json.dumps(made_by))
    return None


def _check_same(out: Path, found: dict[str, Any], asked: dict[str, Any]) -> None:
    if found.get("digest") == asked["digest"]:
        return
    before, now = dict(dotted(found)), dict(dotted(asked))
    other = [key for key in now if key != "digest" and before.get(key) != now[key]]
    raise UsageError(
        f"{out} holds a simulated archive made with "
        + ", ".join(f"{key} = {before.get(key, 'unknown')}" for key in other),
        expected=", ".join(f"{key} = {now[key]}" for key in other) + ", as asked now",
        cure=f"Choose an empty folder, or {_removal(out)}.",
    )


def _removal(out: Path) -> str:
    begun = (out / PARTS_FOLDER / RECORD_FILE).exists()
    return "begin again: --restart removes what was begun there" if begun else f"remove {out}"


def _intact(out: Path) -> bool:
    """Whether every file that the sums name is there, whole."""
    if not (out / SUMS_FILE).exists() or (out / PARTS_FOLDER).exists():
        return False
    rows = (line.split() for line in (out / SUMS_FILE).read_text().splitlines())
    return all(
        (out / name).exists() and _md5((out / name).read_bytes()) == md5 for md5, name in rows
    )


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def discard_unfinished(out: Path) -> None:
    """Remove the files of a simulated archive that is not complete; a complete one stays, and so
    does whatever else stands in the folder.
    """
    parts, finished = out / PARTS_FOLDER, out / RECORD_FILE
    begun = parts / RECORD_FILE
    if not begun.exists():
        return
    record = json.loads(begun.read_text())
    for sky_range in split_sky(record["stars"], record["config"]["stars_per_file"]):
        for kind in FILE_STEMS:
            (out / _file_name(kind, sky_range)).unlink(missing_ok=True)
    for name in (TRUTH_FILE, apogee.FILE_NAME, SUMS_FILE):
        (out / name).unlink(missing_ok=True)
    finished.unlink(missing_ok=True)  # of an archive that was being repaired
    # What says that something was begun goes last.
    for part in sorted(parts.iterdir(), key=lambda one: one == begun):
        part.unlink()
    parts.rmdir()


def _file_name(kind: str, sky_range: SkyRange) -> str:
    return f"{FILE_STEMS[kind]}_{sky_range.name}.csv.gz"


def write_range(
    sky_range: SkyRange, *, out: Path, seed: int, config: SimulateConfig
) -> RangeRecord:
    """Write the three files of one range and its part of truth and labels; skip what is done."""
    note = out / PARTS_FOLDER / f"{sky_range.index:06d}.json"
    if note.exists():
        written = RangeRecord(**json.loads(note.read_text()))
        if all((out / name).exists() for name in written.md5):
            return written
    rng = np.random.Generator(np.random.PCG64DXSM(np.random.SeedSequence([seed, sky_range.index])))
    stars = draw_stars(rng, sky_range, config)
    labelled, table = draw_labelled(rng, stars, config)
    source = list(gaia.source_rows(rng, stars, config.release))
    if config.visit:
        other = np.random.SeedSequence([seed, sky_range.index, config.visit])
        rng = np.random.Generator(np.random.PCG64DXSM(other))
    md5 = {}
    for kind, pieces in (
        ("source", iter(source)),
        ("xp", gaia.xp_rows(rng, stars, config.xp_systematic)),
        ("rvs", _spectrum_rows(rng, stars, ReleaseGrid.of(config.grid))),
    ):
        name = _file_name(kind, sky_range)
        data = ecsv.compress(_with_header(kind, pieces))
        atomic_write_bytes(out / name, data)
        md5[name] = _md5(data)
    _save(_truth(stars, labelled), note.with_suffix(".truth.parquet"), TRUTH_SCHEMA)
    _save(table, note.with_suffix(".labels.parquet"), apogee.SCHEMA)
    written = RangeRecord(sky_range.index, sky_range.stars, int(labelled.sum()), md5)
    atomic_write_bytes(note, json.dumps(written.__dict__).encode())
    return written


def _with_header(kind: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield ecsv.header(COLUMNS[kind])
    yield from pieces


def _spectrum_rows(
    rng: np.random.Generator, stars: SimulatedStars, grid: ReleaseGrid
) -> Iterator[bytes]:
    rows = np.flatnonzero(stars.has_spectrum)
    for begin in range(0, rows.size, BLOCK_STARS):
        block = rows[begin : begin + BLOCK_STARS]
        flux, error = observed_spectra(rng, stars, block, grid)
        yield gaia.spectrum_rows(rng, stars, block, flux, error)


def _truth(stars: SimulatedStars, labelled: np.ndarray) -> pd.DataFrame:
    exposure = stars.exposure
    table = pd.DataFrame(
        {
            "source_id": stars.source_id,
            **dict(zip(DEFAULT_LABELS, stars.labels.as_array().T, strict=True)),
            "population": np.array(POPULATIONS)[stars.population],
            "labelled": labelled,
            "snr": exposure.snr,
            "distance_pc": 1000.0 * stars.distance,
            "ebv": stars.ebv,
            "vsini": stars.vsini,
            "grvs": exposure.grvs,
            "regime": np.where(exposure.grvs > REGIME_SWITCH, "faint", "bright"),
            "trouble": defect_names(stars.affected),
        }
    )
    return table[stars.has_spectrum].reset_index(drop=True)


def _save(table: pd.DataFrame, path: Path, schema: pa.Schema) -> None:
    pq.write_table(pa.Table.from_pandas(table, schema=schema, preserve_index=False), path)


def _finish(
    out: Path, ranges: list[SkyRange], sums: dict[str, str], record: dict[str, Any]
) -> dict[str, int]:
    """Join the parts in order, write sums and record, remove the parts."""
    parts = [out / PARTS_FOLDER / f"{sky_range.index:06d}" for sky_range in ranges]
    truth = pa.concat_tables([pq.read_table(part.with_suffix(".truth.parquet")) for part in parts])
    labels = pa.concat_tables(
        [pq.read_table(part.with_suffix(".labels.parquet")) for part in parts]
    )
    with atomic_write(out / TRUTH_FILE) as draft:
        pq.write_table(truth, draft)
    origin = {"ORIGIN": "distcnn simulate", "SEED": record["seed"], "STARS": record["stars"]}
    write_all_star(out / apogee.FILE_NAME, labels.to_pandas(), origin)
    sums |= {name: _md5((out / name).read_bytes()) for name in (TRUTH_FILE, apogee.FILE_NAME)}
    lines = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
    atomic_write_bytes(out / SUMS_FILE, lines.encode())
    counts = {
        "stars": truth.num_rows,
        "files": len(ranges),
        "labelled": int(truth["labelled"].to_numpy().sum()),
        "label_rows": labels.num_rows,
    }
    # Last: an archive is complete once its record stands in the folder itself.
    atomic_write_text(out / RECORD_FILE, json.dumps({**record, "counts": counts}, indent=2))
    for part in (out / PARTS_FOLDER).iterdir():
        part.unlink()
    (out / PARTS_FOLDER).rmdir()
    return counts
