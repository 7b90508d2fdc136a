"""Batches are chosen so that a worker has room, and stay what they were when a run goes on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distcnn.config import PredictConfig
from distcnn.errors import PlanRefused
from distcnn.inference import batching, plan, verify
from distcnn.inference.batching import MIN_BATCH_STARS, Batching, WorkerNeeds, choose_batching
from distcnn.inference.worker.device_pipeline import CPU_BLOCK_STARS, cpu_block_stars
from distcnn.survey import Store
from tests.inference.small import CONFIG, go

ALLOWED = PredictConfig().worker_memory
ASKED = Batching.asked(PredictConfig())


def needs(pixels: int, chunk: int = 2048) -> WorkerNeeds:
    """A survey of flux as int16 and its errors as float16, 28 members, five labels."""
    return WorkerNeeds(56_000_000, 2 * pixels, 4 * pixels, 16384 * 229, chunk, pixels)


@pytest.mark.parametrize("pixels", [100, 800, 961])
def test_spectra_of_usual_length_are_computed_in_the_batches_asked_for(pixels):
    assert choose_batching(needs(pixels), ASKED, ALLOWED) == ASKED


@pytest.mark.parametrize("pixels", [2401, 4300, 7214, 8575, 12000])
@pytest.mark.parametrize("chunk", [256, 2048])
def test_the_default_settings_suffice_for_long_spectra(pixels, chunk):
    found = choose_batching(needs(pixels, chunk), ASKED, ALLOWED)
    assert needs(pixels, chunk).on_cpu(found) <= ALLOWED
    assert needs(pixels, chunk).on_gpu(found) <= ALLOWED
    assert found.batch < ASKED.batch


@given(pixels=st.integers(1, 40_000), chunk=st.integers(1, 4096), allowed=st.integers(0, 10**10))
def test_what_is_chosen_fits_or_nothing_would(pixels, chunk, allowed):
    known = needs(pixels, chunk)
    found = choose_batching(known, ASKED, allowed)
    assert found.batch <= ASKED.batch
    assert found.read <= ASKED.read
    if known.on_cpu(found) > allowed:
        assert found == ASKED
        assert known.on_cpu(Batching(MIN_BATCH_STARS, MIN_BATCH_STARS, 1)) > allowed
    elif found.batch < ASKED.batch:
        assert known.on_cpu(Batching(2 * found.batch, found.gpu_batch, 1)) > allowed


@given(batch=st.integers(1, 5000), pixels=st.integers(0, 20_000))
def test_stars_are_widened_in_whole_batches(batch, pixels):
    rows = cpu_block_stars(batch, pixels)
    assert rows % batch == 0
    assert rows <= max(batch, CPU_BLOCK_STARS + batch)
    if pixels <= 2401:
        assert rows >= CPU_BLOCK_STARS


def test_a_lowered_batch_is_told_gives_its_own_values_and_stays_when_the_run_goes_on(
    inputs, monkeypatch
):
    asked = CONFIG.model_copy(update={"batch": 64})
    paths = inputs / "package", inputs / "survey.zarr"
    usual = plan(*paths, inputs / "predictions.zarr", asked)
    # A forward pass of 64 stars now seems to need more than there is; one of 8 has room.
    monkeypatch.setattr(batching, "FORWARD_VALUES_PER_INPUT", 150_000)
    lowered = plan(*paths, inputs / "predictions.zarr", asked)
    assert (usual.batching.batch, lowered.batching.batch) == (64, 8)
    assert "batches of 8: 64 (predict.batch) would need more than the 1.5 GB" in str(lowered)
    go(inputs, asked)
    store = Store.open(inputs / "predictions.zarr", "predictions")
    assert store.attrs["batching"]["batch"] == 8
    again = go(inputs, CONFIG.model_copy(update={"batch": 8}), predictions=inputs / "eight.zarr")
    eight = Store.open(again.predictions, "predictions")
    for name in store.variables:
        region = store.regions()[0]
        np.testing.assert_array_equal(*(s.read(region, [name])[name] for s in (store, eight)))
    assert verify(inputs / "predictions.zarr", asked).identical > 0
    ledger = inputs / "predictions.zarr" / ".distcnn" / "ledger.jsonl"
    ledger.write_text("".join(ledger.read_text().splitlines(keepends=True)[:2]))
    monkeypatch.undo()
    assert plan(*paths, inputs / "predictions.zarr", asked).batching == lowered.batching
    assert go(inputs, asked).batch == 8


def test_where_no_batch_has_room_the_plan_is_refused_with_what_would_help(inputs):
    config = CONFIG.model_copy(update={"worker_memory": 100_000_000})
    with pytest.raises(PlanRefused, match=r"planned_memory allows 100 MB.*resources\.memory"):
        go(inputs, config)
