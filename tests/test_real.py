"""Published labels are no worse than simple methods on real stars (benchmarks/real.py)."""

import dataclasses
import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
FEW_EPOCHS = (
    "train.epochs=6",
    "train.members=2",
    "train.split.folds=2",
    "train.stacking.trees=120",
)


@pytest.fixture
def real(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module("real")


def test_no_label_of_rave_is_worse_than_a_simple_method_though_networks_are(
    real, real_data, tmp_path, monkeypatch
):
    archive = real_data / "rave_apogee"
    if not archive.is_dir():
        pytest.skip(f"{archive} is not there")
    monkeypatch.setattr(real, "BACKEND", (*real.BACKEND, *FEW_EPOCHS))
    rows = real.cross_validate("RAVE photometry", archive, "rave_photometry", tmp_path, folds=1)
    assert [row.label for row in rows] == ["teff", "logg", "mh", "alpham", "feh"]
    for row in rows:
        assert row.stars > 600
        assert row.std < row.ensemble_std
        for name in real.STATISTICS:
            assert row.against[f"ratio_{name}"]["verdict"] != "worse", real.words(row.against)


def test_the_records_say_worse_of_no_label(real):
    records = [*(BENCHMARKS / "results").glob("real-*.json")]
    records += (BENCHMARKS / "results").glob("simple-*.json")
    assert len(records) >= 2
    for path in records:
        for row in json.loads(path.read_text())["rows"]:
            for name in real.STATISTICS:
                assert row.get("against", row)[f"ratio_{name}"]["verdict"] != "worse", (
                    path.name,
                    row,
                )


def test_coverage_is_held_to_chance_of_judged_and_of_calibration_stars(real):
    blank = dict.fromkeys(field.name for field in dataclasses.fields(real.Row))
    many = real.Row(**blank | {"data": "X", "label": "teff", "stars": 4000, "within_95": 0.95}
                    | {"calibration": 4000.0, "within_68": 0.66})  # fmt: skip
    assert many.beyond_chance() == []
    short = dataclasses.replace(many, within_68=0.62)
    assert short.beyond_chance() == ["X teff within_68"]
    assert dataclasses.replace(short, calibration=20.0).beyond_chance() == []


def test_verdicts_follow_the_interval_of_the_ratio(real, rng):
    truth = rng.normal(size=500)
    noise = rng.normal(size=(500, 2))
    simple = {"ridge": truth + 0.2 * noise[:, 0], "boosting": truth + 0.3 * noise[:, 0]}
    for size, verdict in ((0.1, "better"), (0.2, "tie"), (0.4, "worse")):
        found = real.against(truth + size * noise[:, 1], simple, truth)
        assert found["ratio_std"]["best"] == "ridge"
        assert found["ratio_std"]["verdict"] == verdict
        assert found["ratio_std"]["ratio"] == pytest.approx(size / 0.2, rel=0.15)
    gaps = np.where(np.arange(500) < 100, np.nan, truth)
    assert real.against(truth + 0.1 * noise[:, 1], simple, gaps)["stars"] == 400
