import errno
import json

import numpy as np
import pytest
import torch

from distcnn.errors import ClusterError, StoreCorrupt, StoreError
from distcnn.events import Notice, RegionFailed, RegionStored
from distcnn.inference import verify
from distcnn.inference.worker.package_cache import _cached
from distcnn.model import Ensemble
from distcnn.model.devices import out_of_memory
from distcnn.quality import Quality
from distcnn.schema import Flag, Recommendation, Status
from distcnn.survey import Region, Store
from tests.inference.small import (
    CHUNK,
    CONFIG,
    STARS,
    go,
    make_package,
    make_survey,
    recorded,
)

POISON = 70  # a row inside the third of five regions
UNREADABLE = slice(64, 72)


@pytest.fixture(autouse=True)
def fresh_predictors():
    """Predictors of other tests have their own idea of a safe batch."""
    _cached.clear()
    yield
    _cached.clear()


def rows(folder, name="predictions.zarr", names=None):
    store = Store.open(folder / name)
    return store.read(Region(0, store.stars), names)


def letters(folder):
    path = folder / "predictions.zarr" / ".distcnn" / "dead_letters.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def damage(folder, variable, row):
    """Flip a byte inside the chunk that holds ``row`` (of a variable stored in 5 shards)."""
    rest = ["0"] * (len(Store.open(folder / "survey.zarr").shape(variable)) - 1)
    file = (folder / "survey.zarr").joinpath(variable, "c", str(row // 32), *rest)
    data = bytearray(file.read_bytes())
    # The index at the end of a shard has offset and length of each of its chunks, and a crc32c.
    chunks = 32 // CHUNK
    index = np.frombuffer(bytes(data[-16 * chunks - 4 : -4]), "<u8").reshape(chunks, 2)
    offset, length = index[row % 32 // CHUNK]
    data[int(offset + length // 2)] ^= 0x40
    file.write_bytes(bytes(data))


def poison(monkeypatch, folder, error, row=POISON):
    """Let the computation break on one star."""
    snr = rows(folder, "survey.zarr", ["snr"])["snr"][row]
    right = Quality.assess_summary

    def assess(self, summary, *rest):
        if (summary.snr == snr).any():
            raise error
        return right(self, summary, *rest)

    monkeypatch.setattr(Quality, "assess_summary", assess)


def test_stars_that_cannot_be_read_fail_and_the_others_are_the_same_to_the_bit(made, inputs):
    damage(inputs, "flux", POISON)
    summary = go(inputs)
    found, wanted = rows(inputs), rows(made)
    assert summary.failed == CHUNK
    lost = np.zeros(STARS, bool)
    lost[UNREADABLE] = True
    for name, values in wanted.items():
        assert np.array_equal(found[name][~lost], values[~lost], equal_nan=True)
    assert (found["status"][lost] == Status.FAILED).all()
    assert (found["flags"][lost] == np.uint32(Flag.NOT_COMPUTED)).all()
    for name in (n for n in found if n.startswith("label")):
        if name == "label_recommendation":
            assert (found[name][lost] == Recommendation.AVOID).all()
        else:
            assert np.isnan(found[name][lost]).all()
    assert np.array_equal(found["source_id"], wanted["source_id"])
    assert np.array_equal(found["ra"], wanted["ra"])


def test_failed_stars_are_listed_with_their_reason_and_pass_verification(inputs):
    damage(inputs, "flux", POISON)
    go(inputs)
    listed = letters(inputs)
    ids = rows(inputs, "survey.zarr", ["source_id"])["source_id"][UNREADABLE]
    assert [letter["source_id"] for letter in listed] == ids.tolist()
    assert [letter["row"] for letter in listed] == list(range(64, 72))
    reason = "flux of rows 000000064-000000072 of the survey cannot be read"
    assert {letter["reason"] for letter in listed} == {reason}
    config = CONFIG.model_copy(update={"verify_sample": STARS})
    checked = verify(inputs / "predictions.zarr", config)
    assert (checked.failed, checked.identical) == (CHUNK, STARS)


def test_a_damaged_copy_column_fails_its_stars_too(inputs):
    damage(inputs, "ra", POISON)
    assert go(inputs).failed == CHUNK
    found = rows(inputs)
    assert np.isnan(found["ra"][UNREADABLE]).all()
    assert np.isfinite(found["dec"][UNREADABLE]).all()


def test_unreadable_source_ids_stop_the_run(inputs):
    damage(inputs, "source_id", 140)
    with pytest.raises(StoreCorrupt, match="source_id of region"):
        go(inputs)
    assert not (inputs / "predictions.zarr").exists()


def test_source_ids_damaged_after_the_plan_stop_the_run_and_nothing_is_lost(inputs):
    # With a ledger in the survey nobody reads all source_ids before the regions do.
    from distcnn.survey import Ledger

    Ledger.open(inputs / "survey.zarr" / ".distcnn" / "ledger.jsonl", {"by": "test"})
    damage(inputs, "source_id", POISON)
    with pytest.raises(StoreCorrupt, match="source_id of region"):
        go(inputs)
    assert len(recorded(inputs)) == 4
    assert Store.open(inputs / "predictions.zarr").attrs["complete"] is False


@pytest.mark.parametrize("error", [np.linalg.LinAlgError("singular matrix"), ClusterError("dead")])
def test_a_star_that_breaks_the_computation_is_found_and_left_out(made, inputs, monkeypatch, error):
    poison(monkeypatch, inputs, error)
    heard = []
    summary = go(inputs, listener=heard.append)
    assert summary.failed == 1
    (letter,) = letters(inputs)
    assert letter["row"] == POISON
    died = isinstance(error, ClusterError)
    assert letter["reason"] == (
        "the worker dies while computing this star"
        if died
        else "the computation fails with LinAlgError: singular matrix"
    )
    found, wanted = rows(inputs), rows(made)
    others = np.arange(STARS) != POISON
    for name, values in wanted.items():
        assert np.array_equal(found[name][others], values[others], equal_nan=True)
    failures = [e for e in heard if isinstance(e, RegionFailed)]
    # A cluster has tried again by itself before it gives a region up.
    assert [e.attempt for e in failures] == ([1] if died else list(range(1, CONFIG.attempts + 1)))
    stored = {e.region: e.attempt for e in heard if isinstance(e, RegionStored)}
    assert stored.pop(failures[0].region) == CONFIG.attempts + 1
    assert set(stored.values()) == {1}


def test_a_failure_that_passes_leaves_no_trace(made, inputs, monkeypatch):
    right = Ensemble.predict_batch
    calls = []

    def predict(self, *rest):
        calls.append(1)
        if len(calls) == 3:
            raise OSError(errno.EIO, "the network drive was away for a moment")
        return right(self, *rest)

    monkeypatch.setattr(Ensemble, "predict_batch", predict)
    assert go(inputs).failed == 0
    assert recorded(inputs) == recorded(made)


def test_a_failure_of_every_star_stops_the_run_and_is_not_blamed_on_them(inputs, monkeypatch):
    def broken(self, *rest):
        raise TypeError("a mistake in the program")

    monkeypatch.setattr(Ensemble, "predict_batch", broken)
    with pytest.raises(TypeError, match="a mistake in the program"):
        go(inputs)
    assert recorded(inputs) == {}


def test_a_network_that_gives_nan_for_a_star_costs_that_star_only(made, inputs, monkeypatch):
    snr = rows(inputs, "survey.zarr", ["snr"])["snr"][POISON]
    right = Ensemble.predict_batch

    def predict(self, stars):
        label, *rest = right(self, stars)
        label[stars["snr"][:, 0] == snr, 1] = np.nan
        return label, *rest

    monkeypatch.setattr(Ensemble, "predict_batch", predict)
    assert go(inputs).failed == 1
    found, wanted = rows(inputs), rows(made)
    assert found["flags"][POISON] & np.uint32(Flag.NON_FINITE)
    for name in (n for n in found if n.startswith("label")):
        if name == "label_recommendation":
            assert (found[name][POISON] == Recommendation.AVOID).all()
        else:
            assert np.isnan(found[name][POISON]).all()
    assert found["novelty"][POISON] == wanted["novelty"][POISON]
    assert letters(inputs)[0]["reason"] == "the network gave a value that is not finite"
    others = np.arange(STARS) != POISON
    assert np.array_equal(found["label"][others], wanted["label"][others])


def test_a_label_that_too_few_stars_calibrate_has_no_error_and_costs_no_star(tmp_path):
    make_package(tmp_path / "package", make_survey(tmp_path / "survey.zarr"), with_mh=15)
    summary = go(tmp_path)
    found = rows(tmp_path)
    assert summary.failed == 0
    assert (found["status"] == Status.DONE).all()
    assert np.isfinite(found["label"]).all()
    assert np.isfinite(found["label_error"][:, :2]).all()
    for name in ("label_error", "label_error_low", "label_debiased", "label_prior_ratio"):
        assert np.isnan(found[name][:, 2]).all()
    assert (found["flags"] & np.uint32(Flag.UNCALIBRATED) != 0).all()
    assert (found["label_recommendation"][:, 2] >= Recommendation.CARE).all()
    assert verify(tmp_path / "predictions.zarr", CONFIG).identical >= CONFIG.verify_sample


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_batches_are_halved_until_they_fit_and_it_is_said_once(made, inputs, monkeypatch, error):
    right = Ensemble.predict_batch

    def predict(self, stars):
        if len(stars["snr"]) > 4:
            raise error
        return right(self, stars)

    monkeypatch.setattr(Ensemble, "predict_batch", predict)
    heard = []
    summary = go(inputs, listener=heard.append)
    assert (summary.batch, summary.failed) == (4, 0)
    texts = [e.text for e in heard if isinstance(e, Notice) and "Memory" in e.text]
    assert texts == ["Memory ran out: batches of 4 instead of 16"]
    found, wanted = rows(inputs), rows(made)
    assert (np.abs(found["label"] - wanted["label"]) < 1e-3 * wanted["label_error"]).all()
    assert verify(inputs / "predictions.zarr", CONFIG).identical >= CONFIG.verify_sample


def test_memory_that_suffices_for_no_star_ends_in_that_error(inputs, monkeypatch):
    def predict(self, stars):
        raise MemoryError

    monkeypatch.setattr(Ensemble, "predict_batch", predict)
    with pytest.raises(MemoryError):
        go(inputs)


def test_other_runtime_errors_are_not_taken_for_a_lack_of_memory():
    assert not out_of_memory(RuntimeError("shape mismatch"))
    assert not out_of_memory(ValueError("out of memory"))


def test_a_full_disk_stops_the_run_at_once_and_the_same_command_ends_it(made, inputs, monkeypatch):
    right = Store.write
    calls = []

    def write(self, region, arrays):
        calls.append(region)
        if len(calls) == 3:
            raise StoreError("no space left on device", cure="Free space.")
        return right(self, region, arrays)

    monkeypatch.setattr(Store, "write", write)
    with pytest.raises(StoreError, match="no space left"):
        go(inputs)
    assert len(calls) == 3
    assert go(inputs).resumed == 2
    assert recorded(inputs) == recorded(made)
