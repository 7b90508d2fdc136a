import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from distcnn import baselines
from distcnn.baselines.steps import Steps
from distcnn.config import SplitConfig
from distcnn.ecsv import from_ecsv
from distcnn.errors import StoreError, UsageError
from distcnn.evaluation.baseline_table import (
    BaselineLabels,
    BaselineTable,
    differences,
    origin_of,
    read_baselines,
    write_baselines,
)
from distcnn.events import Advanced, Notice, StageEnded, StageStarted
from distcnn.report.methods import write_judged_methods
from distcnn.schema import PACKAGE_FORMAT, SURVEY_VARIABLES
from distcnn.survey import Coordinate, Layout, create_store
from distcnn.survey.split import TEST, assign_split

NAMES = ("source_id", "flux", "photometry", "parallax", "parallax_error", "label")
STARS, PIXELS = 900, 12
SPLIT = SplitConfig(train=0.5, validation=0.1, calibration=0.2)
RIDGE, TREES = "ridge regression, same inputs", "photometry and parallax alone"


def compare(*places, methods=("ridge", "photometry"), **settings):
    """The quick methods; the package of these tests has no network."""
    return baselines.compare(*places, methods=methods, network=False, **settings)


def survey(path, rng, *, labelled=0.8, names=NAMES):
    """Labels that the flux holds exactly and the magnitudes only in part."""
    layout = Layout(
        kind="survey",
        sizes={"star": STARS, "pixel": PIXELS, "band": 3, "label": 2},
        chunk_stars=150,
        shard_stars=300,
        variables=tuple(SURVEY_VARIABLES[name] for name in names),
        coordinates={
            "label": Coordinate("label", np.array(["teff", "mh"])),
            "band": Coordinate("band", np.array(["G", "BP", "RP"])),
        },
        attrs={"fingerprint": "abc"},
    )
    label = rng.normal(0, 1, (STARS, 2))
    rows = {
        "source_id": np.arange(1, STARS + 1),
        "flux": 1 + label @ rng.normal(0, 0.05, (2, PIXELS)),
        "photometry": 12 + label[:, :1] * [[0.0, 0.3, -0.2]] + rng.normal(0, 0.02, (STARS, 3)),
        "parallax": np.ones(STARS),
        "parallax_error": np.full(STARS, 0.1),
        "label": np.where(rng.random((STARS, 1)) < labelled, label, np.nan),
    }
    store = create_store(path, layout)
    for region in store.regions():
        store.write(region, {name: rows[name][region.slice] for name in names})
    return store, label


@pytest.fixture
def package(tmp_path):
    return make_package(tmp_path / "package", ["teff", "mh"])


def make_package(path, labels):
    """A package as far as baselines know it: its manifest."""
    path.mkdir()
    manifest = {"spec": {"labels": labels}, "train": {"split": SPLIT.model_dump(mode="json")}}
    (path / "manifest.json").write_text(json.dumps(manifest | {"format": PACKAGE_FORMAT}))
    return path


def test_baselines_answer_for_stars_they_were_not_fitted_on(tmp_path, rng, package):
    store, label = survey(tmp_path / "s.zarr", rng)
    answers = compare(store.path, tmp_path / "b.parquet", package).methods
    assert set(answers) == {RIDGE, TREES}
    known = np.isfinite(store.read(store.regions(3)[0])["label"][:, 0])
    for answer in answers.values():
        rows = answer.source_id - 1
        assert not (known[rows] & (assign_split(answer.source_id, SPLIT) != TEST)).any()
        assert answer.label.shape == (len(rows), 2)
    ridge, trees = answers[RIDGE], answers[TREES]
    assert np.std(ridge.label - label[ridge.source_id - 1], axis=0).max() < 0.05
    residual = np.std(trees.label - label[trees.source_id - 1], axis=0)
    assert residual[0] < 0.3 < 0.8 < residual[1]


def test_the_table_holds_what_was_computed_and_from_what(tmp_path, rng, package):
    store, _ = survey(tmp_path / "s.zarr", rng)
    made = compare(store.path, tmp_path / "b.parquet", package)
    table = read_baselines(tmp_path / "b.parquet")
    for title, answer in made.methods.items():
        assert np.array_equal(table.methods[title].source_id, answer.source_id)
        assert np.array_equal(table.methods[title].label, answer.label)
    assert table.origin == origin_of(store, SPLIT, ["teff", "mh"])
    assert table.origin["survey"] == "abc"
    rows = pq.read_table(tmp_path / "b.parquet")
    assert rows.column_names == ["source_id", "method", "teff", "teff_error", "mh", "mh_error"]


def test_errors_of_a_method_are_kept_with_its_labels(tmp_path, rng):
    label, error = rng.normal(size=(2, 4, 2)).astype(np.float32)
    ids = np.arange(4)
    methods = {"one": BaselineLabels(ids, label, error), "two": BaselineLabels(ids, label)}
    write_baselines(tmp_path / "b.parquet", BaselineTable(("teff", "mh"), methods, {}, {}))
    found = read_baselines(tmp_path / "b.parquet").ordered(["mh", "teff"])
    assert np.array_equal(found["one"].error, error[:, ::-1])
    assert np.array_equal(found["two"].label, label[:, ::-1])
    assert found["two"].error is None


def test_the_same_command_again_leaves_the_table_as_it_is(tmp_path, rng, package):
    store, _ = survey(tmp_path / "s.zarr", rng)
    out, events = tmp_path / "b.parquet", []
    compare(store.path, out, package)
    before = out.stat().st_mtime_ns
    compare(store.path, out, package, events.append)
    assert out.stat().st_mtime_ns == before
    assert [type(event) for event in events] == [Notice]
    compare(store.path, out, package, max_stars=50)
    assert read_baselines(out).settings["max_stars"] == 50


def test_what_is_no_table_of_baselines_is_never_replaced(tmp_path, rng, package):
    store, _ = survey(tmp_path / "s.zarr", rng)
    out = tmp_path / "notes.parquet"
    out.write_text("mine")
    with pytest.raises(UsageError, match="is no table of baselines"):
        compare(store.path, out, package)
    assert out.read_text() == "mine"


def test_another_survey_split_or_label_is_told_apart(tmp_path, rng):
    store, _ = survey(tmp_path / "s.zarr", rng)
    mine = origin_of(store, SPLIT, ["teff"])
    assert differences(mine, mine) == []
    assert differences(mine | {"survey": "other"}, mine) == ["survey"]
    turned = SPLIT.model_copy(update={"rotate": 0.5})
    assert differences(origin_of(store, turned, ["teff"]), mine) == ["split"]
    assert differences(mine, mine | {"labels": ["teff", "mh"]}) == ["labels (no mh)"]


def test_labels_come_in_the_order_of_the_package(tmp_path, rng):
    store, label = survey(tmp_path / "s.zarr", rng)
    package = make_package(tmp_path / "other", ["mh"])
    ridge = compare(store.path, tmp_path / "b.parquet", package).methods[RIDGE]
    assert np.std(ridge.label[:, 0] - label[ridge.source_id - 1, 1]) < 0.05


def test_no_more_stars_are_asked_for_than_allowed(tmp_path, rng, package):
    store, _ = survey(tmp_path / "s.zarr", rng)
    table = compare(store.path, tmp_path / "b.parquet", package, max_stars=100)
    assert all(len(answer.source_id) == 100 for answer in table.methods.values())


def test_a_survey_without_spectra_has_no_method_that_needs_them(tmp_path, rng, package):
    names = tuple(name for name in NAMES if name != "flux")
    store, _ = survey(tmp_path / "s.zarr", rng, names=names)
    found = compare(store.path, tmp_path / "b.parquet", package, methods=()).facts.values()
    assert {known.name for known in found} == {"photometry", "boosting", "gaussian_process"}
    with pytest.raises(UsageError, match="cannon cannot be fitted"):
        compare(store.path, tmp_path / "c.parquet", package, methods=["cannon"])


def test_methods_that_a_table_lacks_are_added_and_no_other_is_fitted_again(tmp_path, rng, package):
    store, _ = survey(tmp_path / "s.zarr", rng)
    out, events = tmp_path / "b.parquet", []
    first = compare(store.path, out, package, methods=["ridge"])
    both = compare(store.path, out, package, events.append, methods=["ridge", "photometry"])
    assert list(both.methods) == [RIDGE, TREES]
    assert both.facts[RIDGE] == first.facts[RIDGE]
    assert [e.note for e in events if isinstance(e, Advanced) and e.stage == "compare"] == [TREES]


def test_every_step_of_every_method_is_told(tmp_path, rng, package):
    store, _ = survey(tmp_path / "s.zarr", rng)
    events = []
    table = compare(store.path, tmp_path / "b.parquet", package, events.append)
    begun = {e.stage: e for e in events if isinstance(e, StageStarted)}
    assert list(begun) == [
        "compare",
        "compare ridge: regressions",
        "compare ridge: labels of the validation split",
        "compare ridge: labels of the other stars",
        "compare photometry: trees",
        "compare photometry: labels of the validation split",
        "compare photometry: labels of the other stars",
    ]
    assert begun["compare photometry: trees"].total == 2
    asked = begun["compare photometry: labels of the other stars"]
    assert (asked.total, asked.unit) == (len(table.methods[TREES].source_id), "stars")
    for stage, start in begun.items():
        told = [e.count for e in events if isinstance(e, Advanced) and e.stage == stage]
        assert sum(told) == start.total
        assert isinstance([e for e in events if e.stage == stage][-1], StageEnded)


def test_a_step_that_fails_is_not_told_as_done():
    events = []

    def fail():
        with Steps("ridge", events.append).step("regressions", 2, "labels") as advance:
            advance(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [type(event) for event in events] == [StageStarted, Advanced]


def test_a_run_that_was_cut_off_goes_on_with_the_methods_that_are_missing(tmp_path, rng, package):
    store, _ = survey(tmp_path / "s.zarr", rng)
    out, noted = tmp_path / "b.parquet", []

    def stopping(event):
        if isinstance(event, Advanced) and event.stage == "compare":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(store.path, out, package, stopping)
    assert not out.exists()
    kept = tmp_path / "b.parquet.partial" / "ridge.parquet"
    before = read_baselines(kept).facts[RIDGE].fit_seconds
    table = compare(store.path, out, package, noted.append)
    assert table.facts[RIDGE].fit_seconds == before
    assert list(read_baselines(out).methods) == [RIDGE, TREES]
    assert not kept.parent.exists()


def test_a_survey_without_labelled_stars_is_told_what_to_do(tmp_path, rng, package):
    store, _ = survey(tmp_path / "s.zarr", rng, labelled=0.0)
    with pytest.raises(StoreError, match=r"report\.baselines=false"):
        compare(store.path, tmp_path / "b.parquet", package)
    assert not (tmp_path / "b.parquet").exists()


def test_the_judged_table_and_its_figure_stand_beside_the_labels(tmp_path, rng, package):
    store, _ = survey(tmp_path / "s.zarr", rng)
    out = tmp_path / "b.parquet"
    table = compare(store.path, out, package)
    text = write_judged_methods(out, table, store.path, (25.0,))
    assert "least 1.48 MAD: Teff ridge regression, same inputs" in text
    rows = from_ecsv((tmp_path / "b.ecsv").read_bytes(), "b.ecsv").rows
    best = {row["label"]: row["method"] for row in rows if row["best_std"]}
    assert best == {"teff": RIDGE, "mh": RIDGE}
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "b.pdf").read_bytes().startswith(b"%PDF")
    assert b"<svg" in (tmp_path / "b.svg").read_bytes()


def test_nothing_is_judged_where_no_test_star_has_labels(tmp_path, rng, package):
    store, _ = survey(tmp_path / "s.zarr", rng)
    table = compare(store.path, tmp_path / "b.parquet", package)
    other, _ = survey(tmp_path / "t.zarr", rng, labelled=0.0)
    text = write_judged_methods(tmp_path / "b.parquet", table, other.path, (25.0,))
    assert "nothing can be judged" in text
    assert not (tmp_path / "b.ecsv").exists()
