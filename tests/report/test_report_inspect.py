import json

import numpy as np
import pytest

from distcnn.errors import InputError, PackageError
from distcnn.evaluation.baseline_table import BaselineLabels, BaselineTable, write_baselines
from distcnn.pipeline import inspect_path
from distcnn.report.text.inspect import describe
from distcnn.schema import SURVEY_VARIABLES
from distcnn.survey import Layout, Ledger, create_store


@pytest.fixture
def store(tmp_path):
    layout = Layout(
        kind="survey",
        sizes={"star": 40},
        chunk_stars=5,
        shard_stars=10,
        variables=(SURVEY_VARIABLES["source_id"], SURVEY_VARIABLES["parallax"]),
        coordinates={},
        attrs={"survey": "small", "settings": {"rebin": 3, "trim": [0, 0]}},
    )
    return create_store(tmp_path / "survey.zarr", layout)


def test_an_unfinished_store_says_how_far_it_is(store):
    ledger = Ledger.open(store.private / "ledger.jsonl", {"input": "a"})
    ledger.record("000000000-000000010", "digest")
    text = describe(store.path)
    assert "a survey of 40 stars" in text
    assert "no, 1 of 4 regions" in text
    assert "parallax [mas]" in text


def test_a_finished_store_says_so_and_shows_its_attributes(store):
    store.annotate({"complete": True})
    text = describe(store.path)
    assert "complete      yes" in text
    assert "rebin 3, trim 0 0" in text


def test_a_package_that_lacks_a_file_is_not_complete(tmp_path):
    manifest = {"files": {"members/member_00.safetensors": "0" * 64}, "split": {"seed": 3}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    text = describe(tmp_path)
    assert "a package of 1 members" in text
    assert "no, missing: members/member_00.safetensors" in text


def test_a_damaged_manifest_is_a_clear_error(tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(PackageError, match="damaged: expected a folder with a readable manifest"):
        describe(tmp_path)


def test_an_unfinished_run_is_recognised(tmp_path):
    (tmp_path / "survey.zarr.partial").mkdir()
    assert "an unfinished run" in describe(tmp_path / "survey.zarr.partial")


def test_a_table_of_baselines_says_which_methods_and_of_which_survey(tmp_path):
    methods = {"ridge": BaselineLabels(np.arange(1500), np.zeros((1500, 1)))}
    origin = {"survey": "abc", "split": "def", "labels": ["teff"]}
    path = tmp_path / "baselines.parquet"
    write_baselines(path, BaselineTable(("teff",), methods, origin, {}))
    text = inspect_path(path)
    assert "baselines for teff" in text
    assert "1,500 stars  ridge" in text
    assert "survey        abc" in text


def test_what_is_nothing_of_ours_is_told_so(tmp_path):
    with pytest.raises(InputError, match="is nothing that distcnn makes or reads"):
        describe(tmp_path)
