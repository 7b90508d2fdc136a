import numpy as np
import pytest

from distcnn.config import ReportConfig
from distcnn.evaluation import evaluate
from distcnn.evaluation.completeness import DEC_CELLS, RA_CELLS, CompletenessCounts
from distcnn.schema import Flag, Status

EDGES = (15.0, 50.0)


def _block(**more):
    block = {
        "label": np.ones((4, 2)),
        "flags": np.array([0, 4, 512, 0], np.uint32),
        "status": np.array([Status.DONE, Status.DONE, Status.FAILED, Status.DONE], np.uint8),
        "snr": np.array([20.0, 20.0, 60.0, np.nan]),
    }
    block["label"][2] = np.nan
    return block | more


def _counted(*blocks):
    counts = CompletenessCounts(EDGES)
    for block in blocks:
        counts.add(block)
    return counts.tables()


def test_every_star_is_counted_once_in_every_kind_of_bin():
    magnitude = np.array([11.2, np.nan, 12.0, 11.9])
    rows = _counted(_block(reference_magnitude=magnitude), _block(reference_magnitude=magnitude))
    for by in ("all", "S/N", "magnitude"):
        assert sum(row["stars"] for row in rows["rows"] if row["by"] == by) == 8
    assert [row["bin"] for row in rows["rows"] if row["by"] == "magnitude"] == [
        "11-12",
        "12-13",
        "unknown",
    ]
    (faint,) = (row for row in rows["rows"] if row["bin"] == "15-50")
    assert (faint["stars"], faint["labels"], faint["unflagged"], faint["failed"]) == (4, 4, 2, 0)
    (bright,) = (row for row in rows["rows"] if row["bin"] == ">= 50")
    assert (bright["labels"], bright["failed"]) == (0, 2)


def test_the_reasons_tell_flags_from_stars_without_labels():
    reasons = {row["reason"]: row for row in _counted(_block())["reasons"]}
    assert reasons["no label: NON_FINITE"]["stars"] == 1
    assert reasons["flagged: NOVEL_SPECTRUM"]["stars"] == 1
    assert reasons["flagged: NOVEL_SPECTRUM"]["meaning"] == Flag.NOVEL_SPECTRUM.sentence
    assert len(reasons) == 2


def test_cells_of_the_sky_have_the_same_area_and_hold_every_star(rng):
    ra = np.concatenate([rng.uniform(0, 360, 20_000), [0.0, 360.0, -1.0]])
    dec = np.concatenate([np.degrees(np.arcsin(rng.uniform(-1, 1, 20_000))), [-90.0, 90.0, 0.0]])
    many = len(ra)
    block = {
        "label": np.ones((many, 1)),
        "flags": np.zeros(many, np.uint32),
        "status": np.full(many, Status.DONE, np.uint8),
        "snr": np.ones(many),
        "ra": ra,
        "dec": dec,
    }
    cells = np.array(_counted(block)["sky"]["stars"])
    assert cells.shape == (DEC_CELLS, RA_CELLS)
    assert cells.sum() == many
    expected = many / cells.size
    assert np.abs(cells - expected).max() < 5 * np.sqrt(expected)


def test_stars_without_positions_make_no_map():
    assert _counted(_block())["sky"] is None


def test_an_evaluation_counts_all_stars_of_the_store(products):
    numbers, _ = evaluate(products.data, ReportConfig(figures=()))
    (total,) = (row for row in numbers.completeness["rows"] if row["by"] == "all")
    assert total["stars"] == 1500
    assert total["failed"] == 1
    assert total["unflagged"] == pytest.approx((products.trouble == "").sum(), rel=0.05)


def test_recommendations_are_counted_by_label_over_all_regions():
    told = np.array([[0, 2], [1, 2], [0, 0], [0, 1]], np.uint8)
    block = _block(label_recommendation=told)
    assert _counted(block, block)["recommended"] == [[6, 2, 0], [2, 2, 4]]
    assert _counted(_block())["recommended"] is None
