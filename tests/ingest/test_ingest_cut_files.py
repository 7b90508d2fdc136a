"""A FITS file that is cut off behind what is needed of it is read, and told; else it is refused."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from conformance.reader_checks import read_all

from distcnn.config import FilesConfig, GridConfig, load_config
from distcnn.errors import InputError
from distcnn.ingest.preview import preview_file
from distcnn.ingest.readers import ReadRequest, make_reader
from distcnn.ingest.readers.formats.containers import collecting_notes

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SURVEYS = ("rave_dr6", "lamost_lrs_dr9", "lamost_mrs_dr8", "galah_dr3")
"""Images, tables, arms in one file and in several."""
TOLD = "ends of files that are cut off or damaged"


def places_to_cut(content, hdu):
    """Where a file ends inside an HDU: in its header, its data, its padding."""
    about = hdu.fileinfo()
    start, bytes_ = about["datLoc"], hdu.size
    return (start - 100, start, start + bytes_ // 2, start + bytes_ + 1)


def with_another_hdu(path):
    """The file with one more image behind it, and where that can be cut."""
    with fits.open(path) as hdus:
        hdus.append(fits.ImageHDU(np.zeros(2000, "f4"), name="MORE"))
        hdus.writeto(path, overwrite=True)
    content = path.read_bytes()
    with fits.open(path) as hdus:
        return content, places_to_cut(content, hdus["MORE"])


@pytest.mark.parametrize("name", SURVEYS)
def test_every_layout_tells_of_a_file_that_ends_too_early(name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from lib.survey_files import WRITERS

    list(WRITERS[name](tmp_path))
    config = load_config(name).ingest
    path = sorted(tmp_path.iterdir())[0]
    whole = preview_file(path, config)
    content, places = with_another_hdu(path)
    assert preview_file(path, config).unread == whole.unread
    for place in places:
        path.write_bytes(content[:place])
        found = preview_file(path, config)
        assert found.error is None, place
        assert found.count == whole.count
        (told,) = [one for one in found.unread if one.what == TOLD]
        assert path.name in told.where
        assert "truncated" in told.where


@pytest.mark.parametrize("kind", ["spectra", "source", "labels"])
def test_every_kind_of_table_tells_of_a_file_that_ends_too_early(kind, tmp_path):
    path = tmp_path / "t.fits"
    table = Table({"source_id": [11, 12], "G": [9.0, 10.0], "flux": np.ones((2, 5))})
    table.write(path)
    content, places = with_another_hdu(path)
    columns = {"source": {"photometry": "G"}, "labels": {"teff": "G"}, "spectra": {}}[kind]
    request = ReadRequest(kind, GridConfig(start=1, step=1, size=5), bands=("G",), labels=("teff",))
    files = FilesConfig(reader="table", files="*", columns=columns)
    for place in places:
        path.write_bytes(content[:place])
        reader = make_reader(files, request)
        with collecting_notes() as notes:
            assert read_all(reader, path).columns["source_id"].tolist() == [11, 12]
        assert TOLD in {one.what for one in notes.unread}


def test_an_arm_that_may_have_been_cut_off_is_not_left_out_silently(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from lib.survey_files import WRITERS

    list(WRITERS["lamost_mrs_dr8"](tmp_path))
    path = sorted(tmp_path.iterdir())[0]
    config = load_config("lamost_mrs_dr8").ingest
    content = path.read_bytes()
    with fits.open(path) as hdus:
        start = hdus["COADD_R"].fileinfo()["hdrLoc"]
    path.write_bytes(content[: start + 100])
    error = preview_file(path, config).error
    assert isinstance(error, InputError)
    assert "arm R" in str(error)
    assert "truncated" in str(error)
    assert "Fetch the file again" in str(error)
    path.write_bytes(content[:start])  # nothing in the file tells
    told = {one.what: one.where for one in preview_file(path, config).unread}
    assert told["files without an arm"] == f"{path.name}: arm R"
