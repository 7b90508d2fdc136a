import json
import shutil

import numpy as np
import pytest

from distcnn.config import PredictConfig
from distcnn.errors import StoreError, VerificationFailed
from distcnn.events import Advanced, RegionStored
from distcnn.inference import verify
from distcnn.survey import Ledger, Region, Store
from tests.inference.small import CONFIG, STARS, go, make_package, make_survey


def check(folder, config=CONFIG, **paths):
    return verify(folder / "predictions.zarr", config, **paths)


def ledger_of(folder):
    return folder / "predictions.zarr" / ".distcnn" / "ledger.jsonl"


def rewrite(folder, store, row, **values):
    """Change values of one star through the front door, so that every checksum fits."""
    opened = Store.open(folder / store)
    region = next(r for r in opened.regions() if r.start <= row < r.stop)
    arrays = opened.read(region)
    for name, value in values.items():
        arrays[name][row - region.start] = value
    return region, opened.write(region, arrays)


def test_a_sound_store_passes_and_every_star_is_reproduced_to_the_bit(done):
    heard = []
    config = PredictConfig(verify_sample=STARS)
    summary = verify(done / "predictions.zarr", config, heard.append)
    assert (summary.stars, summary.regions, summary.failed) == (STARS, 5, 0)
    assert summary.recomputed == summary.identical == STARS
    assert sum(e.count for e in heard if isinstance(e, Advanced)) == STARS
    assert "is sound" in str(summary)


def test_the_sample_is_at_least_as_large_as_asked_in_whole_blocks(done):
    assert CONFIG.verify_sample <= check(done).recomputed < CONFIG.verify_sample + 32


@pytest.mark.parametrize("name", ["label", "flags", "status", "source_id", "novelty"])
def test_a_flipped_byte_anywhere_is_found(done, name):
    shards = (done / "predictions.zarr" / name / "c" / "2").rglob("*")
    whole = done / "predictions.zarr" / name / "c" / "2"
    file = whole if whole.is_file() else next(f for f in shards if f.is_file())
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 0x10
    file.write_bytes(bytes(data))
    with pytest.raises(VerificationFailed, match=f"1 difference:(.|\n)*{name} of region 0000000"):
        check(done)


def test_a_region_missing_on_disk_is_found(done):
    (done / "predictions.zarr" / "novelty" / "c" / "1").unlink()
    with pytest.raises(VerificationFailed, match="is missing"):
        check(done)


def test_a_region_missing_in_the_ledger_is_found(done):
    lines = ledger_of(done).read_text().splitlines(keepends=True)
    ledger_of(done).write_text("".join(lines[:-1]))
    with pytest.raises(VerificationFailed, match="1 of 5 regions are not in the ledger"):
        check(done)


def test_a_run_that_did_not_end_is_found_and_ending_it_is_the_cure(inputs):
    class Stop(Exception):
        pass

    def stop(event):
        if isinstance(event, RegionStored):
            raise Stop

    with pytest.raises(Stop):
        go(inputs, listener=stop)
    with pytest.raises(VerificationFailed, match=r"4 of 5 regions .* did not end") as failure:
        check(inputs)
    assert "Run the same predict command again" in failure.value.cure
    go(inputs)
    check(inputs)


def test_a_store_never_marked_complete_is_found(done):
    Store.open(done / "predictions.zarr").annotate({"complete": False})
    with pytest.raises(VerificationFailed, match="the run did not end"):
        check(done)


def test_a_label_changed_behind_valid_checksums_is_found_by_digest(done):
    rewrite(done, "predictions.zarr", 40, label=[5000, 3, 0])
    with pytest.raises(VerificationFailed, match="region 000000032-000000064 is not what was"):
        check(done)


def test_a_forged_ledger_does_not_survive_recomputation(done):
    region, digest = rewrite(done, "predictions.zarr", 40, label=[5000, 3, 0])
    before = Ledger.read(ledger_of(done))
    recorded = dict(before.done)
    ledger_of(done).unlink()
    forged = Ledger.open(ledger_of(done), before.fingerprint)
    for name, line in recorded.items():
        forged.record(name, **{**line, **({"digest": digest} if name == region.name else {})})
    with pytest.raises(VerificationFailed, match=r"rows 000000032-000000064: 1 stars .*row 40"):
        check(done, PredictConfig(verify_sample=STARS))


@pytest.mark.parametrize("name", ["label_correlation", "label_noise"])
def test_a_number_beside_the_label_that_was_forged_is_found(done, name):
    before = Ledger.read(ledger_of(done))
    recorded = dict(before.done)
    region, digest = rewrite(done, "predictions.zarr", 40, **{name: 0.987})
    ledger_of(done).unlink()
    forged = Ledger.open(ledger_of(done), before.fingerprint)
    for known, line in recorded.items():
        change = {"digest": digest} if known == region.name else {}
        forged.record(known, **{**line, **change})
    with pytest.raises(VerificationFailed, match=r"1 stars computed again differ, by up to"):
        check(done, PredictConfig(verify_sample=STARS))


def test_a_star_lost_in_the_counts_is_found(done):
    region, digest = rewrite(done, "predictions.zarr", 40, status=0)
    before = Ledger.read(ledger_of(done))
    recorded = dict(before.done)
    ledger_of(done).unlink()
    forged = Ledger.open(ledger_of(done), before.fingerprint)
    for name, line in recorded.items():
        forged.record(name, **{**line, **({"digest": digest} if name == region.name else {})})
    with pytest.raises(VerificationFailed, match="holds 31 stars done, the ledger says 32"):
        check(done)


def test_a_dead_letter_that_nobody_wrote_is_found(done):
    letter = json.dumps({"row": 3, "source_id": 1, "reason": "none"})
    (done / "predictions.zarr" / ".distcnn" / "dead_letters.jsonl").write_text(letter + "\n")
    with pytest.raises(VerificationFailed, match="lists 1 stars, the ledger 0"):
        check(done)


def test_another_package_in_the_place_of_the_first_is_found(done):
    shutil.rmtree(done / "package")
    make_package(done / "package", Store.open(done / "survey.zarr"), seed=9)
    with pytest.raises(VerificationFailed, match="the predictions were made with"):
        check(done)


def test_a_package_with_a_changed_file_is_found(done):
    file = done / "package" / "members" / "member_00.ts.pt"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(VerificationFailed, match=r"package cannot be used.*member_00\.ts\.pt"):
        check(done)


def test_a_package_that_moved_can_be_named(done):
    shutil.move(done / "package", done / "elsewhere")
    with pytest.raises(VerificationFailed, match="give its path by --package") as caught:
        check(done)
    assert "what was stored" in caught.value.cure
    assert "restore" not in caught.value.cure
    assert check(done, package=done / "elsewhere").identical >= CONFIG.verify_sample


def test_a_survey_with_another_star_is_found(done):
    rewrite(done, "survey.zarr", 77, source_id=42)
    with pytest.raises(VerificationFailed, match=r"1 source_ids differ .* row 77"):
        check(done)


def test_a_survey_with_other_spectra_is_found_by_recomputation(done):
    rewrite(done, "survey.zarr", 77, flux=np.full(60, 0.5))
    with pytest.raises(VerificationFailed, match="stars computed again differ"):
        check(done, PredictConfig(verify_sample=STARS))


def test_a_survey_of_another_size_or_none_at_all_is_found(done):
    make_survey(done / "longer.zarr", stars=STARS + 8)
    with pytest.raises(VerificationFailed, match="has 158 stars, the predictions 150"):
        check(done, survey=done / "longer.zarr")
    shutil.rmtree(done / "survey.zarr")
    with pytest.raises(VerificationFailed, match="the survey cannot be used"):
        check(done)


def test_all_differences_are_told_together_but_no_more_than_can_be_read(done):
    shutil.rmtree(done / "package")
    shutil.rmtree(done / "survey.zarr")
    (done / "predictions.zarr" / "snr" / "c" / "0").unlink()
    with pytest.raises(VerificationFailed, match="3 differences"):
        check(done)


def test_a_store_without_ledger_or_a_survey_cannot_be_verified(done):
    with pytest.raises(StoreError, match="expected a prediction store"):
        verify(done / "survey.zarr", CONFIG)
    ledger_of(done).unlink()
    with pytest.raises(StoreError, match="a ledger"):
        check(done)


def test_regions_stand_where_the_store_says(made):
    store = Store.open(made / "predictions.zarr")
    assert [Region.parse(name) for name in sorted(Ledger.read(ledger_of(made)).done)] == (
        list(store.regions())
    )
