"""Commands that are given something else than they want: one line that says what is there."""

import shutil
from pathlib import Path

import pytest
import zarr
from catalogue.simple_predictions import make_predictions
from commands import distcnn

from distcnn.config import load_config
from distcnn.errors import FileBroken
from distcnn.evaluation.references import read_truth
from distcnn.location import Location, contents_of, nothing_at
from distcnn.model.imported.keras_file import read_keras
from distcnn.survey import Store

STARS = 60


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """Predictions, a package that is only its manifest, and other things, by name."""
    folder = tmp_path_factory.mktemp("places")
    make_predictions(folder / "predictions.zarr", STARS)
    (folder / "package").mkdir()
    (folder / "package" / "manifest.json").write_text('{"kind": "package"}')
    (folder / "cut").mkdir()
    (folder / "cut" / "manifest.json").write_text('{"kind": "pack')
    (folder / "empty").mkdir()
    (folder / "full").mkdir()
    (folder / "full" / "notes.txt").write_text("mine")
    (folder / "a.txt").write_text("text")
    zarr.open_group(folder / "foreign.zarr", mode="w")
    shutil.copytree(folder / "predictions.zarr", folder / "cut.zarr")
    (folder / "cut.zarr" / "zarr.json").write_text('{"attr')
    return folder


CONTENTS = {
    "predictions.zarr": "a prediction store",
    "package": "a package",
    "cut": "a folder whose manifest.json is damaged",
    "cut.zarr": "a folder whose zarr.json is damaged",
    "foreign.zarr": "a Zarr store that distcnn did not make",
    "empty": "an empty folder",
    "full": "a folder with notes.txt",
    "a.txt": "a file",
    "nothing": "not there",
}


@pytest.mark.parametrize("name", CONTENTS)
def test_what_is_at_a_place_is_told_in_words(there, name):
    assert contents_of(Location.parse(there / name)) == CONTENTS[name]


def told(*words, code):
    result = distcnn(*words)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert "Errno" not in result.output
    return result.output.strip().splitlines()[-1]


@pytest.mark.parametrize("name", sorted(set(CONTENTS) - {"nothing", "empty", "predictions.zarr"}))
@pytest.mark.parametrize("command", ["export", "verify", "report"])
def test_whatever_is_no_prediction_store_is_named(there, tmp_path, name, command):
    more = {"export": [tmp_path / "c.fits"], "report": [tmp_path / "page"]}.get(command, [])
    line = told(command, there / name, *more, code=1)
    assert CONTENTS[name] in line
    assert "expected a prediction store" in line


@pytest.mark.parametrize("name", ["a.txt", "cut", "full", "predictions.zarr"])
def test_whatever_is_no_package_is_named(there, tmp_path, name):
    place = there / name
    line = told("predict", place, there / "predictions.zarr", tmp_path / "o.zarr", code=1)
    assert f"is not a package but {CONTENTS[name]}" in line
    if name == "cut":
        assert "Restore it from a copy" in line


def test_the_manifest_of_a_package_leads_to_its_folder(there, tmp_path):
    manifest = there / "package" / "manifest.json"
    line = told("predict", manifest, there / "predictions.zarr", tmp_path / "o.zarr", code=1)
    assert f"Give its folder, {there / 'package'}" in line


def test_a_misspelt_path_leads_to_the_one_that_is_there(there):
    assert "Did you mean" in told("verify", there / "prediction.zarr", code=2)
    assert f"nor its folder {there / 'no'}" in told("verify", there / "no" / "p.zarr", code=2)
    assert "is an empty folder" in told("verify", there / "empty", code=2)
    assert nothing_at(Location.parse(there / "quite something else"))[1] == ""


EMPTY_WORDS = [
    ["ingest", "", "s.zarr"], ["inspect", ""], ["predict", "package", "", "o.zarr"],
    ["train", "s.zarr", "p", "--conf", ""], ["export", "p.zarr", "c.fits", "--where", ""],
    ["check", "", "package", "s.zarr", "out"], ["demo", " "],
]  # fmt: skip


@pytest.mark.parametrize("words", EMPTY_WORDS, ids=lambda words: words[0])
def test_an_empty_word_is_not_taken_for_the_folder_one_is_in(words):
    assert "an argument is empty" in told(*words, code=2)


def test_lists_that_name_nothing_do_not_mean_everything(there):
    predictions = there / "predictions.zarr"
    compare = ("compare", predictions, "b.parquet", "--package", there / "package")
    assert "--methods ',' names nothing" in told(*compare, "--methods", ",", code=2)
    page = ("report", predictions, "page", "--sections", " , ")
    assert "--sections ' , ' names nothing" in told(*page, code=2)
    assert "NAME ',' names nothing" in told("check", ",", "p", "s.zarr", "out", code=2)


def test_an_option_given_twice_is_refused(there):
    words = ("train", there / "predictions.zarr", "p", "--conf", "demo", "--conf", "miles")
    assert "--conf is given twice" in told(*words, code=2)


@pytest.mark.parametrize("key", ["train.labels", "compare.methods", "report.sections"])
def test_a_name_given_twice_in_a_list_is_refused(there, key):
    words = ("train", there / "predictions.zarr", "p", "--set", f"{key}=[teff, teff]")
    assert "every name once; teff is given again" in told(*words, code=1)


@pytest.mark.parametrize("words", [["conf", "--guess"], ["ingest", "--try"]])
def test_a_folder_is_not_a_file_of_spectra(there, words):
    assert "is a folder with notes.txt: expected a file" in told(*words, there / "full", code=2)


@pytest.mark.parametrize("name", ["full", "a.txt"])
def test_what_is_no_model_of_keras_is_told_in_a_line(there, tmp_path, name):
    words = ("package", "import", tmp_path / "p", there / name, "--survey", tmp_path / "s.zarr")
    with pytest.raises(FileBroken, match=r"is a folder|file signature not found") as caught:
        read_keras(there / name)
    assert "\n" not in str(caught.value)
    assert "descriptor" not in str(caught.value)
    assert "does not exist" in told(*words, code=2)


def test_the_sign_of_ones_home_is_its_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Location.parse("~/a.zarr").local_path == tmp_path / "a.zarr"
    assert load_config(None, ["monitor.journal=~/j.jsonl"]).monitor.journal == tmp_path / "j.jsonl"
    assert Location.parse("~nobody/a").local_path == Path("~nobody/a")


@pytest.mark.parametrize("stars", ["nan", "inf", "1e400", "1.5"])
def test_a_plan_is_of_a_whole_number_of_stars(stars):
    assert "expected a whole number" in told("plan", "--stars", stars, code=2)


@pytest.mark.parametrize("name", ["a.txt", "predictions.zarr", "package"])
def test_folders_of_answers_are_not_written_into_products(there, name):
    predictions, out = there / "predictions.zarr", there / name
    for words in (
        ("report", predictions, out),
        ("check", "noise", there / "package", predictions, out),
        ("map", "tsne", there / "package", predictions, out),
        ("map", "galaxy", predictions, out),
        ("simulate", out, "--stars", "5"),
        ("tune", predictions, out),
    ):
        line = told(*words, code=2)
        assert f"{out} is {CONTENTS[name]}: expected a folder of its own" in line
    assert not (out / "index.html").exists()


def test_a_missing_table_is_missing_and_not_unreadable(there):
    predictions = there / "predictions.zarr"
    with pytest.raises(FileBroken, match=r"t\.parquet does not exist"):
        read_truth(there / "t.parquet", ("teff",))
    compare = ("compare", predictions, there / "full", "--package", there / "package")
    assert "is a folder: expected the name of a table" in told(*compare, code=2)


def test_a_store_without_its_ledger_says_what_to_copy(there, tmp_path):
    store = tmp_path / "p.zarr"
    shutil.copytree(there / "predictions.zarr", store)
    shutil.rmtree(Store.open(store).path / ".distcnn", ignore_errors=True)
    assert "Copy a store with its folder .distcnn" in told("verify", store, code=1)
