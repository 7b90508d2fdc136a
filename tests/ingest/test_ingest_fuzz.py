"""Damaged files of every format: rows, quarantine, or an error with a cure, and nothing else.

The long version is ``benchmarks/fuzz.py``.
"""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
GOOD = {"rows", "error"}


@pytest.fixture(scope="module")
def fuzzing():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        from lib import fuzzing

        yield fuzzing


@pytest.fixture(scope="module")
def catalogue(fuzzing):
    return fuzzing.seeds()


def test_every_sound_file_gives_its_rows(fuzzing, catalogue, tmp_path):
    for seed in catalogue:
        path = tmp_path / seed.name
        path.write_bytes(seed.content)
        assert seed.read(path) >= fuzzing.STARS, seed.title
        assert seed.read(path, only_first=True) >= (seed.name not in ("names.fits", "names.csv"))


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10_000), st.integers(0, 2**32))
def test_a_damaged_file_ends_in_rows_or_a_clear_error(fuzzing, catalogue, tmp_path, number, key):
    seed = catalogue[number % len(catalogue)]
    path = tmp_path / seed.name
    path.write_bytes(fuzzing.damaged(seed, np.random.default_rng(key)))
    kind, detail = fuzzing.outcome(seed, path)
    assert kind in GOOD, f"{seed.title}: {detail}"


def test_files_cut_anywhere_end_in_rows_or_a_clear_error(fuzzing, catalogue, tmp_path):
    for number, seed in enumerate(catalogue):
        path = tmp_path / seed.name
        for stop in range(number % 7, len(seed.content), max(len(seed.content) // 12, 1)):
            path.write_bytes(seed.content[:stop])
            kind, detail = fuzzing.outcome(seed, path)
            assert kind in GOOD, f"{seed.title} cut at {stop}: {detail}"


def test_a_cut_file_that_packs_or_counts_its_rows_gives_none_of_them(fuzzing, catalogue, tmp_path):
    """FITS, Parquet, VOTable, gzip and zip know their own length."""
    for seed in catalogue:
        if seed.name.endswith(("csv", "ecsv")):
            continue
        path = tmp_path / seed.name
        path.write_bytes(seed.content[: len(seed.content) // 2])
        assert fuzzing.outcome(seed, path)[0] == "error", seed.title


def test_the_judge_tells_crashes_and_goes_on(fuzzing, catalogue):
    judge = fuzzing.Judge(catalogue)
    try:
        assert judge.judge(0, catalogue[0].content)[0] == "rows"
        judge.process.kill()
        assert judge.judge(0, catalogue[0].content)[0] == "crash"
        assert judge.judge(0, b"")[0] == "error"
    finally:
        judge.close()
    assert not judge.process.is_alive()
