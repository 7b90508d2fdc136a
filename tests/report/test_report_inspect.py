import json

import pytest

from distcnn.errors import InputError
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
    with pytest.raises(InputError, match="is not readable"):
        describe(tmp_path)


def test_an_unfinished_run_is_recognised(tmp_path):
    (tmp_path / "survey.zarr.partial").mkdir()
    assert "an unfinished run" in describe(tmp_path / "survey.zarr.partial")


def test_what_is_nothing_of_ours_is_told_so(tmp_path):
    with pytest.raises(InputError, match="is nothing that distcnn makes or reads"):
        describe(tmp_path)
