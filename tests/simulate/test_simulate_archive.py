"""The archive as a whole: layout, determinism, resumption, defects."""

import gzip
import hashlib
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archive_tables import CONFIG, SEED, STARS, arrays, table, truth
from astropy.io import fits
from astropy.table import Table

from distcnn.config import SimulateConfig
from distcnn.errors import UsageError
from distcnn.events import Advanced, Event, StageEnded, StageStarted
from distcnn.executor import SerialExecutor, TaskResult
from distcnn.schema import LATER_DEFECTS, Defect
from distcnn.simulate import DR3_GRID, discard_unfinished, write_archive

KINDS = ("GaiaSource", "RvsMeanSpectrum", "XpContinuousMeanSpectrum")


class BackwardExecutor(SerialExecutor):
    """Runs the tasks last first."""

    def __call__(self, function: Callable[..., Any], tasks: Iterable[Any]) -> Iterator[Any]:
        return super().__call__(function, list(tasks)[::-1])


class PoolExecutor:
    """Runs the tasks in two fresh processes."""

    workers = 2

    def __call__(self, function: Callable[..., Any], tasks: Iterable[Any]) -> Iterator[Any]:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            pairs = [(task, pool.submit(function, task)) for task in tasks]
            yield from (TaskResult(task, future.result()) for task, future in pairs)


class InterruptedExecutor(SerialExecutor):
    """Stops after the first task, as a killed run does."""

    def __call__(self, function: Callable[..., Any], tasks: Iterable[Any]) -> Iterator[Any]:
        for result in super().__call__(function, list(tasks)[:1]):
            yield result
            raise KeyboardInterrupt


def digest(folder: Path) -> dict[str, str]:
    files = (file for file in sorted(folder.iterdir()) if file.is_file())
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def text_of(file: Path) -> str:
    return gzip.decompress(file.read_bytes()).decode()


def test_the_same_seed_gives_the_same_bytes_in_any_order_and_number_of_processes(
    archive: Path, tmp_path: Path
) -> None:
    write_archive(tmp_path / "backward", STARS, SEED, CONFIG, executor=BackwardExecutor())
    write_archive(tmp_path / "pool", STARS, SEED, CONFIG, executor=PoolExecutor())
    assert digest(tmp_path / "backward") == digest(archive)
    assert digest(tmp_path / "pool") == digest(archive)


def test_another_seed_gives_other_stars(archive: Path, tmp_path: Path) -> None:
    small = SimulateConfig(stars_per_file=20)
    write_archive(tmp_path / "a", 20, 1, small, executor=SerialExecutor())
    write_archive(tmp_path / "b", 20, 2, small, executor=SerialExecutor())
    assert not np.array_equal(truth(tmp_path / "a").index, truth(tmp_path / "b").index)


def test_another_visit_gives_the_same_stars_with_other_noise(tmp_path: Path) -> None:
    for visit in (0, 1):
        config = SimulateConfig(stars_per_file=20, visit=visit)
        write_archive(tmp_path / str(visit), 20, 1, config, executor=SerialExecutor())
    first, second = (digest(tmp_path / visit) for visit in "01")
    other = {name for name in first if first[name] != second[name]}
    assert {name.partition("_")[0] for name in other} == {
        *("RvsMeanSpectrum", "XpContinuousMeanSpectrum", "simulation.json", ""),
    }
    assert truth(tmp_path / "0").equals(truth(tmp_path / "1"))


def test_the_first_ranges_alone_are_those_of_the_whole_archive(
    archive: Path, tmp_path: Path
) -> None:
    first = CONFIG.model_copy(update={"ranges": 1})
    write_archive(tmp_path, STARS, SEED, first, executor=SerialExecutor())
    part, whole = digest(tmp_path), digest(archive)
    assert sum(name.startswith("Rvs") for name in part) == 1
    assert all(whole[name] == text for name, text in part.items() if name.endswith(".csv.gz"))


def test_an_interrupted_run_is_continued_to_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        write_archive(folder, STARS, SEED, CONFIG, executor=InterruptedExecutor())
    assert not (folder / "truth.parquet").exists()
    before = {file.name: file.stat().st_mtime_ns for file in folder.glob("*.csv.gz")}
    assert len(before) == 3
    write_archive(folder, STARS, SEED, CONFIG, executor=SerialExecutor())
    assert digest(folder) == digest(archive)
    assert {name: (folder / name).stat().st_mtime_ns for name in before} == before


def test_a_complete_archive_is_recognised_and_a_damaged_one_is_repaired(tmp_path: Path) -> None:
    folder, config = tmp_path / "archive", SimulateConfig(stars_per_file=15)
    counts = write_archive(folder, 30, 3, config, executor=SerialExecutor())
    whole, events = digest(folder), list[Event]()
    again = write_archive(folder, 30, 3, config, executor=SerialExecutor(), listener=events.append)
    assert again["stars"] == counts["stars"] == 30
    assert [type(event) for event in events] == [StageEnded]
    victim = sorted(folder.glob("Rvs*"))[0]
    victim.write_bytes(victim.read_bytes()[:-7])
    write_archive(folder, 30, 3, config, executor=SerialExecutor())
    assert digest(folder) == whole


def test_a_folder_with_another_archive_is_refused_and_left_alone(
    archive: Path, tmp_path: Path
) -> None:
    before = digest(archive)
    wanted = f"made with seed = {SEED}: expected seed = {SEED + 1}, as asked now"
    with pytest.raises(UsageError, match=wanted):
        write_archive(archive, STARS, SEED + 1, CONFIG, executor=SerialExecutor())
    assert digest(archive) == before


def test_an_unfinished_archive_is_discarded_and_other_files_stay(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    small = SimulateConfig(stars_per_file=10)
    with pytest.raises(KeyboardInterrupt):
        write_archive(folder, 20, 1, small, executor=InterruptedExecutor())
    (folder / "RvsMeanSpectrum_of_mine.csv.gz").touch()
    with pytest.raises(UsageError, match="--restart removes what was begun"):
        write_archive(folder, 10, 2, small, executor=SerialExecutor())
    discard_unfinished(folder)
    assert [file.name for file in folder.iterdir()] == ["RvsMeanSpectrum_of_mine.csv.gz"]
    write_archive(folder, 10, 2, small, executor=SerialExecutor())
    assert len(truth(folder)) == 10


def test_a_complete_archive_is_not_discarded(archive: Path) -> None:
    before = digest(archive)
    discard_unfinished(archive)
    assert digest(archive) == before


@pytest.mark.parametrize(("stars", "per_file"), [(0, 10), (2_000_000, 1)])
def test_impossible_sizes_are_refused_before_anything_is_written(
    tmp_path: Path, stars: int, per_file: int
) -> None:
    with pytest.raises(UsageError):
        write_archive(
            tmp_path / "x",
            stars,
            1,
            SimulateConfig(stars_per_file=per_file),
            executor=SerialExecutor(),
        )
    assert not (tmp_path / "x").exists()


def test_events_tell_every_star_once(tmp_path: Path) -> None:
    events: list[Event] = []
    config = SimulateConfig(stars_per_file=8)
    write_archive(tmp_path / "a", 20, 1, config, executor=SerialExecutor(), listener=events.append)
    assert isinstance(events[0], StageStarted)
    assert events[0].total == 20
    assert sum(event.count for event in events if isinstance(event, Advanced)) == 20
    assert isinstance(events[-1], StageEnded)
    assert events[-1].facts["stars"] == 20


def test_every_file_is_named_for_its_healpix_range_and_holds_only_it(archive: Path) -> None:
    names = {kind: sorted(file.name for file in archive.glob(f"{kind}_*")) for kind in KINDS}
    ranges = [name.removeprefix("GaiaSource_").removesuffix(".csv.gz") for name in names[KINDS[0]]]
    assert len(ranges) == 3
    for kind in KINDS:
        assert names[kind] == [f"{kind}_{text}.csv.gz" for text in ranges]
    edges = [tuple(int(part) for part in text.split("-")) for text in ranges]
    assert edges[0][0] == 0
    assert edges[-1][1] == 786_431
    assert all(left[1] + 1 == right[0] for left, right in pairwise(edges))
    for text, (first, last) in zip(ranges, edges, strict=True):
        with gzip.open(archive / f"RvsMeanSpectrum_{text}.csv.gz", "rt") as stream:
            rows = [line for line in stream if line[0].isdigit()]
        pixels = np.array([int(line.split(",", 1)[0]) >> 43 for line in rows])
        assert first <= pixels.min()
        assert pixels.max() <= last


@pytest.mark.parametrize("kind", KINDS)
def test_astropy_reads_the_ecsv_header_with_types_and_units(archive: Path, kind: str) -> None:
    file = sorted(archive.glob(f"{kind}_*"))[0]
    with gzip.open(file, "rt") as stream:
        lines = [line for line in stream if line.startswith("#")]
    assert lines[:4] == ["# %ECSV 1.0\n", "# ---\n", "# delimiter: ','\n", "# datatype:\n"]
    read = Table.read(file, format="ascii.ecsv", fill_values=[("null", "0")])
    assert read["source_id"].dtype == np.int64
    if kind == "GaiaSource":
        assert str(read["parallax"].unit) == "mas"
        assert read["phot_g_mean_mag"].dtype == np.float32
        assert read["has_rvs"].dtype == bool
    else:
        column = "flux" if kind.startswith("Rvs") else "bp_coefficients"
        assert np.asarray(read[column][0], dtype=float).shape == (
            (DR3_GRID.wavelength.size,) if kind.startswith("Rvs") else (55,)
        )


def test_missing_values_are_written_as_the_archive_writes_them(archive: Path) -> None:
    file = sorted(archive.glob("RvsMeanSpectrum_*"))[0]
    row = text_of(file).splitlines()[-1]
    assert row.count('"[') == 2
    text = text_of(sorted(archive.glob("GaiaSource_*"))[0])
    assert ",null," in text
    assert "nan" not in text.lower()


def test_every_kind_of_defect_is_in_truth_and_in_the_files(archive: Path) -> None:
    known = truth(archive)
    kinds = set("+".join(known.trouble).split("+")) - {""}
    assert kinds == {kind.value for kind in Defect if kind not in LATER_DEFECTS}
    having = {kind: known.index[known.trouble.str.contains(kind.value)] for kind in Defect}
    rvs, source = table(archive, "RvsMeanSpectrum"), table(archive, "GaiaSource")
    xp = table(archive, "XpContinuousMeanSpectrum")
    source = source.set_index("source_id")
    assert not xp.source_id.isin(having[Defect.NO_XP]).any()
    assert set(having[Defect.DUPLICATE]) == set(rvs.source_id[rvs.source_id.duplicated()])
    assert source.parallax[having[Defect.NO_PARALLAX]].isna().all()
    assert (source.parallax[having[Defect.NEGATIVE_PARALLAX]] < 0).all()
    assert known.teff[having[Defect.HOT]].min() >= 8000
    assert known.teff[~known.index.isin(having[Defect.HOT])].max() < 7500
    spectra = rvs.drop_duplicates("source_id").set_index("source_id")
    blank = np.isnan(arrays(spectra.flux)).sum(axis=1)
    affected = spectra.index.isin(having[Defect.NAN_PIXELS])
    assert np.median(blank[affected]) > 5 * np.median(blank[~affected])
    assert blank.max() <= 480


def test_cosmic_hits_stand_out_of_their_spectra(archive: Path) -> None:
    known = truth(archive)
    rvs = table(archive, "RvsMeanSpectrum").drop_duplicates("source_id").set_index("source_id")
    flux, error = arrays(rvs.flux), arrays(rvs.flux_error)
    height = np.nanmax((flux - 1.03) / error, axis=1)
    affected = rvs.index.isin(known.index[known.trouble.str.contains("cosmic")])
    assert np.median(height[affected]) > 3 + np.median(height[~affected])


def test_wrong_velocities_and_binaries_move_or_blend_the_calcium_lines(archive: Path) -> None:
    known = truth(archive)
    rvs = table(archive, "RvsMeanSpectrum").drop_duplicates("source_id").set_index("source_id")
    cool = (known.teff < 6500) & (known.snr > 20)
    core = (DR3_GRID.wavelength > 866.452 - 0.9) & (DR3_GRID.wavelength < 866.452 + 0.9)

    def offset(index: Any) -> np.ndarray:
        depth = np.clip(1 - np.nan_to_num(arrays(rvs.flux[index])[:, core], nan=1.0), 0, None) ** 2
        return np.abs(
            (depth * (DR3_GRID.wavelength[core] - 866.452)).sum(axis=1) / depth.sum(axis=1)
        )

    wrong = known.index[cool & known.trouble.str.contains("wrong_rv")]
    clean = known.index[cool & (known.trouble == "")]
    assert offset(wrong).min() > 3 * np.median(offset(clean))


def test_labels_stand_for_most_cool_stars_with_truthful_errors(archive: Path) -> None:
    known = truth(archive)
    with fits.open(archive / "allStar-dr17-simulated.fits") as hdus:
        assert hdus[0].header["SEED"] == SEED
        rows = hdus[1].data
        bad = rows["ASPCAPFLAG"] & (1 << 23) != 0
        ids = rows["GAIAEDR3_SOURCE_ID"]
        good = known.loc[ids[~bad]]
        pull = (rows["TEFF"][~bad] - good.teff.to_numpy()) / rows["TEFF_ERR"][~bad]
        repeated = len(ids) - len(set(ids.tolist()))
        snr = rows["SNR"].copy()
    assert set(ids) == set(known.index[known.labelled])
    assert 0.85 < np.std(pull) < 1.15
    assert bad.any()
    assert repeated > 0
    assert snr.min() > 0
    share = known.labelled[known.teff < 7500].mean()
    assert 0.6 < share < 0.8
    faint = known[(known.snr < 25) & (known.teff < 7500)]
    assert 0.55 < faint.labelled.mean() < 0.8


def test_the_source_table_has_stars_without_spectrum_too(archive: Path) -> None:
    source, known = table(archive, "GaiaSource"), truth(archive)
    assert len(known) == STARS
    assert set(source.source_id[source.has_rvs]) == set(known.index)
    alone = source[~source.has_rvs]
    assert len(alone) > 0
    assert alone.rvs_spec_sig_to_noise.isna().all()
    assert source.source_id.is_monotonic_increasing
    assert source.source_id.is_unique


def test_the_sums_name_every_product_with_its_md5(archive: Path) -> None:
    rows = dict(line.split()[::-1] for line in (archive / "_MD5SUM.txt").read_text().splitlines())
    for name, md5 in rows.items():
        data = (archive / name).read_bytes()
        assert hashlib.md5(data, usedforsecurity=False).hexdigest() == md5
    assert {"truth.parquet", "allStar-dr17-simulated.fits"} < set(rows)
    assert len(rows) == 11
