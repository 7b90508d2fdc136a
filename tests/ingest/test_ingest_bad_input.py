"""Bad input: every kind is named with file, row and cure; the rest of the archive goes on."""

import gzip

import numpy as np
import pytest
from astropy.table import Table
from dying_executor import DyingExecutor, contents, quarantine
from tiny_archive import PIXELS, array_text, settings, write_all_star

from distcnn.config import FilesConfig
from distcnn.errors import ColumnMissing, ConfigError, FileBroken, GridMismatch, InputError
from distcnn.events import Notice
from distcnn.executor import SerialExecutor
from distcnn.ingest import build_survey
from distcnn.ingest.readers import ReadRequest, make_reader
from distcnn.schema import Reason

EXECUTOR = SerialExecutor()


@pytest.fixture
def survey(tmp_path):
    return tmp_path / "survey.zarr"


def refused(archive, survey, kind, error, **changes) -> str:
    """The message with which a survey is refused; nothing half-written may remain in its place."""
    with pytest.raises(error) as caught:
        build_survey(archive.folder, survey, settings(**changes), executor=EXECUTOR)
    assert not survey.exists()
    assert str(archive.folder / kind) in str(caught.value)
    assert caught.value.cure
    return str(caught.value)


def left_out(archive, survey, name, stars, **changes) -> str:
    """What is listed of the one file that cannot be used; the others are in the survey."""
    events = []
    executor, config = SerialExecutor(), settings(**changes)
    summary = build_survey(
        archive.folder, survey, config, executor=executor, listener=events.append
    )
    assert (summary.stars, summary.unusable_files) == (stars, 1)
    listed = quarantine(survey)
    listed = listed[listed["reason"] == Reason.UNUSABLE_FILE]
    assert listed["file"].tolist() == [name]
    assert listed["row"].tolist() == [0]
    (told,) = (e.text for e in events if isinstance(e, Notice) and "cannot be used" in e.text)
    assert name in told
    (counted,) = (e.text for e in events if isinstance(e, Notice) and "; see " in e.text)
    rows = sum(summary.reasons.values()) - 1
    words = f"{rows} rows and 1 file were" if rows > 1 else "1 row and 1 file were"
    assert counted.startswith(words if rows else "1 file was")
    return str(listed["detail"].iloc[0])


STARS_LEFT = {"Rvs": 18, "GaiaSource": 18, "Xp": 27}
"""Stars without the second file of a kind: XP is missing where its file cannot be used."""


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rot(path):
    rotten = bytearray(path.read_bytes())
    rotten[len(rotten) // 2 : len(rotten) // 2 + 50] = bytes(50)
    path.write_bytes(bytes(rotten))


def keep_header(path):
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    header = next(n for n, line in enumerate(lines) if not line.startswith(b"#"))
    path.write_bytes(gzip.compress(b"".join(lines[: header + 1])))


def become_a_folder_of_rights(path):
    """Nobody may read it: for the superuser, who may, a device that fails."""
    path.unlink()
    path.symlink_to("/proc/self/mem")


FAULTS = {
    "truncated": (truncate, "truncated", True),
    "rotten": (rot, "row", True),
    "empty": (lambda path: path.write_bytes(b""), "empty", True),
    "gzip of nothing": (lambda path: path.write_bytes(gzip.compress(b"")), "empty", True),
    "unreadable": (become_a_folder_of_rights, "cannot be", False),
    "header only": (keep_header, "no rows", False),
    "another text": (lambda path: path.write_bytes(b"not found\n"), "no column", False),
    "a page": (lambda path: path.write_bytes(b"<html>404</html>\n"), "page of HTML", False),
}


@pytest.mark.parametrize("kind", ["Rvs", "GaiaSource", "Xp"])
@pytest.mark.parametrize("fault", FAULTS)
def test_one_file_of_no_use_is_quarantined_and_the_others_go_in(archive, survey, kind, fault):
    change, problem, fetch_again = FAULTS[fault]
    archive.write()
    name = archive.name(kind, 1)
    change(archive.folder / name)
    detail = left_out(archive, survey, name, STARS_LEFT[kind])
    assert problem in detail
    assert ("Fetch the file again" in detail) == fetch_again
    if kind == "Xp":
        assert np.isnan(contents(survey)["xp"][9:18]).all()


@pytest.mark.parametrize("kind", ["Rvs", "GaiaSource", "Xp", "allStar"])
@pytest.mark.parametrize("fault", ["truncated", "empty"])
def test_where_all_files_of_a_kind_are_of_no_use_there_is_no_survey(archive, survey, kind, fault):
    archive.write()
    paths = sorted(archive.folder.glob(f"{kind}*"))
    for path in paths:
        FAULTS[fault][0](path)
    message = refused(archive, survey, paths[0].name, FileBroken)
    assert len(paths) == 1 or "2 more failed" in message
    archive.write()
    assert build_survey(archive.folder, survey, settings(), executor=EXECUTOR).stars == 27


def test_a_file_that_was_mended_meanwhile_is_read_again(archive, survey):
    archive.write()
    path = archive.folder / archive.name("Rvs", 1)
    whole = path.read_bytes()
    truncate(path)
    with pytest.raises(KeyboardInterrupt):  # all parts are made, and one shard is written
        build_survey(archive.folder, survey, settings(), executor=DyingExecutor(3))
    path.write_bytes(whole)
    summary = build_survey(archive.folder, survey, settings(), executor=EXECUTOR)
    assert (summary.stars, summary.unusable_files) == (27, 0)


def test_rows_before_the_break_of_a_file_are_not_taken(archive, survey):
    """Also where several files share a part, and some of them have no errors."""
    folder = archive.folder
    folder.mkdir()
    for number in range(3):
        names = [f"a{number}", f"b{number}", f"c{number}"]
        rows = "".join(f"{n},{array_text(np.ones(PIXELS) + number / 8)},1\n" for n in names)
        text = f"source_id,flux,n\n{rows}".encode()
        packed = gzip.compress(text + b"x" * (number == 1), mtime=0)
        (folder / f"s{number}.csv.gz").write_bytes(packed[:-6] if number == 1 else packed)
    spectra = {"reader": "table", "files": "*.csv.gz"}
    lone = {"source": None, "source_required": False, "xp": None, "labels": None}
    left_out(archive, survey, "s1.csv.gz", 6, spectra=spectra, block_rows=1, **lone)
    flux = contents(survey)["flux"]
    np.testing.assert_allclose(flux, np.repeat([[1.0], [1.25]], 3, axis=0) + 0 * flux, atol=1e-4)


def test_errors_stay_with_their_stars_where_some_files_have_none(archive, survey):
    folder = archive.folder
    folder.mkdir()
    for number in range(3):
        flux = np.ones((2, PIXELS), "f4")
        table = Table({"source_id": [10 * number + 1, 10 * number + 2], "flux": flux})
        if number:
            table["flux_error"] = flux * 0.01 * number
        table.write(folder / f"s{number}.fits")
    spectra = {"reader": "table", "files": "*.fits"}
    lone = {"source": None, "source_required": False, "xp": None, "labels": None}
    config = settings(spectra=spectra, prepare__rebin=1, prepare__noise_correlation=1, **lone)
    build_survey(folder, survey, config, executor=EXECUTOR)
    stars = contents(survey)
    error = dict(zip(stars["source_id"].tolist(), stars["flux_error"][:, 5], strict=True))
    assert np.isnan([error[1], error[2]]).all()
    np.testing.assert_allclose([error[11], error[12], error[21]], [0.01, 0.01, 0.02], rtol=1e-3)


@pytest.mark.parametrize(
    ("kind", "column"), [("Rvs", "flux"), ("GaiaSource", "ra"), ("Xp", "bp_coefficients")]
)
def test_missing_column(archive, survey, kind, column):
    for number in range(3):
        name = archive.name(kind, number)
        archive.headers[name] = archive.headers[name].replace(f",{column},", ",other,", 1)
    archive.write()
    message = refused(archive, survey, archive.name(kind), ColumnMissing)
    assert repr(column) in message
    assert "row 0 (header)" in message
    assert "2 more failed" in message


def test_one_table_of_stars_without_rows_is_left_out(tmp_path, survey):
    """A survey without spectra: the rows come from the source table, and labels from the same."""
    folder = tmp_path / "tables"
    folder.mkdir()
    table = Table({"source_id": [1, 2, 3, 4], "G": np.arange(4.0), "teff": np.full(4, 5000.0)})
    for number, rows in enumerate((table[:2], table[:0], table[2:])):
        rows.write(folder / f"t{number}.fits")
    files = {"reader": "table", "files": "t*"}
    config = settings(
        spectra=None, xp=None, bands=["G"], source=files, labels={**files, "labels": ["teff"]}
    )
    summary = build_survey(folder, survey, config, executor=EXECUTOR)
    assert (summary.stars, summary.labelled, summary.unusable_files) == (4, 4, 2)
    listed = quarantine(survey)
    assert listed["file"].tolist() == ["t1.fits", "t1.fits"]
    assert set(listed["kind"]) == {"source", "labels"}
    assert not listed["detail"].str.contains("Fetch").any()


# --- joins that find nothing -------------------------------------------------------------------


def told_of(archive, survey, **changes):
    events = []
    config = settings(**changes)
    build_survey(archive.write(), survey, config, executor=EXECUTOR, listener=events.append)
    return [e.text for e in events if isinstance(e, Notice) and "found" in e.text]


@pytest.mark.parametrize(
    ("kind", "what"), [("GaiaSource", "a row of the source table"), ("Xp", "XP coefficients")]
)
def test_a_join_that_finds_nothing_is_told_with_stars_of_both_sides(archive, survey, kind, what):
    theirs = 7
    for number in range(3):
        name = archive.name(kind, number)
        archive.lines[name] = [
            line.replace(str(star), str(theirs + n))
            for n, line in enumerate(archive.lines[name])
            for star in archive.source_id
            if f"{star}," in line
        ]
    (told,) = told_of(archive, survey, source_required=False)
    assert told.startswith(f"0 of 27 spectra found {what}: ")
    assert ", ".join(map(str, archive.source_id[:3])) in told
    assert f"{theirs}, " in told


def test_labels_of_other_stars_are_told(archive, survey):
    archive.write()
    write_all_star(archive.folder / "other.fits", np.array([5, 6, 7, 8]))
    (told,) = told_of(archive, survey, labels={"reader": "apogee", "files": "other.fits"})
    assert told.startswith("0 of 27 spectra found a label: ")
    assert "other.fits are 5, 6, 7" in told


def test_where_no_star_is_left_for_want_of_a_source_the_message_names_stars(archive, survey):
    for number in range(3):
        name = archive.name("GaiaSource", number)
        archive.lines[name] = [line for n, line in enumerate(archive.lines[name]) if n % 2]
    archive.write()
    with pytest.raises(InputError, match="0 of 27 spectra found") as caught:
        build_survey(archive.folder, survey, settings(), executor=EXECUTOR)
    assert str(archive.source_id[0]) in str(caught.value)
    assert str(archive.source_id[0] + 1) in str(caught.value)


def test_joins_that_find_their_stars_are_not_told(archive, survey):
    assert told_of(archive, survey) == []


def test_missing_column_of_a_cut(archive, survey):
    archive.write()
    cut = {"column": "STARFLAG", "forbidden_bits": [1]}
    labels = {"reader": "apogee", "files": "allStar*.fits", "cuts": [cut]}
    message = refused(archive, survey, "allStar-tiny.fits", ColumnMissing, labels=labels)
    assert "'STARFLAG'" in message


def one_bad_row(archive, survey, row, change, kind="Rvs"):
    """Change a row of the second file, ingest, and return what is listed about it."""
    name = archive.name(kind, 1)
    archive.lines[name][row - 1] = change(archive.lines[name][row - 1])
    summary = build_survey(archive.write(), survey, settings(), executor=EXECUTOR)
    listed = quarantine(survey)
    assert len(listed) == 1
    assert listed["file"][0] == name
    assert listed["row"][0] == row
    assert Reason(listed["reason"][0]).sentence
    return summary, listed.iloc[0]


def test_wrong_array_length(archive, survey):
    summary, listed = one_bad_row(
        archive, survey, 4, lambda line: line.replace(",7", "").replace('"[', '"[1.0,', 1) + ",7"
    )
    assert listed["reason"] == Reason.ARRAY_LENGTH
    assert listed["detail"] == f"flux has {PIXELS + 1} values, the configuration declares {PIXELS}"
    assert (summary.stars, summary.quarantined) == (26, 1)
    assert archive.source_id[12] not in contents(survey)["source_id"]


def test_text_in_a_number(archive, survey):
    _, listed = one_bad_row(archive, survey, 2, lambda line: line.replace('"[1.0', '"[oops'))
    assert listed["reason"] == Reason.NOT_A_NUMBER


@pytest.fixture
def text_in_flux(archive):
    first = float(np.round(archive.flux[10][0], 6))
    return lambda line: line.replace(f'"[{first!r}', '"[oops', 1)


def test_text_in_an_array(archive, survey, text_in_flux):
    summary, listed = one_bad_row(archive, survey, 2, text_in_flux)
    assert listed["reason"] == Reason.NOT_A_NUMBER
    assert listed["detail"] == "flux[0] is 'oops', not a number"
    assert summary.stars == 26


def test_text_in_a_magnitude_puts_aside_the_source_row_and_then_the_star(archive, survey):
    name = archive.name("GaiaSource", 1)
    fields = archive.lines[name][0].split(",")
    fields[7] = "bright"
    archive.lines[name][0] = ",".join(fields)
    summary = build_survey(archive.write(), survey, settings(), executor=EXECUTOR)
    assert summary.quarantined_by_kind == {"spectra": 1, "source": 1}
    listed = quarantine(survey).set_index("kind")
    assert listed.loc["source", "detail"] == "phot_g_mean_mag is 'bright', not a number"
    assert listed.loc["spectra", "reason"] == Reason.NO_SOURCE


def test_text_in_coefficients_costs_the_star_its_coefficients_only(archive, survey):
    summary, listed = one_bad_row(
        archive, survey, 1, lambda line: line.replace('"[', '"[x', 1), kind="Xp"
    )
    assert listed["kind"] == "xp"
    assert summary.quarantined == 0
    assert np.isnan(contents(survey)["xp"][9]).all()


def test_a_row_cut_in_the_middle(archive, survey):
    summary, listed = one_bad_row(archive, survey, 9, lambda line: line[: len(line) // 2])
    assert listed["reason"] == Reason.MALFORMED
    assert summary.stars == 26


def test_a_star_without_a_number(archive, survey):
    _, listed = one_bad_row(archive, survey, 3, lambda line: "unknown" + line[line.index(",") :])
    assert listed["reason"] == Reason.BAD_ID
    assert "'unknown'" in listed["detail"]


def test_a_spectrum_of_nothing(archive, survey):
    def empty(line: str) -> str:
        return ",".join([*line.split(",")[:4], array_text(np.full(PIXELS, np.nan))] * 1) + (
            f",{array_text(np.full(PIXELS, np.nan))},7"
        )

    _, listed = one_bad_row(archive, survey, 5, empty)
    assert listed["reason"] == Reason.ALL_MISSING


def test_a_star_in_rvs_but_not_in_gaia_source(archive, survey):
    name = archive.name("GaiaSource", 1)
    del archive.lines[name][4]
    summary = build_survey(archive.write(), survey, settings(), executor=EXECUTOR)
    listed = quarantine(survey)
    assert (summary.stars, summary.quarantined) == (26, 1)
    assert listed["reason"].tolist() == [Reason.NO_SOURCE]
    assert listed["row"].tolist() == [3]
    assert listed["file"][0] == archive.name("Rvs", 1)
    assert name in listed["detail"][0]


def test_a_star_without_source_stays_if_the_configuration_says_so(archive, survey):
    del archive.lines[archive.name("GaiaSource", 1)][4]
    config = settings(source_required=False)
    assert build_survey(archive.write(), survey, config, executor=EXECUTOR).stars == 27
    stars = contents(survey)
    assert np.isnan(stars["photometry"][11]).all()
    assert np.isfinite(stars["ra"][11])


def test_spectra_on_another_grid(archive, survey):
    name = archive.name("Rvs", 1)
    short = array_text(np.ones(50))
    for index, line in enumerate(archive.lines[name]):
        archive.lines[name][index] = ",".join(line.split(",")[:4]) + f",{short},{short},7"
    archive.write()
    message = refused(archive, survey, name, GridMismatch)
    assert "row 1: every spectrum has 50 pixels" in message
    assert "61 pixels of 0.01 nm" in message
    assert "ingest.grid" in message


@pytest.mark.parametrize("part", ["start", "end"])
def test_unreadable_fits(archive, survey, part):
    archive.write()
    path = archive.folder / "allStar-tiny.fits"
    data = path.read_bytes()
    path.write_bytes(b"SIMPLE  =  no idea" * 300 if part == "start" else data[: len(data) - 3000])
    message = refused(archive, survey, path.name, FileBroken)
    assert "not readable as fits" in message
    assert "Fetch the file again" in message


def test_a_fits_file_without_that_table(archive, survey):
    archive.write()
    labels = {"reader": "apogee", "files": "allStar*.fits", "hdu": 7}
    assert "fits" in refused(archive, survey, "allStar-tiny.fits", FileBroken, labels=labels)


def test_an_archive_of_bad_rows_only(archive, survey):
    for number in range(3):
        name = archive.name("Rvs", number)
        archive.lines[name] = ["x" + line for line in archive.lines[name]]
    archive.write()
    with pytest.raises(InputError, match="27 rows were quarantined") as caught:
        build_survey(archive.folder, survey, settings(), executor=EXECUTOR)
    assert "rejected.jsonl" in caught.value.cure
    assert "; the first, RvsMeanSpectrum" in caught.value.problem


def test_a_run_that_stored_no_star_does_not_block_the_corrected_command(archive, survey):
    archive.write()
    elsewhere = {"start": 400.0, "step": 0.1, "size": 60}
    with pytest.raises(InputError, match=r"; the first, .* row 1: no pixel can be used"):
        build_survey(archive.folder, survey, settings(prepare__target=elsewhere), executor=EXECUTOR)
    assert build_survey(archive.folder, survey, settings(), executor=EXECUTOR).stars


@pytest.mark.parametrize("trim", [[40, 40], [0, 1000], [60, 0]])
def test_a_trim_of_all_pixels_is_refused(archive, survey, trim):
    archive.write()
    with pytest.raises(ConfigError, match="at least two pixels to be left"):
        build_survey(archive.folder, survey, settings(prepare__trim=trim), executor=EXECUTOR)


def test_files_on_different_grids_need_a_common_one(tmp_path, survey):
    folder = tmp_path / "tables"
    folder.mkdir()
    for number, start in enumerate((846.0, 846.1)):
        flux = np.ones((2, 40), "f4")
        table = Table({"star": [f"s{number}a", f"s{number}b"], "flux": flux})
        table.meta.update({"CRVAL1": start, "CDELT1": 0.01})
        table.write(folder / f"spectra_{number:06d}-{number:06d}.fits")
    spectra = {"reader": "table", "files": "*.fits", "columns": {"source_id": "star"}}
    lone = {"source": None, "source_required": False, "xp": None, "labels": None}
    changes = {"spectra": spectra, "grid": {}, **lone, "prepare__rebin": 1}
    with pytest.raises(GridMismatch, match=r"846\.1 to") as caught:
        build_survey(folder, survey, settings(**changes), executor=EXECUTOR)
    assert "ingest.prepare.target" in caught.value.cure
    target = {"start": 846.15, "step": 0.02, "size": 10}
    common = settings(**changes, prepare__target=target)
    build_survey(folder, tmp_path / "common.zarr", common, executor=EXECUTOR)
    stars = contents(tmp_path / "common.zarr")
    assert stars["flux"].shape == (4, 10)
    np.testing.assert_allclose(stars["flux"], 1, atol=1e-4)
    assert "flux_error" not in stars


def test_stars_with_wavelengths_of_their_own_need_a_common_grid(tmp_path, survey):
    folder = tmp_path / "tables"
    folder.mkdir()
    waves = 846.0 + 0.01 * np.arange(40)[None, :] + np.array([[0.0], [0.1], [0.0]])
    waves[2, [3, 7]] = waves[2, [7, 3]]
    flux = 1 + 0.001 * waves
    Table({"source_id": [1, 2, 3], "flux": flux, "wave": waves}).write(folder / "s.fits")
    spectra = {"reader": "table", "files": "*.fits", "columns": {"wavelength": "wave"}}
    lone = {"source": None, "source_required": False, "xp": None, "labels": None}
    changes = {"spectra": spectra, "grid": {}, **lone, "prepare__rebin": 1}
    summary = build_survey(folder, survey, settings(**changes), executor=EXECUTOR)
    assert (summary.stars, summary.quarantined) == (1, 2)
    assert set(quarantine(survey)["reason"]) == {Reason.GRID}
    target = {"start": 846.15, "step": 0.02, "size": 10}
    common = settings(**changes, prepare__target=target)
    assert (
        build_survey(folder, tmp_path / "common.zarr", common, executor=EXECUTOR).quarantined == 1
    )
    stars = contents(tmp_path / "common.zarr")
    expected = 1 + 0.001 * (846.15 + 0.02 * np.arange(10))
    np.testing.assert_allclose(stars["flux"], np.broadcast_to(expected, (2, 10)), atol=1e-4)


def test_a_lone_carriage_return_in_the_first_row_is_a_malformed_row(tmp_path):
    (tmp_path / "t.csv").write_bytes(b'source_id,G\n11,"a"x\ry\n12,3.5\n')
    files = FilesConfig(reader="table", files="*", columns={"photometry": "G"})
    reader = make_reader(files, ReadRequest("source", bands=("G",)))
    (block,) = reader.blocks(tmp_path / "t.csv", rows=9)
    assert block.columns["source_id"].tolist() == [12]
    assert [row.row for row in block.rejected] == [1]
