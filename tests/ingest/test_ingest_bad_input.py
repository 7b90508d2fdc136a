"""Bad input: every kind is named with file, row and cure; the rest of the archive goes on."""

import gzip

import numpy as np
import pytest
from astropy.table import Table
from dying_executor import contents, quarantine
from tiny_archive import PIXELS, array_text, settings

from distcnn.errors import ColumnMissing, FileBroken, GridMismatch, InputError
from distcnn.executor import SerialExecutor
from distcnn.ingest import build_survey
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


@pytest.mark.parametrize("kind", ["Rvs", "GaiaSource", "Xp"])
def test_truncated_gzip(archive, survey, kind):
    archive.write()
    path = archive.folder / archive.name(kind, 1)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    message = refused(archive, survey, path.name, FileBroken)
    assert "truncated" in message
    assert ", row " in message
    assert "_MD5SUM.txt" in message
    path.write_bytes(whole)
    assert build_survey(archive.folder, survey, settings(), executor=EXECUTOR).stars == 27


def test_a_gzip_file_of_rotten_bytes(archive, survey):
    archive.write()
    path = archive.folder / archive.name("Rvs")
    rotten = bytearray(path.read_bytes())
    rotten[len(rotten) // 2 : len(rotten) // 2 + 50] = bytes(50)
    path.write_bytes(bytes(rotten))
    assert "row" in refused(archive, survey, path.name, FileBroken)


def test_several_broken_files_are_all_named(archive, survey):
    archive.write()
    names = [archive.name("Rvs", number) for number in (0, 2)]
    for name in names:
        (archive.folder / name).write_bytes(b"")
    message = refused(archive, survey, names[0], FileBroken)
    assert "1 more failed" in message
    assert names[1] in message


@pytest.mark.parametrize(
    ("kind", "column"), [("Rvs", "flux"), ("GaiaSource", "ra"), ("Xp", "bp_coefficients")]
)
def test_missing_column(archive, survey, kind, column):
    name = archive.name(kind)
    archive.headers[name] = archive.headers[name].replace(f",{column},", ",other,", 1)
    archive.write()
    message = refused(archive, survey, name, ColumnMissing)
    assert repr(column) in message
    assert "row 0 (header)" in message


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


@pytest.mark.parametrize("kind", ["Rvs", "GaiaSource", "Xp", "allStar"])
def test_empty_file(archive, survey, kind):
    archive.write()
    name = "allStar-tiny.fits" if kind == "allStar" else archive.name(kind)
    (archive.folder / name).write_bytes(b"")
    assert "empty" in refused(archive, survey, name, FileBroken)


def test_a_gzip_file_of_nothing(archive, survey):
    archive.write()
    name = archive.name("Rvs")
    (archive.folder / name).write_bytes(gzip.compress(b""))
    assert "empty" in refused(archive, survey, name, FileBroken)


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
    waves[2] = waves[2][::-1]
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
