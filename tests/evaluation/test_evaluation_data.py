import json

import numpy as np
import pytest
from evaluation.products import SPLIT

from distcnn import hashing
from distcnn.errors import DigestMismatch, InputError, PackageError
from distcnn.evaluation import BaselineLabels, find_products
from distcnn.evaluation.baseline_table import BaselineTable, origin_of, write_baselines
from distcnn.schema import PACKAGE_FORMAT
from distcnn.survey import Store

CURVES = [{"member": 0, "epochs": [[1.0, 0.9]]}]


@pytest.fixture
def run(make, tmp_path):
    """Products as a run leaves them: each store says where the one before it lies."""
    made = make(tmp_path / "run", stars=600, pixels=10)
    package = tmp_path / "run" / "package"
    package.mkdir()
    curves = json.dumps(CURVES).encode()
    manifest = {
        "format": PACKAGE_FORMAT,
        "files": {"curves.json": hashing.of_bytes(curves)},
        "train": {"split": SPLIT.model_dump(mode="json")},
    }
    (package / "curves.json").write_bytes(curves)
    (package / "manifest.json").write_text(json.dumps(manifest))
    Store.open(made.data.predictions).annotate(
        {"survey": {"path": "../survey.zarr"}, "package": {"path": "../package"}}
    )
    return made


def write_table(run, path, **changes):
    names = list(map(str, Store.open(run.data.predictions).coordinate("label")))
    origin = origin_of(Store.open(run.data.survey), SPLIT, names)
    methods = {"ridge": BaselineLabels(run.ids, run.truth[:, ::-1])}
    write_baselines(path, BaselineTable(tuple(names[::-1]), methods, origin | changes, {}))


def test_every_product_is_found_from_the_predictions_alone(run):
    found = find_products(run.data.predictions)
    assert found.survey.local_path.samefile(run.data.survey)
    assert found.split == SPLIT
    assert found.curves == CURVES
    assert found.baselines == {}


def test_baselines_beside_the_predictions_are_shown_in_the_order_of_their_labels(run):
    write_table(run, run.data.predictions.parent / "baselines.parquet")
    found = find_products(run.data.predictions).baselines["ridge"]
    assert found.label == pytest.approx(run.truth, rel=1e-6)
    assert find_products(run.data.predictions, show_baselines=False).baselines == {}


def test_without_baselines_one_line_says_how_to_make_them(run):
    events = []
    find_products(run.data.predictions, events.append)
    (notice,) = events
    assert "distcnn compare" in notice.text


def test_baselines_of_another_survey_are_left_out_or_refused_if_named(run, tmp_path):
    beside, events = run.data.predictions.parent / "baselines.parquet", []
    write_table(run, beside, survey="another")
    assert find_products(run.data.predictions, events.append).baselines == {}
    assert "another survey" in events[0].text
    with pytest.raises(InputError, match="another survey"):
        find_products(run.data.predictions, baselines=beside)
    beside.write_text("no table")
    assert find_products(run.data.predictions, events.append).baselines == {}
    assert "is no table of baselines" in events[2].text
    write_table(run, tmp_path / "mine.parquet")
    found = find_products(run.data.predictions, baselines=tmp_path / "mine.parquet")
    assert set(found.baselines) == {"ridge"}


def test_a_changed_or_foreign_package_is_refused(run):
    package = run.data.predictions.parent / "package"
    (package / "curves.json").write_text("[]")
    with pytest.raises(DigestMismatch, match=r"curves\.json has sha256"):
        find_products(run.data.predictions)
    (package / "manifest.json").write_text(json.dumps({"format": PACKAGE_FORMAT - 1}))
    with pytest.raises(PackageError, match="has format"):
        find_products(run.data.predictions)
    (package / "manifest.json").write_text("{")
    with pytest.raises(PackageError, match="is not a package"):
        find_products(run.data.predictions)


def test_stars_that_training_used_are_not_evaluated(run):
    from distcnn.config import ReportConfig
    from distcnn.evaluation import evaluate

    _, sample = evaluate(find_products(run.data.predictions), ReportConfig(figures=()))
    seen = np.isin(sample.source_id, run.ids[run.seen])
    assert not sample.held_out[seen].any()
    assert sample.held_out[~seen].all()
