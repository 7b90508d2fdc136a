"""Damaged files of every format: rows, quarantine, or an error with a cure, and nothing else.

The long version is ``benchmarks/fuzz.py``.
"""

import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
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
        assert seed.read(path) >= seed.stars, seed.title
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


# --- memory ------------------------------------------------------------------------------------

BOMB_BYTES = 160 << 20
"""More than the child process is let take, of a few KiB of gzip."""
CHILD = """
import resource, sys
from pathlib import Path
from distcnn.config import FilesConfig, GridConfig
from distcnn.errors import DistcnnError
from distcnn.ingest.readers import ReadRequest, make_reader
import distcnn.ingest.readers.formats.binary, distcnn.ingest.readers.table
from distcnn.ingest.readers.formats import packing
packing._MAX_UNPACKED_BYTES, packing._MAX_IN_MEMORY_BYTES = 100 << 20, 1 << 20
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (400 << 20),) * 2)
for path in map(Path, sys.argv[1:]):
    files = FilesConfig(reader="table", files="*", columns={"photometry": "G"})
    reader = make_reader(files, ReadRequest("source", bands=("G",)))
    try:
        rows = sum(len(block) for block in reader.blocks(path, rows=100))
        print(path.name, "rows", rows)
    except DistcnnError as error:
        print(path.name, "error", error)
"""


def pack_endlessly(path, head, filling):
    """A small gzip of a head and much more of the same."""
    piece = filling * ((1 << 20) // len(filling))
    packed = zlib.compressobj(1, zlib.DEFLATED, 31)
    with path.open("wb") as stream:
        stream.write(packed.compress(head))
        for _ in range(BOMB_BYTES // len(piece)):
            stream.write(packed.compress(piece))
        stream.write(packed.flush())


def bombs(folder):
    """Small files that unpack to much more, or ask for them, by the words that refuse them."""
    table = Table({"source_id": [11, 12, 13], "G": [1.0, 2.0, 3.0]})
    table.write(folder / "t.fits")
    head = (folder / "t.fits").read_bytes()
    many = head.replace(b"NAXIS2  =                    3", b"NAXIS2  =            300000000")
    pack_endlessly(folder / "table.fits.gz", many, bytes(1000))
    votable = b'<?xml version="1.0"?><VOTABLE version="1.4"><RESOURCE><TABLE>'
    pack_endlessly(folder / "table.vot.gz", votable, b" " * 1000)
    pack_endlessly(folder / "line.csv.gz", b"source_id,G\n11,1.0\n", b"1" * 1000)
    pack_endlessly(folder / "header.csv.gz", b"", b"a" * 1000)
    pack_endlessly(folder / "comments.csv.gz", b"", b"# nothing\n" * 1000)
    letters = "".join(
        f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "x" * 100}">' for n in range(9)
    )
    (folder / "entities.vot").write_text(
        f'<?xml version="1.0"?><!DOCTYPE VOTABLE [{letters}]><VOTABLE version="1.4"><RESOURCE>'
        '<TABLE name="&e8;"><FIELD name="G" datatype="double"/></TABLE></RESOURCE></VOTABLE>'
    )
    (folder / "t.fits").unlink()
    (folder / "rows.fits").write_bytes(many)
    return {
        "table.fits.gz": "unpacks to more than 200 times",
        "table.vot.gz": "unpacks to more than 200 times",
        "line.csv.gz": "a line is longer than 64 MiB",
        "header.csv.gz": "a line is longer than 64 MiB",
        "comments.csv.gz": "of comments stand before its header",
        "entities.vot": "not readable as votable",
        "rows.fits": "it is truncated",
    }


@pytest.mark.slow
def test_no_small_file_takes_memory_without_bound(tmp_path):
    expected = bombs(tmp_path)
    paths = [str(tmp_path / name) for name in expected]
    command = [sys.executable, "-c", CHILD, *paths]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    told = dict(line.partition(" error ")[::2] for line in answer.stdout.splitlines())
    assert told.keys() == expected.keys()
    for name, words in expected.items():
        assert words in told[name], told[name]
