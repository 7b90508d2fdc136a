"""Which files are read: links, hidden files, repeated names, and what is told of the others."""

import os
from pathlib import Path

import pytest
from dying_executor import contents
from tiny_archive import settings

from distcnn.config import FilesConfig
from distcnn.errors import ConfigError, InputError
from distcnn.events import Notice
from distcnn.executor import SerialExecutor
from distcnn.ingest import build_survey
from distcnn.ingest.matching import healpix_range
from distcnn.ingest.selection import ArchiveTree, find_files


def found(folder: Path, *patterns: str):
    files = find_files(ArchiveTree(folder), FilesConfig(reader="table", files=patterns))
    return [path.relative_to(folder).as_posix() for path in files.paths], " ".join(files.left_out)


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def test_links_to_files_and_folders_are_followed(tmp_path):
    write(tmp_path, "here/part1/a.csv", "there/part2/b.csv", "there/c.csv")
    (tmp_path / "here/part2").symlink_to("../there/part2")
    (tmp_path / "here/c.csv").symlink_to("../there/c.csv")
    assert found(tmp_path / "here", "*.csv") == (["part1/a.csv", "part2/b.csv", "c.csv"], "")


def test_loops_of_links_end_and_every_file_is_read_once(tmp_path):
    write(tmp_path, "a/x.csv", "b/y.csv")
    (tmp_path / "a/up").symlink_to("..")
    (tmp_path / "b/again").symlink_to("../a")
    (tmp_path / "self").symlink_to("self")
    names, told = found(tmp_path, "*.csv")
    assert names == ["a/x.csv", "b/y.csv"]
    assert "a link that leads nowhere): self" in told


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_file_of_two_names_is_read_once_and_told(tmp_path, link):
    write(tmp_path, "x.csv")
    link(tmp_path / "latest.csv", tmp_path / "x.csv")
    names, told = found(tmp_path, "*.csv")
    assert len(names) == 1
    assert "another name of a file" in told


def test_a_link_to_a_file_that_is_gone_is_refused_by_name(tmp_path):
    write(tmp_path, "x_1.csv")
    (tmp_path / "x_2.csv").symlink_to("/scratch/purged/x_2.csv")
    with pytest.raises(InputError, match=r"x_2\.csv -> /scratch/purged/x_2\.csv") as caught:
        found(tmp_path, "x_*")
    assert "remove the links" in caught.value.cure
    assert found(tmp_path, "x_1*")[1].endswith("x_2.csv")


LEFT_OUT = [
    ".x.csv",
    "._x.csv",
    ".ipynb_checkpoints/x-checkpoint.csv",
    "__MACOSX/x.csv",
    "__MACOSX/._x.csv",
    ".hidden/x.csv",
    "x.csv~",
    "#x.csv#",
    ".#x.csv",
    "x.csv.bak",
    ".x.csv.swp",
    "x.csv.part",
]


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_hidden_or_unfinished_is_left_out_and_told(tmp_path, name):
    write(tmp_path, "x.csv", name)
    names, told = found(tmp_path, "*x*")
    assert names == ["x.csv"]
    assert told.startswith("1 left out")
    assert name in told


def test_a_hidden_file_that_is_asked_for_by_name_is_read(tmp_path):
    write(tmp_path, ".x.csv")
    assert found(tmp_path, ".x.csv")[0] == [".x.csv"]


def test_what_is_no_file_is_told(tmp_path):
    write(tmp_path, "x.csv")
    os.mkfifo(tmp_path / "y.csv")
    assert found(tmp_path, "*.csv") == (["x.csv"], "1 left out (no regular file): y.csv")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.csv", ["a/b/x.csv", "a/y.csv", "z.csv"]),
        ("a/*.csv", ["a/y.csv"]),
        ("b/*.csv", ["a/b/x.csv"]),
        ("**/*.csv", ["a/b/x.csv", "a/y.csv", "z.csv"]),
        ("a/**/*.csv", ["a/b/x.csv", "a/y.csv"]),
        ("[xz].csv", ["a/b/x.csv", "z.csv"]),
    ],
)
def test_patterns_mean_what_they_mean_to_rglob(tmp_path, pattern, expected):
    write(tmp_path, "a/b/x.csv", "a/y.csv", "z.csv", "z.csvx")
    assert found(tmp_path, pattern)[0] == expected
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob(pattern)} == set(
        expected
    )


@pytest.mark.parametrize("pattern", ["/data/*.csv", "../*.csv"])
def test_patterns_that_lead_out_of_the_folder_are_refused(tmp_path, pattern):
    with pytest.raises(ConfigError, match="files = "):
        found(tmp_path, pattern)


def test_what_lies_there_instead_is_told_where_nothing_fits(tmp_path):
    write(tmp_path, "._x.csv")
    with pytest.raises(InputError, match=r"1 left out .*\._x\.csv"):
        found(tmp_path, "*.csv")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GaiaSource_000000-003111.csv.gz", (0, 3111)),
        ("RvsMeanSpectrum_786097-786431.csv", (786097, 786431)),
        ("RvsMeanSpectrum_1-3111.csv.gz", None),
        ("RvsMeanSpectrum_000200-000100.csv.gz", None),
        ("GaiaSource_000000-786432.csv.gz", None),
        ("GaiaSource_000000-003111.fits", None),
        ("my_GaiaSource_000000-003111.csv.gz", None),
        ("GaiaSource_000000-003111_cut.csv.gz", None),
        ("plates_2019-2020.csv", None),
        ("spectra_000001-000999.csv", None),
    ],
)
def test_only_names_of_the_archive_have_a_healpix_range(name, expected):
    assert healpix_range(Path(name)) == expected


def test_files_named_by_other_ranges_are_joined_with_every_file(archive, tmp_path):
    """The stars of plates 1-3 may stand in any source file, whatever its name counts."""
    archive.write()
    for number, path in enumerate(sorted(archive.folder.glob("RvsMeanSpectrum_*"))):
        path.rename(archive.folder / f"rvs_{number}-{number}.csv.gz")
    for number, path in enumerate(sorted(archive.folder.glob("GaiaSource_*"))):
        path.rename(archive.folder / f"src_{number + 5}-{number + 5}.csv.gz")
    spectra = {"reader": "gaia_rvs", "files": "rvs_*"}
    config = settings(spectra=spectra, source={"reader": "gaia_source", "files": "src_*"})
    summary = build_survey(archive.folder, tmp_path / "s.zarr", config, executor=SerialExecutor())
    assert (summary.stars, summary.quarantined) == (27, 0)


def test_linked_parts_of_an_archive_are_ingested_and_hidden_ones_told(archive, tmp_path):
    archive.write()
    real = archive.folder.rename(tmp_path / "elsewhere")
    archive.folder.mkdir()
    (archive.folder / "data").symlink_to(real)
    (real / ".ipynb_checkpoints").mkdir()
    (real / ".ipynb_checkpoints" / archive.name("Rvs")).write_text("not a spectrum")
    events = []
    build_survey(
        archive.folder, tmp_path / "s.zarr", settings(), executor=SerialExecutor(),
        listener=events.append,
    )  # fmt: skip
    assert contents(tmp_path / "s.zarr")["source_id"].tolist() == archive.source_id
    told = [event.text for event in events if isinstance(event, Notice)]
    assert any(".ipynb_checkpoints" in text and "spectra" in text for text in told)


NAMES_IN_EITHER_CASE = [
    ("spec-1.FITS", "spec-*.fits"),
    ("spec-1.FIT", "spec-*.fit*"),
    ("spec-1.Fits.GZ", "spec-*.fits.gz"),
    ("spec-1.fits", "spec-*.FITS"),
    ("star.CSV", "*.csv"),
    ("star.CSV.BZ2", "*.csv.bz2"),
    ("star.VOT", "*.vot"),
    ("star.PARQUET", "*.parquet"),
    ("star.DAT", "*.dat"),
    ("star.ZIP", "*.zip"),
    ("star.HDF5", "*.hdf5"),
    ("part/STAR.XML", "part/*.xml"),
]


@pytest.mark.parametrize(("name", "pattern"), NAMES_IN_EITHER_CASE)
def test_known_endings_fit_in_capital_letters_too(tmp_path, name, pattern):
    write(tmp_path, name)
    assert found(tmp_path, pattern) == ([name], "")


def test_names_are_told_apart_by_case_before_their_ending(tmp_path):
    write(tmp_path, "SPEC-1.fits")
    with pytest.raises(InputError, match=r"There are SPEC-1\.fits\."):
        found(tmp_path, "spec-*.fits")


def test_ranges_are_found_in_names_that_end_in_capital_letters():
    assert healpix_range(Path("GaiaSource_000000-003111.CSV.GZ")) == (0, 3111)
