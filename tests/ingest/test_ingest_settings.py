"""Settings that no file uses, and stars that files name after several releases, are refused."""

import pytest
from astropy.table import Table

from distcnn.config import IngestConfig
from distcnn.errors import ConfigError, InputError
from distcnn.executor import SerialExecutor
from distcnn.ingest import build_survey
from distcnn.survey import Region, Store

WRITE = {
    "csv": lambda table, folder: table.write(folder / "t.csv", format="ascii.csv"),
    "fits": lambda table, folder: table.write(folder / "t.fits"),
    "vot": lambda table, folder: table.write(folder / "t.vot", format="votable"),
    "parquet": lambda table, folder: table.write(folder / "t.parquet"),
}


def ingest(tmp_path, form, ids=(11, 12), survey="mine", labels=False, **source):
    folder = tmp_path / "archive"
    folder.mkdir(exist_ok=True)
    WRITE[form](Table({"source_id": list(ids), "G": [9.0] * len(ids)}), folder)
    source = {"reader": "table", "files": f"*.{form}", "columns": {"photometry": ["G"]}, **source}
    given = {"reader": "table", "files": "l.csv", "labels": ["teff"]} if labels else None
    settings = {"spectra": None, "xp": None, "labels": given, "source": source, "bands": ["G"]}
    config = IngestConfig.model_validate({"survey": survey, **settings})
    return build_survey(folder, tmp_path / "s.zarr", config, executor=SerialExecutor())


@pytest.mark.parametrize(
    ("setting", "value", "forms"),
    [
        ("hdu", 3, ("csv", "parquet")),
        ("hdu", "STARS", ("csv", "parquet")),
        ("delimiter", ";", ("fits", "vot", "parquet")),
        ("decimal", ",", ("fits", "vot", "parquet")),
        ("members", "*RVS*", ("csv", "fits", "vot", "parquet")),
    ],
)
def test_a_setting_that_no_file_uses_is_an_error(tmp_path, setting, value, forms):
    for form in forms:
        with pytest.raises(ConfigError, match=f"ingest.source.{setting} = .*Leave '{setting}' out"):
            ingest(tmp_path, form, **{setting: value})


def test_settings_that_a_file_uses_are_taken(tmp_path):
    assert ingest(tmp_path, "csv", delimiter=",", decimal=".").stars == 2


def test_the_first_table_may_be_asked_for_by_its_number(tmp_path):
    assert ingest(tmp_path, "csv", hdu=1).stars == 2


@pytest.mark.parametrize("form", WRITE)
def test_designations_of_several_releases_are_refused(tmp_path, form):
    with pytest.raises(InputError, match=r"1 of DR2 and 2 of DR3.*another star in another one"):
        ingest(tmp_path, form, ["Gaia DR2 17", "Gaia DR3 17", "Gaia EDR3 18"])


def test_designations_of_another_release_than_the_survey_of_gaia_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"2 of DR2; the survey is of Gaia DR3"):
        ingest(tmp_path, "csv", ["Gaia DR2 17", "Gaia DR2 18"], survey="gaia_rvs")


def test_releases_of_the_same_numbers_and_of_other_surveys_go_in(tmp_path):
    assert ingest(tmp_path, "csv", ["Gaia DR3 17", "Gaia EDR3 18", "19"], survey="gaia").stars == 3
    stored = Store.open(tmp_path / "s.zarr", "survey").read(Region(0, 3), ["source_id"])
    assert stored["source_id"].tolist() == [17, 18, 19]


def test_labels_of_another_release_than_the_stars_are_refused(tmp_path):
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "l.csv").write_text("source_id,teff\nGaia DR2 17,5000\n")
    with pytest.raises(InputError, match=r"1 of DR2 and 1 of DR3"):
        ingest(tmp_path, "fits", ["Gaia DR3 17"], labels=True)
