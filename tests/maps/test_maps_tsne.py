"""The map of spectra on a small survey: who lies where, who is unlike, and how a run goes on."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from inference.small import LABELS, layout_of, make_package, make_rows, make_survey

from distcnn.config import load_config
from distcnn.errors import InputError
from distcnn.maps import MapRecord
from distcnn.maps.tsne import run, sample
from distcnn.maps.tsne.train_like import TrainLikeness
from distcnn.pipeline import map_tsne, plan_tsne
from distcnn.survey import create_store

STARS, STRANGE = 300, 40
SETS = ["maps.tsne.perplexity=10", "maps.tsne.components=5", "maps.tsne.neighbours=3"]
SPLIT = {"train": 0.6, "validation": 0.1, "calibration": 0.1}


def _config(*more):
    return load_config(None, [*SETS, "maps.tsne.fitted_stars=220", *more])


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A survey whose last stars have no labels and spectra of another kind; its package."""
    folder = tmp_path_factory.mktemp("spectra")
    rows = make_rows(np.random.default_rng(8), STARS)
    other = 1 - 0.5 * np.exp(-(((np.arange(60) - 44) / 3) ** 2))
    rows["flux"][-STRANGE:] = other + 0.01 * np.random.default_rng(1).normal(size=(STRANGE, 60))
    rows["label"][-STRANGE:] = np.nan
    store = create_store(folder / "survey.zarr", layout_of(STARS))
    for region in store.regions():
        store.write(region, {name: rows[name][region.slice] for name in store.variables})
    store.annotate({"complete": True})
    make_package(folder / "package", make_survey(folder / "training.zarr"))
    path = folder / "package" / "manifest.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"train": {"split": SPLIT}}))
    return folder


@pytest.fixture(scope="module")
def made(inputs):
    out = inputs / "map"
    return out, map_tsne(inputs / "package", inputs / "survey.zarr", out, _config())


def _stars(folder):
    return pq.read_table(folder / "stars").to_pandas()


def test_stars_of_another_kind_lie_apart_and_are_unlike(made, inputs):
    stars = _stars(made[0])
    assert len(stars) == STARS
    assert np.isfinite(stars[["x", "y", "training_distance"]]).all(axis=None)
    strange = stars.index >= STARS - STRANGE
    assert stars["unlike"][strange].mean() > 0.95
    assert (stars["novelty"][strange] > 1).all()
    assert stars["unlike"][~strange].mean() < 0.1
    assert not stars["training"][strange].any()


def test_most_stars_decide_the_map_and_the_others_are_placed_beside_their_like(made):
    stars = _stars(made[0])
    assert stars["fitted"].sum() == 220
    placed = stars[~stars["fitted"] & (stars.index < STARS - STRANGE)]
    assert len(placed) > 20
    assert placed["unlike"].mean() < 0.15


def test_record_table_and_figures_are_there(made):
    folder, record = made
    assert MapRecord.read(folder) == record
    whole = Table.read(folder / "comparison.ecsv")[0]
    assert whole["stars"] == record.facts["observed"]
    assert whole["both"] + whole["only_unlike"] == whole["unlike"] == record.facts["unlike"]
    assert all((folder / f"{name}.svg").exists() for name in record.figures)


def test_an_interrupted_map_goes_on_where_it_was(made, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "READ_STARS", 64)
    out = tmp_path / "map"

    def interrupt(event):
        if type(event).__name__ == "Advanced":
            raise RuntimeError("interrupted")

    arguments = (inputs / "package", inputs / "survey.zarr", out, _config())
    with pytest.raises(RuntimeError, match="interrupted"):
        map_tsne(*arguments, interrupt)
    # The fit is the long part of it: it must not be made twice.
    monkeypatch.setattr(run.FittedMap, "fit", None)
    map_tsne(*arguments)
    found, whole = _stars(out), _stars(made[0])
    assert (found["source_id"] == whole["source_id"]).all()
    np.testing.assert_allclose(found[["x", "y"]], whole[["x", "y"]], atol=1e-2)


def test_the_training_stars_of_another_survey_are_on_the_map_too(inputs, tmp_path):
    out = tmp_path / "map"
    package, survey = inputs / "package", inputs / "survey.zarr"
    map_tsne(package, survey, out, _config(), training=inputs / "training.zarr")
    training = pq.read_table(out / "stars" / "training.parquet").to_pandas()
    assert training["training"].all()
    assert len(_stars(out)) == STARS + len(training)


def test_the_plan_says_what_it_costs_without_making_anything(inputs):
    plan = plan_tsne(inputs / "package", inputs / "survey.zarr", _config())
    assert "220 stars" in str(plan)
    assert "to place" in str(plan)
    large = type(plan)(900_000, 50_000, 25_000, 0, 800, plan.config)
    assert large.place_core_seconds > large.fit_core_seconds > plan.fit_core_seconds


def test_what_cannot_be_mapped_is_refused(inputs, tmp_path):
    package = inputs / "package"
    names = ["source_id", "ra", "dec", "snr", "label", "label_error"]
    make_survey(tmp_path / "blind.zarr", names=names)
    with pytest.raises(InputError, match="no spectra"):
        map_tsne(package, tmp_path / "blind.zarr", tmp_path / "a", _config())
    make_survey(tmp_path / "poor.zarr", names=["source_id", "ra", "dec", "snr", "flux"])
    with pytest.raises(InputError, match="no labels"):
        map_tsne(package, tmp_path / "poor.zarr", tmp_path / "b", _config())
    assert len(LABELS) == 3


def test_a_star_counts_not_for_itself(rng):
    places = rng.normal(size=(400, 2))
    rule = TrainLikeness.fit(places, 5, 0.99)
    assert np.mean(rule.distance(places, itself=True) > 1) == pytest.approx(0.01, abs=0.005)
    assert rule.distance(np.array([[30.0, 0.0]]))[0] > 5
    assert rule.distance(np.empty((0, 2))).shape == (0,)
