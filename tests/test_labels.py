"""Labels of a survey's own: described once, then trained, predicted, exported and shown alike."""

import json
from dataclasses import asdict

import pytest
from astropy.io.votable.ucd import check_ucd
from astropy.table import Table

from distcnn import pipeline
from distcnn.catalogue.columns import LABEL_COLUMNS, columns, pairs
from distcnn.config import load_config
from distcnn.errors import ConfigError
from distcnn.labels import _UCD_OF_UNIT, described, label_info, present
from distcnn.schema import DEFAULT_LABELS, LABEL_ENDINGS, LABELS, label_columns
from distcnn.survey import Store
from tests.training import simple_survey

OWN = {"vmic": {"unit": "km/s", "description": "microturbulence", "symbol": "v_mic"}}


def refused(value: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [f"ingest.labels={{reader: table, files: a, {value}}}"])
    return str(caught.value)


def test_a_label_is_what_the_survey_says_or_the_schema_or_a_default():
    assert label_info("teff") == LABELS["teff"]
    own = label_info("vmic", OWN)
    assert (own.unit, own.symbol, own.ucd) == ("km/s", "v_mic", "phys.veloc")
    plain = label_info("C_FE", {})
    assert (plain.unit, plain.symbol, plain.ucd) == ("", "C_FE", "stat.value")
    assert "C_FE" in plain.description
    assert label_info("teff", {"teff": {"symbol": "T"}}).unit == "K"


def test_a_store_keeps_what_the_schema_does_not_tell():
    assert described(("teff", "logg"), {}) == {}
    kept = described(("teff", "vmic"), OWN)
    assert kept == {
        "vmic": {k: v for k, v in asdict(label_info("vmic", OWN)).items() if k != "name"}
    }
    assert label_info("vmic", kept) == label_info("vmic", OWN)


def test_labels_of_a_store_are_known_while_it_is_worked_on():
    with present(OWN):
        assert label_info("vmic").unit == "km/s"
    assert label_info("vmic").unit == ""


@pytest.mark.parametrize("ucd", sorted({*_UCD_OF_UNIT.values(), "stat.value"}))
def test_every_default_ucd_can_stand_in_every_column(ucd):
    for column in columns(["vmic", "age"], own={"vmic": {"ucd": ucd}, "age": {"ucd": ucd}}):
        assert check_ucd(column.ucd, check_controlled_vocabulary=True, has_colon=True), column


def test_the_names_of_columns_are_known_before_there_is_a_catalogue():
    assert tuple(column.ending for column in LABEL_COLUMNS) == LABEL_ENDINGS
    labels = (*DEFAULT_LABELS, "vmic")
    there = {column.name for column in columns(labels)}
    assert set(label_columns(labels)) <= there
    assert len(pairs(labels)) == 15


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("labels: ['[Fe/H]']", "names of letters, digits and _"),
        ("labels: []", "at least one label; ingest.labels=null"),
        ("labels: [teff, Teff]", "Teff would be there twice"),
        ("labels: [a, a_error]", "a_error would be there twice"),
        ("labels: [flags]", "flags would be there twice"),
        ("labels: [teff], info: {vmic: {unit: km/s}}", "vmic is no label here"),
        ("labels: [vmic], info: {vmic: {units: km/s}}", "Did you mean 'unit'?"),
        ("labels: [a], info: {a: {unit: '\u00b5m/s'}}", "plain (ASCII)"),
        ("labels: [a], info: {a: {symbol: '$a'}}", "without $"),
    ],
)
def test_names_and_descriptions_that_no_catalogue_could_hold_are_refused(value, told):
    assert told in refused(value)


@pytest.fixture(scope="module")
def products(tmp_path_factory):
    """Survey, package and predictions of a label that the schema does not know."""
    folder = tmp_path_factory.mktemp("own")
    config = load_config(
        None,
        [
            "train={members: 2, epochs: 2, batch: 64, network: {width: 8, hidden: 8}}",
            "cluster.backend=serial",
            "predict.engine=eager",
        ],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simple_survey, "LABELS", ("teff", "vmic", "c_fe"))
        simple_survey.build_survey(folder / "survey.zarr", simple_survey.simple_stars(700))
    Store.open(folder / "survey.zarr").annotate({"label_info": described(("vmic", "c_fe"), OWN)})
    paths = folder / "package", folder / "survey.zarr", folder / "predictions.zarr"
    pipeline.train_package(paths[1], paths[0], config)
    pipeline.predict_survey(*paths, config)
    return folder, config


def test_the_package_tells_of_them(products):
    folder, _ = products
    manifest = json.loads((folder / "package" / "manifest.json").read_text())
    assert manifest["labels"][0] == {"name": "teff", "unit": "K"}
    assert manifest["labels"][1]["unit"] == "km/s"
    assert manifest["labels"][1]["description"] == "microturbulence"
    assert manifest["labels"][2]["unit"] == ""
    assert "vmic [km/s]" in pipeline.inspect_path(folder / "package")


@pytest.mark.parametrize("suffix", [".fits", ".parquet", ".vot"])
def test_every_catalogue_has_them_with_unit_and_sentence(products, suffix):
    folder, _ = products
    target = folder / f"catalogue{suffix}"
    assert pipeline.export_catalogue(folder / "predictions.zarr", target) == 700
    told = pipeline.inspect_path(target)
    for column in columns(("teff", "vmic", "c_fe"), own=OWN):
        assert f"  {column.name:22s} " in told
    lines = [line for line in told.splitlines() if line.startswith("  vmic_error ")]
    assert "[km/s]" in lines[0].replace(" / ", "/")
    assert "v_mic" in lines[0]
    if suffix == ".fits":
        assert str(Table.read(target)["vmic"].unit) == "km / s"


def test_the_report_and_inspect_show_them(products):
    folder, config = products
    page = pipeline.write_report(folder / "predictions.zarr", folder / "report", config)
    text = page.read_text()
    assert "v_mic (microturbulence, km/s)" in text
    assert "c_fe (c_fe, a label of this survey)" in text
    for name in ("survey.zarr", "predictions.zarr"):
        assert "microturbulence" in pipeline.inspect_path(folder / name)
