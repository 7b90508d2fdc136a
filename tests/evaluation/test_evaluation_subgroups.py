from dataclasses import replace

import numpy as np
import pytest

from distcnn.config import ReportConfig
from distcnn.evaluation.sample import read_sample
from distcnn.evaluation.subgroups import attenuation, metallicity_bias, population_coverage
from distcnn.events import silent
from distcnn.report.figures import attenuation as attenuation_figures
from distcnn.report.figures.calibration import ensemble_size
from distcnn.report.figures.run import learning
from distcnn.schema import Flag
from distcnn.style import style

EDGES = (15.0, 25.0, 50.0, 100.0)


@pytest.fixture(scope="module")
def stars(products):
    return read_sample(products.data, ReportConfig(), silent)[0]


@pytest.fixture
def names(products):
    return ("teff", "logg", "mh", "alpham", "feh")


def one(rows, **wanted):
    (row,) = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return row


def test_errors_are_evaluated_per_population(stars, names):
    rows = population_coverage(stars, names)
    parts = [one(rows, label="teff", cell=cell)["stars"] for cell in ("dwarf", "giant")]
    assert sum(parts) <= one(rows, label="teff", cell="all")["stars"] == stars.evaluated.sum()
    for row in rows:
        spread = (0.2 / row["stars"]) ** 0.5
        assert row["within_68"] == pytest.approx(0.683, abs=4.5 * spread)


def test_stars_that_lack_an_input_are_evaluated_though_the_lack_is_a_defect(stars, names):
    assert "no XP" not in {row["cell"] for row in population_coverage(stars, names)}
    lost = np.flatnonzero(stars.evaluated)[:50]
    defect, flags = stars.defect.copy(), stars.flags.copy()
    defect[lost], flags[lost] = "no_xp", flags[lost] | np.uint32(Flag.NO_XP)
    defect[lost[:10]] = "binary+no_xp"
    rows = population_coverage(replace(stars, defect=defect, flags=flags), names)
    assert one(rows, label="mh", cell="no XP")["stars"] == 40
    assert one(rows, label="mh", cell="all")["stars"] == stars.evaluated.sum() - 50


def test_the_slope_of_labels_drawn_to_their_mean_is_found_and_undone(stars, names):
    drawn = stars.reference.mean(axis=0) + 0.8 * (stars.reference - stars.reference.mean(axis=0))
    changed = replace(stars, label=drawn, label_debiased=stars.reference)
    row = one(attenuation(changed, names, EDGES), label="mh", snr="all")
    assert row["slope"] == pytest.approx(0.8)
    assert row["slope_debiased"] == pytest.approx(1)
    assert row["poor_bias"] > 0.1
    assert row["poor_bias_debiased"] == pytest.approx(0)
    assert row["std"] == pytest.approx(0.2 * stars.reference[stars.evaluated, 2].std(), rel=1e-6)


def test_errors_of_the_references_do_not_pass_for_attenuation(stars, names, rng):
    noise = 0.5 * stars.reference.std(axis=0)
    noisy = stars.reference + noise * rng.standard_normal(stars.reference.shape)
    changed = replace(
        stars,
        label=stars.reference,
        reference=noisy,
        reference_error=np.broadcast_to(noise, noisy.shape),
    )
    row = one(attenuation(changed, names, EDGES), label="teff", snr="all")
    assert row["slope"] == pytest.approx(1, abs=0.06)
    assert "slope_debiased" not in row


def test_the_metal_poor_end_is_told_bin_by_bin(stars, names):
    poor = stars.reference[:, [2]] < -0.5
    label = stars.reference + np.where(poor, 0.2, 0.0)
    rows = metallicity_bias(replace(stars, label=label), names, (15.0, 25.0))
    rows = [row for row in rows if row["label"] == "mh"]
    assert {row["snr"] for row in rows} == {"15-25", ">= 25"}
    for row in rows:
        assert row["bias"] == pytest.approx(0.2 if row["high"] <= -0.5 else 0.0, abs=1e-6)
    assert attenuation_figures.metallicity_bias(rows) is not None


def test_a_survey_without_metallicity_has_no_metal_poor_end(stars):
    assert metallicity_bias(stars, ("teff", "logg", "x", "y", "z"), (15.0, 25.0)) == []


def test_figures_that_lack_their_rows_are_left_out(names):
    assert attenuation_figures.attenuation([], names) is None
    assert ensemble_size([], names) is None
    assert attenuation_figures.metallicity_bias([]) is None
    assert learning([]) is None


@pytest.mark.parametrize(("members", "axes"), [(1, 1), (3, 3), (12, 12), (13, 1)])
def test_members_have_their_own_curves_unless_they_are_many(members, axes):
    curves = [{"member": m, "epochs": [(1, 1), (0.5, 0.7), (0.2, 0.8)]} for m in range(members)]
    with style():
        figure = learning(curves)
    drawn = [ax for ax in figure.axes if ax.lines]
    assert len(drawn) == axes
    if axes == members:
        assert drawn[-1].get_title("left") == f"member {members - 1}: 0.700 at 2"
