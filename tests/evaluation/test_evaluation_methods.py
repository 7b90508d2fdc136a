from dataclasses import replace

import numpy as np
import pytest

from distcnn.ecsv import from_ecsv, to_ecsv
from distcnn.errors import InputError
from distcnn.evaluation.agreement import StandardLabels, agreement, best_standard_methods
from distcnn.evaluation.baseline_table import (
    NETWORK,
    BaselineLabels,
    BaselineTable,
    MethodFacts,
    write_baselines,
)
from distcnn.evaluation.judged_methods import judge_methods, judged_table

STARS = 2000
TITLES = {"cannon": "The Cannon", "ferre": "FERRE", "ridge": "ridge regression"}


def facts(name, speed=10.0, **mad):
    return MethodFacts(name, name in ("cannon", "ferre"), 1.0, speed, mad)


@pytest.fixture
def compared(rng):
    """Truth, and a table of methods whose errors are 0.1 and 0.2 where 0.1 and 0.1 are quoted."""
    truth = rng.normal(0, 1, (STARS, 2))
    ids = rng.permutation(STARS) + 1
    methods = {
        NETWORK: _method(rng, ids, truth, 0.1),
        TITLES["cannon"]: _method(rng, ids, truth, 0.2),
        TITLES["ridge"]: replace(_method(rng, ids, truth, 0.15), error=None),
    }
    known = {
        NETWORK: facts(NETWORK),
        TITLES["cannon"]: facts("cannon", teff=0.2, mh=0.2),
        TITLES["ridge"]: facts("ridge", teff=0.15, mh=0.15),
    }
    return truth, BaselineTable(("teff", "mh"), methods, {}, {}, known)


def _method(rng, ids, truth, width):
    label = truth + width * rng.standard_normal(truth.shape)
    return BaselineLabels(ids, label.astype(np.float32), np.full(truth.shape, 0.1, np.float32))


def judged(truth, table, error=None, snr=None):
    error = np.zeros_like(truth) if error is None else error
    snr = np.full(len(truth), 30.0) if snr is None else snr
    return judge_methods(table, truth, error, snr, (25.0, 50.0))


def row_of(rows, method, label="mh", snr="all"):
    return next(r for r in rows if (r["method"], r["label"], r["snr"]) == (method, label, snr))


def test_every_method_is_judged_by_scatter_coverage_slope_and_speed(compared):
    rows = judged(*compared)
    network, cannon, ridge = (row_of(rows, method) for method in compared[1].methods)
    assert (network["best_std"], network["best_mad"]) == (True, True)
    assert not cannon["best_std"]
    assert network["std"] == pytest.approx(0.1, rel=0.1)
    assert cannon["mad"] == pytest.approx(0.2, rel=0.1)
    assert network["within_68"] == pytest.approx(0.683, abs=0.04)
    assert cannon["within_68"] == pytest.approx(0.383, abs=0.04)
    assert np.isnan(ridge["within_68"])
    assert network["slope"] == pytest.approx(1, abs=0.02)
    assert network["stars_per_second"] == 10


def test_the_error_of_the_reference_counts_in_the_coverage(compared):
    truth, table = compared
    rows = judged(truth, table, np.full_like(truth, 0.173))
    assert row_of(rows, TITLES["cannon"])["within_68"] == pytest.approx(0.683, abs=0.04)


def test_all_methods_are_judged_on_the_stars_that_all_have_labels_for(compared):
    truth, table = compared
    label = table.methods[TITLES["cannon"]].label.copy()
    label[:500, 1] = np.nan
    holes = replace(table.methods[TITLES["cannon"]], label=label)
    rows = judged(truth, replace(table, methods={**table.methods, TITLES["cannon"]: holes}))
    assert {row["stars"] for row in rows if row["label"] == "mh"} == {1500}
    assert {row["stars"] for row in rows if row["label"] == "teff"} == {2000}


def test_stars_are_judged_by_their_signal_to_noise(compared):
    truth, table = compared
    snr = np.where(np.arange(STARS) < 300, 10.0, 70.0)
    rows = judged(truth, table, snr=snr)
    assert row_of(rows, NETWORK, snr="< 25")["stars"] == 300
    assert row_of(rows, NETWORK, snr=">= 50")["stars"] == 1700


def test_the_judged_table_is_read_back_from_its_file_with_units(compared):
    rows = judged(*compared)
    table = from_ecsv(to_ecsv(judged_table(rows, {"seed": 3})), "methods.ecsv")
    assert table.meta["seed"] == 3
    assert len(table.rows) == len(rows)
    first = table.rows[0]
    assert (first["label"], first["unit"], first["method"]) == ("teff", "K", NETWORK)
    assert first["std"] == pytest.approx(rows[0]["std"])
    assert all(column.description for column in table.columns)


def test_the_best_standard_method_is_chosen_on_validation_label_by_label(compared):
    _, table = compared
    ferre = {TITLES["ferre"]: facts("ferre", teff=0.1, mh=0.3)}
    known = replace(table, facts={**table.facts, **ferre})
    # The ridge regression is better, but no standard method.
    assert best_standard_methods(known, ["teff", "mh"]) == {
        "teff": TITLES["ferre"],
        "mh": TITLES["cannon"],
    }
    without = {title: facts for title, facts in table.facts.items() if not facts.spectroscopic}
    chosen = best_standard_methods(replace(table, facts=without), ["mh"])
    assert chosen == {"mh": TITLES["ridge"]}


def test_labels_of_the_best_method_are_found_by_star(compared, tmp_path):
    _, table = compared
    write_baselines(tmp_path / "b.parquet", table)
    standard = StandardLabels.read(tmp_path / "b.parquet", ["mh", "teff", "logg"])
    assert standard.names == ("mh", "teff")
    cannon = table.methods[TITLES["cannon"]]
    label, error = standard.at(np.array([cannon.source_id[5], 999_999]))
    assert label[0] == pytest.approx(cannon.label[5, ::-1])
    assert error[0] == pytest.approx(0.1)
    assert np.isnan(label[1]).all()
    assert StandardLabels.read(tmp_path / "b.parquet", ["mh", "teff"]).digest == standard.digest


def test_a_table_that_does_not_tell_the_best_method_is_refused(compared, tmp_path):
    _, table = compared
    write_baselines(tmp_path / "b.parquet", replace(table, facts={}))
    with pytest.raises(InputError, match="best on the validation"):
        StandardLabels.read(tmp_path / "b.parquet", ["mh"])


def test_agreement_is_the_difference_over_both_errors():
    found = agreement(np.array([[5.0]]), np.array([[3.0]]), np.array([[0.0]]), np.array([[4.0]]))
    assert found == pytest.approx(1.0)
    assert found.dtype == np.float32


def test_intervals_are_those_of_samples_of_the_stars(compared):
    truth, table = compared
    again = replace(table.methods[NETWORK], error=None)
    rows = judged(truth, replace(table, methods={**table.methods, "the same": again}))
    network, cannon, same = (row_of(rows, m) for m in (NETWORK, TITLES["cannon"], "the same"))
    # Of n Gaussian values: 1.17 / sqrt(n) of the robust width, 1 / sqrt(2 n) of the other.
    assert network["mad_error"] == pytest.approx(0.1 * 1.17 / np.sqrt(STARS), rel=0.3)
    assert network["std_error"] == pytest.approx(0.1 / np.sqrt(2 * STARS), rel=0.3)
    assert network["bias_error"] == pytest.approx(0.1 / np.sqrt(STARS), rel=0.3)
    assert network["within_68_error"] == pytest.approx(np.sqrt(0.683 * 0.317 / STARS), rel=0.3)
    assert 1.8 < cannon["mad_ratio_low"] < 2 < cannon["mad_ratio_high"] < 2.2
    assert (same["mad_ratio_low"], same["mad_ratio_high"]) == (1, 1)
    assert np.isnan(network["mad_ratio_low"])
    assert np.isnan(same["within_68_error"])
