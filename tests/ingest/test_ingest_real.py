"""Real archive products: every format of the same product gives the same numbers."""

from pathlib import Path

import numpy as np
import pytest
from conformance.reader_checks import read_all
from dying_executor import contents

from distcnn.config import FilesConfig, conf_folder, load_config
from distcnn.executor import SerialExecutor
from distcnn.ingest import build_survey
from distcnn.ingest.readers import ReadRequest, make_reader
from distcnn.survey import Store

pytestmark = pytest.mark.real
BANDS = ("phot_g_mean_mag", "phot_bp_mean_mag", "phot_rp_mean_mag")


@pytest.fixture
def folder(real_data):
    def find(name: str) -> Path:
        path = real_data / name
        if not path.exists():
            pytest.skip(f"{name} is missing in DISTCNN_DATA")
        return path

    return find


def build(name: str, folder: Path, survey: Path):
    config = load_config(conf_folder() / f"{name}.yaml").ingest
    return build_survey(folder, survey, config, executor=SerialExecutor())


def xp_reader():
    return make_reader(FilesConfig(reader="gaia_xp", files="*"), ReadRequest("xp"))


@pytest.mark.parametrize("stem", ["XP_CONTINUOUS_RAW", "XP_CONTINUOUS_RAW_with_missing_BP"])
def test_every_format_of_an_xp_product_has_the_same_coefficients(folder, stem):
    where = folder("gaia_xp_continuous/gaiaxpy/xp_continuous")
    blocks = [
        read_all(xp_reader(), where / f"{stem}{end}")
        for end in (".csv", ".ecsv", ".fits", ".xml", "_plain.xml")
    ]
    for block in blocks:
        assert block.rejected == ()
        assert set(block.columns["source_id"]) == set(blocks[0].columns["source_id"])
        order = np.argsort(block.columns["source_id"])
        first = np.argsort(blocks[0].columns["source_id"])
        for name in ("xp", "xp_error"):
            np.testing.assert_allclose(
                block.columns[name][order], blocks[0].columns[name][first], rtol=3e-7
            )


def test_the_formats_of_a_datalink_zip_agree(folder):
    where = folder("gaia_xp_continuous/datalink")
    blocks = [read_all(xp_reader(), path) for path in sorted(where.glob("*.zip"))]
    assert len(blocks) == 4
    for block in blocks:
        assert block.columns["source_id"].tolist() == [5937083312263887616]
        np.testing.assert_array_equal(block.columns["xp"], blocks[0].columns["xp"])
        assert np.isfinite(block.columns["xp_error"]).all()


def test_a_star_without_bp_has_rp_in_every_format(folder):
    where = folder("gaia_xp_continuous/gaiaxpy/xp_continuous")
    files = sorted(where.glob("*RAW_missing_BP*"))
    assert len(files) == 7
    for path in files:
        xp = read_all(xp_reader(), path).columns["xp"]
        assert np.isnan(xp[:, :55]).all()
        assert np.isfinite(xp[:, 55:]).all()


def test_the_source_tables_of_the_archive_are_read(folder):
    where = folder("gaia_xp_continuous/datalink")
    request = ReadRequest("source", bands=BANDS)
    reader = make_reader(FilesConfig(reader="gaia_source", files="*"), request)
    vot = read_all(reader, where / "1710099405832VAL-result.vot")
    assert vot.columns["source_id"].tolist() == [4583627001381815936, 5348723816842275584]
    assert vot.columns["snr"] == pytest.approx([852.797, 525.496], rel=1e-5)
    ecsv = read_all(reader, where / "1712337806100O-result.ecsv")
    assert len(ecsv) == 5
    assert np.isnan(ecsv.columns["parallax"]).tolist() == [False, True, False, True, False]


def test_real_rvs_spectra_become_a_survey(folder, tmp_path):
    summary = build("gaia_rvs_datalink", folder("gaia_rvs_datalink"), tmp_path / "s.zarr")
    assert (summary.stars, summary.quarantined) == (3, 0)
    stars = contents(tmp_path / "s.zarr")
    assert stars["flux"].shape == (3, 800)
    assert sorted(np.round(stars["snr"])) == [21, 127, 460]
    missing = np.isnan(stars["flux"]).sum(axis=1)
    assert missing.max() <= 3
    assert (np.isnan(stars["flux"]) == (stars["mask"] != 0)).all()
    # The middle line of the calcium triplet, in vacuum.
    wavelength = Store.open(tmp_path / "s.zarr").coordinate("wavelength")
    around = abs(wavelength - 854.444) < 1
    deepest = wavelength[around][np.nanargmin(stars["flux"][:, around], axis=1)]
    np.testing.assert_allclose(deepest, 854.444, atol=0.05)


def test_real_spectra_are_prepared_as_the_bulk_ones_are():
    single = load_config(conf_folder() / "gaia_rvs_datalink.yaml").ingest
    bulk = load_config(conf_folder() / "gaia_rvs_dr3.yaml").ingest
    assert single.prepare == bulk.prepare
    assert single.grid == bulk.grid


def test_miles_becomes_a_survey_with_its_labels(folder, tmp_path):
    summary = build("miles", folder("miles"), tmp_path / "s.zarr")
    assert (summary.stars, summary.labelled, summary.quarantined) == (750, 750, 0)
    store = Store.open(tmp_path / "s.zarr")
    assert store.coordinate_attrs("wavelength")["medium"] == "air"
    stars = contents(tmp_path / "s.zarr")
    np.testing.assert_allclose(np.nanmedian(stars["flux"], axis=1), 1, atol=0.02)
    assert stars["label"][:, 0].min() == 2819


def test_the_rave_table_becomes_a_survey_of_photometry(folder, tmp_path):
    summary = build("rave_photometry", folder("rave_apogee"), tmp_path / "s.zarr")
    assert (summary.stars, summary.labelled) == (3669, 3669)
    stars = contents(tmp_path / "s.zarr")
    assert stars["photometry"].shape == (3669, 8)
    assert np.isfinite(stars["parallax"]).all()
    assert np.isnan(stars["parallax_error"]).all()


def test_a_table_of_a_column_per_coefficient_becomes_a_survey(folder, tmp_path):
    summary = build("gaia_xp", folder("gaia_xp_continuous/xp_table"), tmp_path / "s.zarr")
    assert summary.stars == 1000
    assert np.isfinite(contents(tmp_path / "s.zarr")["xp"]).all()
