"""The numbers of benchmarks/accuracy.py, on stars whose answers are known."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

SPREAD, ERROR = 0.3, 0.1
SLOPE = 1 - (ERROR / SPREAD) ** 2


@pytest.fixture
def judge(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return import_module("lib.judge")


@pytest.fixture
def stars(judge, rng):
    """Estimates of least squared error of a Gaussian population, and the same debiased."""
    count = 60_000
    truth = rng.normal(-0.5, SPREAD, (count, 1))
    noise = rng.normal(0, np.sqrt(SLOPE) * ERROR, truth.shape)
    label = -0.5 + SLOPE * (truth + 0.5) + noise
    error = np.full(truth.shape, ERROR)
    return judge.Judged(
        labels=("mh",),
        table=pd.DataFrame({"source_id": np.arange(count)}),
        clean=truth,
        snr=rng.uniform(15, 150, count),
        truth=truth,
        label=label,
        error=error,
        low=error,
        high=error,
        debiased=-0.5 + (label + 0.5) / SLOPE,
        debiased_error=error / np.sqrt(SLOPE),
        failed=0,
        flagged=0,
    )


@pytest.fixture
def limits(judge):
    return {n: {"plain": {"mh": 0.5 * ERROR}, "population": {"mh": ERROR}} for n in judge.BINS}


def test_an_estimate_of_least_squared_error_has_the_slope_asked_for(judge, stars, limits):
    for row in judge.table_of(stars, limits):
        assert row["std"] == pytest.approx(ERROR, rel=0.03)
        assert row["mad"] == pytest.approx(ERROR, rel=0.05)
        assert row["ratio"] == pytest.approx(2 * row["ratio_population"])
        assert row["slope"] == pytest.approx(SLOPE, abs=0.02)
        assert row["slope_over_expected"] == pytest.approx(1, abs=0.02)
        assert row["within_68"] == row["interval_68"] == pytest.approx(0.683, abs=0.02)
        assert row["within_95"] == pytest.approx(0.954, abs=0.01)
        assert row["debiased_slope"] == pytest.approx(1, abs=0.02)
        assert row["debiased_price"] == pytest.approx(1 / np.sqrt(SLOPE), rel=0.02)
        assert row["debiased_68"] == pytest.approx(0.683, abs=0.02)


def test_every_star_is_in_one_narrow_bin_and_in_all(judge, stars, limits):
    counts = {row["snr"]: row["stars"] for row in judge.table_of(stars, limits)}
    assert sum(counts[name] for name in judge.NARROW) == counts["all"] == len(stars.snr)
    assert counts[">50"] == counts["50-100"] + counts[">=100"]


def test_the_lower_half_width_holds_where_the_truth_lies_below(judge, stars, limits):
    wide = np.full_like(stars.error, 50.0)
    below = judge.Judged(**{**vars(stars), "low": wide})
    (row,) = [row for row in judge.table_of(below, limits) if row["snr"] == "all"]
    above = stars.label < stars.truth
    expected = np.mean(~above | (np.abs(stars.label - stars.truth) <= ERROR))
    assert row["interval_68"] == pytest.approx(expected)


def test_metal_poor_stars_are_pulled_and_the_debiased_ones_are_not(judge, stars):
    rows = {(row["snr"], row["mh"][0]): row for row in judge.poor_table(stars)}
    poor = rows[">25", -1.5]
    assert poor["label_bias"] > 0.05
    assert abs(poor["debiased_bias"]) < 0.02


def test_verdicts_follow_the_numbers(judge, stars, limits):
    from lib.verdicts import verdicts

    def reached(stars):
        found = verdicts(judge.table_of(stars, limits), judge.poor_table(stars), {})
        return {verdict["target"]: verdict["reached"] for verdict in found}

    good, small = reached(stars), reached(judge.Judged(**{**vars(stars), "error": stars.error / 2}))
    assert good["std at most 1.5 times the bound that knows the population, S/N 15-25"]
    assert not good["std at most 1.5 times the bound, S/N 15-25"]
    assert good["68 % by label_error: 0.68 +- 0.02"]
    assert not small["68 % by label_error: 0.68 +- 0.02"]
    assert good["slope of the debiased label 1 +- 0.03 in every bin"]
    assert not good["published recipes on the same split and stars"]


def test_the_bound_of_a_wide_bin_weights_its_strata_by_their_stars(judge, stars):
    squares = {name: {} for name in judge.NARROW}
    for number, kinds in enumerate(squares.values()):
        kinds |= {kind: np.full((3, 5), float(number)) for kind in ("plain", "population")}
    found = judge._joined(stars, judge.BINS["all"], squares)
    share = [judge.inside(stars.snr, judge.BINS[name]).mean() for name in judge.NARROW]
    assert found["plain"]["teff"] ** 2 == pytest.approx(np.dot(share, range(4)))
    assert found["stars"] == 12


@pytest.mark.parametrize("tails", [3, 200])
def test_standard_errors_are_the_scatter_between_samples(judge, rng, tails):
    sampling = import_module("lib.sampling")
    draws = rng.standard_t(tails + 2, (400, 1000))
    truth = rng.normal(size=draws.shape)
    for error, number in (
        (sampling.std_error, np.std),
        (sampling.mad_error, judge.mad),
    ):
        scatter = np.std([number(draw) for draw in draws])
        assert np.median([error(draw) for draw in draws]) == pytest.approx(scatter, rel=0.25)
    slopes = [judge.slope(x + y, x) for x, y in zip(truth, draws, strict=True)]
    told = [sampling.slope_error(x + y, x) for x, y in zip(truth, draws, strict=True)]
    assert np.mean(told) == pytest.approx(np.std(slopes), rel=0.15)
    shares = (draws < -1).mean(axis=1)
    told = sampling.share_error(shares.mean(), draws.shape[1])
    assert told == pytest.approx(shares.std(), rel=0.15)


def test_intervals_hold_what_they_promise(judge, stars, limits):
    interval = import_module("lib.sampling").interval
    few = [judge.Judged(**{n: _part(v, k) for n, v in vars(stars).items()}) for k in range(100)]
    rows = [row for part in few for row in judge.table_of(part, limits) if row["snr"] == "all"]
    for key, right in (("std", ERROR), ("slope", SLOPE), ("within_68", 0.6827)):
        inside = [low <= right <= high for low, high in (interval(row, key) for row in rows)]
        assert np.mean(inside) == pytest.approx(0.95, abs=0.06)


def _part(values, number):
    """Every hundredth star."""
    return values[number::100] if hasattr(values, "shape") else values
