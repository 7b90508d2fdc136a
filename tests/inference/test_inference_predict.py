import json
import shutil

import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st

from distcnn import pipeline
from distcnn.catalogue.table import catalogue_table
from distcnn.config import ClusterConfig, Config, NetworkConfig, PredictConfig
from distcnn.errors import (
    DigestMismatch,
    PackageError,
    ParityError,
    StoreError,
)
from distcnn.events import Notice, RegionStored, StageEnded, StageStarted
from distcnn.inference import verify
from distcnn.inference.prediction_store import MAX_CHUNK_STARS
from distcnn.inference.prediction_store.layout import _chunk
from distcnn.inference.worker.package_cache import PackageKey, get_cached
from distcnn.inference.worker.predictor import DERIVED
from distcnn.model import Ensemble, Package, star_inputs
from distcnn.pipeline.predictions import modules_of
from distcnn.quality import Quality
from distcnn.report.text.inspect import describe
from distcnn.schema import Flag, Recommendation, Status
from distcnn.survey import Coordinate, Ledger, Region, Store
from distcnn.survey.rows import EPOCH_KEY
from tests.inference import small
from tests.inference.small import (
    BANDS,
    CONFIG,
    LABELS,
    NAMES,
    STARS,
    go,
    make_package,
    make_survey,
)


def rows(folder, name="predictions.zarr", names=None):
    store = Store.open(folder / name)
    return store.read(Region(0, store.stars), names)


def without(*names):
    return [name for name in NAMES if name not in names]


def test_every_star_has_one_row_in_the_surveys_order(made):
    predicted, survey = rows(made), rows(made, "survey.zarr")
    for name in ("source_id", "ra", "dec", "snr", "parallax"):
        assert np.array_equal(predicted[name], survey[name])
    assert np.array_equal(predicted["reference_magnitude"], survey["photometry"][:, 0])
    assert set(predicted["status"]) == {Status.DONE}
    assert np.isfinite(predicted["label"]).all()


def test_the_labels_are_those_of_the_ensemble_and_its_quality(made):
    package = Package.load(made / "package")
    survey = rows(made, "survey.zarr")
    inputs = star_inputs(survey, package.spec)
    label, noise, scatter, correlation = Ensemble(package, "eager").predict(inputs)
    known = {n: survey[n] for n in ("flux", "flux_error", "xp", "photometry", "parallax", "snr")}
    quality = Quality.from_arrays(package.quality_arrays).assess(known, label, noise, scatter)
    found = rows(made)
    tolerance = 1e-4 * np.median(found["label_error"], axis=0)
    assert (np.abs(found["label"] - label) < tolerance).all()
    assert (np.abs(found["label_noise"] - noise) < tolerance).all()
    assert (np.abs(found["label_scatter"] - scatter) < tolerance).all()
    assert (np.abs(found["label_error"] - quality["label_error"]) < tolerance).all()
    np.testing.assert_allclose(found["label_correlation"], correlation, atol=1e-3)
    for name in DERIVED:
        expected = quality.get(name, np.full_like(label, np.nan))
        unit = expected if name == "label_prior_ratio" else found["label_error"]
        close = np.abs(found[name] - expected) < 1e-3 * unit
        assert (close | (np.isnan(found[name]) & np.isnan(expected))).all(), name
    np.testing.assert_allclose(found["novelty"], quality["novelty"], atol=1e-3)
    assert np.mean(found["flags"] == quality["flags"]) > 0.98
    assert (found["flags"][::17] & np.uint32(Flag.NO_XP)).all()


def test_both_engines_agree_within_a_thousandth_of_an_error(made, inputs):
    go(inputs, PredictConfig(batch=16, engine="eager"))
    found, reference = rows(made), rows(inputs)
    assert (np.abs(found["label"] - reference["label"]) < 1e-3 * found["label_error"]).all()


def test_the_store_tells_from_what_it_was_made_without_a_machine_path(made):
    store = Store.open(made / "predictions.zarr", "predictions")
    assert store.attrs["complete"] is True
    assert store.attrs["package"]["path"] == "../package"
    assert store.attrs["package"]["digest"] == Package.load(made / "package").digest
    assert store.attrs["survey"]["path"] == "../survey.zarr"
    assert store.attrs["labels"] == list(LABELS)
    assert store.attrs["counts"]["done"] == STARS
    engine = store.attrs["engine"]
    assert engine["candidate"] == f"{engine['name']} {engine['precision']}"
    assert engine["used"] == [engine["candidate"]]
    tried = {trial["candidate"]: trial for trial in engine["trials"]}
    assert tried["joint float32"]["stars_per_second"] > 0
    assert tried["aot float32"]["refused"]
    assert store.attrs["engine"]["parity"] < CONFIG.parity
    limits = store.attrs["limits"]
    assert len(limits["label_low"]) == len(limits["label_high"]) == 3
    assert limits["parallax"][0] < limits["parallax"][1]
    assert str(made) not in json.dumps(store.attrs)
    ledger = (store.private / "ledger.jsonl").read_bytes().decode()
    assert str(made) not in ledger


def test_xarray_reads_the_labels_by_name(made):
    with xarray.open_zarr(made / "predictions.zarr") as data:
        assert data.sizes["star"] == STARS
        teff = data.label.sel(label_name="teff")
        assert np.array_equal(teff, rows(made)["label"][:, 0])
        both = data.label_correlation.sel(pair="teff_mh")
        assert np.array_equal(both, rows(made)["label_correlation"][:, 1].astype(both.dtype))


def test_a_listener_hears_every_star_once(inputs):
    heard = []
    summary = go(inputs, listener=heard.append)
    assert heard[0] == StageStarted("predict", STARS, "stars", 0)
    assert sum(e.count for e in heard if isinstance(e, RegionStored)) == STARS
    assert isinstance(heard[-1], StageEnded)
    ledger = Ledger.read(inputs / "predictions.zarr/.distcnn/ledger.jsonl").done
    stored = {e.region: e for e in heard if isinstance(e, RegionStored)}
    assert {name: e.result.to_json() for name, e in stored.items()} == dict(ledger.items())
    for event in stored.values():
        assert event.attempt == 1
        assert event.result.memory > 0
        assert event.result.seconds["read"] > 0
    assert summary.stars == STARS
    assert summary.failed == summary.resumed == 0
    assert "150 stars in 5 regions, 0 failed" in str(summary)


def test_a_finished_store_is_left_as_it_is(done):
    def no_flow(function, items):
        raise AssertionError("nothing is to be computed")

    no_flow.workers = 1
    heard = []
    summary = go(done, executor=no_flow, listener=heard.append)
    assert [type(e) for e in heard] == [Notice]
    assert "complete already" in heard[0].text
    assert summary.resumed == summary.regions == 5


def test_workers_import_ahead_only_where_something_is_left_to_do(done, monkeypatch):
    class Begun(Exception):
        pass

    def begin(*_):
        raise Begun

    monkeypatch.setattr("distcnn.clusters.import_ahead", begin)
    where = done / "package", done / "survey.zarr", done / "predictions.zarr"
    config = Config(predict=CONFIG, cluster=ClusterConfig(workers=1))
    assert pipeline.predict_survey(*where, config).resumed == 5
    Store.open(where[2]).annotate({"complete": False})
    for _ in range(2):  # one that was begun, and none
        with pytest.raises(Begun):
            pipeline.predict_survey(*where, config)
        shutil.rmtree(where[2], ignore_errors=True)


def test_workers_import_an_engine_while_the_client_plans_where_it_may_be_used():
    asked = PredictConfig.model_fields["engine"].default
    assert modules_of(asked) == modules_of("openvino") == ("distcnn.inference", "openvino")
    assert modules_of("eager") == ("distcnn.inference",)


def test_another_wavelength_grid_is_refused_with_both_grids(inputs):
    make_survey(inputs / "other.zarr", wavelength=(846.0, 869.0))
    with pytest.raises(PackageError, match=r"60 pixels from 846 to 869 \(grid .*60 pixels of grid"):
        go(inputs, survey=inputs / "other.zarr")
    assert not (inputs / "predictions.zarr").exists()


def test_other_bands_are_refused_and_other_order_is_not(inputs, made):
    make_survey(inputs / "other.zarr", bands=("g", "bp", "w1"))
    with pytest.raises(PackageError, match=r"bands g, bp, w1: expected g, bp, rp"):
        go(inputs, survey=inputs / "other.zarr")
    make_survey(inputs / "turned.zarr", bands=BANDS[::-1])
    go(inputs, survey=inputs / "turned.zarr")
    found, wanted = rows(inputs), rows(made)
    for name in ("label", "flags", "reference_magnitude"):
        assert np.array_equal(found[name], wanted[name])


def test_a_survey_without_spectra_is_predicted_and_every_star_says_so(inputs):
    make_survey(inputs / "other.zarr", names=without("flux", "flux_error"))
    go(inputs, survey=inputs / "other.zarr")
    found = rows(inputs)
    assert np.isfinite(found["label"]).all()
    assert (found["flags"] & np.uint32(Flag.NO_SPECTRUM) != 0).all()
    assert (found["valid_pixels"] == 0).all()


def test_another_number_of_coefficients_is_refused(inputs, monkeypatch):
    monkeypatch.setattr("tests.inference.small.XP", 4)
    make_survey(inputs / "other.zarr")
    with pytest.raises(PackageError, match="has 4 XP coefficients: expected 6"):
        go(inputs, survey=inputs / "other.zarr")


def test_a_survey_without_xp_and_parallax_is_predicted_and_every_star_flagged(inputs):
    make_survey(inputs / "other.zarr", names=without("xp", "parallax", "parallax_error"))
    heard = []
    go(inputs, survey=inputs / "other.zarr", listener=heard.append)
    wanted = np.uint32(Flag.NO_XP | Flag.NO_PARALLAX)
    found = rows(inputs)
    assert ((found["flags"] & wanted) == wanted).all()
    assert np.isfinite(found["label"]).all()
    assert any("no xp, parallax" in e.text for e in heard if isinstance(e, Notice))


def test_a_single_label_is_predicted_without_pairs(inputs, monkeypatch):
    rows_of_three = small.make_rows

    def one(rng, stars):
        rows = rows_of_three(rng, stars)
        return rows | {name: rows[name][:, 2:] for name in ("label", "label_error")}

    monkeypatch.setattr(small, "LABELS", ("mh",))
    monkeypatch.setattr(small, "make_rows", one)
    survey = make_survey(inputs / "other.zarr")
    shutil.rmtree(inputs / "package")
    make_package(inputs / "package", survey)
    go(inputs, survey=inputs / "other.zarr")
    found = rows(inputs)
    assert "label_correlation" not in found
    assert found["label"].shape == found["label_debiased"].shape == (STARS, 1)
    assert "pair" not in describe(inputs / "predictions.zarr")
    with xarray.open_zarr(inputs / "predictions.zarr") as data:
        assert "pair" not in data.sizes
    assert verify(inputs / "predictions.zarr", CONFIG).identical >= CONFIG.verify_sample


def test_epochs_of_a_star_are_rows_of_their_own_up_to_the_catalogue(inputs, monkeypatch):
    once = small.make_rows

    def epochs(rng, stars):
        rows = once(rng, stars)
        return rows | {"source_id": np.arange(stars) // 3, "transit_id": np.arange(stars) % 3 + 50}

    monkeypatch.setattr(small, "make_rows", epochs)
    make_survey(inputs / "epochs.zarr", names=[*small.NAMES, "transit_id"], key=EPOCH_KEY)
    go(inputs, survey=inputs / "epochs.zarr")
    found = rows(inputs)
    np.testing.assert_array_equal(found["source_id"], np.arange(STARS) // 3)
    np.testing.assert_array_equal(found["transit_id"], np.arange(STARS) % 3 + 50)
    store = Store.open(inputs / "predictions.zarr")
    assert store.row_key == EPOCH_KEY
    assert verify(inputs / "predictions.zarr", CONFIG).identical >= CONFIG.verify_sample
    names = [column.name for column in catalogue_table(store).columns]
    assert names[:2] == ["source_id", "transit_id"]


def test_a_spectrum_that_was_not_shifted_to_rest_is_flagged(inputs, monkeypatch):
    once = small.make_rows
    velocity = np.where(np.arange(STARS) % 5 == 0, np.nan, 12.0)
    monkeypatch.setattr(small, "make_rows", lambda *a: once(*a) | {"velocity": velocity})
    plain, shifted = inputs / "plain.zarr", inputs / "shifted.zarr"
    make_survey(plain, names=[*NAMES, "velocity"])
    go(inputs, survey=plain, predictions=inputs / "all.zarr")
    assert not (rows(inputs, "all.zarr")["flags"] & np.uint32(Flag.NOT_AT_REST)).any()
    kept = {"unit": "nm", "frame_without_velocity": "barycentric"}
    monkeypatch.setattr(small, "Coordinate", lambda *a: Coordinate(*a[:2], kept))
    make_survey(shifted, names=[*NAMES, "velocity"])
    go(inputs, survey=shifted)
    found = rows(inputs)
    raised = found["flags"] & np.uint32(Flag.NOT_AT_REST) != 0
    np.testing.assert_array_equal(raised, np.isnan(velocity))
    assert (found["label_recommendation"][raised] == Recommendation.AVOID).all()
    assert "NOT_AT_REST" in Store.open(inputs / "predictions.zarr").attrs["flags"]
    assert verify(inputs / "predictions.zarr", CONFIG).identical >= CONFIG.verify_sample


def test_what_a_package_does_not_say_is_missing(inputs, monkeypatch):
    right = Quality.assess_summary

    def less(self, *rest):
        judged = right(self, *rest)
        return {name: judged[name] for name in set(judged) - set(DERIVED)} | {"other": 1}

    monkeypatch.setattr(Quality, "assess_summary", less)
    assert go(inputs).failed == 0
    found = rows(inputs)
    assert np.isfinite(found["label"]).all()
    assert all(np.isnan(found[name]).all() for name in DERIVED)


def test_inspect_tells_dimensions_and_variables(made):
    text = describe(made / "predictions.zarr")
    assert "label 3" in text
    assert "pair 3" in text
    assert "label_correlation" in text
    assert "label_debiased_error" in text


def test_a_network_of_magnitudes_alone_needs_no_spectrum(inputs):
    survey = make_survey(inputs / "other.zarr", names=without("flux", "flux_error", "xp"))
    network = NetworkConfig(spectrum=False, xp=False, hidden=8)
    shutil.rmtree(inputs / "package")
    make_package(inputs / "package", survey, network=network)
    go(inputs, survey=inputs / "other.zarr")
    found = rows(inputs)
    assert np.isfinite(found["label"]).all()
    assert not (found["flags"] & np.uint32(Flag.NO_SPECTRUM | Flag.NO_XP)).any()


def test_an_incomplete_survey_is_refused(inputs):
    Store.open(inputs / "survey.zarr").annotate({"complete": False})
    with pytest.raises(StoreError, match="is not complete"):
        go(inputs)


def test_a_folder_that_is_no_prediction_store_is_not_touched(inputs):
    (inputs / "predictions.zarr").mkdir()
    (inputs / "predictions.zarr" / "letter.txt").write_text("keep me")
    with pytest.raises(StoreError, match="is not a store"):
        go(inputs)
    assert (inputs / "predictions.zarr" / "letter.txt").read_text() == "keep me"


def test_a_package_that_changed_since_the_plan_is_refused_by_the_worker(inputs):
    digest = Package.load(inputs / "package").digest
    get_cached(PackageKey(str(inputs / "package"), digest, "eager"))
    with pytest.raises(DigestMismatch, match="as planned"):
        get_cached(PackageKey(str(inputs / "package"), "0" * 64, "eager"))


def test_an_engine_that_does_not_reproduce_the_fixtures_ends_the_run(inputs, monkeypatch):
    right = Ensemble.outputs

    def wrong(self, batch):
        mean, *rest = right(self, batch)
        return mean + 10.0, *rest

    monkeypatch.setattr(Ensemble, "outputs", wrong)
    with pytest.raises(ParityError):
        go(inputs)
    ledger = Ledger.read(inputs / "predictions.zarr" / ".distcnn" / "ledger.jsonl")
    assert ledger.done == {}


@settings(max_examples=50, deadline=None)
@given(chunk=st.integers(1, 40_000), parts=st.integers(1, 64))
def test_chunks_of_predictions_are_whole_chunks_of_the_survey_and_fit_its_shards(chunk, parts):
    found = _chunk(chunk, chunk * parts)
    assert found % chunk == 0
    assert (chunk * parts) % found == 0
    assert found <= max(chunk, MAX_CHUNK_STARS)
    if chunk * parts <= MAX_CHUNK_STARS:
        assert found == chunk * parts
