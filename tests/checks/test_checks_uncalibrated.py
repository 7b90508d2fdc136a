"""Where too few stars calibrate one label of a package, the others are judged as ever."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from line_survey import NAMES, build_survey, train

from distcnn.checks import CHECKS, CheckInputs, Verdict
from distcnn.checks.bound.answer import answer_bound
from distcnn.checks.correlations.own_variation import own_slope_rows
from distcnn.checks.results import write_answer
from distcnn.config import ChecksConfig
from distcnn.ecsv import from_ecsv
from distcnn.model import Package
from distcnn.schema import Flag
from distcnn.style import style

RARE = NAMES.index("sife")
FEW = 70
"""Stars of the survey that have the label: some fifteen calibrate it."""


@pytest.fixture(scope="session")
def rare(lines, tmp_path_factory):
    """The package, and the survey on which all stars have all labels again."""
    folder = tmp_path_factory.mktemp("rare")
    given = lines.label.copy()
    given[FEW:, RARE] = np.nan
    few = build_survey(folder / "few.zarr", lines.label, lines.snr, lines.ids, labels=given)
    package = Package.load(train(few, folder / "package"))
    config = ChecksConfig(
        stars=1000,
        injected_stars=600,
        repeated=lines.again.location.address,
        retrained=str(lines.retrained),
    )
    return CheckInputs(package, lines.survey, config)


def answer_of(name, inputs):
    return next(check for check in CHECKS if check.name == name).answer(inputs)


def test_only_the_label_of_too_few_stars_has_no_errors(rare):
    assert list(rare.uncalibrated) == ["sife"]
    assert 0 < rare.uncalibrated["sife"] < 20
    found = rare.predict(rare.judged)
    assert found.quoted.tolist() == [True, True, True, False]
    assert not (found.flags & int(Flag.UNCALIBRATED)).any()


def test_a_star_fainter_than_all_that_calibrated_keeps_its_flag(rare):
    arrays = rare.arrays(rare.judged.take(np.arange(20)))
    arrays["snr"] = np.full_like(arrays["snr"], 0.1)
    assert (rare.predictor(arrays).flags & int(Flag.UNCALIBRATED)).all()


@pytest.mark.parametrize(
    "name", ["noise", "velocity", "resolution", "halo", "repeats", "stability"]
)
def test_the_others_are_judged_and_the_label_is_named_with_the_reason(rare, name):
    found = answer_of(name, rare)
    assert {row["label"] for row in found.rows} == {"teff", "logg", "feh"}
    assert found.verdict is not Verdict.UNDECIDED or "not decided, of which" in found.sentence
    said, _, note = found.sentence.partition("; not judged by their errors")
    assert "sife" not in said
    assert f"none: sife ({rare.uncalibrated['sife']} calibration stars)" in note
    with style():
        for draw in found.figures.values():
            draw().draw_without_rendering()


def test_its_scatter_needs_no_errors_and_is_judged(rare):
    rows = [row for row in answer_of("correlations", rare).rows if row["label"] == "sife"]
    assert {str(row["test"]).split(",")[0] for row in rows} == {"scatter ratio", "own slope"}
    assert min(row["stars"] for row in rows) > 100


def test_a_label_of_a_few_references_leaves_no_other_open(rare):
    column = rare.table.reference.copy()
    column[10:, RARE] = np.nan
    inputs = replace(rare)
    inputs.__dict__["table"] = replace(rare.table, reference=column)
    found = answer_of("correlations", inputs)
    assert {row["label"] for row in found.rows} == {"teff", "logg", "feh"}
    assert min(row["stars"] for row in found.rows) > 100


def test_the_table_says_which_label_was_not_judged(rare, tmp_path):
    check = next(check for check in CHECKS if check.name == "halo")
    write_answer(tmp_path, check, check.answer(rare), {})
    table = from_ecsv((tmp_path / "halo" / "table.ecsv").read_bytes(), "table")
    assert "none: sife" in table.meta["answer"]


def test_without_any_calibrated_label_nothing_is_asked():
    nothing = SimpleNamespace(labels=("teff", "mh"), uncalibrated={"teff": 3, "mh": None})
    answer = answer_of("noise", nothing)
    assert answer.verdict is Verdict.UNDECIDED
    assert "against: teff (3 calibration stars), mh;" in answer.sentence


def test_slopes_of_usual_labels_do_not_lose_the_stars_without_a_rare_one(rng):
    truth = rng.standard_normal((2000, 3))
    label = truth + 0.1 * rng.standard_normal(truth.shape)
    few = truth.copy()
    few[50:, 2] = np.nan
    rows = own_slope_rows(("teff", "mh", "sife"), label, few, np.full_like(few, 0.01))
    assert {row["label"]: row["stars"] for row in rows} == {"teff": 2000, "mh": 2000, "sife": 50}


def test_a_model_of_spectra_that_lacks_stars_names_the_label_that_is_rare(lines, tmp_path):
    given = lines.label.copy()
    given[50:, RARE] = np.nan
    few = build_survey(tmp_path / "few.zarr", lines.label, lines.snr, lines.ids, labels=given)
    inputs = replace(lines.inputs(), survey=few)
    table = replace(inputs.table, held_out=np.ones(len(inputs.table), bool))
    inputs.__dict__["table"] = table
    answer = answer_bound(inputs)
    assert answer.verdict is Verdict.UNDECIDED
    assert "(there are 50; sife, which fewest stars have, is known of 50)" in answer.sentence
